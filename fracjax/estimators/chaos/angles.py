"""Angles between tangent vectors and between the subspaces they span."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax.sequential_lapack import after

__all__ = ["subspace_angles", "vector_angles"]


def vector_angles(vectors: Float[Array, "*times k n"]) -> Float[Array, "*times k k"]:
    """Angles between the lines along k unit vectors, in radians, at most π/2.

    From the lengths of a - b and a + b, so that small angles keep their digits.
    """
    first, second = vectors[..., :, None, :], vectors[..., None, :, :]
    apart = jnp.sqrt(jnp.sum((first - second) ** 2, axis=-1))
    together = jnp.sqrt(jnp.sum((first + second) ** 2, axis=-1))
    return 2 * jnp.arctan2(jnp.minimum(apart, together), jnp.maximum(apart, together))


def subspace_angles(
    vectors: Float[Array, "*times k n"], split: int
) -> Float[Array, "*times angles"]:
    """Principal angles between the span of the first `split` vectors and that of the rest.

    With covariant vectors, split after the positive exponents (and again after the neutral
    ones): the smallest angle bounded away from 0 along the orbit speaks for hyperbolicity,
    a distribution that reaches 0 means tangencies of stable and unstable directions. Then
    linear response, shadowing and gradients of long averages fail or are rough.

    Args:
        vectors: k independent vectors of length n, k <= n.
        split: How many belong to the first subspace, between 1 and k - 1.

    Returns:
        min(split, k - split) angles in radians, smallest first, to full relative accuracy.

    Raises:
        ValueError: If `split` leaves a subspace empty.

    References:
        Björck and Golub (1973), https://doi.org/10.1090/S0025-5718-1973-0348991-3.
    """
    count = vectors.shape[-2]
    if not 1 <= split < count:
        msg = f"Argument `split` must be between 1 and {count - 1}, but is {split}."
        raise ValueError(msg)
    parts = vectors[..., :split, :], vectors[..., split:, :]
    larger, smaller = sorted(parts, key=lambda part: -part.shape[-2])
    frame = jnp.linalg.qr(jnp.swapaxes(larger, -1, -2))[0]
    basis = jnp.linalg.qr(after(jnp.swapaxes(smaller, -1, -2), frame))[0]
    across = jnp.matmul(jnp.swapaxes(frame, -1, -2), basis, precision="highest")
    residual = basis - jnp.matmul(frame, across, precision="highest")
    cosines = jnp.linalg.svd(across, compute_uv=False)
    sines = jnp.linalg.svd(after(residual, cosines), compute_uv=False)[..., ::-1]
    return jnp.arctan2(sines, cosines)
