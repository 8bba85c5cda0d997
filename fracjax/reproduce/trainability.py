"""Fractal boundaries of trainability: where they are known, and in planes of small networks.

Written down before a row was computed: counts of label changes along learning rates are those of
Liu (arXiv 2406.13971) to the scatter that rounding makes; there is one change where the loss is
convex; the border of regularised factorisation has the exponent 1.25 (± .05, ± .1 at 512²) in the
number of pixels against resolution; ellipses and the border of linear regression have 1 (± .05).
Networks: see `trainability_networks`.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import landscapes
from fracjax._types import Estimate, Key, Objective
from fracjax.landscapes.refinement.pixel_sets import mixed_boxes
from fracjax.landscapes.refinement.published_box_counts import published_dimension
from fracjax.landscapes.refinement.resolution_refinement import (
    classified_plane,
    refined_boundary_dimension,
)
from fracjax.learning.trainability.factorization import (
    FactorizationCoordinates,
    factorization_objective,
)
from fracjax.learning.trainability.linear_regression import linear_regression_objective
from fracjax.learning.trainability.one_dimensional import (
    boundary_counts,
    count_dimension,
    rate_objective,
    roughness_threshold,
)
from fracjax.learning.trainability.planes import hyperparameter_plane
from fracjax.learning.trainability.problems import regression_problem
from fracjax.reproduce import trainability_networks
from fracjax.reproduce.comparisons import about, described, exactly
from fracjax.reproduce.experiments import Part, Size, in_float64
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS"]

_LIU = "arXiv 2406.13971, data of its repository"
# N_n from n = 0, for ε = .2 and l = .1.
_MULTIPLICATIVE = (
    *(1, 1, 1, 1, 3, 5, 7, 13, 21, 27, 57, 115, 247, 423, 683, 1215, 2303, 4245),
    *(7619, 13365, 22885, 40589, 73361),
)
_ADDITIVE = (*(1,) * 14, 9, 13, 31, 51, 117, 225, 413, 863, 1743)
_LEVELS: Mapping[Size, int] = {"quick": 13, "default": 17, "full": 22}
_RESOLUTION: Mapping[Size, int] = {"quick": 512, "default": 4096, "full": 8192}
_WINDOWS: Mapping[FactorizationCoordinates, tuple] = {
    "factors": (("u", "v"), (0.0, 0.0), 4.0),
    "quotient": (("product", "squares"), (1.0, 8.0), (5.0, 8.0)),
}
_CHUNK = 1024


def _rates(key: Key, size: Size) -> Findings:
    """Label changes along learning rates, of losses that are not convex and of one that is."""
    levels = _LEVELS[size]
    published = {
        "multiplicative": np.array(_MULTIPLICATIVE[: levels + 1]),
        "additive": np.array(_ADDITIVE[: levels + 1]),
    }
    counts = {
        "multiplicative": _counts(rate_objective("multiplicative"), key, levels),
        "additive": _counts(rate_objective("additive"), key, levels),
        "convex": _counts(rate_objective("multiplicative", amplitude=0.0), key, levels),
    }
    rows = []
    name = "x² (1 + ε cos(2πx/l)), ε=.2, l=.1"
    for level in range(10, levels + 1):
        expected = float(published["multiplicative"][level])
        # Over last bits of the start counts scatter by 1 % or two.
        reference = expected, max(0.01 * expected, 2.0), f"{_LIU}; ± is of rounding"
        number = float(counts["multiplicative"][level]), 0.0
        rows.append(compare(name, f"label changes among 2^{level} + 1 rates", number, reference))
    fit = count_dimension(counts["multiplicative"], first=4)
    fits = {"multiplicative": jax.tree.map(np.asarray, fit)}
    for first in (4, 10) if levels > 13 else (4,):
        ours, theirs = (
            count_dimension(one, first=first)
            for one in (counts["multiplicative"], published["multiplicative"])
        )
        text = f"slope of log2 of label changes, n = {first} to {levels}"
        expected = float(theirs.value)
        rows.append(
            about(name, text, (float(ours.value), 0.0), expected, 0.02, f"slope of data of {_LIU}")
        )
        rows.append(described(name, f"{text}, with the scatter of its ratios", ours))
    name = "x² + ε cos(2πx/l), ε=.2, l=.1"
    early = int(counts["additive"][:12].max())
    rows.append(exactly(name, "most label changes, n = 0 to 11", early, 1, _LIU))
    for level in range(14, levels + 1):
        expected = float(published["additive"][level])
        scatter = 0.5 if expected < 100 else 0.1
        reference = math.log2(expected), scatter, f"{_LIU}; ± is of rounding"
        number = math.log2(counts["additive"][level]), 0.0
        text = f"log2 of label changes among 2^{level} + 1 rates"
        rows.append(compare(name, text, number, reference))
    most = int(counts["convex"].max())
    rows.append(exactly("x²", f"most label changes, n = 0 to {levels}", most, 1, "convex"))
    figure = functools.partial(_draw_rates, counts, fits, published)
    return Findings(rows, {"trainability-rates": figure})


def _counts(objective: Objective, key: Key, levels: int) -> np.ndarray:
    return boundary_counts(objective, key, num_levels=levels).counts


def _threshold(key: Key, size: Size) -> list[Row]:
    """The additive loss is convex up to ε/l² = 1/(2π²), and its boundary one rate until there."""
    levels = {"quick": 12, "default": 15, "full": 20}[size]
    rows = []
    for factor in (0.5, 0.9, 2.0, 20.0, 400.0):
        roughness = factor * roughness_threshold()
        objective = rate_objective("additive", amplitude=roughness * 0.1**2, start=5.0)
        counts = _counts(objective, key, levels)
        name = f"x² + ε cos(2πx/l) from x = 5, ε/l² = {factor:g} of the threshold"
        most = int(counts.max())
        text = f"most label changes, n = 0 to {levels}"
        if factor < 1:
            rows.append(exactly(name, text, most, 1, "convex: one change"))
        else:
            rows.append(describe(name, text, (most, 0.0)))
    return rows


def _factorization(coordinates: FactorizationCoordinates, key: Key, size: Size) -> Findings:
    """The border of regularised descent, and of descent without a penalty, which is an ellipse."""
    (first, second), centre, span = _WINDOWS[coordinates]
    params = {name: jnp.asarray(x) for name, x in zip((first, second), centre, strict=True)}
    directions = {first: jnp.asarray([1.0, 0.0]), second: jnp.asarray([0.0, 1.0])}
    side = _RESOLUTION[size]
    grid = landscapes.along(directions, span=span, num_points=side + 1)
    rows: list[Row] = []
    pictures: dict[str, np.ndarray] = {}
    refined: dict[str, Estimate] = {}
    boxes: dict[str, Estimate] = {}
    laws = {"with a penalty": (0.2, 1.25), "without a penalty": (0.0, 1.0)}
    for label, (penalty, expected) in laws.items():
        objective = factorization_objective(coordinates, penalty=penalty)
        inside = classified_plane(objective, params, grid, key, chunk_size=_CHUNK)
        refined[label], boxes[label] = _both(inside)
        name = f"factorisation {label}, ({first}, {second}), {side}²"
        source = "arXiv 2509.25351: 1.249" if penalty else "an ellipse is smooth"
        number = float(refined[label].value), 0.0
        text = "dimension of the border by refinement"
        rows.append(about(name, text, number, expected, 0.05 if side > 512 else 0.1, source))
        rows += _estimates(name, refined[label], boxes[label])
        pictures[label] = inside[:: max(side // 512, 1), :: max(side // 512, 1)]
    gap = float(refined["with a penalty"].value) - float(boxes["with a penalty"].value)
    name = f"factorisation with a penalty, ({first}, {second}), {side}²"
    rows.append(describe(name, "refinement minus published box counts", (gap, 0.0)))
    figure = functools.partial(_draw_factorization, pictures, (first, second), refined, boxes)
    return Findings(rows, {f"trainability-factorisation-{coordinates}": figure})


def _both(inside: np.ndarray) -> tuple[Estimate, Estimate]:
    edges = mixed_boxes(inside, 1)
    found = refined_boundary_dimension(inside), published_dimension([edges])
    return jax.tree.map(np.asarray, found)  # drawn without float64


def _estimates(name: str, refined: Estimate, boxes: Estimate) -> list[Row]:
    return [
        described(name, "dimension by refinement, with its interval", refined),
        described(name, "dimension by published box counts", boxes),
    ]


def _linear_regression(key: Key, size: Size) -> Findings:
    """A convex problem in the plane of two learning rates: a smooth border."""
    side = {"quick": 256, "default": 512, "full": 4096}[size]
    problem = regression_problem(key, width=8, data="full")
    objective = linear_regression_objective(problem, num_steps=200)
    middle, directions = hyperparameter_plane(centre=(0.3, 0.3))
    grid = landscapes.along(directions, span=1.5, num_points=side + 1)
    found = landscapes.scan(objective, middle, grid, key, chunk_size=512, evaluator="plain")
    values = found["value"].values
    refined, boxes = _both(values < 0)
    name = f"linear regression, two learning rates, {side}²"
    number = float(refined.value), 0.0
    text = "dimension of the border by refinement"
    rows = [about(name, text, number, 1.0, 0.05, "a convex problem: smooth")]
    rows += _estimates(name, refined, boxes)
    places = tuple(c + axis for c, axis in zip((0.3, 0.3), grid.axes, strict=True))
    figure = functools.partial(_draw_regression, values, places, refined)
    return Findings(rows, {"trainability-linear-regression": figure})


def _draw_rates(counts: Mapping, fits: Mapping, published: Mapping) -> Any:
    from fracjax.plotting import trainability
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        axes = trainability.label_changes(figure.subplots(), counts, fits, published)
        axes.set_title("changes between converging and diverging learning rates")
    return figure


def _draw_factorization(
    pictures: Mapping[str, np.ndarray], names: tuple[str, str], refined: Mapping, boxes: Mapping
) -> Any:
    from fracjax.plotting import trainability
    from fracjax.plotting.style import new_figure, style

    _, centre, span = _WINDOWS["factors" if names[0] == "u" else "quotient"]
    spans = span if isinstance(span, tuple) else (span, span)
    with style():
        figure = new_figure(13.0, 3.6)
        axes = figure.subplots(1, 4)
        for one, (label, inside) in zip(axes, pictures.items(), strict=False):
            places = tuple(
                np.linspace(c - half, c + half, length)
                for c, half, length in zip(centre, spans, inside.shape, strict=True)
            )
            values = np.where(inside, -1.0, 1.0)
            trainability.trainability_plane(one, values, places, labels=names)
            one.set_title(label)
        trainability.boundary_counts(axes[2], refined)
        trainability.box_counts(axes[3], boxes)
    return figure


def _draw_regression(values: np.ndarray, places: tuple, refined: Estimate) -> Any:
    from fracjax.plotting import trainability
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(8.0, 3.6)
        axes = figure.subplots(1, 2)
        labels = ("log10 rate, first half of the weights", "log10 rate, second half")
        trainability.trainability_plane(axes[0], values, places, labels=labels)
        trainability.boundary_counts(axes[1], {"linear regression": refined})
    return figure


_ALL: dict[str, Part] = {
    "one learning rate": _rates,
    "one learning rate, threshold": _threshold,
    "factorisation, factors": functools.partial(_factorization, "factors"),
    "factorisation, quotient": functools.partial(_factorization, "quotient"),
    "linear regression": _linear_regression,
    **trainability_networks.PARTS,
}
PARTS: dict[str, Part] = {name: functools.partial(in_float64, part) for name, part in _ALL.items()}
