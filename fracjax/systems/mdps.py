"""Small decision processes whose return is provably rough in the policy's parameter."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, Objective, StepFunction
from fracjax.systems.roughness_laws import predicted_exponent as predicted_exponent

__all__ = [
    "START",
    "chaotic_return",
    "chaotic_returns",
    "chaotic_step",
    "clipped_cost",
    "clipped_step",
    "clipped_value",
    "discount_horizon",
    "feedback_action",
    "logistic_cost",
    "predicted_exponent",
    "skew_tent",
    "smooth_reward",
    "stepped_reward",
]

_FEEDBACK = ("cosine", "constant")
# State in which every episode starts.
START = 0.2345
_NEGLIGIBLE = 1e-12
_GAIN = 0.02


def discount_horizon(discount: float, *, negligible: float = _NEGLIGIBLE) -> int:
    """Count the steps after which `discount**steps` is below `negligible`.

    Raises:
        ValueError: If `discount` is not inside (0, 1).
    """
    if not 0 < discount < 1:
        msg = f"Argument `discount` must lie inside (0, 1), but is {discount}."
        raise ValueError(msg)
    return math.ceil(math.log(negligible) / math.log(discount))


def _discount_weights(discounts: Sequence[float], num_steps: int | None) -> np.ndarray:
    """γ^t, (steps, discounts), over `num_steps` or until all are negligible."""
    horizon = max(map(discount_horizon, discounts)) if num_steps is None else num_steps
    return np.asarray(discounts, float) ** np.arange(horizon)[:, None]


def skew_tent(cut: float = 0.35) -> StepFunction:
    """Make x' = x/cut left of `cut` and (1 - x)/(1 - cut) right of it, on [0, 1].

    Continuous on the circle too. Lebesgue measure is invariant and the branches follow each
    other independently, so that growth is too, also of (x + constant) mod 1 under the map: its
    exponents are known in closed form, see `roughness_laws.skew_tent_rates`.

    Raises:
        ValueError: If `cut` is not inside (0, 1), or is 1/2: there every binary
            floating-point orbit reaches 0 within some 53 steps.
    """
    if not 0 < cut < 1 or cut == 0.5:
        msg = f"Argument `cut` must lie inside (0, 1) and not be 1/2, but is {cut}."
        raise ValueError(msg)
    return lambda x: jnp.where(x < cut, x / cut, (1 - x) / (1 - cut))


def smooth_reward(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Reward a state by cos(2πx)."""
    return jnp.cos(2 * math.pi * x)


