"""Closed forms of escape times from a gravity well: an oracle, a lower bound, exponents.

With rewards r = (b + Δ, b, …, b) and gradient flow on softmax logits, the best arm's probability
π obeys dπ/dt = η Δ π² [(1 - π)² + Σ π_a²], the sum over the other arms. What follows from it was
derived for this package; the papers state orders of magnitude.

None of it holds for unequal rewards of the other arms: see `unequal_rewards_exponent`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax.learning.gravity_wells.bandits import Rule, check_rule
from fracjax.learning.gravity_wells.escapes import ESCAPE_PROBABILITY

__all__ = [
    "corner_escape_time",
    "corner_potential",
    "escape_constant",
    "escape_exponent",
    "escape_lower_bound",
    "natural_escape_time",
    "predicted_escape_time",
    "unequal_rewards_exponent",
]

_Number = float | Float[Array, "*batch"] | Float[np.ndarray, "*batch"]


def corner_potential(probability: _Number) -> Float[Array, "*batch"]:
    """F(q) = -1/q + 1/(1 - q) + 2 ln(q/(1 - q)), which flow from a corner raises by 2 η Δ per step.

    Args:
        probability: q, the best arm's probability, all other mass being on one arm.
    """
    q = jnp.asarray(probability)
    return -1 / q + 1 / (1 - q) + 2 * (jnp.log(q) - jnp.log1p(-q))


def corner_escape_time(
    probability: _Number,
    gap: _Number,
    step_size: _Number = 1.0,
    *,
    threshold: float = ESCAPE_PROBABILITY,
) -> Float[Array, "*batch"]:
    """Steps of gradient flow from a corner until the best arm has probability `threshold`.

    T = [F(.1) - F(x)]/(2 η Δ), exact for flow. Gradient ascent with η ≤ 1 takes longer, by 1.2 %
    at x = .01 and Δ = .5, by .1 % at x = .001, less below (measured).

    Args:
        probability: x, the best arm's probability at the start, below `threshold`; 0 from above.
        gap: Δ.
        step_size: η.
        threshold: Where the well ends.
    """
    x = jnp.asarray(probability)
    climb = corner_potential(jnp.asarray(threshold, x.dtype)) - corner_potential(x)
    return jnp.maximum(climb, 0) / (2 * jnp.asarray(step_size) * gap)


def escape_lower_bound(
    probability: _Number,
    gap: _Number,
    step_size: _Number = 1.0,
    *,
    threshold: float = ESCAPE_PROBABILITY,
) -> Float[Array, "*batch"]:
    """Least time of gradient flow in a well from any start: (1 - 10 x)/(2 η Δ x), or 0.

    Proof: the bracket of the module's equation is at most 2 (1 - π)² ≤ 2. It is a theorem about
    flow, equal rewards of the other arms, and a state whose visits do not change. Gradient ascent
    in steps did not beat it in any of thousands of random starts (2 to 10 arms, η ≤ 1), which is
    a measurement and no proof.

    Args:
        probability: x, the best arm's probability at the start.
        gap: Δ.
        step_size: η; in a Markov decision process η d(s)/(1 - γ), see `effective_step`.
        threshold: Where the well ends, .1 for a gap below .9 Δ.
    """
    x = jnp.asarray(probability)
    return jnp.maximum(1 - x / threshold, 0) / (2 * jnp.asarray(step_size) * gap * x)


def escape_constant(
    probabilities: Float[Array, "*batch arms"], best: int | Int[Array, ""] = 0
) -> Float[Array, "*batch"]:
    """Constant c = 1/(1 + Σ w²), with which T → c/(η Δ x) as x → 0.

    w are the other arms' probabilities over their sum: ½ at a corner, (K - 1)/K where K - 1
    other arms share evenly.

    Args:
        probabilities: Of the arms at the start.
        best: The best arm.
    """
    others = jnp.where(jnp.arange(probabilities.shape[-1]) == best, 0, probabilities)
    shares = others / jnp.sum(others, axis=-1, keepdims=True)
    return 1 / (1 + jnp.sum(shares**2, axis=-1))


def predicted_escape_time(
    probabilities: Float[Array, "*batch arms"],
    gap: _Number,
    step_size: _Number = 1.0,
    *,
    best: int | Int[Array, ""] = 0,
    threshold: float = ESCAPE_PROBABILITY,
) -> Float[Array, "*batch"]:
    """First-order escape time c (1 - 10 x)/(η Δ x) from the probabilities of now.

    The shares of the other arms are taken as fixed; they even out while they are above one
    another's level, so that it reads a few percent low at x = .01. See `escape_constant`.

    Args:
        probabilities: Of the arms.
        gap: Δ.
        step_size: η.
        best: The best arm.
        threshold: Where the well ends.
    """
    x = probabilities[..., best]
    slow = 2 * escape_constant(probabilities, best)
    return slow * escape_lower_bound(x, gap, step_size, threshold=threshold)


def natural_escape_time(
    probability: _Number,
    gap: _Number,
    step_size: _Number = 1.0,
    *,
    threshold: float = ESCAPE_PROBABILITY,
) -> Float[Array, "*batch"]:
    """Updates of natural gradient ascent until the best arm has more than `threshold`.

    Every update adds η Δ to its log-odds: exact in discrete time, [logit(.1) - logit(x)]/(η Δ),
    and from it up to the next whole number. A logarithm of 1/x: there is no well. The escort map
    with p = 2 and step c ‖θ‖² has the same law with 4c for η, in flow.

    Args:
        probability: x.
        gap: Δ.
        step_size: η.
        threshold: Where the well ends.
    """
    x = jnp.asarray(probability)
    climb = np.log(threshold / (1 - threshold)) - (jnp.log(x) - jnp.log1p(-x))
    return jnp.maximum(climb, 0) / (jnp.asarray(step_size) * gap)


def escape_exponent(rule: Rule, power: float = 2.0) -> float:
    """Exponent of π_1(a*) in the escape time as it goes to zero, equal rewards of other arms.

    -1 for softmax; -(1 - 2/p) for the escort map with p > 2; 0 for p ≤ 2 and for the natural
    gradient, whose times grow like a logarithm (p < 2: stay finite). Over x from 1e-3 to 1e-6
    escort times show -.365, -.520 and -.776 for p = 3, 4, 8 (measured), where the limits are
    -.333, -.5 and -.75.

    Args:
        rule: See `bandits`.
        power: p of the escort map.

    Raises:
        ValueError: If there is no such rule.
    """
    check_rule(rule, power)
    if rule == "softmax":
        return -1.0
    return -max(1 - 2 / power, 0.0) if rule == "escort" else 0.0


def unequal_rewards_exponent(num_arms: int) -> float:
    """Exponent of π_1(a*) for K arms, three or more, with r_1 > r_2 > the rest: -(K - 1).

    The second best arm takes over first, and the best one's probability falls to x^(K-1) before
    it can rise: the trap is deeper than the gap and π_1(a*) at the start show. The exponent -1
    holds for equal rewards only. Stated as a lower bound, Ω(x^-(K-1)), by "Fine-tuning on
    self-generated and reward-weighted data" (2026); measured here -2.06 for three arms at
    x = .0125, and for four still falling through -3.2.

    Args:
        num_arms: K.

    Raises:
        ValueError: If there are fewer than 3 arms.
    """
    if num_arms < 3:
        msg = f"Argument `num_arms` must be at least 3, but is {num_arms}."
        raise ValueError(msg)
    return -float(num_arms - 1)
