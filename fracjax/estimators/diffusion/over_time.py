"""How the diffusion exponent changes along a path, and its mean over runs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Status
from fracjax.estimators.diffusion.displacements import segments_of
from fracjax.estimators.diffusion.exponents import Weights, diffusion_exponent
from fracjax.estimators.estimates import symmetric_estimate
from fracjax.estimators.intervals import masked_mean, student_quantile

__all__ = ["average_over_runs", "exponent_change", "exponents_over_time"]

_MIN_SEGMENTS = 6


def exponents_over_time(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    *,
    segment_length: int = 1000,
    window: tuple[int, int] | None = None,
    weights: Weights = "generalised",
) -> Estimate:
    """Estimate the diffusion exponent of consecutive segments of one path.

    Args:
        path: (n, m) or (n,).
        segment_length: Points of a segment; the paper's 1000.
        window: Lags of the fit, see `diffusion_exponent`; inside a segment.
        weights: See `diffusion_exponent`.

    Returns:
        A batch of estimates, one per segment, as `diffusion_exponent` gives them. `details` has
        `waiting_times` (index of the first point of each) besides.

    Raises:
        ValueError: If the path is shorter than one segment or a setting out of range.

    References:
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    segments = segments_of(path, segment_length)

    def one(segment: Array) -> Estimate:
        return diffusion_exponent(segment, window=window, weights=weights)

    found: Estimate = jax.lax.map(one, segments)
    times = segment_length * jnp.arange(len(segments))
    return dataclasses.replace(found, details={**found.details, "waiting_times": times})


def exponent_change(segments: Estimate) -> Estimate:
    """Compare the exponents of the last third of the segments with those of the first third.

    A negative change is the published one, from super- to subdiffusion. The error is the larger
    of the segments' own errors and of their scatter inside each third, with a Student interval
    of the scatter's degrees of freedom; neighbouring segments count as independent. That the
    change differs from zero does not tell its cause: drift that dies out and relaxation show it,
    so look at the change of the nulls, too.

    Measured coverage for random walks, 400 each: all with 6 segments and 99 % with 24; the
    larger of two errors is a cautious one.

    Args:
        segments: From `exponents_over_time`, at least 6 segments.

    Returns:
        Late minus early. `details`: `early`, `late` (means), `first_below` (index of the first
        segment from which on all exponents' upper ends lie below 1; -1 if there is none), and
        `used` (segments with a finite exponent). Segments without one are left out; with fewer
        than two in a third the status is TOO_FEW_POINTS.

    Raises:
        ValueError: If there are fewer than six segments.
    """
    count = segments.value.shape[0]
    if segments.value.ndim != 1 or count < _MIN_SEGMENTS:
        msg = (
            f"Argument `segments` must hold at least {_MIN_SEGMENTS} exponents of one path, but"
            f" has shape {segments.value.shape}."
        )
        raise ValueError(msg)
    third = count // 3
    keep = jnp.isfinite(segments.value)
    own = jnp.where(keep, segments.stderr, 0) ** 2
    means, variances, used = [], [], []
    for part in (slice(0, third), slice(count - third, count)):
        mean, error, number = masked_mean(segments.value[part], keep[part])
        means.append(mean)
        variances.append(jnp.maximum(error**2, own[part].sum() / number**2))
        used.append(number)
    change = means[1] - means[0]
    stderr = jnp.sqrt(variances[0] + variances[1])
    degrees = used[0] + used[1] - 2
    quantile = student_quantile(degrees, 2 * third).astype(change.dtype)
    enough = jnp.minimum(*used) >= 2
    blank = jnp.where(enough, 0, jnp.nan).astype(change.dtype)
    below = jnp.where(keep, segments.high < 1, False)
    stays = jnp.flip(jnp.cumprod(jnp.flip(below.astype(int))))
    first = jnp.where(stays.any(), jnp.argmax(stays), -1)
    status = jnp.where(enough, int(Status.OK), int(Status.TOO_FEW_POINTS))
    details = {"early": means[0], "late": means[1], "first_below": first, "used": keep.sum()}
    return symmetric_estimate(change, stderr, quantile, status, details, blank=blank)


def average_over_runs(runs: Estimate) -> Estimate:
    """Average a batch of estimates over independent runs, with Student intervals between runs.

    The honest error of an exponent of training: what another seed would change.

    Args:
        runs: A batch with the runs along the leading axis, at least two.

    Returns:
        Means without the leading axis. Runs that are not finite are left out; `details`: `used`
        and `share_ok` (share of runs with status OK). TOO_FEW_POINTS where fewer than two are
        left.

    Raises:
        ValueError: If there are fewer than two runs.
    """
    values = jnp.asarray(runs.value)
    if values.ndim < 1 or len(values) < 2:
        msg = f"Argument `runs` must hold at least 2 runs, but has shape {values.shape}."
        raise ValueError(msg)
    mean, error, count = masked_mean(values, jnp.isfinite(values))
    quantile = student_quantile(count - 1, len(values)).astype(values.dtype)
    enough = count >= 2
    blank = jnp.where(enough, 0, jnp.nan).astype(values.dtype)
    status = jnp.where(enough, int(Status.OK), int(Status.TOO_FEW_POINTS))
    details = {"used": count, "share_ok": jnp.mean(runs.status == Status.OK, axis=0)}
    return symmetric_estimate(mean, error, quantile, status, details, blank=blank)
