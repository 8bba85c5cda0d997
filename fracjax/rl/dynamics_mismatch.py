"""How far a simulator is from the one that a policy was trained in.

Two simulators of one model never agree to the last bit, and in a chaotic loop the last bit
decides where a trajectory is after a while. So the distance of two trajectories after many steps
says nothing about the simulators: read the error of a single step, relative to how far the
state moves in it. The distance after t steps is about that error times e^{λt}; where the loop
is chaotic, time averages, exponents and distributions of returns can agree, and single
trajectories cannot.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor, initial_states

__all__ = ["DynamicsMismatch", "Reference", "dynamics_mismatch"]


@runtime_checkable
class Reference(Protocol):
    """A simulator outside JAX, one state at a time, with actions in [-1, 1]."""

    def place(self, coordinates: np.ndarray) -> np.ndarray:
        """Begin at these coordinates, and return the observation."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, bool]:
        """Take a step; return coordinates, observation, reward and whether it terminated."""
        ...


@dataclasses.dataclass(frozen=True)
class DynamicsMismatch:
    """Two simulators under one policy, from the same initial states.

    Estimates are means over initial states. Steps after the reference's episode has ended are
    not counted.

    Attributes:
        one_step: Error of a step of the environment from the reference's states with the
            reference's actions, relative to how far the reference moves: the ratio of the root
            mean squares along a trajectory. In float32 rounding alone gives about 1e-6, as a
            step is small beside the state; above .01 the simulators are different systems.
        coordinate_error: Root mean square of that error in every coordinate, in its unit.
        observation_error: Largest difference of observations of the same coordinates.
        reward_error: Largest difference of rewards of the same step from the same state.
        divergence_steps: Steps until two trajectories, each in its own loop, are further apart
            than the tolerance. Where some never were, it counts for those the steps they had,
            is a lower bound and has the status NOT_CONVERGED.
        diverged: Fraction of trajectories that went apart.
        growth: Growth of the distance of these trajectories, in nats per second, from when it
            first is as large as the error of one step (the root mean square over all steps).
        twin_growth: Growth of the distance of two trajectories of the environment, the second
            of which starts that far away: what chaos does by itself. If `growth` is about as
            large, amplification of small errors explains the divergence; beyond it, errors of
            the steps add up. Over a long time both tend to the largest Lyapunov exponent.
        return_reference: Sum of rewards in the reference.
        return_environment: Sum of rewards in the environment.
        return_difference: The second less the first, paired by initial states.
        length_difference: Difference of the lengths of episodes, in steps.
        num_states: Initial states.
        num_steps: Steps of a trajectory.
        tolerance: Distance, in units of the coordinates, at which trajectories count as apart.
    """

    one_step: Estimate
    coordinate_error: np.ndarray
    observation_error: float
    reward_error: float
    divergence_steps: Estimate
    diverged: float
    growth: Estimate
    twin_growth: Estimate
    return_reference: Estimate
    return_environment: Estimate
    return_difference: Estimate
    length_difference: Estimate
    num_states: int
    num_steps: int
    tolerance: float

    def __str__(self) -> str:
        """Print every number with its name."""
        lines = [f"{self.num_states} initial states, {self.num_steps} steps at most"]
        for field in dataclasses.fields(self)[:-3]:
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = np.array2string(value, precision=2, max_line_width=100)
            elif isinstance(value, float):
                value = f"{value:.3g}"
            lines.append(f"{field.name.replace('_', ' ')}: {value}")
        return "\n".join(lines)


class _Track(NamedTuple):
    """Trajectories: (states, steps + 1, …) of states, (states, steps, …) of steps."""

    coordinates: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    done: np.ndarray

    @property
    def alive(self) -> np.ndarray:
        """Whether each step was taken in a live episode."""
        ended = np.cumsum(self.done, axis=1) - self.done > 0
        return ~ended


