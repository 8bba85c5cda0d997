"""Discrete-time systems with known Lyapunov exponents; each function returns a `step`.

Exponents are in nats per step. States are scalars or vectors, unbatched.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, StepFunction

__all__ = [
    "baker",
    "cat",
    "expanding",
    "folded_towel",
    "gaussian_products",
    "henon",
    "ikeda",
    "linear",
    "logistic",
    "quadratic",
    "standard",
    "tent",
]

_TURN = 2 * jnp.pi


def logistic(rate: float = 4.0) -> StepFunction:
    """Make x' = rate · x (1 - x) on [0, 1].

    At rate 4 the exponent is ln 2. Float32 orbits fall onto short cycles: use float64.
    """
    return lambda x: rate * x * (1 - x)


def quadratic(a: float = 2.0) -> StepFunction:
    """Make x' = 1 - a x² on [-1, 1]; at a = 2 the exponent is ln 2, that of `logistic(4)`."""
    return lambda x: 1 - a * x**2


def tent(slope: float = 1.9) -> StepFunction:
    """Make x' = slope · min(x, 1 - x) on [0, 1]; the exponent is ln(slope).

    Raises:
        ValueError: If `slope` is not inside (0, 2). At exactly 2 every binary floating-point
            orbit reaches 0 within some 53 steps (24 in float32).
    """
    if isinstance(slope, int | float) and not 0 < slope < 2:
        msg = f"Argument `slope` must lie inside (0, 2), but is {slope}."
        raise ValueError(msg)
    return lambda x: slope * jnp.minimum(x, 1 - x)


def expanding(factor: float = 3.0) -> StepFunction:
    """Make x' = factor · x mod 1; the exponent is ln(factor).

    Discontinuous. Powers of two shift the bits out of a floating-point orbit: avoid them.
    """
    return lambda x: (factor * x) % 1.0


def henon(a: float = 1.4, b: float = 0.3) -> StepFunction:
    """Make (x, y)' = (1 - a x² + y, b x); the exponents add up to ln|b|.

    References:
        Hénon (1976), https://doi.org/10.1007/BF01608556.
    """
    return lambda s: jnp.stack([1 - a * s[0] ** 2 + s[1], b * s[0]])


def cat() -> StepFunction:
    """Make Arnold's cat map (x, y)' = (2x + y, x + y) mod 1: ±ln((3 + √5)/2)."""
    return lambda s: jnp.stack([2 * s[0] + s[1], s[0] + s[1]]) % 1.0


def baker(cut: float = 1 / 3) -> StepFunction:
    """Make the skew baker map of the unit square, cut at x = `cut`.

    With c the cut, (x, y)' = (x/c, c y) left of it and ((x - c)/(1 - c), c + (1 - c) y)
    right of it. The exponents are ±[-c ln c - (1 - c) ln(1 - c)], that is ±ln 2 at c = 1/2,
    where however x leaves the floating-point grid within 53 steps (the exponents, which do
    not depend on x, stay exact).
    """

    def step(state: Float[Array, "2"]) -> Float[Array, "2"]:
        x, y = state
        left = x < cut
        width = jnp.where(left, cut, 1 - cut).astype(state.dtype)
        start = jnp.where(left, 0.0, cut).astype(state.dtype)
        return jnp.stack([(x - start) / width, start + width * y])

    return step


def standard(kick: float = 10.0) -> StepFunction:
    """Make Chirikov's standard map p' = p + kick · sin θ, θ' = θ + p', both mod 2π.

    The state is (θ, p). Area-preserving: the exponents are ±λ. Large kicks are almost
    uniformly chaotic, λ ≈ ln(kick/2); at small ones the orbit sticks to regular islands and
    no moderate run gives λ to better than a few per cent.
    """

    def step(state: Float[Array, "2"]) -> Float[Array, "2"]:
        angle, momentum = state
        momentum = (momentum + kick * jnp.sin(angle)) % _TURN
        return jnp.stack([(angle + momentum) % _TURN, momentum])

    return step


def ikeda(dissipation: float = 0.9) -> StepFunction:
    """Make the Ikeda map z' = 1 + u z exp(i t), t = 0.4 - 6/(1 + |z|²), z = x + i y.

    With u the dissipation, the exponents add up to 2 ln u.
    """

    def step(state: Float[Array, "2"]) -> Float[Array, "2"]:
        x, y = state
        angle = 0.4 - 6 / (1 + x**2 + y**2)
        cosine, sine = dissipation * jnp.cos(angle), dissipation * jnp.sin(angle)
        return jnp.stack([1 + cosine * x - sine * y, sine * x + cosine * y])

    return step


def folded_towel() -> StepFunction:
    """Make Rössler's folded towel map of three variables, with two positive exponents.

    x' = 3.8 x (1 - x) - 0.05 u, y' = 0.1 (u - 1)(1 - 1.9 x), z' = 3.78 z (1 - z) + 0.2 y,
    where u = (y + 0.35)(1 - 2 z). Start at (0.085, -0.121, 0.075).

    References:
        Rössler (1979), https://doi.org/10.1016/0375-9601(79)90150-6.
    """

    def step(state: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, z = state
        fold = (y + 0.35) * (1 - 2 * z)
        return jnp.stack(
            [
                3.8 * x * (1 - x) - 0.05 * fold,
                0.1 * (fold - 1) * (1 - 1.9 * x),
                3.78 * z * (1 - z) + 0.2 * y,
            ]
        )

    return step


def linear(matrix: Float[Array | np.ndarray, "n n"]) -> StepFunction:
    """Make x' = matrix @ x; the exponents are ln|eigenvalues|."""

    def step(state: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.matmul(jnp.asarray(matrix, state.dtype), state, precision="highest")

    return step


def gaussian_products(scale: float = 1.0) -> StepFunction:
    """Make a product of independent square matrices with N(0, scale²) entries.

    The state is (key, vector). Start the vector at zero of length n, where it stays: the
    tangents see the matrices. With ψ the digamma function the exponents are
    λ_i = ½[ln 2 + ψ((n - i + 1)/2)] + ln(scale), i = 1…n, and growth is independent from
    step to step, which makes standard errors exact.

    References:
        Newman (1986), https://doi.org/10.1007/BF01205668.
    """

    def step(state: tuple[Key, Float[Array, " n"]]) -> tuple[Key, Float[Array, " n"]]:
        key, vector = state
        key, draw = jax.random.split(key)
        size = vector.shape[0]
        matrix = scale * jax.random.normal(draw, (size, size), vector.dtype)
        return key, jnp.matmul(matrix, vector, precision="highest")

    return step
