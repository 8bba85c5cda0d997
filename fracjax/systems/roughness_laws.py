"""Which Hölder exponent the return of a chaotic loop must have.

A change of the parameter grows to the size of the attractor within t* steps; what the return
still differs by then is worth γ^{t*}. With S_t the logarithm of the growth over t steps, t* is
when S_t first reaches ln(1/δ), and the return's increments over δ are about γ^{t*}.

* Typical increments, exp E ln|ΔJ| ~ δ^α, follow the mean: t* ≈ ln(1/δ)/λ and α = -ln γ/λ.
* Their p-th moment, (E|ΔJ|^p)^{1/p} ~ δ^α, follows the moments of the growth. With
  Λ(q) = lim ln E exp(q S_t) / t, exp(q S_t - Λ(q) t) keeps its mean, also up to t*: hence
  E exp(-Λ(q) t*) = δ^q, and E γ^{p t*} = δ^{p α} where **Λ(p α) = -p ln γ**.

Both are -ln γ/λ for uniform expansion, Λ(q) = λ q. Otherwise Λ(q)/q rises from λ at q = 0, so
that mean squares are rougher than what is typical: -ln γ/λ is the limit for γ → 1, and the
second-moment exponent Λ(2)/2 is the right rate at α = 1 only. The moments are carried by rare
fast stretches; an average over few lines, or over lines divided by their own size, has not met
the rarest and lies between the two. With steps in the reward, increments have moments of their
own: jumps of finite size at a finite rate give E|ΔJ|^p ~ δ, so that α = min(law, 1/p).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Status

__all__ = [
    "exponents_from_growth",
    "moment_exponent",
    "predicted_exponent",
    "skew_tent_rates",
]

_LARGEST_ORDER = 4.0
_ORDERS = np.concatenate([np.linspace(0.0, 0.5, 26), np.linspace(0.55, _LARGEST_ORDER, 70)])


def predicted_exponent(exponent: float, discount: float, *, largest: float = 2.0) -> float:
    """Predict the Hölder exponent of a discounted return, -ln(discount)/exponent.

    Exact for uniform expansion and a continuous step, and for typical increments of any loop; a
    guarantee from below when `exponent` bounds the growth uniformly. Second differences can
    follow it up to 2.

    Args:
        exponent: Lyapunov exponent of the closed loop, in nats per step.
        discount: Discount per step.
        largest: Returned for a loop that is not chaotic, and the upper bound.

    References:
        Wang, Herbert and Gao (2023), arXiv 2310.15418.
    """
    if exponent <= 0:
        return largest
    return min(largest, -math.log(discount) / exponent)


def skew_tent_rates(
    orders: Float[Array | np.ndarray, "*shape"], cut: float
) -> Float[np.ndarray, "*shape"]:
    """Evaluate Λ(q) = ln(c^{1-q} + (1-c)^{1-q}) of `mdps.skew_tent(c)`, in nats per step.

    The mean exponent, its slope at 0, is -c ln c - (1-c) ln(1-c).
    """
    orders = np.asarray(orders, float)
    return np.asarray(np.log(cut ** (1 - orders) + (1 - cut) ** (1 - orders)))


def moment_exponent(
    orders: Float[Array | np.ndarray, " orders"],
    rates: Float[Array | np.ndarray, " orders"],
    discount: float,
    *,
    moment: float = 2.0,
) -> Float[Array, ""]:
    """Solve Λ(p α) = -p ln(discount) for α, the exponent of the p-th moment of increments.

    Args:
        orders: q, rising from 0.
        rates: Λ(q), in nats per step. It is convex and 0 at 0; where it dips below zero (a
            stable loop with rare growth) the root beyond the dip counts.
        discount: γ per step.
        moment: p; 2 for variances and variograms.

    Returns:
        α, at most `orders[-1]/p`, which stands for "at least".
    """
    rates = jnp.asarray(rates)
    rising = jax.lax.cummax(jnp.maximum(rates, 0.0))
    wanted = -moment * math.log(discount)
    # Equal values, inside the dip, would make the inverse ambiguous: its far end counts.
    rising = rising + jnp.finfo(rising.dtype).eps * jnp.arange(len(rising), dtype=rising.dtype)
    return jnp.interp(wanted, rising, jnp.asarray(orders, rates.dtype)) / moment


def exponents_from_growth(
    growth: Float[Array, "states steps"],
    discounts: Sequence[float],
    *,
    window: int = 10,
    moment: float = 2.0,
) -> Estimate:
    """Predict the exponents of discounted returns from recorded growth, by its moments.

    Λ(q) is [ln E exp(q S_2w) - ln E exp(q S_w)] / w with S the growth over all windows of w
    and 2w steps of all states: the difference is free of the prefactor that
    ln E exp(q S_w) / w keeps, a bias of order 1/w. Then Λ(p α) = -p ln γ is solved.

    Args:
        growth: Logarithms of growth per step of the leading tangent, transients left out, one
            record per state (or per parameter of a neighbourhood). Finite.
        discounts: γ per step.
        window: w. The law needs windows as long as -ln(scale)/λ; sampling allows windows
            whose largest growth was met several times.
        moment: p, see `moment_exponent`.

    Returns:
        One exponent per discount, at most 4/p, with 95 % intervals from a jackknife over
        states. Details: `orders`, `rates` (Λ), `mean_exponent` λ and
        `second_moment_exponent` Λ(2)/2 in nats per step, with `_stderr` each.

    Raises:
        ValueError: If two windows do not fit into a record, or there are fewer than 8 states.
    """
    states, steps = growth.shape
    if not 1 <= window <= steps // 2 or states < 8:
        msg = (
            f"Argument `growth` must hold at least 8 states of two windows ({2 * window} steps),"
            f" but has shape {growth.shape}."
        )
        raise ValueError(msg)
    growth = jnp.asarray(growth, jnp.result_type(growth.dtype, jnp.float32))
    orders = jnp.asarray(_ORDERS, growth.dtype)
    mean = growth.mean()
    ends = jnp.pad(jnp.cumsum(growth - mean, axis=1), ((0, 0), (1, 0)))

    def by_state(length: int) -> Float[Array, "orders states"]:
        sums = ends[:, length:] - ends[:, :-length]
        each = jax.lax.map(lambda q: jax.nn.logsumexp(q * sums, axis=1), orders)
        return each - math.log(sums.shape[1])

    short, long = by_state(window), by_state(2 * window)

    def solve(weights: Float[Array, " states"]) -> Float[Array, " numbers"]:
        logs = [jax.nn.logsumexp(part, axis=1, b=weights) for part in (short, long)]
        rates = (logs[1] - logs[0]) / window + orders * mean
        alphas = [moment_exponent(orders, rates, g, moment=moment) for g in discounts]
        second = jnp.interp(2.0, orders, rates) / 2
        return jnp.stack([*alphas, second, growth.mean(axis=1) @ weights / weights.sum()])

    every = jnp.ones(states, growth.dtype)
    found = solve(every)
    left = jax.lax.map(lambda number: solve(every.at[number].set(0.0)), jnp.arange(states))
    stderr = jnp.sqrt((states - 1) / states * jnp.sum((left - left.mean(axis=0)) ** 2, axis=0))
    logs = [jax.nn.logsumexp(part, axis=1) for part in (short, long)]
    count = len(discounts)
    value, error = found[:count], stderr[:count]
    finite = jnp.isfinite(value)
    return Estimate(
        value=value,
        stderr=error,
        low=value - 1.96 * error,
        high=value + 1.96 * error,
        status=jnp.where(finite, int(Status.OK), int(Status.NONFINITE_TANGENT)),
        details={
            "orders": orders,
            "rates": (logs[1] - logs[0]) / window + orders * mean,
            "second_moment_exponent": found[count],
            "second_moment_exponent_stderr": stderr[count],
            "mean_exponent": found[count + 1],
            "mean_exponent_stderr": stderr[count + 1],
        },
    )
