"""Continuous-time systems: vector fields, and a fixed-step integrator that makes a `step`.

`rk4(lorenz63(), 0.01)` is a step; divide its exponents by the same `dt`.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import PyTree, StepFunction

__all__ = ["VectorField", "damped_linear", "lorenz63", "lorenz96", "rk4", "rossler"]

VectorField = Callable[[PyTree], PyTree]


def rk4(vector_field: VectorField, dt: float) -> StepFunction:
    """Make one step of the classical fourth-order Runge–Kutta method.

    The error of an exponent is of order dt⁴: halve `dt` to see it. Not for stiff fields.

    Args:
        vector_field: Time derivative of a state, any pytree of floating leaves.
        dt: Length of the step.
    """

    def step(state: PyTree) -> PyTree:
        first = vector_field(state)
        second = vector_field(tree.add_scaled(state, dt / 2, first))
        third = vector_field(tree.add_scaled(state, dt / 2, second))
        fourth = vector_field(tree.add_scaled(state, dt, third))
        state = tree.add_scaled(state, dt / 6, first)
        state = tree.add_scaled(state, dt / 3, second)
        state = tree.add_scaled(state, dt / 3, third)
        return tree.add_scaled(state, dt / 6, fourth)

    return step


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

    Its leading exponent converges slowly: 1 % takes some 1e5 units of time.

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
