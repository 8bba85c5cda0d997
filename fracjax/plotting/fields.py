"""What of a scan is drawn, in which colours, and how its axes are called."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray

from fracjax.landscapes.exports.tables import AXES, Column, columns, grid_axes

__all__ = [
    "ColorScale",
    "Field",
    "axis_label",
    "centre_of",
    "color_scale",
    "discount_of",
    "heading",
    "is_resolved",
    "is_wanted",
    "position",
    "select",
]

_PER_PARAMETER = "change per parameter"
_UNITS = {"filter": "share of each filter's norm"}
# By how directions were made: what one is called, or each of them.
_NAMES: dict[str, str | tuple[str, ...]] = {
    "gaussian": "random direction",
    "filter": "random direction",
    "orthonormal": "random direction",
    "gradient": "gradient",
    "gradient and random": ("gradient", "random direction"),
    "hessian eigenvectors": "Hessian eigenvector",
    "principal components": "principal component",
    "through points": "direction through the points",
}
# Where the middle colour of a variable lies, by how its name begins, and whether low values are
# the rough, red ones: at an exponent of 0 nearby paths stay as far apart as they are; a
# landscape with a Hölder exponent below 1 has no slope.
_CENTRES = {
    "lyapunov": (0.0, False),
    "growth": (0.0, False),
    "exponent": (0.0, False),
    "holder": (1.0, True),
    "predicted": (1.0, True),
}
_SECONDARY = ("stderr", "low", "high", "status", "done", "noise")
_NOTHING = 1e-12  # of the width of an axis
_PERCENTILES = (1.0, 99.0)
_LARGEST_STRETCH = 1.5  # full range over that of the percentiles, above which it is cut


class Field(NamedTuple):
    """One number per point of a grid, with what became of every point.

    Attributes:
        values: Over the axes of the grid, as they came.
        coordinates: Of every axis.
        axes: Names of the axes.
        done: Which points were evaluated.
        stderr: Standard errors, or None.
    """

    values: np.ndarray
    coordinates: tuple[np.ndarray, ...]
    axes: tuple[str, ...]
    done: np.ndarray
    stderr: np.ndarray | None

    @property
    def finite(self) -> np.ndarray:
        """Which points have a value that can be drawn."""
        return np.isfinite(self.values) & self.done

    @property
    def nan(self) -> np.ndarray:
        """Which points were evaluated and are NaN."""
        return np.isnan(self.values) & self.done

    @property
    def infinite(self) -> np.ndarray:
        """Which points were evaluated and are infinite."""
        return np.isinf(self.values) & self.done


class ColorScale(NamedTuple):
    """Values of the ends of a colour bar.

    Attributes:
        low: Value of the first colour.
        high: Value of the last colour.
        below: Whether there are smaller values.
        above: Whether there are larger values.
        note: What to say of the range; empty where it is that of the data.
        diverging: Whether the middle colour means something.
    """

    low: float
    high: float
    below: bool
    above: bool
    note: str
    diverging: bool


def select(
    dataset: xarray.Dataset,
    *,
    num_axes: int,
    variable: str = "value",
    output: int | tuple[int, ...] = 0,
) -> Field:
    """Take one variable or output of a scan.

    Args:
        dataset: Result of `scan` or `open_scan`.
        num_axes: How many axes the grid must have.
        variable: Name of a variable over the grid.
        output: Which one, for a variable with several outputs.

    Raises:
        ValueError: If there is no such variable or output, or the grid has other axes.
    """
    axes = grid_axes(dataset)
    if len(axes) != num_axes:
        msg = (
            f"Argument `dataset` must have {num_axes} axes to be drawn so, but has {len(axes)}:"
            " select along the others, as `dataset.isel(c=0, drop=True)`."
        )
        raise ValueError(msg)
    column = _column(dataset, variable, output)
    errors = _errors(dataset, column)
    done = dataset["done"].values if "done" in dataset else np.ones(_shape(dataset, axes), bool)
    return Field(
        values=np.asarray(column.of(dataset).values, float),
        coordinates=tuple(dataset[axis].values for axis in axes),
        axes=axes,
        done=done.astype(bool),
        stderr=None if errors is None else np.asarray(errors.of(dataset).values, float),
    )


def _column(dataset: xarray.Dataset, variable: str, output: int | tuple[int, ...]) -> Column:
    offered = [column for column in columns(dataset) if column.variable == variable]
    if not offered:
        names = sorted({column.variable for column in columns(dataset)})
        msg = (
            f"Argument `variable` must be one of {', '.join(names) or 'none'}, but is {variable!r}."
        )
        raise ValueError(msg)
    if offered[0].index == ():
        return offered[0]
    index = output if isinstance(output, tuple) else (output,)
    for column in offered:
        if column.index == index:
            return column
    msg = f"Argument `output` must be below {len(offered)}, but is {output}."
    raise ValueError(msg)


def _errors(dataset: xarray.Dataset, column: Column) -> Column | None:
    """Standard errors that belong to a column: `stderr` to `value`, `x_stderr` to `x`."""
    name = "stderr" if column.variable == "value" else f"{column.variable}_stderr"
    if name not in dataset or set(dataset[name].dims) != set(dataset[column.variable].dims):
        return None
    return dataclasses.replace(column, variable=name)


def _shape(dataset: xarray.Dataset, axes: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(dataset.sizes[axis] for axis in axes)


def axis_label(dataset: xarray.Dataset, axis: str) -> str:
    """Name an axis and its unit by how its direction was made."""
    kind = str(dataset.attrs.get("directions") or "")
    number = AXES.index(axis)
    name = _NAMES.get(kind, f"{kind} direction".strip())
    unit = _UNITS.get(kind, _PER_PARAMETER if kind in _NAMES else "unit of the direction")
    if isinstance(name, tuple) and number < len(name):
        return f"{name[number]} ({unit})"
    alone = grid_axes(dataset) == ("a",)
    return f"{name}{'' if alone else f' {number + 1}'} ({unit})"


def color_scale(values: np.ndarray, *, centre: float | None = None) -> ColorScale:
    """Choose what the ends of the colours stand for.

    The whole range of the finite values, unless it is more than half as wide again as that
    between their 1st and 99th percentiles: a few extreme points would take all the colours.

    Args:
        values: Any shape; what is not finite is ignored.
        centre: Value of the middle colour, with as much room on both sides.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return ColorScale(0.0, 1.0, False, False, "", centre is not None)
    smallest, largest = float(finite.min()), float(finite.max())
    low, high = map(float, np.percentile(finite, _PERCENTILES))
    cut = largest - smallest > _LARGEST_STRETCH * (high - low) and high > low
    if not cut:
        low, high = smallest, largest
    if centre is not None:
        reach = max(high - centre, centre - low, 1e-300)
        low, high = centre - reach, centre + reach
    if low == high:
        low, high = low - 0.5 * abs(low) - 1e-12, high + 0.5 * abs(high) + 1e-12
    note = f"colours end at percentiles {_PERCENTILES[0]:g} and {_PERCENTILES[1]:g}" if cut else ""
    return ColorScale(low, high, smallest < low, largest > high, note, centre is not None)


