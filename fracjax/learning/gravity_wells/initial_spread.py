"""How the distribution of initial logits decides who is trapped: N(m, σ²) over many starts."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Key, Leaf, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.settings import check_at_least
from fracjax.learning.gravity_wells.bandits import Rule, effective_gap, policy_probabilities
from fracjax.learning.gravity_wells.escape_laws import escape_constant
from fracjax.learning.gravity_wells.escapes import ESCAPE_PROBABILITY, escape_time
from fracjax.learning.gravity_wells.survival_curves import survival_curve, survival_quantile
from fracjax.learning.share_intervals import wilson_interval

__all__ = ["SpreadStudy", "initial_params", "log_slope", "share_of", "spread_study"]

_CHUNK = 256
_LONGEST = 0.9  # of the limit: times are at most 1.07 times what the law predicts
_SHORTEST = 50.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpreadStudy:
    """Escape times over random starts.

    Attributes:
        trapped: Share of starts whose best arm has a probability below .1.
        censored: Share of starts that did not leave within `max_steps`.
        survival: P(T > t) at the times asked for, over all starts; those that were never
            trapped have T = 0.
        quantiles: Of T over all starts, at the shares asked for; NaN, `NOT_CONVERGED` and a
            lower bound where they lie beyond `max_steps`.
        slope: Of ln T over ln π_1(a*), see `spread_study`.
        constants: Smallest and largest T η Δ x (1 + Σ w²) of the starts of the slope; 1 by the
            law of equal rewards, less for large x. NaN without any.
        times: T of every start, (n,), by rising probability of the best arm at the start.
        observed: Whether it was seen.
        start: π_1(a*).
    """

    trapped: Estimate
    censored: Estimate
    survival: Estimate
    quantiles: Estimate
    slope: Estimate
    constants: Leaf
    times: Leaf
    observed: Leaf
    start: Leaf


def initial_params(
    key: Key,
    *,
    num_inits: int,
    num_arms: int,
    mean: float | Float[Array, "*arms"] = 0.0,
    spread: float | Float[Array, ""] = 1.0,
) -> Float[Array, "inits arms"]:
    """Draw logits from N(m, σ²).

    A mean that all arms share has no effect on softmax policies: exp(m) cancels. Only means that
    differ between arms do, and the spread. The escort map sees both.

    Args:
        key: Randomness.
        num_inits: How many.
        num_arms: Arms.
        mean: m, of all arms or of each.
        spread: σ.
    """
    drawn = jax.random.normal(key, (num_inits, num_arms), jnp.result_type(float))
    return mean + spread * drawn


def spread_study(
    params: Float[Array, "inits arms"],
    rewards: Float[Array, " arms"],
    *,
    rule: Rule = "softmax",
    step_size: float | Float[Array, ""] = 1.0,
    power: float | Float[Array, ""] = 2.0,
    scale_free: bool = False,
    max_steps: int = 20_000,
    at: tuple[float, ...] = (100.0,),
    shares: tuple[float, ...] = (0.5, 0.9, 0.99),
) -> SpreadStudy:
    """Measure escape times from many starts, and describe them without hiding who did not escape.

    A large spread in logits makes wells: the time is of order 1/π_1(a*), whose logarithm spreads
    like σ, so that T has a heavy tail while its median stays modest (K = 6, Δ = .2, η = 1, σ = 3:
    median 126, one start in eleven not out after 20 000 updates). Report tails and the censored
    share; a mean would depend on when one stopped.

    The slope is that of least squares with errors that do not assume equal spreads, over starts
    for which the law of equal rewards predicts more than 50 updates and less than .9 of the
    limit: chosen by where they start and not by what came out, so that censoring cannot bend it.
    It is -1 as x → 0 and a little steeper for finite x, since (1 - 10 x) enters; where other
    rewards differ, it has no such limit.

    Args:
        params: Starts, `initial_params` for example.
        rewards: r.
        rule: See `escape_time`.
        step_size: η.
        power: See `escape_time`.
        scale_free: See `escape_time`.
        max_steps: Updates after which a start is censored.
        at: Times at which the survival curve is wanted.
        shares: Which quantiles.

    Returns:
        Shares with Wilson's intervals, the survival curve, quantiles and the slope.

    Raises:
        ValueError: If a setting is out of range or shapes differ.
    """
    check_at_least(num_inits=(len(params), 2))
    best = jnp.argmax(rewards)
    probabilities = policy_probabilities(params, rule=rule, power=power)
    order = jnp.argsort(probabilities[:, best])
    params, probabilities = params[order], probabilities[order]

    def one(start: Float[Array, " arms"]) -> tuple[Array, Array]:
        found = escape_time(
            start,
            rewards,
            rule=rule,
            step_size=step_size,
            power=power,
            scale_free=scale_free,
            max_steps=max_steps,
        )
        return found.gap_time, found.gap_observed

    # Sorted: the starts of a chunk take about the same time.
    times, observed = jax.lax.map(one, params, batch_size=min(_CHUNK, len(params)))
    start = probabilities[:, best]
    gap = effective_gap(rewards, best)
    law = step_size * gap * start / escape_constant(probabilities, best)
    predicted = (1 - start / ESCAPE_PROBABILITY) / law
    kept = (predicted > _SHORTEST) & (1 / law < _LONGEST * max_steps) & observed
    ratio = times * law
    ends = jnp.stack(
        [jnp.min(jnp.where(kept, ratio, jnp.inf)), jnp.max(jnp.where(kept, ratio, -jnp.inf))]
    )
    points = jnp.asarray(at, start.dtype)
    waits = times.astype(start.dtype)
    quantiles = jax.vmap(lambda each: survival_quantile(waits, observed, each))(
        jnp.asarray(shares, start.dtype)
    )
    return SpreadStudy(
        trapped=share_of(start < ESCAPE_PROBABILITY),
        censored=share_of(~observed),
        survival=survival_curve(waits, observed, points),
        quantiles=quantiles,
        slope=log_slope(start, waits, kept),
        constants=jnp.where(kept.any(), ends, jnp.nan),
        times=times,
        observed=observed,
        start=start,
    )


def share_of(happened: Bool[Array, " n"]) -> Estimate:
    """Share of independent cases, with Wilson's interval."""
    count = happened.size
    share = jnp.mean(happened.astype(jnp.result_type(float)))
    error = jnp.sqrt(share * (1 - share) / count)
    low, high = wilson_interval(share, count)
    status = jnp.asarray(int(Status.OK))
    return Estimate(share, error, low, high, status, {"num_cases": jnp.asarray(count)})


