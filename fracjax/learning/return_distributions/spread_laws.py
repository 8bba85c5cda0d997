"""How the spread of returns after an update grows with the size of the update.

Let Δ be the displacement of an update, cΔ that of one c times as large. If increments of the
objective over distances δ around θ are of size C δ^α (Hölder exponent α, sharp), then

    SD J(θ + c Δ) = C' c^α    with the same α for every distribution of Δ,

because the variance is half the mean squared increment between two updates, whose distance is
proportional to c. Where the objective is differentiable on the scale of the updates,
SD = c · SD(∇J · Δ): exponent 1, or 2 where the gradient vanishes. A fractal's spread shrinks
more slowly: to halve it, the learning rate must be divided by 2^{1/α}. Beyond the distance at
which returns have nothing in common the spread stays what it is, exponent 0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.settings import check_at_least

__all__ = ["spread_exponent"]

_FEWEST = 3


def spread_exponent(
    sizes: Float[Array | np.ndarray, " sizes"],
    returns: Float[Array | np.ndarray, "updates sizes"],
    key: Key | None = None,
    *,
    num_resamples: int = 400,
) -> Estimate:
    """Estimate the exponent of the spread: slope of ln SD on ln size, least squares.

    Compare it with the Hölder exponent around θ over the same distances. It belongs to this θ
    and these sizes: around one point local slopes of a fractal scatter, and over the two to
    four decades that updates usually span the slope scatters with them, which no interval
    from one point knows.

    Measured on Weierstrass fields (base 2) of 8 dimensions, nine sizes over eight octaves, 128
    Gaussian updates: mean over centres H + .007 (.006), H - .001 (.009) and H - .015 (.011) for
    H = .3, .5, .7 (standard errors from 12 centres), standard deviation over centres .02 to .04.
    Updates that reach the longest wavelength read lower, by up to .06.

    Args:
        sizes: Size of the updates, `PostUpdateReturns.sizes`; positive and increasing.
        returns: `PostUpdateReturns.returns`, one row per update, the same updates at all sizes.
        key: Draws the bootstrap over updates.
        num_resamples: Draws of the bootstrap.

    Returns:
        The slope. Its standard error is the larger of the bootstrap's and the scatter about the
        line; the interval is Student's with the number of sizes less two degrees of freedom.
        `AT_NOISE_FLOOR` where a spread is zero, `DIVERGED` where a return is not finite.
        Details: `deviation` and its `deviation_stderr` per size, `local_slopes` between
        neighbours.

    Raises:
        ValueError: If there are fewer than three sizes or their number does not fit.
    """
    check_at_least(num_resamples=(num_resamples, 2))
    returns = jnp.asarray(returns)
    count = returns.shape[1]
    if count < _FEWEST or jnp.shape(sizes) != (count,):
        msg = (
            f"Argument `sizes` must hold at least {_FEWEST} sizes, one per column of `returns`,"
            f" but has shape {jnp.shape(sizes)} for {count} columns."
        )
        raise ValueError(msg)
    key = jax.random.key(0) if key is None else key
    return _fit(jnp.asarray(sizes, returns.dtype), returns, key, num_resamples)


@functools.partial(jax.jit, static_argnums=3)
def _fit(
    sizes: Float[Array, " sizes"],
    returns: Float[Array, "updates sizes"],
    key: Key,
    num_resamples: int,
) -> Estimate:
    (updates, count), dtype = returns.shape, returns.dtype
    x = jnp.log(sizes)
    centred = x - x.mean()
    weights = centred / jnp.sum(centred**2)
    middle = returns - returns.mean(axis=0)

    def logs(share: Float[Array, " updates"]) -> Float[Array, " sizes"]:
        mean = share @ middle / updates
        squares = share @ (middle - mean) ** 2 / (updates - 1)
        return jnp.log(squares) / 2

    rows = jax.random.randint(key, (num_resamples, updates), 0, updates)

    def resample(row: Array) -> Float[Array, " sizes"]:
        return logs(jnp.bincount(row, length=updates).astype(dtype))

    found = logs(jnp.ones(updates, dtype))
    drawn = jax.lax.map(resample, rows, batch_size=16)
    slope = weights @ found
    residuals = found - found.mean() - slope * centred
    scatter = jnp.sqrt(jnp.sum(residuals**2) / (count - 2) / jnp.sum(centred**2))
    stderr = jnp.maximum(jnp.std(drawn @ weights, ddof=1), scatter)
    margin = student_quantile(count - 2, count).astype(dtype) * stderr
    status = jnp.select(
        [~jnp.isfinite(returns).all(), ~jnp.isfinite(found).all()],
        [int(Status.DIVERGED), int(Status.AT_NOISE_FLOOR)],
        int(Status.OK),
    )
    good = status == Status.OK
    value, stderr, low, high = (
        jnp.where(good, part, jnp.nan) for part in (slope, stderr, slope - margin, slope + margin)
    )
    deviation = jnp.exp(found)
    details = {
        "deviation": deviation,
        "deviation_stderr": deviation * jnp.std(drawn, axis=0, ddof=1),
        "local_slopes": jnp.diff(found) / jnp.diff(x),
    }
    return Estimate(value, stderr, low, high, status, details)
