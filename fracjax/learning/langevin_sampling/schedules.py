"""Schedules of step sizes and of moving averages, and what a finite step does to a law."""

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax.estimators.settings import check_at_least

__all__ = ["effective_temperature", "halving_schedule", "inverse_root_rate"]


def halving_schedule(initial: float, *, every: int = 10_000) -> optax.Schedule:
    """Halve a step size after every so many updates: η_t = η_0 2^{-⌊t/every⌋}.

    Args:
        initial: η_0.
        every: Updates between halvings; the code of natural Langevin dynamics takes 10 000.

    Raises:
        ValueError: If `every` is not positive.
    """
    check_at_least(every=(every, 1))

    def schedule(count: Array | np.ndarray | int) -> Array:
        return jnp.asarray(initial * 0.5 ** jnp.floor_divide(count, every))

    return schedule


def inverse_root_rate(*, offset: float = 4.0) -> optax.Schedule:
    """Rate of a moving average that forgets ever more slowly: γ_t = 1/√(offset + t).

    It starts at ½ and solves γ_{t+1} = 1/√(1/γ_t² + 1); the average remembers about the last √t
    updates, and what it was started with has the weight Π (1 - γ_s) ≈ e^{-2√t} after t of them.

    Args:
        offset: 1/γ_0²; the code of natural Langevin dynamics takes 4.

    Raises:
        ValueError: If `offset` is below 1: a rate above 1 is no average.
    """
    if offset < 1:
        msg = f"Argument `offset` must be at least 1, but is {offset}."
        raise ValueError(msg)

    def schedule(count: Array | np.ndarray | int) -> Array:
        return jnp.asarray(1 / jnp.sqrt(offset + count))

    return schedule


def effective_temperature(
    step_size: float | Float[Array | np.ndarray, "*shape"],
    *,
    num_data: int,
    batch_size: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "*shape"]:
    """Temperature at which a sampler of step size η really is, where the metric is the Hessian.

    For a quadratic mean loss with Hessian H, C = H⁻¹ and per-sample gradients of covariance H at
    the minimum (a well specified model), drawn in batches of B with replacement, the stationary
    covariance is exactly

        H⁻¹/N · (T + η N/(2B)) / (1 - η/2):

    the noise of the batch adds η N/(2B) to the temperature, the finite step divides by 1 - η/2.
    With the 50 000 images, batches of 500 and η = 1 of natural Langevin dynamics this is 102. Along
    a direction of curvature h, an inverse metric c takes the place of the Hessian's by η c h for
    η. Away from the minimum batches are noisier still, so that the formula is a lower bound.

    Args:
        step_size: η, or η c h.
        num_data: N.
        batch_size: B; no batch noise (full gradients) if not given.
        temperature: T that the sampler was asked for.

    Raises:
        ValueError: If a number is below 1.
    """
    check_at_least(num_data=(num_data, 1), batch_size=(batch_size, 1))
    step = jnp.asarray(step_size, jnp.result_type(float))
    noise = 0.0 if batch_size is None else step * num_data / (2 * batch_size)
    return (temperature + noise) / (1 - step / 2)
