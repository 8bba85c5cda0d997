"""Average of the slopes of all candidate windows, with errors that include the search."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.roughness.resampling import jackknife_variance
from fracjax.estimators.roughness.windows import Candidates, fit_windows, window_weights

__all__ = ["LevelNumbers", "WindowAverage", "average_windows"]

_FLOOR = 1e-10
_QUIET_SHARE = 0.25
_GROWTH_TO_ERROR = 3.0


class LevelNumbers(NamedTuple):
    """A log-log curve, level by level, for every resample of the lines.

    The rows are: all lines, each line left out, bootstrap draws (if any), all lines with
    none and with all of the noise subtracted, and each line alone.

    Attributes:
        numbers: Mean of ln V at the level's position and its slope there,
            (rows, levels, 2).
        position: ln s of every level, falling, mean zero.
        precision: Inverse variances of a mean and a slope by the Gaussian model; 0 for a
            number that is not used.
        used: 1 for lines that count, 0 for those that were dropped.
    """

    numbers: Float[Array, "r k 2"]
    position: Float[Array, " k"]
    precision: Float[Array, " 2"]
    used: Float[Array, " d"]


class WindowAverage(NamedTuple):
    """The average and what it is made of.

    Attributes:
        estimates: Averaged exponent of every row; lines alone by the weights of all.
        weights: Weight of every candidate in every row.
        coefficients: Linear map from numbers to the averaged exponent, in every row.
        squared: χ² of every candidate's residuals, all lines.
        best: 1 for the candidate with the largest weight, else 0.
        allowed: Candidates that could be used.
        window: Levels of the best candidate.
        freedom: Degrees of freedom of the best candidate's residuals.
        length: Inverse standard error of the best candidate's slope 2H by the model.
        law: Power law of the best candidate in every row: ln V at position zero, slope.
        residual: What the best candidate leaves of the numbers, in every row.
        from_lines: Variance by resampling lines.
        total: Variance in all.
        naive: Variance of the best candidate had it been given.
        misfit_part: Variance from lack of fit.
        search_part: Variance from the search.
        noise_part: Variance from the noise's size.
        quantile: Student's quantile for `total`.
    """

    estimates: Float[Array, " r"]
    weights: Float[Array, "c r"]
    coefficients: Float[Array, "r k 2"]
    squared: Float[Array, " c"]
    best: Float[Array, " c"]
    allowed: Bool[Array, " c"]
    window: Bool[Array, " k"]
    freedom: Float[Array, ""]
    length: Float[Array, ""]
    law: Float[Array, "r 2"]
    residual: Float[Array, "r k 2"]
    from_lines: Float[Array, ""]
    total: Float[Array, ""]
    naive: Float[Array, ""]
    misfit_part: Float[Array, ""]
    search_part: Float[Array, ""]
    noise_part: Float[Array, ""]
    quantile: Float[Array, ""]


def average_windows(
    curve: LevelNumbers,
    hurst: Float[Array, ""],
    options: Candidates,
    heard: Bool[Array, " k"],
    noise_share: Float[Array, " k"] | None,
) -> WindowAverage:
    """Fit every candidate to every row, weigh, average, and take errors from the rows.

    Args:
        curve: The log-log curve of all resamples.
        hurst: Exponent that shapes the corrections.
        options: Candidates.
        heard: Levels above the noise.
        noise_share: Largest share of noise in the smallest lag of each level, where the
            noise is not known exactly. Candidates with much of it must show an exponent
            clearly above zero: noise that was underestimated looks like zero.

    References:
        Buckland, Burnham and Augustin (1997), Model selection: an integral part of
        inference.
    """
    numbers, _, precision, used = curve
    dtype, num_lines, count = numbers.dtype, len(used), used.sum()
    num_rows, shape = len(numbers), numbers.shape
    left, bounds = slice(1, 1 + num_lines), num_rows - num_lines - np.array([2, 1])
    fits = fit_windows(curve.position, precision, hurst, options)
    root = jnp.sqrt(precision)
    data = (numbers * root).reshape(num_rows, -1)
    scores = jnp.einsum("cbs,rs->crb", fits.basis, data)
    values = scores[..., 2] / fits.length[:, None] / 2
    inside = jnp.asarray(np.repeat(options.windows, 2, axis=1)[:, None], dtype)
    residual = data * inside - jnp.einsum("crb,cbs->crs", scores, fits.basis)
    maps = fits.basis[:, 2].reshape(len(inside), *shape[1:]) * root / fits.length[:, None, None] / 2
    span = values[:, bounds[1]] - values[:, bounds[0]]
    variance = jackknife_variance(values[:, left].T, used) + span**2 / 12
    variance += _FLOOR * jnp.sum(maps**2, axis=(1, 2))
    # The classical variance of a slope, from the residuals under the model's weights.
    scale = jnp.asarray(options.freedom, dtype) * 4 * fits.length**2
    lack_of_fit = jnp.sum(residual**2, axis=-1) / scale[:, None]
    # A draw with replacement adds its own sampling noise to the residuals.
    added = np.zeros(num_rows)
    added[1 + num_lines : bounds[0]] = 1.0
    lack_of_fit -= variance[:, None] * jnp.asarray(added, dtype)
    allowed = ~jnp.any(options.windows & ~heard, axis=1)
    if noise_share is not None:
        noisy = jnp.any(options.windows & (noise_share > _QUIET_SHARE), axis=1)
        error = jnp.sqrt(jnp.maximum(variance, lack_of_fit[:, 0]))
        allowed &= ~noisy | (values[:, 0] > _GROWTH_TO_ERROR * error)
    # Lines alone, like the two bounds, take the weights of all lines.
    own = np.arange(num_rows)
    own[bounds[0] :] = 0
    errors = jnp.maximum(variance[:, None], lack_of_fit[:, own])
    weights = window_weights(errors, allowed)

    # Sums with an indicator: indexing at run time is slow to compile.
    best = (np.arange(len(variance)) == jnp.argmax(weights[:, 0])).astype(dtype)
    columns = [options.windows, options.freedom[:, None]]
    known = best @ jnp.asarray(np.concatenate(columns, axis=1), dtype)
    window, freedom = known[:-1] > 0, known[-1]
    estimates = (weights * values).sum(axis=0)
    frozen = (weights[:, :1] * values).sum(axis=0)
    both = jnp.stack([estimates, frozen], axis=-1)
    renewed, fixed = jackknife_variance(both[left], used)
    misfit = (weights[:, 0] * (errors[:, 0] - variance)).sum()
    between = (weights[:, 0] * (values[:, 0] - estimates[0]) ** 2).sum()
    noise = (estimates[bounds[1]] - estimates[bounds[0]]) ** 2 / 12
    from_lines = jnp.maximum(fixed, renewed)
    total = jnp.maximum(renewed, fixed + misfit) + between + noise
    # Welch and Satterthwaite: lines on one side, the levels of the window on the other.
    several = jnp.maximum(count - 1, 1)
    tiny = jnp.finfo(dtype).tiny
    rest = (total - from_lines) ** 2 / freedom
    degrees = total**2 / (from_lines**2 / several + rest + tiny)
    degrees = jnp.clip(degrees, 1, several).astype(int)
    # χ² needs the numbers' own variances, model or not.
    scatter = jackknife_variance(numbers[left], used) + _FLOOR
    scatter += (numbers[bounds[1]] - numbers[bounds[0]]) ** 2 / 12
    counted = jnp.where(precision > 0, 1 / (scatter * jnp.where(precision > 0, precision, 1.0)), 0)
    basis = jnp.einsum("c,cbs->bs", best, fits.basis)
    chosen = data @ basis.T
    left_over = data * jnp.repeat(window, 2) - chosen @ basis
    ends = best @ jnp.column_stack([fits.intercept, fits.length, variance])
    slope = chosen[:, 2:] / ends[3]
    return WindowAverage(
        estimates=estimates,
        weights=weights,
        coefficients=jnp.einsum("cr,cki->rki", weights, maps),
        squared=residual[:, 0] ** 2 @ counted.reshape(-1),
        best=best,
        allowed=allowed,
        window=window & allowed.any(),
        freedom=freedom,
        length=ends[3],
        law=jnp.concatenate([chosen @ ends[:3, None], slope], axis=1),
        residual=left_over.reshape(shape) / jnp.where(precision > 0, root, 1.0),
        from_lines=from_lines,
        total=total,
        naive=ends[4],
        misfit_part=misfit,
        search_part=between + jnp.maximum(renewed - fixed, 0.0),
        noise_part=noise,
        quantile=student_quantile(degrees, num_lines).astype(dtype),
    )