def dynamics_mismatch(
    environment: Environment,
    reference: Reference,
    policy: Actor,
    params: PyTree,
    key: Key,
    *,
    num_states: int = 16,
    num_steps: int = 200,
    tolerance: float = 0.1,
) -> DynamicsMismatch:
    """Measure how far an environment is from a reference, under a deterministic policy.

    Three comparisons are made: single steps from the reference's own states, with its actions;
    whole trajectories from the same start, each in its own closed loop; and two trajectories of
    the environment that start apart by about the error of one step.

    Intervals are Student's for the mean over initial states, which are drawn by
    `environment.reset`. They assume that the mean is about normal: with few states and
    returns that are seldom large they are too narrow. A zero standard error means that all
    states gave the same.

    Args:
        environment: With `from_coordinates`. In float32 the smallest one-step error to be seen
            is about 1e-6, of rounding.
        reference: The simulator to compare with, such as `gymnasium_mujoco.GymnasiumReference`.
        policy: The policy.
        params: Its parameters.
        key: Draws the initial states and the twins' directions.
        num_states: Initial states.
        num_steps: Steps of a trajectory.
        tolerance: Distance at which trajectories count as apart, as a fraction of the root
            mean square distance of the reference's states from their mean.

    Raises:
        ValueError: If there are fewer than two states or steps, or the environment cannot be
            set to given coordinates.
    """
    if environment.from_coordinates is None:
        name = environment.name
        msg = f"Argument `environment` must have `from_coordinates`, but `{name}` has not."
        raise ValueError(msg)
    if num_states < 2 or num_steps < 2 or not tolerance > 0:
        msg = (
            "Arguments `num_states` and `num_steps` must be at least 2 and `tolerance` positive,"
            f" but are {num_states}, {num_steps} and {tolerance}."
        )
        raise ValueError(msg)
    loop = _Loop(environment, policy, params, key, num_states)
    truth, seen = _roll_reference(reference, loop.act, loop.first, num_steps)
    alive = truth.alive
    errors, observation_errors, reward_errors = loop.single_steps(truth, seen)
    errors = np.where(alive[..., None], errors, 0)
    moved = np.where(alive[..., None], np.diff(truth.coordinates, axis=1), 0)
    squares, changes = (errors**2).sum((1, 2)), (moved**2).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        one_step = np.where(np.isfinite(squares), np.sqrt(squares / changes), np.inf)
    coordinate_error = np.sqrt((errors**2).sum((0, 1)) / alive.sum())

    own = loop.roll(loop.first, num_steps)
    # In units of rounding a twin would be at the same place.
    size = max(float(np.sqrt((coordinate_error**2).sum())), loop.rounding)
    shape = loop.first.shape
    direction = np.array(jax.random.normal(jax.random.fold_in(key, num_states), shape))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    twin = loop.roll(loop.first + size * direction, num_steps)

    spread = _spread(truth)
    apart = _Divergence.of(own, truth, alive & own.alive, tolerance * spread, size)
    twins = _Divergence.of(own, twin, own.alive & twin.alive, tolerance * spread, 0.0)
    returns = [np.where(track.alive, track.rewards, 0).sum(1) for track in (truth, own)]
    lengths = [track.alive.sum(1) for track in (truth, own)]
    dt = environment.dt
    return DynamicsMismatch(
        one_step=_mean(one_step),
        coordinate_error=coordinate_error,
        observation_error=float(observation_errors[alive].max()),
        reward_error=float(np.abs(reward_errors[alive]).max()),
        divergence_steps=_mean(apart.steps, censored=not apart.reached.all()),
        diverged=float(apart.reached.mean()),
        growth=_mean(apart.growth / dt),
        twin_growth=_mean(twins.growth / dt),
        return_reference=_mean(returns[0]),
        return_environment=_mean(returns[1]),
        return_difference=_mean(returns[1] - returns[0]),
        length_difference=_mean(np.subtract(*lengths[::-1]).astype(float)),
        num_states=num_states,
        num_steps=num_steps,
        tolerance=tolerance * spread,
    )


