"""Curves of returns with intervals, and the size of disturbance that a policy tolerates."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.settings import check_at_least
from fracjax.learning.robustness.interquartile import Interval, interquartile_mean

__all__ = ["summarize_curve", "tolerated_size"]


def summarize_curve(
    returns: Float[Array, "sizes states"] | Float[Array, "runs sizes states"],
    key: Key | None = None,
    *,
    relative: bool = False,
    interval: Interval = "percentile",
    num_resamples: int = 2000,
) -> Estimate:
    """Aggregate returns at every size: interquartile means with bootstrap intervals.

    What is drawn anew is what is independent: initial states of one policy, or whole runs
    (trained policies with all their episodes) where there are several. The same draws serve
    all sizes.

    Args:
        returns: Results of `returns_under_noise` or `returns_under_push`, with a leading axis
            of runs if there are several.
        key: Draws the resamples.
        relative: Whether to subtract, episode by episode, the return at the first size: with
            common random numbers the interval of this difference is the one to read.
        interval: See `interquartile_mean`; its coverage for few runs is told there.
        num_resamples: Draws of the bootstrap.

    Returns:
        One estimate per size, see `interquartile_mean`.
    """
    if relative:
        returns = returns - returns[..., :1, :]
    table = jnp.moveaxis(returns, -2, 0)
    if table.ndim == 2:
        table = table[..., None]

    def at_size(scores: Array) -> Estimate:
        return interquartile_mean(
            scores, key, interval=interval, resampling="rows", num_resamples=num_resamples
        )

    return jax.vmap(at_size)(table)


def tolerated_size(
    sizes: Float[Array, " sizes"],
    returns: Float[Array, "sizes states"],
    key: Key | None = None,
    *,
    share: float = 0.5,
    floor: float | Float[Array, ""] = 0.0,
    num_resamples: int = 1000,
) -> Estimate:
    """Find the size of disturbance at which a policy has lost a share of its return.

    The smallest size at which the mean return over states, linear between the given sizes,
    falls to J(0) - share · (J(0) - floor). It is infinite where the curve never falls so far:
    the given sizes were too small, or the policy does not mind.

    Args:
        sizes: Sizes in increasing order, the first of them 0.
        returns: Returns of one policy.
        key: Draws the bootstrap over states.
        share: Share of the return above `floor` that is lost.
        floor: Return of a policy that does nothing for the task; 0 fits rewards that are never
            negative.
        num_resamples: Draws of the bootstrap.

    Returns:
        The size with a 95 % percentile interval, an end of which is infinite where more than
        2.5 % of the draws never fall so far; the upper one is NaN where so many of them have
        nothing to lose. `AT_NOISE_FLOOR` (NaN) when J(0) itself does not exceed `floor`.
        `DIVERGED` when a return is NaN, `TOO_FEW_POINTS` with one state.

    Raises:
        ValueError: If `share` is not inside (0, 1] or there are fewer than two sizes.
    """
    check_at_least(num_resamples=(num_resamples, 2))
    if not 0 < share <= 1:
        msg = f"Argument `share` must lie in (0, 1], but is {share}."
        raise ValueError(msg)
    if returns.shape[0] < 2:
        msg = f"Argument `returns` must hold two sizes or more, but has shape {returns.shape}."
        raise ValueError(msg)
    states = returns.shape[1]
    key = jax.random.key(0) if key is None else key
    sizes = jnp.asarray(sizes, returns.dtype)

    def crossing(curve: Float[Array, " sizes"]) -> Float[Array, ""]:
        level = curve[0] - share * (curve[0] - floor)
        below = curve <= level
        right = jnp.argmax(below)
        left = jnp.maximum(right - 1, 0)
        drop = curve[left] - curve[right]
        part = (curve[left] - level) / jnp.where(drop > 0, drop, 1)
        found = sizes[left] + part * (sizes[right] - sizes[left])
        found = jnp.where(below.any(), found, jnp.inf)
        return jnp.where(curve[0] > floor, found, jnp.nan)

    chosen = jax.random.randint(key, (num_resamples, states), 0, states)
    weights = jax.vmap(lambda rows: jnp.bincount(rows, length=states))(chosen) / states
    curves = jnp.matmul(weights.astype(returns.dtype), returns.T, precision="highest")
    drawn = jnp.sort(jax.vmap(crossing)(curves))
    value = crossing(returns.mean(axis=1))
    ends = jnp.asarray([0.025, 0.975]) * (num_resamples - 1)
    low, high = drawn[jnp.floor(ends[0]).astype(int)], drawn[jnp.ceil(ends[1]).astype(int)]
    bad, few = jnp.isnan(returns).any(), states < 2
    status = jnp.where(jnp.isnan(value), Status.AT_NOISE_FLOOR, Status.OK)
    status = jnp.where(few, Status.TOO_FEW_POINTS, status)
    status = jnp.where(bad, Status.DIVERGED, status)
    unknown = (status != Status.OK) & (status != Status.TOO_FEW_POINTS)
    spread = jnp.std(drawn, ddof=1)
    return Estimate(
        value=jnp.where(unknown, jnp.nan, value),
        stderr=jnp.where(unknown | few | ~jnp.isfinite(spread), jnp.nan, spread),
        low=jnp.where(unknown | few, jnp.nan, low),
        high=jnp.where(unknown | few, jnp.nan, high),
        status=status,
    )
