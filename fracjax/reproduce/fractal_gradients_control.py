"""Gradient estimators at trained and untrained policies of the classic environments."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Estimate, Key, PyTree
from fracjax.evaluation import map_points
from fracjax.learning.gradient_estimates.blocks import GradientBlocks, gradient_block
from fracjax.learning.gradient_estimates.quality import GradientQuality, summarize_gradients
from fracjax.learning.gradient_estimates.samplers import (
    GradientSampler,
    pathwise_gradient,
    smoothed_gradient,
)
from fracjax.learning.gradient_estimates.score_function import (
    GaussianActions,
    reward_to_go_baseline,
    score_function_gradient,
)
from fracjax.reproduce.comparisons import number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.fractal_places import Place, places
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.rl.rollouts import expected_return

__all__ = ["PARTS", "deviation"]

_BLOCKS = 32
_RATIO = 4.0
_Batch = dict[str, GradientQuality]


def _environment(name: str, key: Key, size: Size) -> Findings:
    """All estimators at trained and untrained policies."""
    rows: list[Row] = []
    tables: dict[str, tuple[_Batch, _Batch]] = {}
    cosines: dict[str, Estimate] = {}
    sigmas: dict[str, np.ndarray] = {}
    for index, place in enumerate(places(name, jax.random.fold_in(key, 99), size)):
        sigmas[place.name] = _sigmas(place, size)
        smoothing, between = _parameter_smoothing(place, jax.random.fold_in(key, 2 * index), size)
        noise = _action_noise(place, jax.random.fold_in(key, 2 * index + 1), size)
        tables[place.name], cosines[place.name] = (smoothing, noise), between
        rows += _table(place.name, "σ", sigmas[place.name], smoothing)
        rows += _table(place.name, "s", _noises(size), noise)
        if name == "pendulum":
            rows += _smooth_laws(place, smoothing, noise)
        for sigma, value, error in zip(
            sigmas[place.name], np.asarray(between.value), np.asarray(between.stderr), strict=False
        ):
            what = f"cosine of gradients at σ={sigma:.1e} and {_RATIO:g} σ"
            rows.append(describe(place.name, what, (float(value), float(error))))
    figures = {
        f"gradients_{name}": functools.partial(
            _draw_environment, sigmas, _noises(size), tables, cosines
        )
    }
    return Findings(rows, figures)


def _smooth_laws(place: Place, smoothing: _Batch, noise: _Batch) -> list[Row]:
    """What must hold at the smallest scales where there is a gradient."""
    count = place.subspace.origin.size
    strategy = number(smoothing["evolution strategy"].signal_to_noise, 0)
    law = (count + 1) ** -0.5, 0.0, "law: 1/√(k + 1) where the return is linear"
    direct = noise["pathwise"].projection
    assert direct is not None
    unbiased = 1.0, 0.0, "law: both are unbiased"
    aligned = number(direct, 0)
    return [
        compare(place.name, f"signal/noise of {count} directions, smallest σ", strategy, law),
        compare(place.name, "pathwise on likelihood ratio, smallest s", aligned, unbiased),
    ]


def _sigmas(place: Place, size: Size) -> np.ndarray:
    scale = float(tree.norm(place.policy.params)) / tree.size(place.policy.params) ** 0.5
    # By factors of the ratio whose cosines are taken.
    return scale * 0.1 * _RATIO ** -np.arange(3.0 if size == "quick" else 6.0)[::-1]


def _noises(size: Size) -> np.ndarray:
    return 0.3 * _RATIO ** -np.arange(2.0 if size == "quick" else 4.0)[::-1]


def _samples(size: Size) -> int:
    return {"quick": 128, "default": 256, "full": 2048}[size]


def _blocks(
    make: Callable[[Any], GradientSampler], table: Any, params: PyTree, key: Key, samples: int
) -> GradientBlocks:
    """Blocks of samples for every row of a table of settings, (rows, blocks, …)."""
    count = len(jax.tree.leaves(table)[0])

    def at(row: tuple[Array, Array], table: Any, params: PyTree, key: Key) -> GradientBlocks:
        place, index = row
        settings = jax.tree.map(lambda leaf: leaf[place], table)
        return gradient_block(make(settings), samples // _BLOCKS)(index, params, key)

    rows = np.repeat(np.arange(count), _BLOCKS), np.tile(np.arange(_BLOCKS), count)
    found = map_points(at, rows, jax.tree.map(jnp.asarray, table), params, key, chunk_size=16)
    return jax.tree.map(lambda leaf: leaf.reshape(count, _BLOCKS, *leaf.shape[1:]), found)


_summaries = jax.jit(jax.vmap(summarize_gradients))


def _parameter_smoothing(place: Place, key: Key, size: Size) -> tuple[_Batch, Estimate]:
    """Pathwise and evolution strategy for the return smoothed over parameters."""
    sigmas, samples = _sigmas(place, size), _samples(size)
    params, objective = place.subspace.origin, place.subspace.objective(place.objective)
    one, two, three = jax.random.split(key, 3)

    def strategy(sigma: Array) -> GradientSampler:
        return smoothed_gradient(objective, sigma)

    def path(sigma: Array) -> GradientSampler:
        return pathwise_gradient(objective, sigma=sigma)

    reference = _blocks(strategy, sigmas, params, one, 2 * samples)
    found = {
        "pathwise": _blocks(path, sigmas, params, three, samples),
        "evolution strategy": _blocks(strategy, sigmas, params, two, samples),
    }
    between = _summaries(
        jax.tree.map(lambda leaf: leaf[:-1], reference),
        jax.tree.map(lambda leaf: leaf[1:], found["evolution strategy"]),
    ).cosine
    return {name: _summaries(blocks, reference) for name, blocks in found.items()}, between


def _action_noise(place: Place, key: Key, size: Size) -> _Batch:
    """Reparameterised and likelihood ratio for the return under Gaussian actions."""
    params, noises, samples = place.subspace.origin, _noises(size), _samples(size)
    keys = jax.random.split(key, 5)
    rollout: dict[str, Any] = {"horizon": place.horizon, "discount": place.discount}
    loop = place.environment, place.policy, place.states

    @jax.jit
    def levels(noises: Array) -> Array:
        def level(noise: Array) -> Array:
            make = reward_to_go_baseline(*loop, noise_scale=noise, **rollout)
            return make(place.policy.params, keys[0])

        return jax.lax.map(level, noises)

    def plain(noise: Array) -> GradientSampler:
        sampler = score_function_gradient(*loop, noise_scale=noise, **rollout)
        return place.subspace.sampler(sampler)

    def lowered(row: tuple[Array, Array]) -> GradientSampler:
        noise, baseline = row
        sampler = score_function_gradient(*loop, noise_scale=noise, baseline=baseline, **rollout)
        return place.subspace.sampler(sampler)

    def path(noise: Array) -> GradientSampler:
        noisy = GaussianActions(place.policy, noise)
        returned = expected_return(loop[0], noisy, loop[2], stochastic=True, **rollout)
        return pathwise_gradient(place.subspace.objective(returned))

    table = noises, np.asarray(levels(jnp.asarray(noises)))
    reference = _blocks(lowered, table, params, keys[1], 2 * samples)
    found = {
        "pathwise": _blocks(path, noises, params, keys[2], samples),
        "likelihood ratio": _blocks(plain, noises, params, keys[3], samples),
        "with baseline": _blocks(lowered, table, params, keys[4], samples),
    }
    return {name: _summaries(blocks, reference) for name, blocks in found.items()}


def _table(name: str, symbol: str, scales: np.ndarray, found: _Batch) -> list[Row]:
    """Samples needed and projection on the reference, at the smallest and largest scale."""
    rows = []
    for index in (0, len(scales) - 1):
        for label, quality in found.items():
            what = f"{label}, {symbol}={scales[index]:.1e}"
            rows.append(
                describe(name, f"deviation of a sample, {what}", deviation(quality.variance, index))
            )
            # Of the ratio, which is finite where the number needed is not.
            rows.append(
                describe(name, f"signal/noise, {what}", number(quality.signal_to_noise, index))
            )
            assert quality.projection is not None
            rows.append(
                describe(name, f"mean · true / |true|², {what}", number(quality.projection, index))
            )
    return rows


def deviation(variance: Estimate, index: int | tuple[()]) -> tuple[float, float]:
    """Standard deviation of a sample, and its standard error."""
    value, error = number(variance, index)
    root = math.sqrt(value) if value >= 0 else math.nan
    return root, error / (2 * root) if root > 0 else 0.0


def _draw_environment(
    sigmas: dict[str, np.ndarray],
    noises: np.ndarray,
    tables: dict[str, tuple[_Batch, _Batch]],
    cosines: dict[str, Estimate],
) -> Any:
    from fracjax.plotting import gradient_quality as pictures
    from fracjax.plotting.style import new_figure, style

    with style():
        count = len(tables)
        figure = new_figure(14.0, 3.4 * count)
        rows = figure.subplots(count, 4, squeeze=False)
        for row, (name, (smoothing, noise)) in zip(rows, tables.items(), strict=True):
            scales = sigmas[name]
            pictures.against_smoothing(row[0], smoothing, "variance", scales)
            row[0].set_title(name)
            pictures.against_smoothing(row[1], smoothing, "samples_needed", scales)
            pictures.cosines_between_scales(
                row[2], scales[:-1], {name: cosines[name]}, ratio=_RATIO
            )
            label = "standard deviation of the actions"
            pictures.against_smoothing(row[3], noise, "samples_needed", noises, label=label)
    return figure


PARTS: dict[str, Part] = {
    "gradients, pendulum": functools.partial(_environment, "pendulum"),
    "gradients, acrobot": functools.partial(_environment, "acrobot"),
    "gradients, double pendulum": functools.partial(_environment, "double_pendulum"),
}
