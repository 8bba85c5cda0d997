"""A run of gradient ascent on a bandit, recorded every so many updates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fracjax.estimators.settings import check_at_least
from fracjax.learning.gravity_wells.bandits import (
    Rule,
    advantages,
    bandit_gradient,
    bandit_update,
    effective_gap,
    policy_probabilities,
)

__all__ = ["AscentTrace", "ascent_trace"]


class AscentTrace(NamedTuple):
    """Records along a run, the first before any update.

    Attributes:
        steps: Updates made before each record, (n,).
        probabilities: Of the arms, (n, arms).
        gradient_norms: Length of what the step size multiplies, (n,).
        gaps: Reward of the best arm less the policy's mean reward, (n,).
        effective_gaps: Δ_eff, see `effective_gap`, (n,).
    """

    steps: Int[Array, " n"]
    probabilities: Float[Array, "n arms"]
    gradient_norms: Float[Array, " n"]
    gaps: Float[Array, " n"]
    effective_gaps: Float[Array, " n"]


def ascent_trace(
    params: Float[Array, " arms"],
    rewards: Float[Array, " arms"] | Callable[[Array], Array],
    *,
    num_records: int,
    every: int = 1,
    best: int = 0,
    rule: Rule = "softmax",
    step_size: float | Float[Array, ""] = 1.0,
    power: float | Float[Array, ""] = 2.0,
    scale_free: bool = False,
) -> AscentTrace:
    """Record exact gradient ascent on a bandit.

    Args:
        params: θ at the start.
        rewards: r, or a function of the number of updates made.
        num_records: Records.
        every: Updates between two records.
        best: The best arm.
        rule: See `bandits`.
        step_size: η.
        power: p of the escort map.
        scale_free: See `bandit_update`.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_at_least(num_records=(num_records, 1), every=(every, 1))
    settings: dict[str, Any] = {"rule": rule, "power": power}

    def rewards_at(index: Array) -> Float[Array, " arms"]:
        return jnp.asarray(rewards(index) if callable(rewards) else rewards, params.dtype)

    def update(index: Array, here: Array) -> Array:
        now = rewards_at(index)
        return bandit_update(here, now, step_size, scale_free=scale_free, **settings)

    def record(params: Array, index: Array) -> tuple[Array, tuple]:
        now = rewards_at(index)
        shares = policy_probabilities(params, **settings)
        slope = bandit_gradient(params, now, **settings)
        kept = (
            index,
            shares,
            jnp.sqrt(jnp.sum(slope**2)),
            advantages(shares, now)[best],
            effective_gap(now, best),
        )
        params = jax.lax.fori_loop(index, index + every, update, params)
        return params, kept

    _, kept = jax.lax.scan(record, params, every * jnp.arange(num_records))
    return AscentTrace(*kept)
