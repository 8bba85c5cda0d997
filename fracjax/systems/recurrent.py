"""Random recurrent networks, and what mean-field theory says of their exponents."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq

from fracjax._types import Key, StepFunction
from fracjax.systems.integrators import VectorField

__all__ = [
    "MeanField",
    "gaussian_coupling",
    "mean_field",
    "mean_field_exponent",
    "orthogonal_coupling",
    "rate_network",
    "saturate",
    "tanh_network",
    "tanh_network_growth",
]


def gaussian_coupling(
    key: Key, size: int, gain: float, *, zero_diagonal: bool = False
) -> Float[Array, "size size"]:
    """Draw a coupling matrix with independent N(0, gain²/size) entries, in float32.

    Networks cast it to the dtype of their state, so that the same key is the same network in
    both precisions.
    """
    matrix = gain / size**0.5 * jax.random.normal(key, (size, size), jnp.float32)
    return matrix * (1 - jnp.eye(size, dtype=jnp.float32)) if zero_diagonal else matrix


def orthogonal_coupling(key: Key, size: int, scale: float) -> Float[Array, "size size"]:
    """Draw `scale` times a Haar-distributed orthogonal matrix, in JAX's default dtype.

    As `fracjax.systems.maps.linear` it has all exponents equal to ln(scale).
    """
    basis, upper = jnp.linalg.qr(jax.random.normal(key, (size, size)))
    return scale * basis * jnp.sign(jnp.diagonal(upper))


@jax.custom_jvp
def saturate(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Evaluate tanh(x), with a derivative that does not round to zero where tanh is flat.

    JAX differentiates tanh as 1 - tanh², which has lost all digits at |x| > 9 in float32 and
    19 in float64. Here it is 1/cosh² to rounding. Leading exponents do not care; a volume
    growth that contains one zero is -inf.
    """
    return jnp.tanh(x)


def _slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    decay = jnp.exp(-2 * jnp.abs(x))
    return 4 * decay / (1 + decay) ** 2


def _log_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Evaluate ln(1/cosh² x) without underflow."""
    size = jnp.abs(x)
    return 2 * (math.log(2) - size - jnp.log1p(jnp.exp(-2 * size)))


@saturate.defjvp
def _saturate_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return saturate(x), _slope(x) * tangent


def tanh_network(coupling: Float[Array | np.ndarray, "n n"], *, leak: float = 1.0) -> StepFunction:
    """Make x' = (1 - leak) x + leak · J tanh(x), a map at leak 1 and a flow as leak → 0.

    For Gaussian couplings of gain g > 1 it is chaotic, and large networks have the exponents
    of `mean_field`; for g < 1 it rests at 0, with exponents ln|1 - leak + leak · eig(J)|.

    Args:
        coupling: J, such as `gaussian_coupling`.
        leak: Between 0 and 1: the time per step in units of the time constant.

    References:
        Sompolinsky, Crisanti and Sommers (1988), https://doi.org/10.1103/PhysRevLett.61.259.
        Engelken, Wolf and Abbott (2023), arXiv 2006.02427.
    """

    def step(state: Float[Array, " n"]) -> Float[Array, " n"]:
        driven = jnp.matmul(
            jnp.asarray(coupling, state.dtype), saturate(state), precision="highest"
        )
        return driven if leak == 1 else (1 - leak) * state + leak * driven

    return step


def tanh_network_growth(coupling: Float[Array | np.ndarray, "n n"]) -> StepFunction:
    """Make ln|det Df| of `tanh_network` at leak 1 as a function of the state.

    It is ln|det J| + Σ ln(1/cosh² x_i): an exact identity for each network, whatever its
    size. The determinant is computed once, in float64.
    """
    log_determinant = float(np.linalg.slogdet(np.asarray(coupling, np.float64))[1])
    return lambda state: log_determinant + jnp.sum(_log_slope(state))


def rate_network(coupling: Float[Array | np.ndarray, "n n"]) -> VectorField:
    """Make ẋ = -x + J tanh(x), the time in units of the time constant.

    The divergence is -n + Σ J_ii/cosh² x_i: with `zero_diagonal` the exponents add up to -n
    exactly. A Runge–Kutta step of .25 overstates dimension by 2 % and entropy by 5 %.

    References:
        Sompolinsky, Crisanti and Sommers (1988), https://doi.org/10.1103/PhysRevLett.61.259.
    """

    def field(state: Float[Array, " n"]) -> Float[Array, " n"]:
        matrix = jnp.asarray(coupling, state.dtype)
        return jnp.matmul(matrix, saturate(state), precision="highest") - state

    return field


class MeanField(NamedTuple):
    """Exponents of `tanh_network` at leak 1 in the limit of infinitely many units.

    Attributes:
        variance: q, the variance of a unit.
        exponent: Largest Lyapunov exponent, in nats per step.
        mean_exponent: Mean of all exponents, in nats per step.
    """

    variance: float
    exponent: float
    mean_exponent: float


@functools.cache
def mean_field(gain: float) -> MeanField:
    """Solve the mean-field theory of the random tanh network.

    q = g² E[tanh²(√q z)], λ_1 = ln(g √E[1/cosh⁴(√q z)]) and the mean of the exponents is
    ln g - 1/2 + E[ln(1/cosh²(√q z))], z standard normal, g the gain. Up to g = 1 the network
    rests, q = 0. A finite network is below: at g = 3, one of 512 units has .306 and not .310.

    Raises:
        ValueError: If `gain` is not positive and finite.

    References:
        Molgedey, Schuchhardt and Schuster (1992), https://doi.org/10.1103/PhysRevLett.69.3717.
    """
    if not 0 < gain < math.inf:
        msg = f"Argument `gain` must be positive and finite, but is {gain}."
        raise ValueError(msg)
    # The trapezoidal rule: for such integrands its error is exp(-π²/(√q · spacing)), while
    # Gauss and Hermite's converges slowly once the poles of tanh come near the real axis.
    z = np.linspace(-12.0, 12.0, 48_001)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()

    def excess(variance: float) -> float:
        return gain**2 * float(weights @ np.tanh(math.sqrt(variance) * z) ** 2) / variance - 1

    variance = 0.0
    if gain > 1 and excess(1e-12) > 0:
        variance = brentq(excess, 1e-12, gain**2, xtol=1e-300, rtol=1e-15)
    x = np.abs(math.sqrt(variance) * z)
    log_slope = 2 * (math.log(2) - x - np.log1p(np.exp(-2 * x)))
    return MeanField(
        variance,
        math.log(gain) + math.log(float(weights @ np.exp(2 * log_slope))) / 2,
        math.log(gain) - 0.5 + float(weights @ log_slope),
    )


def mean_field_exponent(gain: float) -> float:
    """Evaluate the largest exponent of the infinite tanh network; see `mean_field`."""
    return mean_field(gain).exponent
