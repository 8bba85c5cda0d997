"""Gradient descent on ½(a u·v - b)² in its own units: the two-factor product map.

With u = √(b/a) x, v = √(b/a) y and the effective step size μ = η a b, a step of size η is

    x' = x + μ (1 - x y) y,    y' = y + μ (1 - x y) x,

whatever a, b and η are. In p = x y, q = x + y, d = x - y and g = μ (1 - p) it reads
q' = q (1 + g), d' = d (1 - g): the balanced slice d = 0 stays balanced. Fixed points are the origin
(multipliers 1 ± μ) and the minima x y = 1, with multipliers 1 (along them) and 1 - μ s, where
s = x² + y² is the sharpness: a minimum is stable if s < 2/μ, the edge of stability. The
flattest has s = 2, so that none is stable for μ > 1. Exact statements here without another source
are derived in their docstrings and hold in tests to rounding.
"""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import StepFunction

__all__ = [
    "Real",
    "Reduction",
    "effective_step_size",
    "from_products",
    "log_volume_growth",
    "normalized_loss",
    "normalized_sharpness",
    "original_factors",
    "product_map",
    "products",
    "products_map",
    "reduced_factors",
    "vector_product_map",
]

# A number or an array of them.
Real: TypeAlias = float | int | Float[Array | np.ndarray, "..."]


class Reduction(NamedTuple):
    """A loss ½(a u·v - b)².

    Attributes:
        slope: a, how fast the prediction grows with the product of the factors.
        target: b.
    """

    slope: Real
    target: Real


def effective_step_size(reduction: Reduction, learning_rate: Real) -> Float[Array, "..."]:
    """μ = η |a b|. A negative a b is that of the problem with the sign of u turned."""
    return jnp.abs(jnp.asarray(reduction.slope * reduction.target)) * learning_rate


def reduced_factors(
    factors: Float[Array | np.ndarray, "2 ..."], reduction: Reduction
) -> Float[Array, "2 ..."]:
    """Turn factors (u, v) into (x, y) = √|a/b| (±u, v), with the sign of a b; NaN where b = 0."""
    slope, target = jnp.asarray(reduction.slope), jnp.asarray(reduction.target)
    scale = jnp.sqrt(jnp.abs(slope / jnp.where(target == 0, jnp.nan, target)))
    return scale * _with_sign(jnp.asarray(factors), slope * target)


def original_factors(
    state: Float[Array | np.ndarray, "2 ..."], reduction: Reduction
) -> Float[Array, "2 ..."]:
    """Undo `reduced_factors`; NaN where a = 0."""
    slope, target = jnp.asarray(reduction.slope), jnp.asarray(reduction.target)
    scale = jnp.sqrt(jnp.abs(target / jnp.where(slope == 0, jnp.nan, slope)))
    return scale * _with_sign(jnp.asarray(state), slope * target)


def _with_sign(factors: Array, sign: Array) -> Array:
    """Turn the first factor where the sign is negative."""
    return jnp.stack([jnp.sign(sign) * factors[0], factors[1]])


def product_map(step_size: Real = 1.5) -> StepFunction:
    """Make the product map F_μ of a state (x, y), unbatched, of effective step size μ.

    Bounded orbits exist for μ < 2, from initial states inside `ellipse.ellipse_value` < 0.
    """

    def step(state: Float[Array, "2"]) -> Float[Array, "2"]:
        x, y = state
        move = step_size * (1 - x * y)
        return jnp.stack([x + move * y, y + move * x])

    return step


def vector_product_map(step_size: Real = 1.5) -> StepFunction:
    """Make F_μ of factors that are vectors, a state (2, k), where x y is the scalar product."""

    def step(state: Float[Array, "2 k"]) -> Float[Array, "2 k"]:
        move = step_size * (1 - jnp.sum(state[0] * state[1]))
        return state + move * state[::-1]

    return step


def products_map(step_size: Real = 1.5) -> StepFunction:
    """Make the map of (p, s) = (x·y, |x|² + |y|²), closed whatever the dimension of x and y.

    p' = p (1 + g²) + g s and s' = s (1 + g²) + 4 g p, with g = μ (1 - p). It keeps s >= 2 |p|.
    """

    def step(state: Float[Array, "2"]) -> Float[Array, "2"]:
        p, s = state
        g = step_size * (1 - p)
        grown = 1 + g**2
        return jnp.stack([p * grown + g * s, s * grown + 4 * g * p])

    return step


def products(state: Float[Array, "2 ..."]) -> Float[Array, "2"]:
    """Turn (x, y) into (p, s)."""
    return jnp.stack([jnp.sum(state[0] * state[1]), jnp.sum(state**2)])


def from_products(both: Float[Array, "2"]) -> Float[Array, "2"]:
    """Turn (p, s) into scalar factors with x >= |y|, the same up to the map's symmetries.

    F_μ commutes with exchanging x and y and with turning both signs.
    """
    p, s = both
    q = jnp.sqrt(jnp.maximum(s + 2 * p, 0))
    d = jnp.sqrt(jnp.maximum(s - 2 * p, 0))
    return jnp.stack([(q + d) / 2, (q - d) / 2])


def normalized_loss(state: Float[Array, "2 ..."]) -> Float[Array, ""]:
    """½(1 - x·y)²: the loss over b²."""
    return (1 - jnp.sum(state[0] * state[1])) ** 2 / 2


def normalized_sharpness(state: Float[Array, "2"]) -> Float[Array, ""]:
    """Largest eigenvalue of the Hessian of ½(1 - x y)², that of the loss over a b.

    [s + √(s² - 4 p² + 4 (2 p - 1)²)]/2, which is s at a minimum. The edge of stability is at 2/μ.
    """
    p, s = products(state)
    return (s + jnp.sqrt(s**2 - 4 * p**2 + 4 * (2 * p - 1) ** 2)) / 2


def log_volume_growth(state: Float[Array, "2"], step_size: Real) -> Float[Array, ""]:
    """ln|det DF_μ| = ln|1 - g² - μ s + 2 μ g p|, what the two exponents add up to on average."""
    p, s = products(state)
    g = step_size * (1 - p)
    return jnp.log(jnp.abs(1 - g**2 - step_size * s + 2 * step_size * g * p))
