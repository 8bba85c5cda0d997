"""Katz, Higuchi and box counts of graphs: classical numbers, for comparison only.

None of them has an error, and what they measure is not what their name says unless the
docstring says so. `fracjax.estimators.graph_dimension` estimates the dimension of a graph.
"""

import warnings

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["graph_box_dimension", "higuchi_fractal_dimension", "katz_fractal_dimension"]

_SHORTEST = 32
_FEWEST_COLUMNS = 4


def katz_fractal_dimension(values: Float[Array | np.ndarray, " points"]) -> Float[Array, ""]:
    """Compute Katz's ratio of lengths; it is not a dimension and warns of that.

    ln n / (ln n + ln(d / L)), with n steps, L the sum of their absolute values and d the
    largest distance from the first sample, as common packages compute it. It depends on
    the number of samples and exceeds 2, the largest dimension that a graph can have. What it
    returned less 2 - H on fractional Brownian motion, bias and standard deviation over 400
    series:

        n      H = 0.1      0.3          0.5          0.7          0.9
        64     +1.42  .65   +0.66  .45   +0.29  .32   +0.14  .26   +0.08  .20
        256    +1.74  .51   +0.75  .33   +0.32  .26   +0.12  .20   +0.06  .15
        1024   +2.03  .40   +0.82  .25   +0.33  .19   +0.12  .16   +0.05  .12
        4096   +2.30  .38   +0.91  .24   +0.35  .17   +0.12  .14   +0.05  .11

    Use `fracjax.estimators.graph_dimension`, whose bias is below 0.01 there.

    Args:
        values: Evenly spaced samples, at least 32.

    Returns:
        The ratio; NaN for a constant or nonfinite series.

    Raises:
        ValueError: If the series is not one-dimensional or too short.

    References:
        Katz (1988), https://doi.org/10.1016/0010-4825(88)90041-8.
    """
    values = _checked(values)
    _warn("katz_fractal_dimension", "depends on the number of samples and may exceed 2")
    steps = len(values) - 1
    length = jnp.abs(jnp.diff(values)).sum()
    reach = jnp.abs(values - values[0]).max()
    ratio = jnp.log(reach / length)
    return np.log(steps) / (np.log(steps) + ratio)


def higuchi_fractal_dimension(
    values: Float[Array | np.ndarray, " points"], *, max_lag: int = 10
) -> Float[Array, ""]:
    """Compute Higuchi's dimension of a graph: a slope without an error, and warns of that.

    The mean length of the curve seen at every k-th sample, from each of k first samples, is
    normalised to the whole series and its logarithm fitted by a straight line on -ln k, k = 1
    to `max_lag`, all with equal weight. Up to details at the end of the series this is a
    variogram of first differences of power 1. Less 2 - H on fractional Brownian motion,
    bias and standard deviation over 400 series:

        n      H = 0.1       0.3           0.5           0.7           0.9
        64     +.004  .061   +.009  .093   +.014  .107   +.024  .120   +.039  .114
        256     .000  .029   +.002  .045   +.004  .052   +.007  .059   +.016  .065
        1024   +.001  .015   +.001  .024    .000  .028   -.001  .032   +.006  .044
        4096   -.001  .007   -.001  .010   -.001  .011    .000  .015   +.004  .033

    The bias is small, but the points of the line are correlated, so that errors of a
    line fit are wrong and none is given; trends, noise below the sample spacing and scales
    that oscillate go unnoticed. `fracjax.estimators.graph_dimension` has an interval.

    Args:
        values: Evenly spaced samples, at least 32.
        max_lag: Largest lag, from 2 to a quarter of the series.

    Returns:
        Dimension; NaN for a constant or nonfinite series.

    Raises:
        ValueError: If the series is not one-dimensional or too short, or the lag too long.

    References:
        Higuchi (1988), https://doi.org/10.1016/0167-2789(88)90081-4.
    """
    values = _checked(values)
    size = len(values)
    if not 2 <= max_lag <= size // 4:
        msg = (
            f"Argument `max_lag` must lie between 2 and {size // 4}, a quarter of the series,"
            f" but is {max_lag}."
        )
        raise ValueError(msg)
    _warn("higuchi_fractal_dimension", "has no error")
    # Row k sums |x(i) - x(i - k)| over i in the same class modulo k, weighted by 1 / its size.
    lags = np.arange(1, max_lag + 1)[:, None]
    later = np.arange(size)
    first = later % lags
    steps = (size - 1 - first) // lags
    weights = np.where(later >= lags, (size - 1) / (steps * lags) / lags / lags, 0)
    increments = jnp.abs(values - values[np.maximum(later - lags, 0)])
    lengths = (increments * jnp.asarray(weights, values.dtype)).sum(axis=1)
    return _slope(-np.log(lags[:, 0]), jnp.log(lengths))


