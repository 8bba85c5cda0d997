"""Hölder exponents from values along lines: the array half of the estimator.

Input are values of a function along many short lines through one neighbourhood, each
line repeated at a ladder of spacings. Output is an exponent with an interval, the scale
window it holds on, and what speaks against believing it.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc
from jaxtyping import Array, Bool, Float
from scipy import stats

from fracjax._types import Estimate, Status
from fracjax.estimators.scaling import log_variogram_covariance, mean_increments, window_table

__all__ = ["LAGS", "exponent_from_lines"]

LAGS = (1, 2, 3, 4, 6, 8)
MIN_DIRECTIONS = 8
_MIN_LEVELS = 2
_HURST_GRID = tuple(np.linspace(0.05, 0.95, 19))
_NOISE_SHARE = 0.02
_SLOPE_TOLERANCE = 0.1
_SAMPLING_TOLERANCE = 0.2
_AMPLITUDE_RATIO = 32.0
_SILENT_SHARE = 1e-3
_LARGEST_STDERR = 0.25


def _level_weights(num_points: int, order: int, hurst: Float[Array, ""]) -> Float[Array, "l l"]:
    """Inverse covariance of one level's log variograms, interpolated on the H grid."""
    table = log_variogram_covariance(num_points, LAGS, order, _HURST_GRID)
    inverse = jnp.asarray(np.linalg.inv(table), hurst.dtype)
    position = (jnp.clip(hurst, _HURST_GRID[0], _HURST_GRID[-1]) - _HURST_GRID[0]) / (
        _HURST_GRID[1] - _HURST_GRID[0]
    )
    lower = jnp.clip(position.astype(int), 0, len(_HURST_GRID) - 2)
    fraction = position - lower
    return (1 - fraction) * inverse[lower] + fraction * inverse[lower + 1]


def _line_weights(
    squares: Float[Array, "d k l"],
    mean: Float[Array, "k l"],
    heard: Bool[Array, " k"],
    finite: Bool[Array, " d"],
) -> Float[Array, " d"]:
    """Weigh each line by its inverse typical size, so that no few loud lines carry the fit.

    The sizes differ by a factor that is common to all scales, hence harmless to the
    slope. Where some line is silent at some scale the function is intermittent (jumps,
    kinks): there loud and silent lines are the finding, and all weights are 1.
    """
    floor = _SILENT_SHARE * jnp.maximum(mean, jnp.finfo(squares.dtype).tiny)
    matters = heard[None, :, None] & finite[:, None, None]
    intermittent = (matters & (squares < floor)).any()
    share = heard / jnp.maximum(heard.sum(), 1)
    log_size = (jnp.log(jnp.maximum(squares, floor)).mean(axis=2) * share).sum(axis=1)
    # A dropped line takes the first kept line's place, so that the median ignores it.
    log_size = jnp.where(finite, log_size, log_size[jnp.argmax(finite)])
    limit = np.log(_AMPLITUDE_RATIO)
    weights = jnp.exp(-jnp.clip(log_size - jnp.median(log_size), -limit, limit))
    return jnp.where(intermittent, jnp.ones_like(weights), weights)


def _window_slopes(
    log_curve: Float[Array, "b k l"],
    log_scale: Float[Array, "k l"],
    weights: Float[Array, "l l"],
    windows: Float[Array, "w k"],
) -> Float[Array, "b w"]:
    """Generalised-least-squares slope of every curve on every window of levels."""
    ones = jnp.ones_like(log_scale)
    design = jnp.stack([ones, log_scale], axis=-1)
    normal = jnp.einsum("kla,lm,kmb->kab", design, weights, design)
    moment = jnp.einsum("kla,lm,bkm->bka", design, weights, log_curve)
    matrix = jnp.einsum("wk,kab->wab", windows, normal)
    vector = jnp.einsum("wk,bka->bwa", windows, moment)
    determinant = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] ** 2
    return (matrix[:, 0, 0] * vector[..., 1] - matrix[:, 0, 1] * vector[..., 0]) / determinant


