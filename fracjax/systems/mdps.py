"""Small decision processes whose return is provably rough in the policy's parameter."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, Objective, StepFunction

__all__ = [
    "chaotic_return",
    "chaotic_step",
    "clipped_cost",
    "clipped_step",
    "clipped_value",
    "discount_horizon",
    "predicted_exponent",
]

_START = 0.2345
_NEGLIGIBLE = 1e-12


def discount_horizon(discount: float, *, negligible: float = _NEGLIGIBLE) -> int:
    """Count the steps after which `discount**steps` is below `negligible`.

    Raises:
        ValueError: If `discount` is not inside (0, 1).
    """
    if not 0 < discount < 1:
        msg = f"Argument `discount` must lie inside (0, 1), but is {discount}."
        raise ValueError(msg)
    return math.ceil(math.log(negligible) / math.log(discount))


def predicted_exponent(exponent: float, discount: float, *, largest: float = 2.0) -> float:
    """Predict the Hölder exponent of a discounted return, -ln(discount)/exponent.

    Exact for uniform expansion and a continuous step; a guarantee from below when `exponent`
    bounds the growth uniformly. Second differences can follow it up to 2.

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


def chaotic_step(chaotic_map: StepFunction, parameter: Float[Array, ""]) -> StepFunction:
    """Make the closed loop of a chaotic map on [0, 1] under a one-parameter policy.

    The policy is u = parameter · 0.5 cos(3x) and acts through x' = map((x + 0.02 u) mod 1).

    Args:
        chaotic_map: A step on [0, 1], such as `fracjax.systems.maps.tent(1.9)`.
        parameter: Parameter of the policy.
    """

    def step(x: Float[Array, ""]) -> Float[Array, ""]:
        action = parameter * 0.5 * jnp.cos(3 * x)
        return chaotic_map((x + 0.02 * action) % 1.0)

    return step


def chaotic_return(
    chaotic_map: StepFunction, discount: float, *, num_steps: int | None = None
) -> Objective:
    """Make the return Σ_t discount^t cos(2π x_t) of `chaotic_step`, from x_0 = 0.2345.

    For the tent map of slope s the return has Hölder exponent -ln(discount)/ln(s) in the
    parameter: with second differences visible up to 2. Structure below exp(-λ · num_steps)
    is smooth and structure below rounding · exp(λ · num_steps) is noise: use float64.

    Args:
        chaotic_map: A step on [0, 1].
        discount: γ, inside (0, 1).
        num_steps: Horizon in steps; by default until γ^T < 1e-12.

    Returns:
        A deterministic `objective(parameter, key)` of a scalar parameter.
    """
    horizon = discount_horizon(discount) if num_steps is None else num_steps

    def objective(parameter: Float[Array, ""], _: Key) -> Float[Array, ""]:
        step = chaotic_step(chaotic_map, parameter)

        def add(carry: tuple, weight: Array) -> tuple[tuple, None]:
            x, total = carry
            return (step(x), total + weight * jnp.cos(2 * math.pi * x)), None

        dtype = jnp.result_type(parameter)
        start = jnp.asarray(_START, dtype)
        weights = discount ** jnp.arange(horizon, dtype=dtype)
        return jax.lax.scan(add, (start, jnp.zeros_like(start)), weights)[0][1]

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
