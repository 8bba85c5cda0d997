"""Samples of points as the estimators of dimensions take them: checks in, statuses out."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Status

__all__ = ["checked_points", "with_status", "without_nonfinite"]


def checked_points(
    points: Float[Array | np.ndarray, "points dim"], num_blocks: int
) -> Float[Array, "points dim"]:
    """Return the points as an array of floats, or say what is wrong with them."""
    points = jnp.asarray(points)
    if points.ndim != 2 or points.shape[1] == 0:
        msg = (
            "Argument `points` must be a matrix with one point per row, but has shape"
            f" {points.shape}."
        )
        raise ValueError(msg)
    if num_blocks < 20:
        msg = f"Argument `num_blocks` must be at least 20, but is {num_blocks}."
        raise ValueError(msg)
    if len(points) < 2 * num_blocks:
        msg = (
            f"Argument `points` must hold at least two points for each of the {num_blocks}"
            f" blocks of `num_blocks`, but holds {len(points)}."
        )
        raise ValueError(msg)
    return points.astype(jnp.result_type(points.dtype, jnp.float32))


def without_nonfinite(points: Float[Array, "points dim"]) -> Float[Array, "points dim"]:
    """Replace what is not finite; the status tells of it."""
    return jnp.where(jnp.isfinite(points), points, 0)


def with_status(estimate: Estimate, points: Float[Array, "points dim"]) -> Estimate:
    """Let bad input overrule the status, and blank the numbers then."""
    nonfinite = ~jnp.isfinite(points).all()
    constant = (points == points[0]).all()
    status = jnp.where(constant, int(Status.AT_NOISE_FLOOR), estimate.status)
    blank = jnp.where(nonfinite | constant, jnp.nan, 0).astype(estimate.value.dtype)
    return dataclasses.replace(
        estimate,
        value=estimate.value + blank,
        stderr=estimate.stderr + blank,
        low=estimate.low + blank,
        high=estimate.high + blank,
        status=jnp.where(nonfinite, int(Status.DIVERGED), status),
    )
