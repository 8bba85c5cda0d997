"""The exponent of a reward sequence from ratios of reward differences."""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate
from fracjax.estimators.intervals import student_mean

__all__ = ["Elapsed", "reward_ratio_exponent"]

Elapsed = Literal["interval", "period"]


def reward_ratio_exponent(
    gaps: Float[Array, "states periods steps"],
    *,
    dt: float | Float[Array, ""] = 1.0,
    alive: Bool[Array, "states periods"] | None = None,
    elapsed: Elapsed = "interval",
) -> Estimate:
    """Estimate the exponent of a reward from a perturbed copy, by the ratio within periods.

        λ_r = mean over periods of ln(|Δr_last| / |Δr_first|) / elapsed time

    with Δr the reward of the copy that is displaced along the leading direction minus that of
    the orbit, after the first and after the last step of a period; then the mean over states.
    Periods whose ratio is zero or not finite are left out, as saturated rewards make them:
    `details["share_of_periods"]` says how many are left, and where it is small the exponent is
    that of the few moments at which the reward still moved.

    For a linear loop and a linear reward it is the leading exponent λ exactly. Near a fixed
    point at which the reward is stationary it is 2λ, because there both the slope of the reward
    and the displacement decay: a reward's exponent is not bounded by the state's.

    Args:
        gaps: `PerturbedGrowth.observable_gap`, one record per initial state.
        dt: Time per step.
        alive: Periods that count; all by default.
        elapsed: The two rewards of a period of n steps are n - 1 steps apart (`"interval"`).
            The authors' code divides by n (`"period"`), so that with 10 steps its numbers are
            9/10 of the rate.

    Returns:
        Exponent in nats per unit of time with a 95 % Student interval over states.
        `TOO_FEW_POINTS` when fewer than two states have a ratio. Details: `per_state`
        (states,), `share_of_periods`, `num_states`.

    Raises:
        ValueError: If a period has fewer than two steps, or `elapsed` is neither.

    References:
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674, and their code.
    """
    steps = gaps.shape[-1]
    if steps < 2:
        msg = f"Argument `gaps` must have at least two steps per period, but has {steps}."
        raise ValueError(msg)
    if elapsed not in get_args(Elapsed):
        msg = f"Argument `elapsed` must be one of {get_args(Elapsed)}, but is {elapsed!r}."
        raise ValueError(msg)
    alive = jnp.ones(gaps.shape[:2], bool) if alive is None else alive
    logs = jnp.log(jnp.abs(gaps[..., -1])) - jnp.log(jnp.abs(gaps[..., 0]))
    counted = alive & jnp.isfinite(logs)
    number = counted.sum(axis=1)
    usable = number > 0
    time = (steps - 1 if elapsed == "interval" else steps) * dt
    rates = jnp.where(counted, logs, 0).sum(axis=1) / (jnp.maximum(number, 1) * time)
    return student_mean(
        rates,
        usable,
        {
            "per_state": jnp.where(usable, rates, jnp.nan),
            "share_of_periods": counted.sum() / jnp.maximum(alive.sum(), 1),
            "num_states": usable.sum(),
        },
    )