def graph_box_dimension(values: Float[Array | np.ndarray, " points"]) -> Float[Array, ""]:
    """Count boxes that a graph meets; the slope is biased by tenths, and warns of that.

    The graph is scaled to the unit square; boxes are 2, 4, 8, … sample spacings wide, up to a
    quarter of the series, and a column counts the boxes between its smallest and its largest
    sample. The slope of the log count on the log width, less 2 - H on fractional Brownian
    motion, bias and standard deviation over 400 series:

        n      H = 0.1      0.3          0.5          0.7          0.9
        64     -.42  .06    -.33  .07    -.23  .07    -.13  .08    -.01  .07
        256    -.33  .03    -.26  .03    -.19  .04    -.11  .05    -.02  .05
        1024   -.27  .01    -.21  .02    -.15  .03    -.10  .04    -.03  .04
        4096   -.22  .01    -.16  .01    -.12  .02    -.08  .03    -.03  .04

    Sixteen times as many samples take off a third of the bias. Use
    `fracjax.estimators.graph_dimension`.

    Args:
        values: Evenly spaced samples, at least 32.

    Returns:
        Slope; NaN for a constant or nonfinite series.

    Raises:
        ValueError: If the series is not one-dimensional or too short.
    """
    values = _checked(values)
    _warn("graph_box_dimension", "is biased by tenths on rough graphs")
    steps = len(values) - 1
    heights = (values - values.min()) / (values.max() - values.min())
    widths = [2**j for j in range(1, steps.bit_length()) if steps // 2**j >= _FEWEST_COLUMNS]
    counts = []
    for width in widths:
        columns = steps // width
        boxes = jnp.floor(heights * (steps / width))
        columns_of = boxes[: columns * width].reshape(columns, width)
        ends = boxes[width::width][:columns]
        highest = jnp.maximum(columns_of.max(axis=1), ends)
        filled = (highest - jnp.minimum(columns_of.min(axis=1), ends) + 1).sum()
        counts.append(filled * (steps / width / columns))  # also what is left over at the end
    return _slope(-np.log(widths), jnp.log(jnp.stack(counts)))


def _checked(values: Float[Array | np.ndarray, " points"]) -> Float[Array, " points"]:
    values = jnp.asarray(values)
    if values.ndim != 1 or len(values) < _SHORTEST:
        msg = (
            f"Argument `values` must be one series of at least {_SHORTEST} samples, but has"
            f" shape {values.shape}."
        )
        raise ValueError(msg)
    values = values.astype(jnp.result_type(values.dtype, jnp.float32))
    bad = ~jnp.isfinite(values).all() | (values == values[0]).all()
    return values + jnp.where(bad, jnp.nan, 0).astype(values.dtype)


def _warn(name: str, complaint: str) -> None:
    """Warn once per place of the call, under `jit` once per trace."""
    msg = f"{name} {complaint}; it is for comparison only. Use graph_dimension instead."
    warnings.warn(msg, UserWarning, stacklevel=3)


def _slope(x: np.ndarray, y: Float[Array, " n"]) -> Float[Array, ""]:
    centred = x - x.mean()
    return jnp.asarray(centred / (centred**2).sum(), y.dtype) @ y