def log_slope(
    x: Float[Array, " n"], y: Float[Array, " n"], keep: Bool[Array, " n"] | None = None
) -> Estimate:
    """Slope of ln y over ln x by least squares; errors allow for unequal spreads (HC1).

    Args:
        x: Positive where kept.
        y: Positive where kept.
        keep: Which points count; all if not given.

    Returns:
        `TOO_FEW_POINTS` below 8 points, `AT_NOISE_FLOOR` where ln x does not vary, `DIVERGED`
        where a kept logarithm is not finite.
    """
    keep = jnp.ones(x.shape, bool) if keep is None else keep
    count = jnp.sum(keep)
    along, up = (jnp.log(jnp.where(keep, part, 1)) for part in (x, y))
    finite = jnp.isfinite(along).all() & jnp.isfinite(up).all()
    middle = jnp.sum(along) / count
    centred = jnp.where(keep, along - middle, 0)
    square = jnp.sum(centred**2)
    slope = jnp.sum(centred * up) / square
    level = jnp.sum(up) / count
    residual = jnp.where(keep, up - level - slope * centred, 0)
    error = jnp.sqrt(jnp.sum((centred * residual) ** 2) * count / (count - 2)) / square
    margin = student_quantile(count - 2, x.size).astype(slope.dtype) * error
    rounding = (32 * jnp.finfo(slope.dtype).eps * jnp.maximum(jnp.abs(middle), 1)) ** 2
    status = jnp.where(square <= rounding * count, int(Status.AT_NOISE_FLOOR), int(Status.OK))
    status = jnp.where(count < 8, int(Status.TOO_FEW_POINTS), status)
    status = jnp.where(finite, status, int(Status.DIVERGED))
    good = status == int(Status.OK)
    low, high = slope - margin, slope + margin
    slope, error, low, high = (jnp.where(good, part, jnp.nan) for part in (slope, error, low, high))
    return Estimate(slope, error, low, high, status, {"num_points": count})