def is_resolved(values: np.ndarray) -> bool:
    """Whether a plane is smooth at the spacing of its grid, so that contour lines mean something.

    So it is where second differences are on average below half of first differences. Their
    ratio is 1.7 for white noise, 1.4 for a Brownian path, 6/n for a wave of n points.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    for axis in range(values.ndim):
        if values.shape[axis] < 5:
            return False
        first = np.abs(np.diff(values, axis=axis))
        second = np.abs(np.diff(values, n=2, axis=axis))
        first, second = first[np.isfinite(first)], second[np.isfinite(second)]
        if not second.size or not np.mean(second) < 0.5 * np.mean(first):
            return False
    return True


def centre_of(variable: str) -> tuple[float | None, bool]:
    """Value in the middle of a variable's colours, if one means something; whether to reverse."""
    for start, found in _CENTRES.items():
        if variable.startswith(start):
            return found
    return None, False


def heading(column: Column, dataset: xarray.Dataset, discounts: Sequence[float]) -> str:
    """Name a column; by its discount, if there is one for every output of the variable."""
    gamma = discount_of(column, dataset, discounts)
    if column.name == "error" and "evaluated" in dataset:
        return "expected error of the interpolation"
    if gamma is None:
        return column.name
    return f"{'return' if column.variable == 'value' else column.variable}, γ = {gamma:g}"


def discount_of(
    column: Column, dataset: xarray.Dataset, discounts: Sequence[float]
) -> float | None:
    """Discount that a column was measured at, if its variable has an output for each."""
    points = math.prod(dataset.sizes[axis] for axis in grid_axes(dataset))
    count = dataset[column.variable].size // max(points, 1)
    if count != len(discounts) or len(column.index) > 1:
        return None
    if not column.index and column.variable != "value":
        return None  # one number per point, and only by chance one discount
    return float(discounts[column.index[0] if column.index else 0])


def is_wanted(column: Column, dataset: xarray.Dataset, variables: Sequence[str] | None) -> bool:
    """Whether to draw a column: one of `variables`, or every number but what qualifies another."""
    name = column.variable
    if variables is not None:
        return name in variables
    return (
        name not in _SECONDARY
        and not name.endswith(tuple(f"_{word}" for word in _SECONDARY))
        and dataset[name].dtype.kind in "fiu"
    )


def position(coordinates: np.ndarray, index: int) -> float:
    """One coordinate of an axis, with 0 where rounding has left next to nothing of it."""
    value = float(coordinates[index])
    return 0.0 if abs(value) <= _NOTHING * float(np.ptp(coordinates)) else value
