"""Compare a spectrum with what theory says of it."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, Invariants

__all__ = ["spectrum_checks"]


def spectrum_checks(
    spectrum: Estimate,
    invariants: Invariants,
    volume_growth: Float[Array, ""],
    num_coordinates: int,
) -> dict[str, Array]:
    """Compute residuals of the sum rule, the neutral exponents and the symplectic pairing.

    Every entry is NaN where it does not apply, because nothing is known or because the
    spectrum is not complete. Residuals are in the unit of the exponents. The sum rule
    holds for every orbit and any length, so its residual shows errors of the integrator, of
    the derivative or of the orthonormalisation; an integrator of order p leaves O(dt^p). The
    neutral exponents vanish as 1/T. The pairing holds to rounding for symplectic maps and
    integrators, and to the order of the integrator for others.

    Args:
        spectrum: Exponents (k,) in descending order.
        invariants: What is known.
        volume_growth: Mean of the growth of volume along the same orbit.
        num_coordinates: Number n of exponents in the complete spectrum.

    Returns:
        `sum_residual`: sum of the exponents minus the growth of volume. `neutral_residual`:
        largest size among the `num_neutral` exponents next to zero. `neutral_score`: the same in
        standard errors. `pairing_residual`: largest |λ_i + λ_{n+1-i}|.
    """
    value = spectrum.value
    unknown = jnp.full((), jnp.nan, value.dtype)
    checks = {
        "sum_residual": unknown,
        "neutral_residual": unknown,
        "neutral_score": unknown,
        "pairing_residual": unknown,
    }
    complete = len(value) == num_coordinates
    if complete and invariants.volume_growth is not None:
        checks["sum_residual"] = value.sum() - volume_growth.astype(value.dtype)
    if invariants.num_neutral and complete:
        nearest = jnp.argsort(jnp.abs(value))[: invariants.num_neutral]
        sizes = jnp.abs(value)[nearest]
        checks["neutral_residual"] = sizes.max()
        checks["neutral_score"] = (sizes / spectrum.stderr[nearest]).max()
    if complete and invariants.symplectic:
        checks["pairing_residual"] = jnp.abs(value + value[::-1]).max()
    return checks