class _Loop:
    """The environment under the policy, stepped from many initial states at once.

    Attributes:
        first: Coordinates of the initial states, (states, coordinates).
        rounding: Distance from them that is more than rounding.
    """

    def __init__(
        self, environment: Environment, policy: Actor, params: PyTree, key: Key, num_states: int
    ) -> None:
        assert environment.from_coordinates is not None
        self._lift = jax.jit(jax.vmap(environment.from_coordinates))
        self._advance = jax.jit(jax.vmap(environment.step))
        self._act = jax.jit(jax.vmap(lambda observation: policy.act(params, observation)))
        self._places = jax.jit(jax.vmap(environment.coordinates))
        self._observe = jax.jit(jax.vmap(environment.observe))
        self._start = jax.jit(lambda k: initial_states(environment, k, num_states))(key)
        self.first = np.asarray(self._places(self._start), float)
        leaves = [leaf.dtype for leaf in jax.tree.leaves(self._start)]
        dtype = jnp.result_type(*(kind for kind in leaves if jnp.issubdtype(kind, jnp.floating)))
        self.rounding = 10 * float(np.finfo(dtype).eps) * float(np.abs(self.first).max())

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Choose the action for one observation."""
        return np.asarray(self._act(jnp.asarray(observation)[None])[0], float)

    def single_steps(
        self, truth: _Track, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors of coordinates, observations and rewards in every step of a reference."""
        states, steps = truth.actions.shape[:2]
        errors = np.zeros((states, steps, self.first.shape[1]))
        observation_errors, reward_errors = np.zeros((2, states, steps))
        for time in range(steps):
            state = self._lift(truth.coordinates[:, time], self._start)
            following = self._advance(state, truth.actions[:, time])
            found = np.asarray(self._places(following.state), float)
            errors[:, time] = found - truth.coordinates[:, time + 1]
            observed = np.asarray(self._observe(state))
            observation_errors[:, time] = np.abs(observed - seen[:, time]).max(1)
            reward_errors[:, time] = np.asarray(following.reward, float) - truth.rewards[:, time]
        return errors, observation_errors, reward_errors

    def roll(self, coordinates: np.ndarray, num_steps: int) -> _Track:
        """Close the loop from states with given coordinates."""
        state, rows = self._lift(coordinates, self._start), []
        for _ in range(num_steps):
            action = self._act(self._observe(state))
            following = self._advance(state, action)
            state = following.state
            rows.append((self._places(state), action, following.reward, following.done))
        columns = [np.stack([np.asarray(part) for part in c], 1) for c in zip(*rows, strict=True)]
        path = np.concatenate([coordinates[:, None], columns[0]], axis=1)
        return _Track(path, *columns[1:])


def _roll_reference(
    reference: Reference,
    act: Callable[[np.ndarray], np.ndarray],
    first: np.ndarray,
    num_steps: int,
) -> tuple[_Track, np.ndarray]:
    """Close the loop in the reference; also give the observations before each step."""
    tracks, seen = [], []
    for start in first:
        observation = reference.place(start)
        rows, observations = [], []
        for _ in range(num_steps):
            observations.append(np.array(observation, float))
            action = act(observation)
            coordinates, observation, reward, done = reference.step(action)
            rows.append((np.array(coordinates, float), action, float(reward), bool(done)))
        columns = [np.stack(column) for column in zip(*rows, strict=True)]
        seen.append(np.stack(observations))
        tracks.append((np.concatenate([start[None], columns[0]]), *columns[1:]))
    return _Track(*(np.stack(part) for part in zip(*tracks, strict=True))), np.stack(seen)


def _spread(track: _Track) -> float:
    """Root mean square distance of live states from their mean."""
    live = track.coordinates[:, 1:][track.alive]
    return float(np.sqrt(((live - live.mean(0)) ** 2).sum(1).mean()))


class _Divergence(NamedTuple):
    """When two sets of trajectories went apart, and how fast."""

    steps: np.ndarray
    reached: np.ndarray
    growth: np.ndarray

    @staticmethod
    def of(
        one: _Track, other: _Track, alive: np.ndarray, tolerance: float, smallest: float
    ) -> "_Divergence":
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.linalg.norm(one.coordinates - other.coordinates, axis=2)[:, 1:]
        distance = np.where(np.isfinite(distance), distance, np.inf)
        beyond = (distance > tolerance) & alive
        reached = beyond.any(1)
        available = alive.sum(1)
        steps = np.where(reached, beyond.argmax(1) + 1, available)
        growth = np.full(len(distance), np.nan)
        for index, (row, last) in enumerate(zip(distance, steps, strict=True)):
            apart = np.flatnonzero((row[:last] >= smallest) & (row[:last] > 0))
            if len(apart) > 1 and np.isfinite(row[apart[-1]]):
                ends = np.log(row[apart[-1]]) - np.log(row[apart[0]])
                growth[index] = ends / (apart[-1] - apart[0])
        return _Divergence(steps.astype(float), reached, growth)


def _mean(values: np.ndarray, *, censored: bool = False) -> Estimate:
    """Mean over states with Student's interval; states that gave no number are left out."""
    usable = values[np.isfinite(values)]
    count = len(usable)
    value: Any = usable.mean() if count else np.nan
    stderr: Any = usable.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    reach = stats.t.ppf(0.975, count - 1) * stderr if count > 1 else np.nan
    status = Status.OK
    if count < 2:
        status = Status.TOO_FEW_POINTS
    elif np.isinf(values).any():
        status = Status.DIVERGED
    elif censored:
        status = Status.NOT_CONVERGED
    center, error, low, high = (
        _any(np.asarray(number)) for number in (value, stderr, value - reach, value + reach)
    )
    details = {"states": values, "num_states": count}
    return Estimate(center, error, low, high, _any(np.asarray(int(status))), details)


def _any(array: np.ndarray) -> Any:
    """Let a NumPy array stand where a leaf of any kind may."""
    return array
