"""The mean return of a noisy one-dimensional loop, without sampling the noise."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, Objective, StepFunction
from fracjax.systems.mdps import START, discount_horizon, feedback_action, smooth_reward

__all__ = ["mollified_return"]

_OFFSETS = np.arange(-2, 4)
_POINTS_PER_NOISE = 8.0


def mollified_return(
    chaotic_map: StepFunction,
    discount: float,
    noise_scale: float,
    *,
    feedback: str = "cosine",
    gain: float = 0.02,
    reward: Callable[[Array], Array] = smooth_reward,
    starts: Float[Array | np.ndarray, " starts"] | None = None,
    tolerance: float = 1e-9,
) -> Objective:
    """Make the mean over the noise of `mdps.chaotic_returns(..., noise_scale=...)`.

    The Bellman equation V(x) = r(x) + γ E V(map(x + gain (u(x) + σ N(0, 1)) mod 1)) is solved
    on a circle of points an eighth of the noise apart: the mean over the noise is a Gaussian
    convolution (exact, by FFT), values between the points come from sixth-order interpolation
    (relative error below 1e-5). The map should be continuous on the circle.

    **Scale law.** The noise of a step and a change of the parameter by δ move the state by
    comparable amounts at δ ≈ σ, so that the mean return is the rough return with all detail
    below σ taken out. With α the exponent of the return without noise, increments of the mean
    are σ^α F(δ/σ): rough, δ^α, for δ ≫ σ, and twice differentiable, δ², for δ ≪ σ; its gradient
    is of size σ^{α-1}, its curvature σ^{α-2}. Averaging R sampled paths instead divides the
    squared increments of the paths by R and leaves their exponent as it is.

    Args:
        chaotic_map: A step on [0, 1].
        discount: γ, inside (0, 1).
        noise_scale: Standard deviation σ of the Gaussian noise of the actions.
        feedback: See `mdps.chaotic_step`.
        gain: See `mdps.chaotic_step`.
        reward: Reward of a state.
        starts: Initial states; x_0 = 0.2345 alone by default.
        tolerance: Where γ^n ends the iteration.

    Returns:
        A deterministic `objective(parameter, key)` of a scalar parameter: a scalar, or one
        value per start.

    Raises:
        ValueError: If `noise_scale` is not positive or `discount` not inside (0, 1).
    """
    if noise_scale <= 0:
        msg = f"Argument `noise_scale` must be positive, but is {noise_scale}."
        raise ValueError(msg)
    width = gain * noise_scale
    size = max(64, 2 ** math.ceil(math.log2(_POINTS_PER_NOISE / width)))
    damping = np.exp(-2 * (math.pi * width * np.arange(size // 2 + 1)) ** 2)
    num_sweeps = discount_horizon(discount, negligible=tolerance)

    def objective(parameter: Float[Array, ""], _: Key) -> Float[Array, "*starts"]:
        dtype = jnp.result_type(parameter)
        landed = chaotic_map(jnp.arange(size, dtype=dtype) / size)

        def moved(x: Array) -> Array:
            return x + gain * feedback_action(x, parameter, feedback)

        indices, weights = _interpolation(moved(landed), size)
        rewards, blur = reward(landed), jnp.asarray(damping, dtype)

        def sweep(_: int | Array, mean_value: Array) -> Array:
            value = rewards + discount * (mean_value[indices] * weights).sum(axis=-1)
            return jnp.fft.irfft(jnp.fft.rfft(value) * blur, size)

        mean_value = jax.lax.fori_loop(0, num_sweeps, sweep, jnp.zeros(size, dtype))
        first = jnp.asarray(START if starts is None else starts, dtype)
        indices, weights = _interpolation(moved(first), size)
        return reward(first) + discount * (mean_value[indices] * weights).sum(axis=-1)

    return objective


def _interpolation(x: Array, size: int) -> tuple[Array, Array]:
    """Points and weights of Lagrange interpolation on a circle, six on a trailing axis."""
    place = (x % 1.0) * size
    floor = jnp.floor(place)
    distance = (place - floor)[..., None] - _OFFSETS
    weights = []
    for number, offset in enumerate(_OFFSETS):
        others = np.delete(np.arange(len(_OFFSETS)), number)
        scale = np.prod(offset - _OFFSETS[others])
        weights.append(jnp.prod(distance[..., others], axis=-1) / scale)
    return (floor.astype(int)[..., None] + _OFFSETS) % size, jnp.stack(weights, axis=-1)
