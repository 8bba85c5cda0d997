"""What a scan found, as numbers: counts, order statistics, roughness, cliffs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray

from fracjax._types import Estimate, Status
from fracjax.diagnosis.plain_numbers import plain_estimate
from fracjax.landscapes import analysis
from fracjax.landscapes.exports.tables import Column, columns, grid_axes
from fracjax.plotting.fields import axis_label, discount_of, heading, is_wanted, position

__all__ = ["QUANTILES", "ScanAnalysis", "analyse_scan", "describe_scan", "interpolation"]

QUANTILES = (0.05, 0.5, 0.95)
_MAX_ANALYSED = 12  # outputs; a map of a hundred numbers is not analysed one by one
_FEWEST_POINTS = 32  # along an axis, that a graph dimension needs
_MAX_CLIFFS = 5  # listed
_TOLERATED_MISSING = 0.1
_EVALUATED, _ERROR = "evaluated", "error"  # variables of `landscapes.adaptive_scan`
_MEASURED = (
    "num_checked",
    "interpolation_error",
    "interpolation_error_stderr",
    "mistaken_share",
)


class ScanAnalysis(NamedTuple):
    """What one output of a scan looks like.

    Attributes:
        dimension: Of its graph, if it could be estimated.
        cliffs: Result of `landscapes.analysis.cliffs`, if they could be looked for.
        refusal: Why not, otherwise.
    """

    dimension: Estimate | None
    cliffs: xarray.Dataset | None
    refusal: str


def describe_scan(
    dataset: xarray.Dataset,
    *,
    discounts: Sequence[float] = (),
    analyses: Mapping[str, ScanAnalysis] | None = None,
) -> dict[str, Any]:
    """Count and summarise every output of a scan, finished or not.

    Args:
        dataset: Result of `landscapes.scan` or `open_scan`.
        discounts: Discount factors that outputs were measured at; `value` is the return then.
        analyses: Result of `analyse_scan`, if it shall be in the summary.

    Returns:
        Numbers in JSON's types, null for what does not exist: `points`, `done`, `complete`,
        `axes`, and one entry for each of `outputs`: counts of finite, NaN and infinite
        points among those done; the smallest and largest value and where they are;
        quantiles of the finite values; the value at the origin; `graph_dimension`
        and `cliffs` where they were analysed. Of an adaptive scan only points that were
        evaluated count, and `interpolation` says how good the others are.
    """
    axes = grid_axes(dataset)
    shape = tuple(dataset.sizes[axis] for axis in axes)
    done = dataset["done"].values.astype(bool) if "done" in dataset else np.ones(shape, bool)
    filled = interpolation(dataset)
    known = done if filled is None else done & dataset[_EVALUATED].values
    outputs = []
    for column in _outputs(dataset):
        entry = _describe_output(dataset, column, axes, known)
        entry["label"] = heading(column, dataset, discounts)
        entry["gamma"] = discount_of(column, dataset, discounts)
        if analyses and column.name in analyses:
            found = analyses[column.name]
            entry["graph_dimension"] = _graph_dimension(found, complete=bool(done.all()))
            entry["cliffs"] = _cliffs(found, axes)
        outputs.append(entry)
    return {
        "points": int(done.size),
        "done": int(done.sum()),
        "complete": bool(done.all()),
        "axes": [
            {
                "name": axis,
                "direction": axis_label(dataset, axis),
                "points": size,
                "low": float(dataset[axis].values.min()),
                "high": float(dataset[axis].values.max()),
            }
            for axis, size in zip(axes, shape, strict=True)
        ],
        "outputs": outputs,
        "interpolation": filled,
    }


def interpolation(dataset: xarray.Dataset) -> dict[str, Any] | None:
    """How many points of an adaptive scan were evaluated, and how good the others are.

    Args:
        dataset: Result of `landscapes.adaptive_scan`, or of `open_scan` where it was saved; its
            attributes are not trusted.

    Returns:
        `evaluated` points, and what was measured at random points (`num_checked` of them):
        `interpolation_error`, a root mean square, its standard error, and `mistaken_share`, of all
        points without a value that have one in the picture or the other way round; null for what
        is not known. None for scans that evaluate every point.
    """
    axes = grid_axes(dataset)
    if _EVALUATED not in dataset or _ERROR not in dataset:
        return None
    known = dataset[_EVALUATED]
    if known.dims != axes or known.dtype != bool or known.values.all():
        return None
    notes: Any = dataset.attrs
    if isinstance(manifest := notes.get("manifest"), str):
        document = json.loads(manifest)
        notes = document.get("notes") if isinstance(document, dict) else None
    measured = notes if isinstance(notes, Mapping) else {}
    found = {name: measured.get(name) for name in _MEASURED}
    return {
        "evaluated": int(known.values.sum()),
        **{name: value if _is_number(value) else None for name, value in found.items()},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _outputs(dataset: xarray.Dataset) -> list[Column]:
    """What the objective gives; not the error that an adaptive scan expects of its picture."""
    hidden = () if interpolation(dataset) is None else (_ERROR,)
    return [
        column
        for column in columns(dataset)
        if column.variable not in hidden and is_wanted(column, dataset, None)
    ]


def _describe_output(
    dataset: xarray.Dataset, column: Column, axes: tuple[str, ...], done: np.ndarray
) -> dict[str, Any]:
    """Counts and order statistics of one output."""
    values = np.asarray(column.of(dataset).values, float)
    kept = np.isfinite(values) & done
    finite = values[kept]
    centre = [int(np.argmin(np.abs(dataset[axis].values))) for axis in axes]
    at_origin = all(
        position(dataset[axis].values, at) == 0 for axis, at in zip(axes, centre, strict=True)
    )
    middle = float(values[tuple(centre)])
    found: dict[str, Any] = {
        "name": column.name,
        "variable": column.variable,
        "index": list(column.index),
        "finite": int(kept.sum()),
        "nan": int((np.isnan(values) & done).sum()),
        "plus_infinite": int(((values == np.inf) & done).sum()),
        "minus_infinite": int(((values == -np.inf) & done).sum()),
        "at_origin": middle if at_origin and kept[tuple(centre)] else None,
        "quantiles": None,
    }
    for name, best in (("smallest", np.argmin), ("largest", np.argmax)):
        found[name] = found[f"{name}_at"] = None
        if finite.size:
            place = np.argwhere(kept)[best(finite)]
            found[name] = float(values[tuple(place)])
            found[f"{name}_at"] = [
                float(dataset[axis].values[i]) for axis, i in zip(axes, place, strict=True)
            ]
    if finite.size:
        found["quantiles"] = {
            f"{q:g}": float(v)
            for q, v in zip(QUANTILES, np.quantile(finite, QUANTILES), strict=True)
        }
    return found


def analyse_scan(dataset: xarray.Dataset) -> dict[str, ScanAnalysis]:
    """Estimate the graph dimension of every output, and look for cliffs, on a line or plane.

    Up to a tenth of the points of a plane may be without a finite value.

    Args:
        dataset: Result of `landscapes.scan` or `open_scan`.

    Returns:
        What was found by the name of the column, of the first dozen; nothing for grids of
        three axes or more.
    """
    axes = grid_axes(dataset)
    if len(axes) > 2:
        return {}
    found = {}
    analysed = [column for column in _outputs(dataset) if len(column.index) < 2][:_MAX_ANALYSED]
    if interpolation(dataset) is not None:
        reason = (
            "Roughness is not read from points that are interpolated: scan a part of the plane in"
            " full, or zoom into it."
        )
        return {column.name: ScanAnalysis(None, None, reason) for column in analysed}
    if min(dataset.sizes[axis] for axis in axes) < _FEWEST_POINTS:
        reason = f"Roughness needs at least {_FEWEST_POINTS} points along every axis of the grid."
        return {column.name: ScanAnalysis(None, None, reason) for column in analysed}
    for column in analysed:
        chosen: dict[str, Any] = {
            "variable": column.variable,
            "output": column.index[0] if column.index else None,
        }
        missing = _TOLERATED_MISSING if len(axes) == 2 else 0.0
        try:
            dimension = analysis.graph_dimension_of_scan(
                dataset, tolerated_missing=missing, **chosen
            )
            cliffs = analysis.cliffs(dataset, **chosen)
        except ValueError as error:  # unevenly spaced, say
            found[column.name] = ScanAnalysis(None, None, str(error))
        else:
            found[column.name] = ScanAnalysis(dimension, cliffs, "")
    return found


def _graph_dimension(found: ScanAnalysis, *, complete: bool) -> dict[str, Any]:
    """Dimension of the graph, or why there is none."""
    if found.dimension is None:
        return {"value": None, "status": "not estimated", "reason": found.refusal}
    numbers = plain_estimate(found.dimension)
    if not complete and numbers["value"] is None:
        numbers["status"] = "unfinished"
    return numbers


def _cliffs(found: ScanAnalysis, axes: tuple[str, ...]) -> dict[str, Any]:
    """How many cliffs there are, and the largest of them."""
    if found.cliffs is None:
        return {"count": None, "status": "not looked for", "reason": found.refusal}
    table = found.cliffs
    largest = [
        {
            "at": [float(table[axis].values[i]) for axis in axes],
            "along": str(table["along"].values[i]),
            "height": float(table["height"].values[i]),
            "share": float(table["share"].values[i]),
        }
        for i in range(min(_MAX_CLIFFS, table.sizes["cliff"]))
    ]
    return {
        "count": int(table.sizes["cliff"]),
        "status": Status(int(table["scan_status"])).label,
        "largest": largest,
    }
