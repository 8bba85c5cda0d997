"""Resample independent lines: leave one out, or draw them with replacement.

Every resample is a row of weights, so that one matrix product gives the means of all of
them and whatever follows is computed for all rows at once.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["bootstrap_quantiles", "jackknife_variance", "resampling_rows"]


@functools.lru_cache(maxsize=16)
def resampling_rows(num_lines: int, num_bootstrap: int) -> np.ndarray:
    """Weights of all resamples: everything, each line left out, bootstrap draws.

    The draws are the same in every call, so that results are reproducible without a key.

    Args:
        num_lines: Number of lines.
        num_bootstrap: Draws with replacement.

    Returns:
        Array of shape (1 + num_lines + num_bootstrap, num_lines).
    """
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(num_lines, np.full(num_lines, 1 / num_lines), num_bootstrap)
    return np.concatenate([np.ones((1, num_lines)), 1 - np.eye(num_lines), drawn])


def jackknife_variance(replicates: Float[Array, " d *s"], used: Float[Array, " d"]) -> Array:
    """Variance of an estimate from its values with each line left out.

    Args:
        replicates: The estimate without line i.
        used: 1 for lines that count, 0 for those that were never in.
    """
    weight, count = used.reshape((-1,) + (1,) * (replicates.ndim - 1)), used.sum()
    mean = (weight * replicates).sum(axis=0) / count
    return (count - 1) / count * (weight * (replicates - mean) ** 2).sum(axis=0)


def bootstrap_quantiles(
    value: Float[Array, ""], replicates: Float[Array, " b"], stderrs: Float[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """2.5 % and 97.5 % quantiles of the studentised bootstrap deviations.

    Args:
        value: The estimate.
        replicates: The estimate in every draw.
        stderrs: Its standard error within every draw.

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5.
    """
    deviations = jnp.sort((replicates - value) / stderrs)
    position = np.array([0.025, 0.975]) * (len(replicates) + 1) - 1
    below = np.floor(position).astype(int)
    fraction = position - below
    low, high = deviations[below] * (1 - fraction) + deviations[below + 1] * fraction
    return low, high
