"""The invariant ellipse of the product map: what bounds its basin, and where it is solved exactly.

With E(x, y) = s - μ p - (4 - μ²)/μ, p = x y, s = x² + y², and g = μ (1 - p), every step obeys

    E' = E (1 - μ g + g²),    1 - μ g + g² = 1 - μ² p (1 - p) >= 1 - μ²/4 > 0    for 0 < μ < 2,

so that the sign of E never changes. On the ellipse E = 0, with
x + y = √(4 (2 + μ)/μ) cos θ and x - y = √(4 (2 - μ)/μ) sin θ, the map is θ -> π - 3 θ, and
p = 1 + (2/μ) cos 2θ: a Chebyshev map of degree three, with uniform density in θ and entropy ln 3.
Orbits on it cannot be followed as they are, for the ellipse repels: rounding is gone with
after some forty steps. `ellipse_map` keeps them on it.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import StepFunction
from fracjax.systems.training_maps.product_map import Real, product_map, products

__all__ = [
    "angle_map",
    "critical_step_size",
    "ellipse_angle",
    "ellipse_factor",
    "ellipse_level",
    "ellipse_map",
    "ellipse_mean_loss",
    "ellipse_point",
    "ellipse_transverse_exponent",
    "ellipse_value",
    "largest_bounded_step_size",
]


def ellipse_level(step_size: Real) -> Real:
    """The value (4 - μ²)/μ that s - μ p has on the ellipse."""
    return (4 - step_size**2) / step_size


def ellipse_value(state: Float[Array, "2 ..."], step_size: Real) -> Float[Array, ""]:
    """E: negative inside the ellipse, 0 on it, positive outside; for vectors x and y as well.

    For 0 < μ < 2 an orbit stays bounded if E < 0 at its start, by the conserved sign, and all that
    was sampled outside diverged. At μ = 2 the ellipse shrinks to the segment of the balanced
    chaos, and E = (x - y)².
    """
    p, s = products(state)
    return s - step_size * p - ellipse_level(step_size)


def ellipse_factor(state: Float[Array, "2 ..."], step_size: Real) -> Float[Array, ""]:
    """E after a step over E before it: 1 - μ² p (1 - p)."""
    p, _ = products(state)
    return 1 - step_size**2 * p * (1 - p)


def ellipse_point(angle: Float[Array, "..."], step_size: Real) -> Float[Array, "2 ..."]:
    """The point (x, y) of the ellipse at θ, in radians, or points at angles."""
    ratio = jnp.asarray(step_size, angle.dtype)
    q = jnp.sqrt(4 * (2 + ratio) / ratio) * jnp.cos(angle)
    d = jnp.sqrt(4 * (2 - ratio) / ratio) * jnp.sin(angle)
    return jnp.stack([(q + d) / 2, (q - d) / 2])


def ellipse_angle(state: Float[Array, "2"], step_size: Real) -> Float[Array, ""]:
    """θ in (-π, π] of a point of the ellipse, of a point elsewhere that of its ray."""
    x, y = state
    ratio = jnp.asarray(step_size, state.dtype)
    return jnp.arctan2((x - y) / jnp.sqrt(2 - ratio), (x + y) / jnp.sqrt(2 + ratio))


def angle_map() -> StepFunction:
    """Make θ' = π - 3 θ mod 2π, what F_μ does on its ellipse for every μ; the exponent is ln 3."""
    return lambda angle: (math.pi - 3 * angle) % (2 * math.pi)


def ellipse_map(step_size: Real = 1.5) -> StepFunction:
    """Make F_μ on its ellipse: the value is put back onto it, the derivative is that of F_μ.

    The exponents are ln 3 along the ellipse and `ellipse_transverse_exponent` across it. Put back
    means scaled to E = 0, by a factor that is 1 up to rounding for a state on the ellipse.
    """
    step = product_map(step_size)
    level = ellipse_level(step_size)

    def on_ellipse(state: Float[Array, "2"]) -> Float[Array, "2"]:
        moved = step(state)
        p, s = products(moved)
        kept = moved * jnp.sqrt(level / (s - step_size * p))
        return moved + jax.lax.stop_gradient(kept - moved)

    return on_ellipse


def ellipse_transverse_exponent(step_size: Real) -> Float[Array, "..."]:
    """λ⊥ = arcosh((1 + √(25 - 4 μ²))/4): how fast orbits leave the ellipse, nats per step.

    It is the mean of ln(1 - μ g + g²) = ln(1 + 2 μ c + 4 c²), c = cos 2θ, over uniform θ, a product
    of two Jensen integrals. 2 ln of the golden ratio for μ -> 0, ln 2 at μ = 1.5, and 0 at μ = 2;
    NaN beyond. On the ellipse the mean of ln|det DF| is ln 3 + λ⊥.
    """
    ratio = jnp.asarray(step_size, jnp.result_type(float))
    inside = jnp.where((ratio >= 0) & (ratio <= 2), 25 - 4 * ratio**2, jnp.nan)
    return jnp.arccosh((1 + jnp.sqrt(inside)) / 4)


def ellipse_mean_loss(step_size: Real) -> Real:
    """Mean of ½(1 - p)² on the ellipse, 1/μ²: p - 1 has the arcsine law on ±2/μ."""
    return 1 / step_size**2


def critical_step_size(
    u: Float[Array, "..."], v: Float[Array, "..."], target: Real
) -> Float[Array, ""]:
    """Largest η from which gradient descent on ½(u·v - y)² converges from almost every start.

    η* = min{1/|y|, 8/(S + √(S² - 16 y (u·v - y)))}, S = |u|² + |v|². The second term is where E,
    with μ = η y, changes sign, and the first is μ = 1, where the flattest minimum loses its
    stability. What is reached close to η* is unpredictable, with a sharpness anywhere below 2/η.

    Args:
        u: First factor, a scalar or a vector.
        v: Second factor.
        target: y; 0 leaves the second term, which is then 4/S.

    References:
        Liang and Montúfar (2025), arXiv 2509.25351, Theorem 1.
    """
    largest = _inside_step_size(u, v, target)
    size = jnp.abs(jnp.asarray(target, largest.dtype))
    return jnp.minimum(1 / size, largest)


def largest_bounded_step_size(
    u: Float[Array, "..."], v: Float[Array, "..."], target: Real
) -> Float[Array, ""]:
    """The same with 2/|y| in place of 1/|y|: beyond it gradient descent diverges.

    Between the two step sizes it stays bounded, without settling at a minimum, if E < 0.
    """
    largest = _inside_step_size(u, v, target)
    size = jnp.abs(jnp.asarray(target, largest.dtype))
    return jnp.minimum(2 / size, largest)


def _inside_step_size(u: Array, v: Array, target: Real) -> Float[Array, ""]:
    """Where η S - η² y (u·v - y) = 4, which is E = 0."""
    total = jnp.sum(u**2) + jnp.sum(v**2)
    root = jnp.sqrt(total**2 - 16 * target * (jnp.sum(u * v) - target))
    return 8 / (total + root)
