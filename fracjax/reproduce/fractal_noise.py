"""Stochastic policies: every path stays rough, the mean over the noise is smooth below it."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.reproduce.comparisons import about, mean_of, number
from fracjax.reproduce.fractal_laws import increment_slopes
from fracjax.reproduce.fractal_maps import closed_loop_growth
from fracjax.reproduce.rows import Findings, Row, compare
from fracjax.systems import maps, mdps, mollified

__all__ = ["PARTS", "mean_squared_increments"]

_DISCOUNT = 0.7
_SLOPE = 1.9
_NOISE = 0.1
_NUM_STARTS = 64


def _paths(key: Key, quick: bool) -> list[Row]:
    """Common random numbers leave every path as rough; products of replicates see the mean."""
    name = f"noisy tent map, γ={_DISCOUNT:g}, σ={_NOISE:g}"
    step = maps.tent(_SLOPE)
    objective = mdps.chaotic_returns(step, (_DISCOUNT,), noise_scale=_NOISE)
    orbits, lines, mean = jax.random.split(key, 3)
    growth = closed_loop_growth(step, orbits, num_orbits=64, num_steps=1000)
    law = mdps.predicted_exponent(float(growth.mean()), _DISCOUNT)
    path = holder_exponent(
        objective,
        jnp.asarray(0.5),
        lines,
        largest_scale=1e-3,
        smallest_scale=1e-8,
        radius=0.2,
        max_order=2,
    )
    tolerance = 0.02 + 0.03 * law
    rows = [about(name, "exponent at one key", number(path, 0), law, tolerance, "law: -ln γ/λ")]
    # A path's increments outweigh the mean's below the noise's scale, and second differences
    # drown in them; first differences, which read at most 1, take over.
    smooth = holder_exponent(
        objective,
        jnp.asarray(0.5),
        lines,
        largest_scale=4 * _NOISE,
        smallest_scale=_NOISE / 8,
        radius=0.2,
        num_replicates=256 if quick else 512,
        measure_noise=False,
        max_order=2,
        chunk_size=1024,
    )
    label = "exponent of the mean over keys, δ < σ, first differences"
    source = "law: smooth below the noise, 1 at most"
    rows.append(about(name, label, number(smooth, 0), 1.0, 0.04, source))
    count = 50_000 if quick else 400_000
    keys = jax.random.split(mean, count)
    sample = jax.jit(lambda keys: jax.lax.map(_at_half(objective), keys, batch_size=1024))(keys)
    exact = mollified.mollified_return(step, _DISCOUNT, _NOISE)
    solved = float(jax.jit(lambda p: exact(p, mean))(jnp.asarray(0.5)))
    reference = (solved, 1e-6, "exact: Bellman equation on a fine circle")
    rows.append(compare(name, "mean return at θ=0.5", mean_of(sample), reference))
    return [*rows, *_averages(name, objective, lines, quick)]


def _at_half(objective: Callable) -> Callable[[Key], Array]:
    return lambda key: objective(jnp.asarray(0.5), key)[0]


def _averages(name: str, objective: Callable, key: Key, quick: bool) -> list[Row]:
    """Averaging R paths divides their squared increments by R and leaves the exponent."""
    groups, size, scales = 16, 64 if quick else 512, (1e-4, 1e-6)

    @functools.partial(jax.jit, static_argnames="replicates")
    def squares(key: Key, replicates: int) -> Array:
        def one(key: Key) -> Array:
            place, noise = jax.random.split(key)
            point = jax.random.uniform(place, minval=0.2, maxval=0.8)
            keys = jax.random.split(noise, replicates)

            def mean(parameter: Array) -> Array:
                return jax.vmap(lambda k: objective(parameter, k)[0])(keys).mean()

            steps = jnp.asarray(scales)
            first = mean(point)
            middle, last = (jax.lax.map(lambda s, k=k: mean(point + k * s), steps) for k in (1, 2))
            return (first - 2 * middle + last) ** 2

        keys = jax.random.split(key, groups * size)
        found = jax.lax.map(one, keys, batch_size=32)
        return found.reshape(groups, size, len(scales)).mean(axis=1)

    single, many = (np.log(np.asarray(squares(key, count))) for count in (1, 16))
    ratio = mean_of((single - many)[:, 0])
    slope = mean_of((many[:, 0] - many[:, 1]) / np.log(scales[0] / scales[1]) / 2)
    one_path = mean_of((single[:, 0] - single[:, 1]) / np.log(scales[0] / scales[1]) / 2)
    return [
        compare(
            name,
            "ln ratio of squared increments, 1 path : mean of 16",
            ratio,
            (math.log(16), 0.0, "law: ln 16"),
        ),
        compare(
            name,
            "exponent of the mean of 16 paths",
            slope,
            (one_path.value, one_path.error, "law: that of one path"),
        ),
    ]


def mean_squared_increments(
    noise_scale: float, ratios: np.ndarray, *, num_parameters: int
) -> np.ndarray:
    """Mean squared second differences of the mean return, over parameters and starts.

    Args:
        noise_scale: σ.
        ratios: Steps δ in units of σ.
        num_parameters: Parameters, evenly over (0, 1).

    Returns:
        Array (ratios, parameters), means over 64 starts.
    """
    starts = np.linspace(0.0, 1.0, _NUM_STARTS, endpoint=False) + 0.003
    objective = mollified.mollified_return(
        maps.tent(_SLOPE), _DISCOUNT, noise_scale, feedback="constant", gain=1.0, starts=starts
    )
    key = jax.random.key(0)
    centres = (np.arange(num_parameters) + 0.37) / num_parameters
    steps = noise_scale * np.asarray(ratios)[:, None, None] * np.arange(-1, 2)
    points = jnp.asarray((centres[:, None] + steps).ravel())
    values = jax.jit(lambda p: jax.lax.map(lambda one: objective(one, key), p))(points)
    first, middle, last = np.moveaxis(
        np.asarray(values).reshape(len(ratios), num_parameters, 3, _NUM_STARTS), 2, 0
    )
    return ((first - 2 * middle + last) ** 2).mean(axis=-1)


def _scaling(key: Key, quick: bool) -> Findings:
    """The scale law σ^{2α} F(δ/σ), on the exact mean return."""
    law = mdps.predicted_exponent(math.log(_SLOPE), _DISCOUNT)
    name = f"mean return of the noisy tent map, γ={_DISCOUNT:g}"
    noises = 0.03 * _SLOPE ** -np.arange(4.0 if quick else 6.0)
    count = 48 if quick else 128
    ratios = 4.0 ** np.arange(-3, 3)
    table = {
        f"σ = {noise:.2g}": mean_squared_increments(float(noise), ratios, num_parameters=count)
        for noise in noises
    }
    curves = {label: found.mean(axis=1) for label, found in table.items()}
    # In groups of interleaved parameters, for their errors: noises, ratios, groups.
    logs = np.log([found.reshape(len(ratios), -1, 8).mean(axis=1) for found in table.values()])
    x = np.log(noises) - np.log(noises).mean()
    below = mean_of((logs[:, 2] - logs[:, 0]).mean(axis=0) / np.log(16) / 2)
    rows = [about(name, "exponent, δ from σ/64 to σ/4", below, 2.0, 0.1, "law: δ²")]
    # One power of σ at every δ/σ: the exponent without noise at these scales, which is not yet
    # that of the smallest, .556.
    noiseless = mdps.chaotic_returns(
        maps.tent(_SLOPE), (_DISCOUNT,), num_steps=60, feedback="constant", gain=1.0
    )
    slopes = increment_slopes(noiseless, noises, key, num_points=32_768 if quick else 131_072)
    alpha = float(slopes["mean square"].mean())
    for index, ratio in enumerate(ratios[:-2]):  # beyond, returns have little in common
        power = mean_of(x @ logs[:, index] / (x**2).sum() / 2)
        label = f"power of σ in increments over δ = {ratio:g} σ"
        rows.append(about(name, label, power, alpha, 0.08, "law: exponent without noise"))
    scales = dict(zip(table, noises.tolist(), strict=True))
    return Findings(rows, {"mollified": functools.partial(_draw, ratios, curves, law, scales)})


def _draw(
    ratios: np.ndarray, curves: dict[str, np.ndarray], law: float, scales: dict[str, float]
) -> Any:
    from fracjax.plotting import theory
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        theory.mollified_increments(figure.subplots(), ratios, curves, law, noise_scales=scales)
    return figure


PARTS: dict[str, Callable[[Key, bool], list[Row] | Findings]] = {
    "stochastic policy": _paths,
    "mean over the noise": _scaling,
}
