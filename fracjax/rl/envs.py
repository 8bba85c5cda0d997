"""The registry: environments by name, whoever simulates them.

A source (a library that simulates) is one entry of `_FACTORIES`: a function
`(name, backend, dtype, options) -> Environment` that imports what it needs when called.
To add a source, write its factory and list its environments in `_ENTRIES`.

A Brax environment is offered on those backends on which it was stepped and its
Jacobian-vector products through `from_coordinates` were compared with finite differences in
float64. What failed is listed with the reason. Brax's pusher, its humanoids and the backends
that are not offered have not passed that test: compiling them took too long, or nobody tried.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fracjax.rl import classic
from fracjax.rl.environment import Environment

__all__ = ["Entry", "entries", "make"]

_Factory: TypeAlias = Callable[[str, str, str, Mapping[str, Any]], Environment]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of an environment without building it.

    Attributes:
        name: Name for `make`.
        source: `"analytic"` (equations in fracjax) or the library that simulates it.
        backends: Physics backends offered; none if broken.
        default_backend: The one that `make` takes if none is given.
        observation_size: Length of an observation, if known.
        action_size: Length of an action, if known.
        state_size: Number of physical coordinates, if known.
        dt: Seconds per control step on the default backend, if known.
        note: What a user should know before trusting a result, or "".
        broken: Why it cannot be made, or `None`.
    """

    name: str
    source: str
    backends: tuple[str, ...]
    default_backend: str | None
    observation_size: int | None = None
    action_size: int | None = None
    state_size: int | None = None
    dt: float | None = None
    note: str = ""
    broken: str | None = None


def entries() -> list[Entry]:
    """List all environments, those that do not work and the reason included."""
    return list(_ENTRIES)


def make(
    name: str, *, backend: str | None = None, dtype: str = "float32", **options: Any
) -> Environment:
    """Build an environment.

    Args:
        name: Name of an entry.
        backend: One of the entry's backends; its default if not given.
        dtype: str of states, observations and rewards. float64 needs `jax_enable_x64`;
            float32 stays float32 with and without it.
        **options: Keyword arguments of the environment, such as `torque_limit` of
            `fracjax.rl.classic.acrobot` or `ctrl_cost_weight` of Brax's environments.

    Raises:
        ValueError: If there is no such environment, backend or dtype.
    """
    entry = _find(name)
    backend = backend or entry.default_backend
    if backend is None or backend not in entry.backends:
        offered = ", ".join(entry.backends)
        msg = f"Argument `backend` of `{name}` must be one of {offered}, but is {backend!r}."
        raise ValueError(msg)
    if dtype not in ("float32", "float64"):
        msg = f"Argument `dtype` must be 'float32' or 'float64', but is {dtype!r}."
        raise ValueError(msg)
    if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
        msg = f"Argument `dtype` is {dtype!r}, but JAX needs `jax_enable_x64` for it."
        raise ValueError(msg)
    return _FACTORIES[entry.source](name, backend, dtype, options)


def _find(name: str) -> Entry:
    known = {entry.name: entry for entry in _ENTRIES}
    if name not in known:
        usable = [entry.name for entry in _ENTRIES if entry.broken is None]
        near = difflib.get_close_matches(name, usable, n=3, cutoff=0.4) or sorted(usable)
        msg = f"Argument `name` must name an environment ({', '.join(near)}), but is {name!r}."
        raise ValueError(msg)
    entry = known[name]
    if entry.broken is not None:
        msg = f"Argument `name` is {name!r}, which does not work: {entry.broken}."
        raise ValueError(msg)
    return entry


def _analytic(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    del backend
    builders: Mapping[str, Callable[..., Environment]] = {
        "acrobot": classic.acrobot,
        "cartpole_swingup": classic.cartpole_swingup,
        "double_pendulum": classic.double_pendulum,
        "pendulum": classic.pendulum,
    }
    return builders[name](dtype=dtype, **options)


def _brax(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    from fracjax.rl import brax_envs

    return brax_envs.create(name, backend=backend, dtype=dtype, **options)


_FACTORIES: dict[str, _Factory] = {"analytic": _analytic, "brax": _brax}

_ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="acrobot",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=6,
        action_size=1,
        state_size=4,
        dt=0.05,
        note="chaotic for about half of random policies at the default 5 N m; frictionless, so"
        " a motor can spin it faster than 0.05 s resolve: see `damping` and `substeps`",
    ),
    Entry(
        name="pendulum",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=3,
        action_size=1,
        state_size=2,
        dt=0.05,
        note="two state variables, so never chaotic: separatrix jumps at most",
    ),
    Entry(
        name="double_pendulum",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=6,
        action_size=2,
        state_size=4,
        dt=0.05,
        note="strongly chaotic once it swings; `actuated='first'` for one motor",
    ),
    Entry(
        name="cartpole_swingup",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=5,
        action_size=1,
        state_size=4,
        dt=0.05,
        note="terminates at the ends of the track, most random policies within 100 steps",
    ),
    Entry(
        name="inverted_pendulum",
        source="brax",
        backends=("spring", "positional", "generalized", "mjx"),
        default_backend="spring",
        observation_size=4,
        action_size=1,
        state_size=4,
        dt=0.02,
        note="pays 1 in every step: returns count steps, piecewise constant in the parameters",
    ),
    Entry(
        name="inverted_double_pendulum",
        source="brax",
        backends=("spring", "positional", "generalized"),
        default_backend="spring",
        observation_size=8,
        action_size=1,
        state_size=6,
        dt=0.02,
    ),
    Entry(
        name="reacher",
        source="brax",
        backends=("spring", "positional", "generalized", "mjx"),
        default_backend="spring",
        observation_size=11,
        action_size=2,
        state_size=8,
        dt=0.02,
        note="the target's coordinates are part of the state",
    ),
    Entry(
        name="hopper",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=11,
        action_size=3,
        state_size=12,
        dt=0.008,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="halfcheetah",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=17,
        action_size=6,
        state_size=18,
        dt=0.05,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="ant",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=27,
        action_size=8,
        state_size=29,
        dt=0.05,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="walker2d",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=17,
        action_size=6,
        state_size=18,
        dt=0.008,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="swimmer",
        source="brax",
        backends=(),
        default_backend=None,
        broken="Brax 0.14.2 calls `clip(a_min=...)`, which JAX 0.10 no longer knows",
    ),
)
