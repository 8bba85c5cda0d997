"""What an environment is to fracjax: pure functions and their sizes."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Bool, Float

from fracjax._types import Key, PyTree

__all__ = ["Environment", "Transition"]


class Transition(NamedTuple):
    """What one control step returns.

    Attributes:
        state: The next state.
        reward: Reward of the step.
        done: Whether the episode has terminated at the next state (not truncated).
    """

    state: PyTree
    reward: Float[Array, ""]
    done: Bool[Array, ""]


@dataclasses.dataclass(frozen=True)
class Environment:
    """A deterministic simulator as pure functions of one unbatched state.

    No function resets by itself, and stepping on after `done` is allowed: who uses the
    rewards masks them.

    Attributes:
        name: Name in the registry.
        backend: Physics backend, or `"analytic"` for equations written in fracjax.
        dt: Seconds per control step.
        observation_size: Length of an observation.
        action_size: Length of an action; actions live in [-1, 1].
        state_size: Number of physical coordinates.
        reset: Initial state from a key.
        observe: Observation of a state.
        step: One control step, `(state, action) -> Transition`.
        coordinates: Physical coordinates of a state, in which distances are measured.
        energy: Mechanical energy of a state in joules, conserved without action and damping;
            `None` where the environment does not offer it.
        from_coordinates: State with the given coordinates, everything else taken from a
            template state: `(coordinates, template) -> state`. Tangents of initial states
            go through it, because simulators keep redundant copies of the coordinates that
            a tangent on one copy would contradict. `None` where it is not offered.
        action_bounds: Physical actions (low, high) that -1 and 1 stand for, as in the box of
            the same environment elsewhere; `None` where nothing says.
    """

    name: str
    backend: str
    dt: float
    observation_size: int
    action_size: int
    state_size: int
    reset: Callable[[Key], PyTree]
    observe: Callable[[PyTree], Float[Array, " observation"]]
    step: Callable[[PyTree, Float[Array, " action"]], Transition]
    coordinates: Callable[[PyTree], Float[Array, " coordinates"]]
    energy: Callable[[PyTree], Float[Array, ""]] | None = None
    from_coordinates: Callable[[Float[Array, " coordinates"], PyTree], PyTree] | None = None
    action_bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
