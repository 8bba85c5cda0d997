"""The Kuramoto–Sivashinsky equation, a partial differential equation with known exponents."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import StepFunction

__all__ = [
    "etdrk4",
    "kuramoto_sivashinsky",
    "kuramoto_sivashinsky_advection",
    "kuramoto_sivashinsky_rates",
    "on_grid",
]

_CONTOUR = 32  # points on the upper half of the unit circle around each h · rate


def etdrk4(
    rates: Float[np.ndarray, " n"],
    nonlinear: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    dt: float,
) -> StepFunction:
    """Make one step of exponential time differencing for u̇ = rates · u + nonlinear(u).

    The stiff linear part is solved exactly, the rest as by a fourth-order Runge–Kutta method.
    The coefficients are means over a circle around dt · rates, in float64, because their
    formulas cancel near zero.

    Args:
        rates: Linear growth rates, one per coordinate.
        nonlinear: The rest of the right-hand side.
        dt: Length of the step.

    References:
        Cox and Matthews (2002), https://doi.org/10.1006/jcph.2002.6995.
        Kassam and Trefethen (2005), https://doi.org/10.1137/S1064827502410633.
    """
    scaled = dt * np.asarray(rates, np.float64)
    angles = np.pi * (np.arange(_CONTOUR) + 0.5) / _CONTOUR
    r = scaled[:, None] + np.exp(1j * angles)
    e = np.exp(r)
    means = [
        (np.exp(r / 2) - 1) / r,
        (-4 - r + e * (4 - 3 * r + r**2)) / r**3,
        2 * (2 + r + e * (-2 + r)) / r**3,
        (-4 - 3 * r - r**2 + e * (4 - r)) / r**3,
    ]
    table = np.stack(
        [np.exp(scaled), np.exp(scaled / 2), *(dt * mean.mean(axis=1).real for mean in means)]
    )

    def step(state: Float[Array, " n"]) -> Float[Array, " n"]:
        full, half, stage, early, middle, late = jnp.asarray(table, state.dtype)
        first = nonlinear(state)
        halfway = half * state + stage * first
        second = nonlinear(halfway)
        third = nonlinear(half * state + stage * second)
        fourth = nonlinear(half * halfway + stage * (2 * third - first))
        return full * state + early * first + middle * (second + third) + late * fourth

    return step


def kuramoto_sivashinsky(
    length: float = 22.0, dt: float = 0.1, *, num_points: int = 64
) -> StepFunction:
    """Make one step of u_t = -u u_x - u_xx - u_xxxx on a periodic domain, by `etdrk4`.

    The state holds the Fourier coefficients û_k = mean(u exp(-2πikx/length)) of modes
    k = 1…m, first the m real parts and then the m imaginary ones, with m = (num_points - 1)//3
    (two thirds of a grid of `num_points`: products are free of aliasing, and the truncation
    is Galerkin's). The mean of u is conserved and is zero here: it has no coordinate, and
    there are two neutral exponents, one for time and one for translation. The exponents add
    up to the sum of `kuramoto_sivashinsky_rates`.

    Strongly damped modes shrink below rounding within a step (at the default by exp(-126)):
    ask for the leading exponents, or for `num_points=32` to have all 20.

    Args:
        length: Length L of the domain; chaotic at 22, more extensively as it grows.
        dt: Length of the step. At L = 22 and .1 the exponents down to -22 are right to .1 %,
            that at -37 to .3 % and that at -58 to 2 %.
        num_points: Points of the grid on which products are taken, at least 4.

    References:
        Cvitanović, Davidchack and Siminos (2010), arXiv 0709.2944.
        Edson, Bunder, Mattner and Roberts (2019), arXiv 1902.09651.
    """
    rates = kuramoto_sivashinsky_rates(length, num_points)
    return etdrk4(rates, kuramoto_sivashinsky_advection(length, num_points), dt)


def kuramoto_sivashinsky_rates(length: float, num_points: int) -> Float[np.ndarray, " n"]:
    """Evaluate the linear growth rates q² - q⁴, q = 2πk/length, of the coordinates.

    Their sum is the divergence of the whole equation: that of the advection is zero.

    Raises:
        ValueError: If `num_points` is below 4 or `length` is not positive.
    """
    if num_points < 4:
        msg = f"Argument `num_points` must be at least 4, but is {num_points}."
        raise ValueError(msg)
    if not 0 < length < math.inf:
        msg = f"Argument `length` must be positive and finite, but is {length}."
        raise ValueError(msg)
    wave = 2 * np.pi * np.arange(1, (num_points - 1) // 3 + 1) / length
    return np.tile(wave**2 - wave**4, 2)


def kuramoto_sivashinsky_advection(length: float, num_points: int) -> StepFunction:
    """Make the advection term -(u²)_x / 2 as a function of the coefficients.

    It conserves the energy Σ|û_k|² exactly.
    """
    num_modes = (num_points - 1) // 3
    half_wave = np.pi * np.arange(1, num_modes + 1) / length

    def advect(state: Float[Array, " n"]) -> Float[Array, " n"]:
        values = on_grid(state, num_points)
        squares = jnp.fft.rfft(values**2)[1 : num_modes + 1] / num_points
        wave = jnp.asarray(half_wave, state.dtype)
        return jnp.concatenate([wave * squares.imag, -wave * squares.real])

    return advect


def on_grid(state: Float[Array, " n"], num_points: int) -> Float[Array, " num_points"]:
    """Evaluate u at `num_points` evenly spaced points, from 0, from its coefficients."""
    real, imaginary = state.reshape(2, -1)
    modes = jnp.pad(real + 1j * imaginary, (1, 0))
    return jnp.fft.irfft(modes, num_points) * num_points
