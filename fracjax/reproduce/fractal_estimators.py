"""Both Hölder estimators on functions whose exponent is known in closed form."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key
from fracjax.estimators.roughness.lines import LineSampler
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.reproduce.comparisons import about, anchored, mean_of, number
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.systems import mdps

__all__ = ["PARTS", "estimates_on_weierstrass", "weierstrass_sum"]

_CLIPPED = ((2.0, 0.9), (1.5, 0.9), (2.0, 0.7), (2.0, 0.4), (1.05, 0.9))
# Amplitude and frequency ratio; mean slope over 40 points, its spread, tolerance of the law.
_WEIERSTRASS = {
    (0.5, 3.0): (1.250, 0.096, 0.05),
    (0.7, 3.0): (0.651, 0.034, 0.03),
    (0.9, 3.0): (0.193, 0.013, 0.03),
    (0.9, 7.0): (0.115, 0.008, 0.03),
    (0.3, 3.0): (1.982, 0.19, 0.05),
}
_FOUR_DECADES = (1e-2, 1e-6)
_SIX_DECADES = (5e-2, 5e-8)
_NUM_SCALES = 13
_LINES, _POINTS = 32, 40
_FREQUENCY = 3.0


def weierstrass_sum(
    x: Float[Array, "*shape"], amplitude: float, frequency: float
) -> Float[Array, "*shape"]:
    """Evaluate Σ a^n cos(π b^n x), with terms as long as double precision resolves b^n x."""
    orders = jnp.arange(math.floor(34 / math.log(frequency)), dtype=x.dtype)

    def add(total: Array, order: Array) -> tuple[Array, None]:
        return total + amplitude**order * jnp.cos(math.pi * frequency**order * x), None

    return jax.lax.scan(add, jnp.zeros_like(x), orders)[0]


def _clipped(key: Key, quick: bool) -> list[Row]:
    """A clipped linear map, whose cost has a kink of known exponent at rest."""
    rows = []
    scales = np.geomspace(1e-3, 1e-9, _NUM_SCALES)
    samples = 2000 if quick else 20_000
    for parameter, discount in _CLIPPED:
        name = f"clipped map θ={parameter:g}, γ={discount:g}"
        law = mdps.predicted_exponent(math.log(parameter), discount, largest=1.0)

        def cost(
            start: Array, _: Key, parameter: float = parameter, discount: float = discount
        ) -> Array:
            return mdps.clipped_value(jnp.abs(start), parameter, discount)

        found = perturbation_exponent(
            cost,
            jnp.asarray(0.0),
            key,
            scales=scales,
            num_samples=samples,
            batch_size=2000,
            chunk_size=2000,
        )
        slope, error = (2 * part for part in number(found))
        rows.append(about(name, "slope of ln variance", (slope, error), 2 * law, 0.02, "law: 2α"))
        starts = jnp.geomspace(1e-10, 1e-2, 400)
        costs = np.log(np.asarray(mdps.clipped_value(starts, parameter, discount)))
        slope = float(np.polyfit(np.log(np.asarray(starts)), costs, 1)[0])
        rows.append(about(name, "slope of ln V on ln δ", (slope, 0.0), law, 0.01, "law: α"))
    return rows


def estimates_on_weierstrass(
    ratios: list[tuple[float, float]],
    key: Key,
    *,
    num_centres: int,
    num_samples: int | None = None,
    scales: tuple[float, float] = _SIX_DECADES,
    with_lines: bool = True,
) -> dict[str, Estimate]:
    """Run both estimators around the same centres over the same scales.

    By default both see the same number of points, and lines have the levels that
    `holder_exponent` gives them on these scales.

    Returns:
        For "paper" and "gls" estimates of shape (ratios, centres).
    """
    place, noise, offsets = jax.random.split(key, 3)
    levels = LineSampler.num_levels(*scales)
    num_samples = num_samples or _LINES * _POINTS * levels // _NUM_SCALES
    centres = jax.random.uniform(place, (num_centres,), minval=0.1, maxval=0.9)

    @jax.jit
    def all_sums(x: Array) -> Array:
        return jnp.stack([weierstrass_sum(x, *ratio) for ratio in ratios])

    paper = perturbation_exponent(
        lambda x, _: all_sums(x),  # a perturbation of all centres perturbs each by itself
        centres,
        noise,
        scales=np.geomspace(*scales, _NUM_SCALES),
        num_samples=num_samples,
        batch_size=1024,
        chunk_size=1024,
    )
    if not with_lines:
        return {"paper": paper}
    spacings = np.geomspace(scales[0] / 8, scales[1], levels)
    grid = spacings[:, None] * (np.arange(_POINTS) - (_POINTS - 1) / 2)
    away = scales[0] * jax.random.normal(offsets, (_LINES, 1, 1, num_centres))
    values = all_sums(centres + away + grid[..., None])  # ratios, lines, levels, points, centres
    ours = exponents_of_outputs(np.moveaxis(np.asarray(values), 0, 3), spacings)
    return {"paper": paper, "gls": ours}


def _weierstrass(key: Key, quick: bool) -> list[Row]:
    """The published form of the estimator at 40 points of Weierstrass functions."""
    ratios = list(_WEIERSTRASS)
    count, samples = (16, 200) if quick else (40, 1000)
    found = estimates_on_weierstrass(
        ratios,
        key,
        num_centres=count,
        num_samples=samples,
        scales=_FOUR_DECADES,
        with_lines=False,
    )
    slopes = 2 * np.asarray(found["paper"].value)
    rows = []
    for slope, (ratio, (anchor, spread, tolerance)) in zip(
        slopes, _WEIERSTRASS.items(), strict=True
    ):
        name = f"Weierstrass a={ratio[0]:g}, b={ratio[1]:g}"
        law = min(2.0, -2 * math.log(ratio[0]) / math.log(ratio[1]))
        mean = mean_of(slope)
        rows.append(about(name, "slope of ln variance", mean, law, tolerance, "exact: 2α"))
        rows.append(anchored(name, "slope of ln variance", mean, (anchor, spread / 40**0.5)))
        width = float(slope.std(ddof=1))
        rows.append(
            anchored(
                name,
                "slope, spread over centres",
                (width, width / math.sqrt(2 * (count - 1))),
                (spread, spread / math.sqrt(2 * 39)),
            )
        )
    return rows


def _both(key: Key, quick: bool) -> Findings:
    """Bias and scatter of both estimators against the exponent of a Weierstrass function.

    On six decades, the default of `holder_exponent`, and on four. There the levels, 3.3 apart,
    nearly keep step with the function's period of 3, so that second differences meet it always
    at the same phase: their bias is larger, and common to all centres.
    """
    truth = np.array([0.1, 0.3, 0.5, 0.7, 0.9] if quick else np.arange(0.1, 0.95, 0.1))
    ratios = [(_FREQUENCY**-hurst, _FREQUENCY) for hurst in truth]
    count = 12 if quick else 40
    rows, pictures = [], {}
    for decades, scales in (("six", _SIX_DECADES), ("four", _FOUR_DECADES)):
        found = estimates_on_weierstrass(ratios, key, num_centres=count, scales=scales)
        rows += _bias_and_scatter(decades, truth, found)
        values = {name: np.asarray(estimate.value) for name, estimate in found.items()}
        pictures[f"both_estimators_{decades}_decades"] = functools.partial(_draw, truth, values)
    return Findings(rows, pictures)


def _bias_and_scatter(decades: str, truth: np.ndarray, found: dict[str, Estimate]) -> list[Row]:
    """Mean over centres against H; scatter and coverage described, where nothing is known."""
    labels = {"gls": "second differences", "paper": "variance slope"}
    rows = []
    for method, label in labels.items():
        estimate = found[method]
        values = np.asarray(estimate.value)
        count = values.shape[1]
        for hurst, row in zip(truth, values, strict=True):
            name = f"Weierstrass b=3, H={hurst:.1f}, {decades} decades"
            tolerance = _TOLERANCE[decades]
            rows.append(
                about(name, f"exponent, {label}", mean_of(row), hurst, tolerance, "exact: H")
            )
            width = float(row.std(ddof=1))
            error = width / math.sqrt(2 * (count - 1))
            rows.append(describe(name, f"spread over centres, {label}", (width, error)))
        inside = (estimate.low <= truth[:, None]) & (truth[:, None] <= estimate.high)
        share = mean_of(np.asarray(inside).mean(axis=0))
        name = f"Weierstrass b=3, all H, {decades} decades"
        quantity = f"share of intervals that hold H, {label}"
        rows.append(describe(name, quantity, share))
    return rows


def _draw(truth: np.ndarray, values: dict[str, np.ndarray]) -> Any:
    from fracjax.plotting import theory
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(8.5, 3.4)
        named = {"second differences": values["gls"], "variance slope (paper)": values["paper"]}
        theory.estimator_errors(figure.subplots(1, 2), truth, named)
    return figure


_TOLERANCE = {"six": 0.02, "four": 0.05}
PARTS: dict[str, Callable[[Key, bool], list[Row] | Findings]] = {
    "clipped map": _clipped,
    "weierstrass": _weierstrass,
    "both estimators": _both,
}
