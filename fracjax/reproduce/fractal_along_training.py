"""What is measured of policies along training: exponents, roughness, failures."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.diagnosis import Problem, fractality
from fracjax.evaluation import map_points
from fracjax.reproduce.association import Association, associate
from fracjax.rl.environment import Environment
from fracjax.rl.networks import PolicyNetwork
from fracjax.rl.rollouts import (
    discounted_returns,
    initial_states,
    lift_tracked,
    track,
    tracked_loop,
)
from fracjax.rl.trained_seeds import TrainedSeeds

__all__ = [
    "DROP",
    "Course",
    "association_of",
    "common_scale",
    "failures",
    "follow",
    "is_fractal",
    "is_known",
]

DROP = 0.2  # share of the range of returns that a failure loses
_SURE = 2.0  # standard errors of the paired difference between initial states


@dataclasses.dataclass(frozen=True)
class Course:
    """Training runs of one discount, and what was measured of their snapshots.

    Attributes:
        discount: γ of training.
        measured_at: γ's of measuring, (discounts,).
        seeds: The runs.
        exponent: Largest exponent in nats per step, (seeds, snapshots).
        holder: α, (seeds, snapshots, discounts).
        predicted: min(2, -ln γ/λ), likewise.
        jump_alarm: Whether jumps are suspected, likewise.
    """

    discount: float
    measured_at: tuple[float, ...]
    seeds: TrainedSeeds
    exponent: Estimate
    holder: Estimate
    predicted: np.ndarray
    jump_alarm: np.ndarray

    @property
    def own(self) -> int:
        """Index of the discount of training among those of measuring."""
        return self.measured_at.index(self.discount)


def follow(
    environment: Environment,
    seeds: TrainedSeeds,
    key: Key,
    *,
    discount: float,
    measured_at: tuple[float, ...],
    horizon: int,
    num_directions: int,
    num_return_states: int,
    num_states: int,
    largest_scale: float,
) -> Course:
    """Measure every snapshot of every seed in one program.

    Lines, frames, scales and initial states are common to all. Lags go from a 500th of the
    largest scale to that scale.

    Args:
        environment: The simulator, in float64.
        seeds: Training runs.
        key: Draws states, lines and frames.
        discount: γ of training.
        measured_at: γ's of measuring.
        horizon: Steps of a return and of the tangents.
        num_directions: Lines of a Hölder exponent.
        num_return_states: Initial states that a return averages over.
        num_states: Initial states of the exponents.
        largest_scale: See `common_scale`.
    """
    state_key, line_key = jax.random.split(key)
    states = initial_states(environment, state_key, num_states)
    rows = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64).reshape(-1, *leaf.shape[2:]),
        (seeds.params, seeds.normalizer),
    )

    def measure(row: tuple[PyTree, Any], states: PyTree, key: Key) -> dict[str, Any]:
        params, normalizer = row
        actor = _Fixed(seeds.network, normalizer)
        problem = _problem(
            environment, actor, params, states, measured_at, horizon, num_return_states
        )
        found = fractality(
            problem, key, num_directions=num_directions, largest_scale=largest_scale, chunk_size=64
        )(params, key)
        holder = dataclasses.replace(found["holder"], details={})
        exponent = dataclasses.replace(found["exponent"], details={})
        return {**found, "holder": holder, "exponent": exponent}

    found = map_points(measure, rows, states, line_key, chunk_size=1)
    shape = (seeds.num_seeds, seeds.num_snapshots)
    found = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(*shape, *leaf.shape[1:]), found)
    exponent = found["exponent"]
    names = ("value", "stderr", "low", "high")
    per_step = {name: getattr(exponent, name) * environment.dt for name in names}
    return Course(
        discount=discount,
        measured_at=measured_at,
        seeds=seeds,
        exponent=dataclasses.replace(exponent, **per_step),
        holder=found["holder"],
        predicted=found["predicted"],
        jump_alarm=found["jump_alarm"],
    )


def common_scale(runs: Sequence[TrainedSeeds]) -> float:
    """A tenth of the root mean square of all parameters of all policies: the largest scale."""
    leaves = [leaf for seeds in runs for leaf in jax.tree.leaves(seeds.params)]
    squares = sum(float((np.asarray(leaf, float) ** 2).sum()) for leaf in leaves)
    return 0.1 * (squares / sum(leaf.size for leaf in leaves)) ** 0.5


def is_known(course: Course, index: int) -> Bool[np.ndarray, "seeds snapshots"]:
    """Whether there is an α at one discount of measuring."""
    return np.asarray(course.holder.status[..., index] == Status.OK)


def is_fractal(course: Course, index: int) -> Bool[np.ndarray, "seeds snapshots"]:
    """Whether the whole interval of α lies below 1, at one discount of measuring."""
    holder = course.holder
    return is_known(course, index) & np.asarray(holder.high[..., index] < 1)


def failures(seeds: TrainedSeeds) -> Bool[np.ndarray, "seeds stretches"]:
    """Which stretches between snapshots lose return, the k-th from snapshot k to k + 1.

    A failure is a drop of the mean undiscounted return of the deterministic policy by more than
    20 % of the range of returns (5th to 95th percentile over all seeds and snapshots), and by
    more than twice the standard error of the difference, which is paired between common initial
    states; or a rollout that diverges after one that does not. Fixed before looking at any run.
    """
    returns = np.asarray(seeds.state_returns, float)
    low, high = np.nanpercentile(returns.mean(axis=-1), [5, 95])
    drops = returns[:, :-1] - returns[:, 1:]
    error = drops.std(axis=-1, ddof=1) / drops.shape[-1] ** 0.5
    mean = drops.mean(axis=-1)
    lost = (mean > DROP * (high - low)) & (mean > _SURE * error)
    finite = np.isfinite(returns).all(axis=-1)
    return lost | (finite[:, :-1] & ~finite[:, 1:])


def association_of(course: Course, index: int) -> Association:
    """Associate failures with fractal snapshots: those that the failing stretches begin at.

    Snapshots without a Hölder exponent do not count.
    """
    known, rough = (find(course, index)[:, :-1] for find in (is_known, is_fractal))
    return associate(rough, failures(course.seeds), known)


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """A policy with a given normaliser, of which only the weights are perturbed."""

    network: PolicyNetwork
    normalizer: Any

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Act by the network."""
        return self.network.act(params, self.normalizer, observation, key)


def _problem(
    environment: Environment,
    actor: _Fixed,
    params: PyTree,
    states: PyTree,
    discounts: tuple[float, ...],
    horizon: int,
    num_return_states: int,
) -> Problem:
    starts = jax.tree.map(lambda leaf: leaf[:num_return_states], states)
    returns = discounted_returns(environment, actor, horizon=horizon, discounts=discounts)

    def objective(params: PyTree, key: Key) -> Float[Array, " discounts"]:
        return returns(params, starts, key)

    return Problem(
        step=tracked_loop(environment, actor, params),
        states=jax.vmap(track)(states),
        objective=objective,
        params=params,
        discounts=discounts,
        dt=environment.dt,
        horizon=horizon,
        coordinates=lambda tracked: environment.coordinates(tracked.state),
        lift=lift_tracked(environment),
        alive=lambda tracked: tracked.alive,
        step_at=lambda params: tracked_loop(environment, actor, params),
    )