def stepped_reward(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Reward a state by 1 above a half and -1 elsewhere: the return jumps."""
    return jnp.where(x > 0.5, 1.0, -1.0).astype(x.dtype)


def feedback_action(
    x: Float[Array, "*shape"], parameter: Float[Array, ""], feedback: str
) -> Float[Array, "*shape"]:
    """Take the action of the one-parameter policy: parameter · 0.5 cos(3x), or `parameter`.

    Raises:
        ValueError: If `feedback` is neither `"cosine"` nor `"constant"`.
    """
    if feedback not in _FEEDBACK:
        msg = f"Argument `feedback` must be one of {_FEEDBACK}, but is {feedback!r}."
        raise ValueError(msg)
    return parameter * 0.5 * jnp.cos(3 * x) if feedback == "cosine" else parameter + 0 * x


def chaotic_step(
    chaotic_map: StepFunction,
    parameter: Float[Array, ""],
    *,
    feedback: str = "cosine",
    gain: float = _GAIN,
) -> StepFunction:
    """Make the closed loop of a chaotic map on [0, 1] under a one-parameter policy.

    The policy is u = parameter · 0.5 cos(3x) and acts through x' = map((x + gain u) mod 1).
    Feedback changes the exponent: that of the tent map of slope 1.9, ln 1.9 = .6419, is .6303
    in the closed loop at parameters around a half, and it is this one that the return obeys.
    With `feedback="constant"`, u = parameter, uniform expansion stays what it was.

    Args:
        chaotic_map: A step on [0, 1], such as `fracjax.systems.maps.tent(1.9)`.
        parameter: Parameter of the policy.
        feedback: `"cosine"` or `"constant"`.
        gain: How strongly an action moves the state.
    """

    def step(x: Float[Array, ""]) -> Float[Array, ""]:
        return chaotic_map((x + gain * feedback_action(x, parameter, feedback)) % 1.0)

    return step


def chaotic_returns(
    chaotic_map: StepFunction,
    discounts: Sequence[float],
    *,
    num_steps: int | None = None,
    feedback: str = "cosine",
    gain: float = _GAIN,
    reward: Callable[[Array], Array] = smooth_reward,
    noise_scale: float = 0.0,
) -> Objective:
    """Make the returns Σ_t γ^t reward(x_t) of `chaotic_step`, from x_0 = 0.2345.

    The return of a loop that expands uniformly at the rate λ has Hölder exponent -ln γ/λ in
    the parameter, seen by second differences up to 2; `roughness_laws` has the law for other
    loops. Three scales bound where it can be measured. Structure below exp(-λ · num_steps)/gain
    is smooth, because the horizon ends before such a change has grown (with γ = .5, r = 3.8
    and a horizon of γ^T < 1e-12 that is 1e-5, and an exponent read below it is wrong). Below
    rounding / gain is nothing; above it rounding acts as a shift of the parameter, which
    leaves the exponent as it is: use float64. Above 1/gain returns have nothing in common.
    Between them local slopes oscillate with period λ in the logarithm of the scale, strongly
    where expansion is exactly uniform: measure over five decades rather than one.

    With `noise_scale` the action is u + noise_scale · N(0, 1). At one key the return is as
    rough as without noise; its mean over keys is smooth below the noise's scale
    (`mollified.mollified_return`).

    Args:
        chaotic_map: A step on [0, 1].
        discounts: γ, each inside (0, 1).
        num_steps: Horizon in steps; by default until γ^T < 1e-12 for all discounts.
        feedback: See `chaotic_step`.
        gain: See `chaotic_step`.
        reward: Reward of a state.
        noise_scale: Standard deviation of the Gaussian noise of the actions.

    Returns:
        An `objective(parameter, key)` of a scalar parameter: one return per discount.
    """
    table = _discount_weights(discounts, num_steps)

    def objective(parameter: Float[Array, ""], key: Key) -> Float[Array, " discounts"]:
        dtype = jnp.result_type(parameter)

        def add(carry: tuple, row: tuple[Array, Array | None]) -> tuple[tuple, None]:
            x, total = carry
            weights, noise = row
            total = total + weights * reward(x)
            action = feedback_action(x, parameter, feedback)
            action = action if noise is None else action + noise_scale * noise
            return (chaotic_map((x + gain * action) % 1.0), total), None

        noise = jax.random.normal(key, (len(table),), dtype) if noise_scale else None
        weights = jnp.asarray(table, dtype)
        start = jnp.asarray(START, dtype), jnp.zeros(len(discounts), dtype)
        return jax.lax.scan(add, start, (weights, noise))[0][1]

    return objective


def chaotic_return(
    chaotic_map: StepFunction, discount: float, *, num_steps: int | None = None
) -> Objective:
    """Make one return of `chaotic_returns`, deterministic and with the cosine feedback.

    Args:
        chaotic_map: A step on [0, 1].
        discount: γ, inside (0, 1).
        num_steps: Horizon in steps; by default until γ^T < 1e-12.

    Returns:
        A deterministic `objective(parameter, key)` of a scalar parameter, returning a scalar.
    """
    returns = chaotic_returns(chaotic_map, (discount,), num_steps=num_steps)
    return lambda parameter, key: returns(parameter, key)[0]


def logistic_cost(discounts: Sequence[float], *, num_steps: int | None = None) -> Objective:
    """Make the costs Σ_t γ^t (½ s_t² + 0.1 a_t²) of s' = (1 - s) a, a = θ s, from s_0 = 0.9.

    The closed loop is the logistic map with θ as its rate, so that every chaotic θ has
    windows of stable cycles next to it. θ must lie in [0, 4].

    Args:
        discounts: γ, each inside (0, 1).
        num_steps: Horizon in steps; by default until γ^T < 1e-12 for all discounts.

    Returns:
        A deterministic `objective(parameter, key)`: one cost per discount.
    """
    table = _discount_weights(discounts, num_steps)

    def objective(parameter: Float[Array, ""], _: Key) -> Float[Array, " discounts"]:
        dtype = jnp.result_type(parameter)

        def add(carry: tuple, weights: Array) -> tuple[tuple, None]:
            state, total = carry
            action = parameter * state
            cost = 0.5 * state**2 + 0.1 * action**2
            return ((1 - state) * action, total + weights * cost), None

        start = jnp.asarray(0.9, dtype), jnp.zeros(len(discounts), dtype)
        return jax.lax.scan(add, start, jnp.asarray(table, dtype))[0][1]

    return objective


def clipped_step(parameter: float | Float[Array, ""]) -> StepFunction:
    """Make s' = clip(parameter · s, -1, 1), unstable at 0 and saturated at ±1."""
    return lambda state: jnp.clip(parameter * state, -1.0, 1.0)


def clipped_cost(
    parameter: float | Float[Array, ""], discount: float, *, num_steps: int | None = None
) -> Objective:
    """Make the cost Σ_t discount^t |s_t| of `clipped_step` as a function of s_0.

    Its Hölder exponent at s_0 = 0 is min(1, -ln(discount)/ln(parameter)), and sharp.

    Returns:
        A deterministic `objective(start, key)` of a scalar start.
    """
    horizon = discount_horizon(discount) if num_steps is None else num_steps
    step = clipped_step(parameter)

    def objective(start: Float[Array, ""], _: Key) -> Float[Array, ""]:
        def add(carry: tuple, weight: Array) -> tuple[tuple, None]:
            state, total = carry
            return (step(state), total + weight * jnp.abs(state)), None

        weights = discount ** jnp.arange(horizon, dtype=jnp.result_type(start))
        return jax.lax.scan(add, (start, jnp.zeros_like(start)), weights)[0][1]

    return objective


def clipped_value(
    start: Float[Array, "*shape"], parameter: float, discount: float
) -> Float[Array, "*shape"]:
    """Evaluate the infinite-horizon cost of `clipped_step` in closed form.

    For |s_0| in (0, 1] and N = ceil(-ln|s_0| / ln θ) steps to saturation,
    V = |s_0| ((γθ)^N - 1)/(γθ - 1) + γ^N/(1 - γ), with θ the parameter above 1 and γ the
    discount, γθ ≠ 1.
    """
    size = jnp.abs(start)
    steps = jnp.ceil(-jnp.log(size) / math.log(parameter))
    ratio = discount * parameter
    return size * (ratio**steps - 1) / (ratio - 1) + discount**steps / (1 - discount)