def _jackknife_stderr(replicates: Array, used: Float[Array, " d"]) -> Array:
    """Standard error from leave-one-direction-out replicates (leading axis)."""
    shape = (-1,) + (1,) * (replicates.ndim - 1)
    weight, count = used.reshape(shape), used.sum()
    mean = (weight * replicates).sum(axis=0) / count
    spread = (weight * (replicates - mean) ** 2).sum(axis=0)
    return jnp.sqrt((count - 1) / count * spread)


def _fit_p_value(
    bends: Float[Array, " m"],
    replicates: Float[Array, "d m"],
    inside: Bool[Array, " m"],
    used: Float[Array, " d"],
) -> Float[Array, ""]:
    """Hotelling test that the log-log curve has no bend inside the window.

    Bends are second differences of the level averages; without interior levels there
    is nothing to test and the p-value is NaN.
    """
    count, dims = used.sum(), inside.sum()
    mean = (used[:, None] * replicates).sum(axis=0) / count
    centred = (replicates - mean) * used[:, None]
    covariance = (count - 1) / count * centred.T @ centred
    both = inside[:, None] & inside[None, :]
    covariance = jnp.where(both, covariance, jnp.eye(len(bends)))
    covariance += jnp.finfo(covariance.dtype).eps * jnp.trace(covariance) * jnp.eye(len(bends))
    vector = jnp.where(inside, bends, 0.0)
    squared = vector @ jnp.linalg.solve(covariance, vector)
    freedom = count - dims
    statistic = jnp.maximum(freedom / (dims * (count - 1)) * squared, 0.0)
    ratio = freedom / (freedom + dims * statistic)
    tail = betainc(freedom / 2, jnp.maximum(dims, 1) / 2, ratio)
    return jnp.where(dims > 0, tail, jnp.nan)


