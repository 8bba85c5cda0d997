"""How rough a scan is, and where: one exponent per window, and one of the whole."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from scipy import stats

from fracjax._types import Estimate, Status
from fracjax.estimators.roughness.graph_dimension import graph_dimension
from fracjax.landscapes.analysis.fields import Field, NoiseLike, read_field
from fracjax.landscapes.analysis.window_estimates import LAGS, window_estimates

__all__ = ["graph_dimension_of_scan", "roughness_map"]

_SMALLEST = 32
_MOST_MISSING = 0.1  # what the estimator of surfaces tolerates


def roughness_map(
    dataset: xarray.Dataset,
    *,
    window: int | tuple[int, ...] = 32,
    stride: int | tuple[int, ...] | None = None,
    variable: str = "value",
    output: int | None = None,
    noise: NoiseLike = None,
    aggregate: str = "mean",
    lags: tuple[int, ...] | None = None,
    tolerated_missing: float = 0.0,
) -> xarray.Dataset:
    """Map the Hölder exponent and the graph dimension over a line or plane.

    Every window gets its own estimate: `series_holder_exponent` on a line, the estimator of
    `graph_dimension` on a plane. A graph over d axes has dimension d + 1 - H, with H limited
    to 0 to 1. Windows that overlap share samples, so that neighbouring pixels of the map are
    dependent; each interval holds for its own window. The map does not choose a window:
    exponents are those of lags from 1 to 4 grid steps (1 to 8 on a line), so that a
    smaller grid step sees a different, finer roughness.

    **Noise floor.** What varies no more than its own error is not rough. The error of a value
    is its rounding in the scan's dtype and, if given, `noise`. White noise of variance σ²
    adds 6 σ² to the mean squared second difference at every lag; that is taken off, and the
    interval widened by the factor by which the relative error of the rest grows. Windows of a
    plane where noise holds more than half at the smallest lag are AT_NOISE_FLOOR; so are
    those of a line that `series_holder_exponent` refuses for their noise, or where it does
    not converge and noise holds more than half. Errors must be independent from
    point to point: under common random numbers (what `scan` does) the standard error of a
    return is mostly shared by neighbours and overstates the floor; then leave `noise` out, or
    pass the error of differences between neighbours over √2. Rounding inside a float32
    objective is larger than that of its result; measure it, too, where it matters.

    Measured on 256 exact fractional Brownian surfaces (windows of 32², bias and standard
    deviation of H, coverage of the nominal 95 % interval), without noise and with known white
    noise that holds a share of the smallest lag:

        H      no noise              share .1              share .3              share .45
        0.2    -.003  .028  0.97     -.003  .029  0.98     -.002  .031  0.99     -.003  .034  0.98
        0.5    -.006  .043  0.96     -.006  .044  0.96     -.007  .046  0.98     -.011  .051  0.99
        0.8    -.004  .056  0.97     -.003  .055  0.97     -.002  .059  0.98     -.002  .059  1.00

    (at .45, 5 to 11 % of the windows are refused). Lines: see `series_holder_exponent`.

    Do not use it to find cliffs: across a step H reads about 1/2 and lower, with a small error
    (`cliffs` finds them). Do not read windows of a surface that is smooth below a few steps
    and rough above as smooth.

    Args:
        dataset: Scan of one or two axes, evenly spaced.
        window: Samples along an axis, at least 32 (one number for all axes or one each). On
            a plane 32 gives a standard deviation of .02 to .06, 64 half of that.
        stride: Samples from one window to the next; half a window if not given.
        variable: Which variable of the scan.
        output: Which component of a vector-valued objective.
        noise: Standard error of each value: a number, an array over the grid, a variable's
            name, or a Dataset with `stderr`.
        aggregate: "mean" or "median" over transects of a plane, as for `graph_dimension`.
        lags: As for `graph_dimension`, planes only.
        tolerated_missing: Share of nonfinite values up to which a window of a plane is
            still estimated, at most 0.1; windows with more are DIVERGED, and windows of
            a line with any.

    Returns:
        Dataset over the windows' centres, on the scan's axes:

        - `holder_exponent` with `stderr`, `low`, `high` (nominal 95 %) and `status`;
        - `graph_dimension` with `dimension_low` and `dimension_high`; its standard error is
          that of the exponent;
        - `amplitude`: root-mean-square second difference over one step along the axes, noise
          taken off, in the objective's unit;
        - `noise_floor`: standard deviation of the error of one value; `noise_share`: what it
          holds of the mean squared second difference at the smallest lag;
        - `missing`: share of nonfinite values; `anisotropy_p_value` (planes).

        Attributes: `window`, `stride`, `step` (per axis) and `variable`.

    Raises:
        ValueError: If the scan is not evenly spaced, has other than one or two axes, the
            window does not fit, or a setting is out of range.
    """
    field = read_field(dataset, variable=variable, output=output, noise=noise)
    steps = field.steps()
    sizes = _per_axis("window", window, field, _SMALLEST)
    gaps = _per_axis("stride", stride or tuple(size // 2 for size in sizes), field, 1)
    for dim, size, length in zip(field.dims, sizes, field.values.shape, strict=True):
        if size > length:
            msg = (
                f"Argument `window` must fit the scan, but is {size} along `{dim}`,"
                f" which has {length} points."
            )
            raise ValueError(msg)
    _check(sizes, aggregate, lags, tolerated_missing)
    first = [
        np.arange(0, length - size + 1, gap)
        for length, size, gap in zip(field.values.shape, sizes, gaps, strict=True)
    ]
    starts = np.stack([axis.ravel() for axis in np.meshgrid(*first, indexing="ij")], axis=1)
    found = window_estimates(
        field,
        starts,
        window=sizes,
        aggregate=aggregate,
        lags=lags or LAGS,
        tolerated_missing=tolerated_missing,
    )
    shape = tuple(len(axis) for axis in first)
    grids = {name: (field.dims, values.reshape(shape)) for name, values in found.items()}
    most = len(shape) + 1
    pairs = {"graph_dimension": "holder_exponent", "dimension_low": "high", "dimension_high": "low"}
    for name, source in pairs.items():
        grids[name] = (field.dims, most - np.clip(grids[source][1], 0, 1))
    coords = {
        dim: (axis[start] + axis[start + size - 1]) / 2
        for dim, axis, start, size in zip(field.dims, field.axes, first, sizes, strict=True)
    }
    attrs = {"window": sizes, "stride": gaps, "step": steps, "variable": variable}
    return xarray.Dataset(grids, coords=coords, attrs=attrs)


def graph_dimension_of_scan(
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | None = None,
    noise: NoiseLike = None,
    aggregate: str = "mean",
    lags: tuple[int, ...] | None = None,
    tolerated_missing: float = 0.0,
    largest_block: int = 1024,
) -> Estimate:
    """Estimate the dimension of the graph of a whole scan: 1 to 2 of a line, 2 to 3 of a plane.

    `graph_dimension` with the noise floor of `roughness_map`, and in bounded memory: a plane
    with more than `largest_block` points along an axis is cut into equal blocks, whose
    exponents are averaged. The error is then the larger of the blocks' own and of their
    scatter, so that a plane whose parts differ gets a wide interval; map it instead.

    Args:
        dataset: Scan of one or two axes, evenly spaced, at least 32 points along each.
        variable: Which variable of the scan.
        output: Which component of a vector-valued objective.
        noise: Standard error of each value, as for `roughness_map`.
        aggregate: As for `graph_dimension`.
        lags: As for `graph_dimension`.
        tolerated_missing: Share of nonfinite values up to which there is an answer, at most
            0.1, planes only.
        largest_block: Points along an axis of a block; lines are never cut.

    Returns:
        Dimension. `details`: `exponent` (before it is limited to 0 to 1), `amplitude`,
        `noise_floor`, `noise_share`, `missing` as in `roughness_map` (means over blocks),
        `blocks` (their number), and for one block of a plane `anisotropy_p_value`.

    Status: DIVERGED and AT_NOISE_FLOOR as for a window of `roughness_map`; of several blocks
    the status that most of the unusable ones have, if fewer than half are usable.

    Raises:
        ValueError: As `roughness_map`.
    """
    field = read_field(dataset, variable=variable, output=output, noise=noise)
    field.steps()
    shape = field.values.shape
    if min(shape) < _SMALLEST or largest_block < _SMALLEST:
        msg = (
            f"Arguments `dataset` and `largest_block` must have at least {_SMALLEST} points along"
            f" an axis, but have {shape} and {largest_block}."
        )
        raise ValueError(msg)
    counts = [1 if len(shape) == 1 else math.ceil(size / largest_block) for size in shape]
    sizes = tuple(size // count for size, count in zip(shape, counts, strict=True))
    _check(sizes, aggregate, lags, tolerated_missing)
    blocks = itertools.product(*(range(count) for count in counts))
    found = window_estimates(
        field,
        np.array([[i * size for i, size in zip(block, sizes, strict=True)] for block in blocks]),
        window=sizes,
        aggregate=aggregate,
        lags=lags or LAGS,
        tolerated_missing=tolerated_missing,
    )
    return _joined(found, len(shape) + 1)


def _joined(found: dict[str, np.ndarray], most: int) -> Estimate:
    """One dimension from the exponents of blocks that do not overlap."""
    status = found["status"]
    number = len(status)
    good = np.isfinite(found["holder_exponent"])
    means = ("amplitude", "noise_floor", "noise_share", "missing")
    details = {name: found[name].mean() for name in means} | {"blocks": number}
    if number == 1:
        if "anisotropy_p_value" in found:
            details["anisotropy_p_value"] = found["anisotropy_p_value"][0]
        value, stderr, low, high = (
            found[name][0] for name in ("holder_exponent", "stderr", "low", "high")
        )
        code = status[0]
    elif 2 * good.sum() < number or good.sum() < 2:
        value = stderr = low = high = math.nan
        code = np.bincount(status[~good]).argmax()
    else:
        values, errors = found["holder_exponent"][good], found["stderr"][good]
        value = values.mean()
        own, scatter = (errors**2).mean(), values.var(ddof=1)
        stderr = math.sqrt(max(own, scatter) / good.sum())
        margin = stats.t.ppf(0.975, good.sum() - 1) * stderr
        low, high, code = value - margin, value + margin, Status.OK
    dtype = found["stderr"].dtype
    details["exponent"] = jnp.asarray(value, dtype)
    limited = (most - np.clip(x, 0, 1) for x in (value, high, low))
    dimension, lower, upper = (jnp.asarray(x, dtype) for x in limited)
    error = jnp.asarray(stderr, dtype)
    return Estimate(dimension, error, lower, upper, jnp.asarray(int(code)), details)


def _per_axis(
    name: str, given: int | tuple[int, ...], field: Field, smallest: int
) -> tuple[int, ...]:
    numbers = (given,) * len(field.dims) if isinstance(given, int) else tuple(given)
    if len(numbers) != len(field.dims) or min(numbers) < smallest:
        msg = (
            f"Argument `{name}` must be at least {smallest}, one number or one for each of"
            f" {len(field.dims)} axes, but is {given}."
        )
        raise ValueError(msg)
    return numbers


def _check(
    sizes: tuple[int, ...], aggregate: str, lags: tuple[int, ...] | None, missing: float
) -> None:
    """Raise what the estimator would raise, and before anything is compiled."""
    if not 0 <= missing <= _MOST_MISSING:
        msg = (
            f"Argument `tolerated_missing` must lie between 0 and {_MOST_MISSING}, but is"
            f" {missing}."
        )
        raise ValueError(msg)
    check = functools.partial(graph_dimension, aggregate=aggregate, lags=lags)
    jax.eval_shape(check, jax.ShapeDtypeStruct(sizes, np.float32))
