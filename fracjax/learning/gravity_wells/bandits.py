"""Policies over the arms of a bandit: probabilities, value, exact gradient, one update.

Three rules. With A_a = r_a - V the advantage of arm a under the policy π and V = Σ π_a r_a:

- `"softmax"`: π ∝ exp(θ) and the exact gradient ∂V/∂θ_a = π_a A_a;
- `"escort"`: π ∝ |θ|^p and ∂V/∂θ_a = p/‖θ‖_p sgn(θ_a) π_a^(1 - 1/p) A_a;
- `"natural"`: π ∝ exp(θ) and the natural gradient, which is A up to a constant.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = [
    "Rule",
    "advantages",
    "bandit_gradient",
    "bandit_update",
    "bandit_value",
    "check_rule",
    "effective_gap",
    "policy_probabilities",
]

Rule = Literal["softmax", "escort", "natural"]


def policy_probabilities(
    params: Float[Array, "*batch arms"],
    *,
    rule: Rule = "softmax",
    power: float | Float[Array, ""] = 2.0,
) -> Float[Array, "*batch arms"]:
    """Probabilities of the arms.

    The escort map does not change when θ is scaled, and is computed from θ over its largest
    entry, so that powers neither overflow nor vanish together. At θ = 0 it is not defined: NaN.

    Args:
        params: θ.
        rule: Which parametrisation.
        power: p of the escort map, above 1.

    Raises:
        ValueError: If there is no such rule, or `power` is not above 1.
    """
    check_rule(rule, power)
    if rule != "escort":
        return jax.nn.softmax(params, axis=-1)
    # A constant factor: π does not depend on it, nor do derivatives.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(params), axis=-1, keepdims=True))
    powers = jnp.abs(params / largest) ** power
    return powers / jnp.sum(powers, axis=-1, keepdims=True)


def bandit_value(
    params: Float[Array, "*batch arms"],
    rewards: Float[Array, "*batch arms"],
    *,
    rule: Rule = "softmax",
    power: float | Float[Array, ""] = 2.0,
) -> Float[Array, "*batch"]:
    """Mean reward of the policy. See `policy_probabilities`."""
    return jnp.sum(policy_probabilities(params, rule=rule, power=power) * rewards, axis=-1)


def advantages(
    probabilities: Float[Array, "*batch arms"], rewards: Float[Array, "*batch arms"]
) -> Float[Array, "*batch arms"]:
    """r_a - V as a sum of π_b (r_a - r_b).

    In a well V differs from the reward of the favoured arms by the tiny Δ π*; the difference of
    two numbers of order one would lose it.
    """
    differences = rewards[..., :, None] - rewards[..., None, :]
    return jnp.sum(probabilities[..., None, :] * differences, axis=-1)


def effective_gap(
    rewards: Float[Array, "*batch arms"], best: Int[Array, "*batch"] | int = 0
) -> Float[Array, "*batch"]:
    """Δ_eff: the best arm's reward less the largest of the others; negative where it is not best.

    Args:
        rewards: r.
        best: Which arm counts as the best.
    """
    mark = jnp.arange(rewards.shape[-1]) == jnp.asarray(best)[..., None]
    own = jnp.sum(jnp.where(mark, rewards, 0), axis=-1)
    return own - jnp.max(jnp.where(mark, -jnp.inf, rewards), axis=-1)


def bandit_gradient(
    params: Float[Array, "*batch arms"],
    rewards: Float[Array, "*batch arms"],
    *,
    rule: Rule = "softmax",
    power: float | Float[Array, ""] = 2.0,
) -> Float[Array, "*batch arms"]:
    """Exact gradient of the value; for `"natural"` the natural gradient.

    A coordinate of the escort map that is zero stays zero: its gradient is zero for p > 1.

    Args:
        params: θ.
        rewards: r.
        rule: Which rule, see the module.
        power: p of the escort map, above 1.

    Raises:
        ValueError: See `policy_probabilities`.
    """
    probabilities = policy_probabilities(params, rule=rule, power=power)
    advantage = advantages(probabilities, rewards)
    if rule == "natural":
        return advantage
    if rule == "softmax":
        return probabilities * advantage
    share = probabilities ** (1 - 1 / jnp.asarray(power, params.dtype))
    length = _power_norm(params, power)
    return power / length * jnp.sign(params) * share * advantage


def bandit_update(
    params: Float[Array, "*batch arms"],
    rewards: Float[Array, "*batch arms"],
    step_size: float | Float[Array, ""],
    *,
    rule: Rule = "softmax",
    power: float | Float[Array, ""] = 2.0,
    scale_free: bool = False,
) -> Float[Array, "*batch arms"]:
    """One step of exact gradient ascent, θ + η g.

    Args:
        params: θ.
        rewards: r.
        step_size: η.
        rule: Which rule, see the module.
        power: p of the escort map, above 1.
        scale_free: For `"escort"`: the step η ‖θ‖_p², with which the path of π does not depend
            on the scale of θ; the result is divided by its norm, so that it stays of length 1.

    Raises:
        ValueError: See `policy_probabilities`, or if `scale_free` is asked of another rule.
    """
    if scale_free:
        if rule != "escort":
            msg = f"Argument `scale_free` must be False for rule {rule!r}, but is True."
            raise ValueError(msg)
        params = params / _power_norm(params, power)
    moved = params + step_size * bandit_gradient(params, rewards, rule=rule, power=power)
    return moved / _power_norm(moved, power) if scale_free else moved


def _power_norm(
    params: Float[Array, "*batch arms"], power: float | Float[Array, ""]
) -> Float[Array, "*batch 1"]:
    """‖θ‖_p without overflow."""
    largest = jnp.max(jnp.abs(params), axis=-1, keepdims=True)
    total = jnp.sum(jnp.abs(params / largest) ** power, axis=-1, keepdims=True)
    return largest * total ** (1 / jnp.asarray(power, params.dtype))


def check_rule(rule: str, power: float | Array) -> None:
    """Raise ValueError for an unknown rule or a power of at most 1."""
    if rule not in get_args(Rule):
        msg = f"Argument `rule` must be one of {get_args(Rule)}, but is {rule!r}."
        raise ValueError(msg)
    if isinstance(power, int | float) and not power > 1:
        msg = f"Argument `power` must be above 1, but is {power}."
        raise ValueError(msg)
