"""Exact laws of diffusion recovered from paths, with the coverage of their intervals."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key
from fracjax.estimators.diffusion.displacements import (
    displacement_at_lags,
    logarithmic_lags,
    mean_squared_displacement,
)
from fracjax.estimators.diffusion.exponents import diffusion_exponent, local_diffusion_exponents
from fracjax.estimators.diffusion.typical import typical_displacement_exponent
from fracjax.estimators.heavy_tails.characteristic import characteristic_stability
from fracjax.estimators.heavy_tails.log_moments import block_sum_stability, flattened_stability
from fracjax.learning.weight_diffusion.path_topology import persistent_homology_dimension
from fracjax.reproduce.comparisons import about, mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.systems import signals

__all__ = ["PARTS", "law_rows"]

_POINTS = {"quick": 500, "default": 1000, "full": 4000}
_SEEDS = {"quick": 100, "default": 300, "full": 1000}
_COORDINATES = 3
_COVERAGE = 0.03  # allowed beside chance


def _many(function: Callable[[Key], Any], key: Key, count: int, batch_size: int = 50) -> Any:
    run = jax.jit(lambda keys: jax.lax.map(function, keys, batch_size=min(batch_size, count)))
    return run(jax.random.split(key, count))


def law_rows(
    name: str, quantity: str, found: Estimate, truth: float, tolerance: float
) -> list[Row]:
    """The mean beside the truth, and how many of the intervals hold it."""
    covered = (np.asarray(found.low) < truth) & (truth < np.asarray(found.high))
    chance = math.sqrt(0.95 * 0.05 / len(covered))
    source = "nominal, to chance and .03"
    expected = (0.95, math.hypot(chance, _COVERAGE / 2), source)
    return [
        about(name, quantity, mean_of(np.asarray(found.value)), truth, tolerance, "law"),
        compare(name, f"coverage of the interval of {quantity}", (covered.mean(), 0.0), expected),
    ]


def _motion(key: Key, hurst: float, num_points: int) -> Array:
    draw = functools.partial(signals.fractional_brownian_motion, hurst=hurst, num_points=num_points)
    return jax.vmap(lambda k: draw(k))(jax.random.split(key, _COORDINATES)).T


def _gaussian(key: Key, size: Size) -> Findings:
    """Fractional Brownian motion, and lines."""
    points, seeds = _POINTS[size], _SEEDS[size]
    lags = logarithmic_lags(points // 10)
    rows, curves = [], {}
    for hurst in (0.25, 0.5, 0.75):

        def one(own: Key, hurst: float = hurst) -> tuple[Estimate, Array]:
            path = _motion(own, hurst, points)
            return diffusion_exponent(path), displacement_at_lags(path, lags)

        found, values = _many(one, jax.random.fold_in(key, int(100 * hurst)), seeds)
        name = "random walk" if hurst == 0.5 else f"fractional Brownian motion, H = {hurst:g}"
        rows += law_rows(name, "diffusion exponent", found, 2 * hurst, 0.05)
        curves[f"{name}: τ^{2 * hurst:g}"] = np.asarray(values)[:40]
    line = jnp.arange(float(points))[:, None] * jnp.array([1.0, 2.0])
    ballistic = float(diffusion_exponent(line).value)
    rows.append(about("straight line", "diffusion exponent", (ballistic, 0.0), 2.0, 1e-4, "exact"))
    return Findings(rows, {"diffusion_laws": functools.partial(_draw_curves, lags, curves)})


def _relaxing(key: Key, rate: float, num_points: int) -> Array:
    """An Ornstein-Uhlenbeck process in discrete time, started in equilibrium."""
    first, rest = jax.random.split(key)
    kicks = jax.random.normal(rest, (num_points, _COORDINATES))
    spread = 1 / math.sqrt(1 - (1 - rate) ** 2)
    start = spread * jax.random.normal(first, (_COORDINATES,))
    return jnp.asarray(jax.lax.scan(lambda x, e: (x * (1 - rate) + e,) * 2, start, kicks)[1])


def _relaxation(key: Key, size: Size) -> list[Row]:
    """Local exponents, one by the law at short lags and zero at long ones."""
    points, seeds, rate = _POINTS[size], _SEEDS[size], 0.02
    lags = (1, 3, 25, 50, points // 4, points // 2)

    def one(own: Key) -> tuple[Array, Array]:
        path = _relaxing(own, rate, points)
        values = displacement_at_lags(path, lags)
        published = local_diffusion_exponents(mean_squared_displacement(path))[0]
        return values, published

    values, published = _many(one, key, seeds)
    table = np.asarray(values)
    # Of the mean over runs: the logarithm of each run's own is biased at long lags.
    means, errors = table.mean(axis=0), table.std(axis=0, ddof=1) / math.sqrt(seeds)
    law = 1 - (1 - rate) ** np.array(lags, float)
    rows = []
    for i in (0, 2, 4):
        span = math.log(lags[i + 1] / lags[i])
        slope = math.log(means[i + 1] / means[i]) / span
        error = math.hypot(errors[i] / means[i], errors[i + 1] / means[i + 1]) / span
        expected = math.log(law[i + 1] / law[i]) / span
        name = "Ornstein-Uhlenbeck process, relaxation in 50 steps"
        label = f"local exponent from lag {lags[i]} to {lags[i + 1]}"
        rows.append(about(name, label, (slope, error), expected, 0.02, "law"))
    lowest = math.log((1 - (1 - rate) ** 21) / rate) / math.log(21)
    first = mean_of(np.asarray(published))
    rows.append(about(name, "local exponent at lag 1, index offset 20", first, lowest, 0.02, "law"))
    return rows


def _flights(key: Key, size: Size) -> list[Row]:
    """Typical displacements grow as τ^{1/α}; the mean square misleads."""
    rows: list[Row] = []
    for stability in (1.2, 1.6):

        def one(own: Key, stability: float = stability) -> tuple[Estimate, Estimate]:
            path = signals.stable_flight(own, stability, _POINTS[size] + 1)
            return typical_displacement_exponent(path), diffusion_exponent(path)

        typical, squares = _many(one, jax.random.fold_in(key, int(10 * stability)), _SEEDS[size])
        name = f"Lévy flight, stability {stability:g}"
        rows += law_rows(name, "exponent of typical displacements", typical, 2 / stability, 0.05)
        share = np.asarray(squares.status) != 0
        label = "exponent of the mean squared displacement of one path (median; law: none)"
        values = np.asarray(squares.value)
        spread = 1.25 * values.std() / math.sqrt(len(values))
        rows.append(describe(name, label, (float(np.median(values)), spread)))
        rows.append(describe(name, "share of paths that are flagged", (share.mean(), 0.0)))
    return rows


def _tails(key: Key, size: Size) -> list[Row]:
    """Stability indices of stable laws, and the trap of unequal coordinates."""
    draws, seeds = (2500, 100) if size == "quick" else (10_000, 200)
    rows = []
    for stability in (1.0, 1.5, 1.8, 2.0):

        def one(own: Key, stability: float = stability) -> tuple[Estimate, Estimate]:
            found = jnp.diff(signals.stable_flight(own, stability, draws + 1))
            return block_sum_stability(found), characteristic_stability(found)

        blocks, curves = _many(one, jax.random.fold_in(key, int(10 * stability)), seeds, 25)
        name = f"stable law, α = {stability:g}, {draws} draws"
        rows += law_rows(name, "stability by block sums", blocks, stability, 0.06)
        rows += law_rows(name, "stability by characteristic function", curves, stability, 0.03)

    def unequal(own: Key) -> tuple[Estimate, Estimate]:
        first, second = jax.random.split(own)
        scales = jnp.exp(2 * jax.random.normal(second, (100,)))
        found = jax.random.normal(first, (100, 100)) * scales
        return block_sum_stability(found), flattened_stability(found)

    proper, flat = _many(unequal, key, seeds, 25)
    name = "Gaussian coordinates of log-normal size (2)"
    rows += law_rows(name, "stability by coordinate", proper, 2.0, 0.1)
    label = "stability with coordinates strung together (law: 2)"
    rows.append(describe(name, label, mean_of(np.asarray(flat.value))))
    flagged = float(np.mean(np.asarray(flat.status) != 0))
    rows.append(about(name, "share that is flagged", (flagged, 0.0), 1.0, 0.05, "expected"))
    return rows


# Computed for this project with SciPy's trees, 1000 points, one draw of each size: lowest and
# highest of a few seeds.
_CUBES = {1: (1.00, 1.01), 2: (1.96, 2.00), 3: (2.76, 2.94), 5: (4.5, 4.8)}


def _topology(key: Key, size: Size) -> list[Row]:
    """Persistent-homology dimensions of cubes and of random walks."""
    seeds = {"quick": 3, "default": 8, "full": 30}[size]
    rows = []
    for dimension, (low, high) in _CUBES.items():

        def cube(own: Key, dimension: int = dimension) -> Array:
            points = jax.random.uniform(own, (1000, dimension))
            return jnp.asarray(persistent_homology_dimension(points, own, num_repeats=2).value)

        found = _many(cube, jax.random.fold_in(key, dimension), seeds, 1)
        label = "H0 dimension of 1000 points"
        source = f"computed for this project: {low:g} to {high:g}"
        expected = (low + high) / 2
        rows.append(
            about(
                f"uniform cube of dimension {dimension}",
                label,
                mean_of(np.asarray(found)),
                expected,
                max(high - low, 0.05 * dimension),
                source,
            )
        )
    for dimension, (low, high) in {2: (1.77, 1.80), 50: (2.21, 2.28)}.items():

        def walk(own: Key, dimension: int = dimension) -> Array:
            path = jnp.cumsum(jax.random.normal(own, (1000, dimension)), axis=0)
            return jnp.asarray(persistent_homology_dimension(path, own, num_repeats=2).value)

        found = _many(walk, jax.random.fold_in(key, 100 + dimension), seeds, 1)
        rows.append(
            about(
                f"random walk of 1000 steps in {dimension} dimensions (law: 2)",
                "H0 dimension of the path",
                mean_of(np.asarray(found)),
                (low + high) / 2,
                0.15,
                f"computed for this project: {low:g} to {high:g}",
            )
        )
    return rows


def _draw_curves(lags: tuple[int, ...], curves: dict[str, np.ndarray]) -> Any:
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        axes = diffusion.displacements(figure.subplots(), np.array(lags), curves)
        axes.set_title(f"exact laws, {_COORDINATES} coordinates, 40 paths each")
    return figure


PARTS: dict[str, Part] = {
    "laws, Gaussian": _gaussian,
    "laws, relaxation": _relaxation,
    "laws, flights": _flights,
    "laws, tails": _tails,
    "laws, topology": _topology,
}