def exponent_from_lines(
    values: Float[Array, "directions levels points"],
    spacings: Float[Array, " levels"],
    *,
    noise_variance: float | Array = 0.0,
    order: int = 2,
    pointwise: bool = False,
) -> Estimate:
    """Estimate the Hölder exponent from values along lines at a ladder of spacings.

    At every scale s = lag · spacing the squared increments of order 2 are averaged along
    each line and over all lines (each line first divided by its typical size, within a
    factor of 32 of the median line). The slope of the log average on log s, halved, is
    the exponent; it is fitted by generalised least squares with the covariance of
    fractional Brownian motion. The window of levels is the longest one on which no
    level-to-level slope leaves the fitted slope by more than 0.1 plus three of its
    standard errors (at most 0.2); at equal length, the one at smaller scales.

    The standard error is the jackknife over lines, joined in quadrature by the misfit:
    how far the level-to-level slopes scatter beyond their sampling error. Lines must be
    independent draws of direction and centre for it to be calibrated. Pure and fixed in
    shape: it may be jitted and vmapped (add an axis for several objectives).

    Do not use it on a single series: it has no replicate lines to take an error from.

    Args:
        values: Function values; lines with a nonfinite value are dropped and counted.
        spacings: Distance between neighbouring points of a line, per level, falling
            geometrically.
        noise_variance: Variance of the error of one value (rounding, replicates). Levels
            where it holds more than 2 % of the smallest-lag variogram are not used.
        order: Order of the increments: exponents up to `order` can be seen.
        pointwise: Whether all lines share one centre, so that only the change from level
            to level, not from lag to lag, follows the exponent there.

    Returns:
        Exponent (dimensionless). `details`: `scales` and `variogram` (levels × lags, mean
        of the raw squared increments), `noise_variogram`, `window` (levels used),
        `window_low`, `window_high` (scales), `fit_p_value`, `local_slopes` (halved,
        between levels), `misfit`, `at_cap` (whether the order limits the value: read
        "at least"), `absolute_exponent` and `jump_gap` with its standard error (exponent
        of the mean absolute increment, and its excess over `value`: jumps make it large),
        `largest_share` (largest share that one line has in the smallest used level),
        `directions_used`.

    Status: NO_SCALING_REGION where no window is straight (the longest one is reported then),
    NOT_CONVERGED where the standard error exceeds a quarter because few lines carry the fit,
    AT_NOISE_FLOOR, TOO_FEW_POINTS and DIVERGED where there is no number.

    References:
        Istas and Lang (1997); Gneiting, Ševčíková and Percival (2012), Estimators of
        Fractal Dimension, for the variation family.
    """
    num_directions, num_levels, num_points = values.shape
    if num_points <= 2 * order * max(LAGS):
        msg = (
            f"Argument `values` must hold more than {2 * order * max(LAGS)} points per line,"
            f" but has {num_points}."
        )
        raise ValueError(msg)
    if num_levels < _MIN_LEVELS + 1 or num_directions < MIN_DIRECTIONS:
        msg = (
            f"Argument `values` must have at least {MIN_DIRECTIONS} directions and"
            f" {_MIN_LEVELS + 1} levels, but has {num_directions} and {num_levels}."
        )
        raise ValueError(msg)
    dtype = values.dtype
    finite = jnp.isfinite(values).all(axis=(1, 2))
    used = finite.astype(dtype)
    count = used.sum()
    clean = jnp.where(finite[:, None, None], values, 0.0)

    squares = mean_increments(clean, LAGS, order=order, power=2.0)
    absolutes = mean_increments(clean, LAGS, order=order, power=1.0)
    raw = jnp.einsum("d,dkl->kl", used, squares) / jnp.maximum(count, 1)
    noise = (6.0 if order == 2 else 2.0) * jnp.asarray(noise_variance, dtype)
    tiny = jnp.finfo(dtype).tiny
    heard = (raw[:, 0] > 0) & (noise <= _NOISE_SHARE * raw[:, 0])

    weight = _line_weights(squares, raw, heard, finite)[:, None, None]
    weighted = {2.0: squares * weight, 1.0: absolutes * jnp.sqrt(weight)}

    def collapse(curve: Array) -> Array:
        """Lines through one point are not stationary: compare levels only, not lags."""
        return jnp.broadcast_to(curve.mean(axis=-1, keepdims=True), curve.shape)

    def curves(power: float) -> tuple[Array, Array]:
        """Log mean over lines, and the same with each line left out."""
        moments = weighted[power] * used[:, None, None]
        total = moments.sum(axis=0)
        left_out = (total - moments) / jnp.maximum(count - used, 1)[:, None, None]
        mean = total / jnp.maximum(count, 1)
        both = jnp.log(jnp.maximum(mean, tiny)), jnp.log(jnp.maximum(left_out, tiny))
        return (collapse(both[0]), collapse(both[1])) if pointwise else both

    scales = spacings[:, None] * jnp.asarray(LAGS, dtype)
    log_scale = collapse(jnp.log(scales)) if pointwise else jnp.log(scales)
    table = window_table(num_levels, _MIN_LEVELS)
    windows = jnp.asarray(table, dtype)
    curve, replicates = curves(2.0)

    first = jnp.diff(curve.mean(axis=1)) / jnp.diff(log_scale.mean(axis=1)) / 2
    weights = _level_weights(num_points, order, jnp.median(first))

    def slopes(power: float) -> tuple[Array, Array]:
        mean, left_out = curves(power)
        both = jnp.concatenate([mean[None], left_out])
        fitted = _window_slopes(both, log_scale, weights, windows) / power
        return fitted[0], fitted[1:]

    value, value_replicates = slopes(2.0)
    stderr = _jackknife_stderr(value_replicates, used)

    def between_levels(batch: Array) -> Array:
        centre = log_scale.mean(axis=1)
        return jnp.diff(batch.mean(axis=-1), axis=-1) / jnp.diff(centre) / 2

    local, local_replicates = between_levels(curve), between_levels(replicates)
    local_stderr = _jackknife_stderr(local_replicates, used)

    pairs = jnp.asarray(table[:, 1:] & table[:, :-1])
    deviation = jnp.abs(local[None] - value[:, None])
    sampling = jnp.minimum(3 * local_stderr, _SAMPLING_TOLERANCE)
    within = (deviation <= _SLOPE_TOLERANCE + sampling[None]) | ~pairs
    allowed = (~jnp.asarray(table) | heard[None]).all(axis=1)
    straight = allowed & within.all(axis=1)
    choice = jnp.argmax(straight)
    # Nothing straight: report the longest window above the noise, and say so.
    choice = jnp.where(straight.any(), choice, jnp.argmax(allowed))
    inside = jnp.asarray(table)[choice] & allowed.any()
    joined = pairs[choice] & allowed.any()

    # Scatter of the local slopes beyond what sampling explains, one standard deviation of
    # that scatter included: else half of all perfect power laws would be found misfits.
    num_pairs = jnp.maximum(joined.sum(), 1)
    scatter = jnp.where(joined, (local - value[choice]) ** 2, 0.0).sum() / num_pairs
    expected = jnp.where(joined, local_stderr**2, 0.0).sum() / num_pairs
    excess = scatter - expected * (1 + jnp.sqrt(2 / num_pairs))
    misfit = jnp.sqrt(jnp.maximum(excess, 0.0) / num_pairs)
    total_stderr = jnp.sqrt(stderr[choice] ** 2 + misfit**2)

    bends, bend_replicates = jnp.diff(local), jnp.diff(local_replicates, axis=-1)
    interior = joined[1:] & joined[:-1]
    p_value = _fit_p_value(bends, bend_replicates, interior, used)

    absolute, absolute_replicates = slopes(1.0)
    gap_stderr = _jackknife_stderr(absolute_replicates - value_replicates, used)[choice]

    smallest = num_levels - 1 - jnp.argmax(inside[::-1])
    shares = squares[:, smallest, 0] * used
    status = jnp.select(
        [
            count < MIN_DIRECTIONS,
            ~allowed.any(),
            ~straight.any(),
            total_stderr > _LARGEST_STDERR,
        ],
        [
            jnp.where(count == 0, int(Status.DIVERGED), int(Status.TOO_FEW_POINTS)),
            int(Status.AT_NOISE_FLOOR),
            int(Status.NO_SCALING_REGION),
            int(Status.NOT_CONVERGED),
        ],
        int(Status.OK),
    )
    usable = allowed.any() & (count >= MIN_DIRECTIONS)
    result = jnp.where(usable, value[choice], jnp.nan)
    quantile = _student_quantile(num_directions, count)
    details: dict[str, Any] = {
        "scales": scales,
        "variogram": raw,
        "noise_variogram": jnp.broadcast_to(noise, ()),
        "window": inside,
        "window_low": jnp.where(inside, scales[:, 0], jnp.inf).min(),
        "window_high": jnp.where(inside, scales[:, -1], 0.0).max(),
        "fit_p_value": p_value,
        "local_slopes": local,
        "local_slopes_stderr": local_stderr,
        "misfit": misfit,
        "at_cap": result > order - 0.1,
        "absolute_exponent": absolute[choice],
        "jump_gap": absolute[choice] - value[choice],
        "jump_gap_stderr": gap_stderr,
        "largest_share": shares.max() / jnp.maximum(shares.sum(), tiny),
        "directions_used": count,
    }
    return Estimate(
        value=result,
        stderr=jnp.where(usable, total_stderr, jnp.nan),
        low=result - quantile * total_stderr,
        high=result + quantile * total_stderr,
        status=status,
        details=details,
    )


def _student_quantile(num_directions: int, count: Float[Array, ""]) -> Array:
    """97.5 % quantile of Student's t for the directions that were kept."""
    freedom = np.arange(1, num_directions + 1)
    table = jnp.asarray(stats.t.ppf(0.975, freedom))
    return table[jnp.clip(count.astype(int) - 2, 0, num_directions - 1)]
