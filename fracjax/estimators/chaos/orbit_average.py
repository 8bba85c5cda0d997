"""Average blocks of growth rates along one orbit: value, error, interval, status."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Status
from fracjax.estimators.chaos.spectral_error import degrees_of_freedom, standard_error
from fracjax.estimators.intervals import student_quantile, welch_statistic

__all__ = ["FEWEST_RATES", "average_blocks", "time_average"]

FEWEST_RATES = 20  # below which there is no error to speak of
_DRIFT = 4.0  # standard errors between the halves of the orbit
_DRIFT_BLOCKS = 16  # blocks for that comparison: long ones, as they are taken as independent


def average_blocks(
    blocks: Float[Array, "blocks k"], *, finite: Bool[Array, ""] | bool, enough: bool
) -> Estimate:
    """Average block means of k growth rates.

    Args:
        blocks: Means over consecutive blocks of equal length, in time order.
        finite: Whether the state stayed finite.
        enough: Whether there are enough data behind the blocks for an error.

    Returns:
        Means, shape (k,), with 95 % Student intervals from `spectral_error.standard_error`.
        Status per mean: `DIVERGED` where the state did not stay finite, `NONFINITE_TANGENT`
        where the mean is not finite (−inf for a tangent that vanished), `TOO_FEW_POINTS`,
        `NOT_CONVERGED` when the halves differ by more than 4 standard errors. Details:
        `blocks` and `batch_stderr`, the plain scatter of up to 16 blocks.
    """
    blocks = jnp.where(finite, blocks, jnp.nan)
    count = len(blocks)
    value = blocks.mean(axis=0)
    stderr = standard_error(blocks)
    margin = student_quantile(degrees_of_freedom(count), count).astype(value.dtype) * stderr
    vanished = jnp.isneginf(value)
    coarse = blocks[count % min(count, _DRIFT_BLOCKS) :]
    coarse = coarse.reshape(min(count, _DRIFT_BLOCKS), -1, blocks.shape[-1]).mean(axis=1)
    drifting = jnp.zeros(len(value), bool)
    if len(coarse) >= 4:
        drifting = welch_statistic(coarse) > _DRIFT
    status = jnp.where(drifting, Status.NOT_CONVERGED, Status.OK)
    if not enough:
        status = jnp.full_like(status, Status.TOO_FEW_POINTS)
    status = jnp.where(jnp.isfinite(value), status, Status.NONFINITE_TANGENT)
    return Estimate(
        value=value,
        stderr=stderr,
        low=jnp.where(vanished, value, value - margin),
        high=jnp.where(vanished, value, value + margin),
        status=jnp.where(finite, status, Status.DIVERGED),
        details={
            "blocks": blocks,
            "batch_stderr": coarse.std(axis=0, ddof=1) / len(coarse) ** 0.5
            if len(coarse) > 1
            else jnp.full_like(value, jnp.nan),
        },
    )


# Compiled as a whole: op by op the first call takes several times as long to compile.
@functools.partial(jax.jit, static_argnames="num_blocks")
def time_average(
    rates: Float[Array, "times k"],
    *,
    num_blocks: int = 128,
    finite: Bool[Array, ""] | bool = True,
) -> Estimate:
    """Average k rates that were recorded along one orbit.

    Args:
        rates: Rates, evenly spaced in time. The remainder of a division into blocks is left
            out at the start.
        num_blocks: The most block means behind the standard error; as few as three quarters
            are used where that leaves out fewer rates.
        finite: Whether the state stayed finite.

    Returns:
        Means as `average_blocks` makes them; `TOO_FEW_POINTS` below 20 rates.
    """
    times, size = rates.shape
    most = max(min(num_blocks, times), 1)
    used = min(range(most, -(-3 * most // 4) - 1, -1), key=lambda blocks: times % blocks)
    blocks = rates[times % used :].reshape(used, -1, size).mean(axis=1)
    return average_blocks(blocks, finite=finite, enough=times >= FEWEST_RATES)
