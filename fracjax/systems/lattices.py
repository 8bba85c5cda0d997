"""Coupled map lattices: rings of identical maps, some with exactly known spectra."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import StepFunction

__all__ = ["coupled_ring", "coupled_ring_exponents", "coupled_ring_growth"]


def coupled_ring(local: StepFunction, coupling: float) -> StepFunction:
    """Make x_i' = (1 - ε) f(x_i) + ε/2 (f(x_{i-1}) + f(x_{i+1})) on a ring of any size.

    Two cases have exactly known spectra, `coupled_ring_exponents`: a map f of constant slope,
    such as `fracjax.systems.maps.expanding(3.0)`, from any state; and any f from a state of
    equal coordinates, which stay equal. A tent map is *not* of constant slope: its slope
    changes sign, the signs differ from site to site, and only the sum of the exponents is
    then known, `coupled_ring_growth`.

    Args:
        local: f, a step of a scalar state.
        coupling: ε between 0 and 1.

    References:
        Kaneko (1984), https://doi.org/10.1143/PTP.72.480.
    """

    def step(state: Float[Array, " n"]) -> Float[Array, " n"]:
        moved = jax.vmap(local)(state)
        neighbours = jnp.roll(moved, 1) + jnp.roll(moved, -1)
        return (1 - coupling) * moved + coupling / 2 * neighbours

    return step


def coupled_ring_exponents(
    local_exponent: float, coupling: float, size: int
) -> Float[np.ndarray, " size"]:
    """Evaluate λ + ln|1 - ε + ε cos(2πk/size)|, k = 0…size - 1, largest first.

    Exact where `coupled_ring` says so. All but one or two come in equal pairs; a factor of
    zero (size even and ε = 1/2) gives -inf.

    Args:
        local_exponent: λ, the exponent of the uncoupled map.
        coupling: ε.
        size: Number of sites.
    """
    with np.errstate(divide="ignore"):
        exponents = local_exponent + np.log(np.abs(_factors(coupling, size)))
    return np.sort(exponents)[::-1]


def coupled_ring_growth(local: StepFunction, coupling: float, state: Float[Array, " n"]) -> Array:
    """Evaluate ln|det Df| of `coupled_ring` at a state, for the sum rule of its exponents."""
    slopes = jax.vmap(jax.grad(local))(state)
    mixing = np.sum(np.log(np.abs(_factors(coupling, len(state)))))
    return jnp.sum(jnp.log(jnp.abs(slopes))) + mixing


def _factors(coupling: float, size: int) -> Float[np.ndarray, " size"]:
    """Evaluate the eigenvalues of the coupling matrix."""
    factors = 1 - coupling + coupling * np.cos(2 * np.pi * np.arange(size) / size)
    return np.where(np.abs(factors) < 1e-14, 0.0, factors)
