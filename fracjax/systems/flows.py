"""Continuous-time systems: vector fields ẋ = f(x), to be stepped by an integrator.

`rk4(lorenz63(), 0.01)` is a step; divide its exponents by the same `dt`. Divergences are
given because their mean over an orbit is the sum of the exponents.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax.systems.integrators import Force, VectorField, rk4

__all__ = [
    "VectorField",
    "chen",
    "damped_linear",
    "duffing",
    "henon_heiles",
    "henon_heiles_energy",
    "henon_heiles_force",
    "hyper_rossler",
    "lorenz63",
    "lorenz84",
    "lorenz96",
    "rk4",
    "rossler",
    "stuart_landau",
]


def damped_linear(rates: float | Float[Array, " n"]) -> VectorField:
    """Make ẋ = -rates · x; the exponents are the negated rates, per unit of time."""
    return lambda state: -rates * state


def lorenz63(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3) -> VectorField:
    """Make the Lorenz system; its exponents add up to -(sigma + 1 + beta).

    ẋ = sigma (y - x), ẏ = x (rho - z) - y, ż = x y - beta z.

    References:
        Lorenz (1963), https://doi.org/10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2.
    """

    def field(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, z = state
        return jnp.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

    return field


def rossler(a: float = 0.2, b: float = 0.2, c: float = 5.7) -> VectorField:
    """Make the Rössler system ẋ = -y - z, ẏ = x + a y, ż = b + z (x - c).

    The divergence is a + x - c. The leading exponent converges slowly: 1 % takes some 1e5
    units of time.

    References:
        Rössler (1976), https://doi.org/10.1016/0375-9601(76)90101-8.
    """

    def field(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, z = state
        return jnp.stack([-y - z, x + a * y, b + z * (x - c)])

    return field


def lorenz96(forcing: float = 8.0) -> VectorField:
    """Make ẋ_i = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + forcing on a ring of any n >= 4.

    The exponents add up to -n. Start near `forcing`, with one coordinate moved.
    """

    def field(state: Float[Array, " n"]) -> Float[Array, " n"]:
        ahead, behind, further = jnp.roll(state, -1), jnp.roll(state, 1), jnp.roll(state, 2)
        return (ahead - further) * behind - state + forcing

    return field


def lorenz84(
    damping: float = 0.25, advection: float = 4.0, zonal: float = 8.0, meridional: float = 1.0
) -> VectorField:
    """Make Lorenz's model of the general circulation, a, b, F and G in his letters.

    ẋ = -y² - z² - a x + a F, ẏ = x y - b x z - y + G, ż = b x y + x z - z; the divergence is
    2 x - a - 2. Both G = 1 and G = 1.23 are in use, with different exponents: name it.

    References:
        Lorenz (1984), https://doi.org/10.3402/tellusa.v36i2.11473.
    """

    def field(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, z = state
        return jnp.stack(
            [
                damping * (zonal - x) - y**2 - z**2,
                (x - 1) * y - advection * x * z + meridional,
                (x - 1) * z + advection * x * y,
            ]
        )

    return field


def chen(a: float = 35.0, b: float = 3.0, c: float = 28.0) -> VectorField:
    """Make the Chen system; its exponents add up to c - a - b.

    ẋ = a (y - x), ẏ = (c - a) x - x z + c y, ż = x y - b z. It rests at 0 and at
    x = y = ±√(b z), z = 2 c - a.

    References:
        Chen and Ueta (1999), https://doi.org/10.1142/S0218127499001024.
    """

    def field(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, z = state
        return jnp.stack([a * (y - x), (c - a) * x - x * z + c * y, x * y - b * z])

    return field


def hyper_rossler(a: float = 0.25, b: float = 3.0, c: float = 0.5, d: float = 0.05) -> VectorField:
    """Make Rössler's hyperchaotic system, with two positive exponents and one zero.

    ẋ = -y - z, ẏ = x + a y + w, ż = b + x z, ẇ = -c z + d w; the divergence is a + d + x.
    The last exponent is made by short spikes of z and converges slowest: 64 orbits of 1e4
    units of time know it to ±.06. Orbits that start outside the basin escape; start at
    (-20, 0, 0, 15).

    References:
        Rössler (1979), https://doi.org/10.1016/0375-9601(79)90150-6.
    """

    def field(state: Float[Array, "4"]) -> Float[Array, "4"]:
        x, y, z, w = state
        return jnp.stack([-y - z, x + a * y + w, b + x * z, d * w - c * z])

    return field


def duffing(
    damping: float = 0.05,
    linear: float = 0.0,
    cubic: float = 1.0,
    amplitude: float = 7.5,
    frequency: float = 1.0,
) -> VectorField:
    """Make the forced Duffing oscillator, by default in Ueda's form; the exponents add to -δ.

    ẋ = v, v̇ = -δ v - linear · x - cubic · x³ + amplitude · cos φ, φ̇ = frequency, with δ the
    damping. The state is (x, v, φ), which makes the system autonomous, with one exponent
    exactly zero. The phase grows for ever: a float32 orbit knows it to some 1e-7 of its size.

    References:
        Ueda (1979), https://doi.org/10.1007/BF01011512.
    """

    def field(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, velocity, phase = state
        force = amplitude * jnp.cos(phase) - linear * x - cubic * x**3
        return jnp.stack([velocity, force - damping * velocity, jnp.full_like(phase, frequency)])

    return field


def stuart_landau(growth: float = 1.0, frequency: float = 1.0) -> VectorField:
    """Make ż = (growth + i frequency) z - |z|² z, whose exponents are exactly 0 and -2 growth.

    The state is (x, y), z = x + i y; the orbit is the circle |z|² = growth > 0. A limit cycle
    is the simplest flow with a neutral exponent.
    """

    def field(state: Float[Array, "2"]) -> Float[Array, "2"]:
        x, y = state
        turned = jnp.stack([-y, x])
        return (growth - x**2 - y**2) * state + frequency * turned

    return field


def henon_heiles() -> VectorField:
    """Make the Hénon–Heiles system, the Hamiltonian flow of `henon_heiles_energy`.

    The state is (x, y, p_x, p_y). Exponents are (λ, 0, 0, -λ), and λ depends on the energy and
    on the orbit: below 1/12 nearly all are regular, at 1/6 nearly all are chaotic, above it
    they escape. A Runge–Kutta step loses energy and pairing with time; for long orbits use
    `yoshida4(henon_heiles_force(), dt)`, which takes the same state.

    References:
        Hénon and Heiles (1964), https://doi.org/10.1086/109234.
    """
    force = henon_heiles_force()
    return lambda state: jnp.concatenate([state[2:], force(state[:2])])


def henon_heiles_force() -> Force:
    """Make the force (-x - 2 x y, -y - x² + y²) of the Hénon–Heiles potential."""

    def force(position: Float[Array, "2"]) -> Float[Array, "2"]:
        x, y = position
        return jnp.stack([-x - 2 * x * y, y**2 - y - x**2])

    return force


def henon_heiles_energy(state: Float[Array, "4"]) -> Float[Array, ""]:
    """Evaluate H = (p_x² + p_y² + x² + y²)/2 + x² y - y³/3."""
    x, y, _, _ = state
    return jnp.sum(state**2) / 2 + x**2 * y - y**3 / 3
