"""Chaos and roughness as an objective: what `landscapes.scan` maps over a plane of policies."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import directions, tree
from fracjax._types import Estimate, Key, Objective, PyTree
from fracjax.diagnosis.findings import Problem
from fracjax.estimators.chaos.ensembles import ensemble_exponent
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.roughness.from_lines import LAGS, exponent_from_lines
from fracjax.estimators.roughness.lines import default_scales
from fracjax.evaluation import cache_chunk_size

__all__ = ["fractality"]

_CAP = 2.0  # second differences see no more


def fractality(
    problem: Problem,
    key: Key,
    *,
    num_directions: int = 12,
    points_per_line: int = 33,
    num_levels: int = 4,
    largest_scale: float | None = None,
    smallest_scale: float | None = None,
    num_noise_points: int = 16,
    chunk_size: int | None = None,
) -> Callable[[PyTree, Key], dict]:
    """Make `objective(params, key)`: the Lyapunov and Hölder exponents at any parameters.

    One point takes num_directions × num_levels × points_per_line + 2 num_noise_points returns,
    and the tangents of every initial state, so that a map of 31 × 31 points takes as much as a
    plane of returns of 1000 × 1000. Scan it with a `chunk_size` of 1 to 8 points: a point's
    own returns fill the device. Lines are the same at all points (common random numbers): what
    differs between neighbours is not the draw of the lines.

    Do not read it finer than its scales: neighbours nearer than `largest_scale` share the
    stretch that they are measured on.

    Do not use it in float32 without `Problem.reference`. A unit in the last place of the
    parameters moves a return less than all of a rollout's roundings do (about a fifth on the
    acrobot, which then read α = .2 at γ = .9 where float64 reads 2). With a reference, the noise
    at every point is multiplied by what is missing at the parameters of `problem`, measured
    here once, before the map.

    Args:
        problem: Closed loop at any parameters, and returns.
        key: Draws lines and frames.
        num_directions: Lines of a Hölder exponent, at least 8.
        points_per_line: Points on each line and level, more than 32.
        num_levels: Spacings, at least 3, a factor of 4 apart unless `smallest_scale` says
            otherwise.
        largest_scale: Largest lag, root-mean-square change per parameter. Default: a tenth of
            the root mean square of the parameters of `problem`.
        smallest_scale: Smallest spacing. Below e^{-λ horizon} of the largest lag a finite
            horizon is smooth.
        num_noise_points: Points whose return is taken once more with all parameters moved by
            a unit in the last place, to measure the noise of rounding.
        chunk_size: Returns evaluated together inside one point.

    Returns:
        A function that returns a dict:

        - `value`: returns, (discounts,).
        - `exponent`: leading Lyapunov exponent, nats per second.
        - `holder`: Hölder exponents α with interval and status, (discounts,); at most 2.
        - `predicted`: min(-ln γ / λ per step, 2), (discounts,), 2 where λ is not positive.
        - `holder_noise`: variance of a return by rounding, (discounts,).
        - `jump_alarm`: whether jumps are suspected, (discounts,).

    Raises:
        ValueError: If the problem has no closed loop for other parameters, or a setting is
            out of range.
    """
    if problem.step_at is None:
        msg = "Argument `problem` must have `step_at`, the closed loop at any parameters."
        raise ValueError(msg)
    if num_levels < 3 or num_noise_points < 1:
        msg = (
            "Arguments `num_levels` and `num_noise_points` must be at least 3 and 1, but are"
            f" {num_levels} and {num_noise_points}."
        )
        raise ValueError(msg)
    largest = float(default_scales(problem.params)[0] if largest_scale is None else largest_scale)
    ends = largest / max(LAGS), largest / max(LAGS) / 4.0 ** (num_levels - 1)
    spacings = np.geomspace(ends[0], smallest_scale or ends[1], num_levels)
    if not 0 < spacings[-1] < spacings[0]:
        msg = (
            f"Argument `smallest_scale` must be positive and below {ends[0]:.3g}, an eighth of"
            f" `largest_scale`, but is {smallest_scale}."
        )
        raise ValueError(msg)
    chunk = chunk_size or cache_chunk_size(problem.params)
    sampler = _Lines(problem, jax.random.fold_in(key, 0), num_directions, largest, chunk)
    offsets = np.arange(points_per_line) - (points_per_line - 1) / 2
    shape = (num_directions, num_levels, points_per_line)
    line = np.broadcast_to(np.arange(num_directions)[:, None, None], shape).ravel()
    offset = np.broadcast_to(spacings[:, None] * offsets, shape).ravel()
    again = np.linspace(0, line.size - 1, num_noise_points).astype(int)
    frame_key = jax.random.fold_in(key, 1)
    missing = _missing_noise(problem, sampler, key, line[again], offset[again])
    per_step = -np.log(np.asarray(problem.discounts))

    def measure(params: PyTree, objective_key: Key) -> dict:
        returns = problem.objective(params, objective_key)
        values = sampler(params, objective_key, line, offset)
        shaken = sampler(_last_place(params), objective_key, line[again], offset[again])
        noise = _noise_variance(values[again], shaken) * missing
        table = jnp.moveaxis(values.reshape((*shape, -1)), -1, 0)
        holder = jax.vmap(lambda v, n: exponent_from_lines(v, spacings, noise_variance=n))(
            table, noise
        )
        exponent = _exponent(problem, params, frame_key)
        rate = exponent.value * problem.dt
        predicted = jnp.where(rate > 0, jnp.asarray(per_step, rate.dtype) / rate, jnp.inf)
        return {
            "value": returns,
            "exponent": exponent,
            "holder": holder,
            "predicted": jnp.where(jnp.isnan(rate), jnp.nan, jnp.minimum(predicted, _CAP)),
            "holder_noise": noise,
            "jump_alarm": holder.details["jump_alarm"],
        }

    return measure


class _Lines:
    """Returns along lines around any point: the same lines everywhere."""

    def __init__(self, problem: Problem, key: Key, count: int, radius: float, chunk_size: int):
        drawn = directions.draw("gaussian", key, problem.params, 2 * count)
        norms = jax.vmap(tree.norm)(drawn)
        size = math.sqrt(max(tree.size(problem.params), 1))
        is_line = jnp.arange(2 * count) >= count
        self._table = jax.vmap(tree.scale)(jnp.where(is_line, size / norms, radius), drawn)
        self._count = count
        self._objective = problem.objective
        self._chunk = chunk_size

    def __call__(
        self,
        params: PyTree,
        key: Key,
        line: np.ndarray,
        offset: np.ndarray,
        *,
        objective: Objective | None = None,
    ) -> Float[Array, "points discounts"]:
        """Evaluate the objective, or another one in the precision of `params`."""
        dtype = jnp.result_type(*jax.tree.leaves(params))
        table = tree.astype(self._table, dtype)
        value = objective or self._objective

        def evaluate(row: tuple[Array, Array]) -> Array:
            index, step = row
            centre, across = (
                jax.tree.map(lambda leaf, at=at: leaf[at], table)
                for at in (index, index + self._count)
            )
            return value(tree.add_scaled(tree.add_scaled(params, 1.0, centre), step, across), key)

        rows = jnp.asarray(line), jnp.asarray(offset, dtype)
        return jax.lax.map(evaluate, rows, batch_size=min(self._chunk, len(line)))


def _exponent(problem: Problem, params: PyTree, key: Key) -> Estimate:
    """Leading exponent of the closed loop, over all initial states."""
    assert problem.step_at is not None
    step = problem.step_at(params)
    count = len(jax.tree.leaves(problem.states)[0])

    def record(row: tuple[PyTree, Array]) -> tuple[Array, Array]:
        state, index = row
        found = finite_time_growth(
            step,
            state,
            num_steps=problem.horizon,
            num_exponents=1,
            key=jax.random.fold_in(key, index),
            coordinates=problem.coordinates,
            lift=problem.lift,
            alive=problem.alive,
        )
        return found.growth[:, 0], found.alive

    growth, alive = jax.vmap(record)((problem.states, jnp.arange(count)))
    return ensemble_exponent(growth, dt=problem.dt, alive=alive)


def _missing_noise(
    problem: Problem, sampler: _Lines, key: Key, line: np.ndarray, offset: np.ndarray
) -> Float[np.ndarray, " discounts"]:
    """How much more variance rounding has than moving the last place of the parameters shows."""
    if problem.reference is None:
        return np.ones(len(problem.discounts))
    evaluate = jax.jit(lambda params: sampler(params, key, line, offset))
    values = evaluate(problem.params)
    shown = _noise_variance(values, evaluate(_last_place(problem.params)))
    with jax.enable_x64(True):
        objective, params = problem.reference
        precise = jax.jit(lambda p: sampler(p, key, line, offset, objective=objective))(params)
    change = np.asarray(values, float) - np.asarray(precise)
    kept = np.isfinite(change)
    full = np.square(np.where(kept, change, 0.0)).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    seen = np.asarray(shown, float)
    missing = np.divide(full, seen, out=np.ones_like(full), where=seen > 0)
    return np.maximum(missing, 1.0).astype(values.dtype)


def _last_place(params: PyTree) -> PyTree:
    """Move every parameter by a unit in its last place, up and down in turn."""

    def move(leaf: Array) -> Array:
        up = jnp.arange(leaf.size).reshape(leaf.shape) % 2 == 0
        return jnp.nextafter(leaf, jnp.where(up, jnp.inf, -jnp.inf).astype(leaf.dtype))

    return jax.tree.map(move, params)


def _noise_variance(
    values: Float[Array, "points discounts"], shaken: Float[Array, "points discounts"]
) -> Float[Array, " discounts"]:
    """Variance of one return by rounding: of its argument, or at least of itself."""
    kept = jnp.isfinite(values) & jnp.isfinite(shaken)
    count = jnp.maximum(kept.sum(axis=0), 1)
    change = jnp.where(kept, values - shaken, 0)
    place = jnp.where(kept, values, 0) * jnp.finfo(values.dtype).eps
    return jnp.maximum((change**2).sum(axis=0) / 2, (place**2).sum(axis=0) / 12) / count
