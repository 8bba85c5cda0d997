"""Draws as the estimators of tails take them, and α with the interval that 1/α gives it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate

__all__ = ["checked_draws", "estimate_of_inverse"]


def checked_draws(samples: Float[Array | np.ndarray, " n"], fewest: int) -> Float[Array, " n"]:
    """Return one sequence of draws as floats, or say what is wrong with it."""
    samples = jnp.asarray(samples)
    if samples.ndim != 1 or len(samples) < fewest:
        msg = (
            f"Argument `samples` must be one sequence of at least {fewest} draws, but has"
            f" shape {samples.shape}."
        )
        raise ValueError(msg)
    return samples.astype(jnp.result_type(samples.dtype, jnp.float32))


def estimate_of_inverse(
    inverse: Float[Array, ""],
    error: Float[Array, ""],
    quantile: float,
    usable: Array,
    status: Array,
    details: dict[str, Any],
) -> Estimate:
    """Turn 1/α and its error into α, with an interval whose ends are the inverted ones.

    It is not symmetric, and has no upper end where the interval of 1/α reaches zero.

    Args:
        inverse: 1/α; where it is not positive the numbers are NaN.
        error: Its standard error.
        quantile: Of the law of that error, two-sided 95 %.
        usable: Whether the numbers may be read.
        status: `Status` code.
        details: What they were computed from.
    """
    positive = inverse > 0
    safe = jnp.where(positive, inverse, 1)
    blank = jnp.where(usable & positive, 0, jnp.nan).astype(inverse.dtype)
    margin = quantile * error
    lowest = inverse - margin
    return Estimate(
        value=1 / safe + blank,
        stderr=error / safe**2 + blank,
        low=1 / (safe + margin) + blank,
        high=jnp.where(lowest > 0, 1 / jnp.where(lowest > 0, lowest, 1), jnp.inf) + blank,
        status=status,
        details=details,
    )
