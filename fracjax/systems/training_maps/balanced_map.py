"""The balanced slice x = y of the product map: a cubic map with a full period-doubling cascade.

    x' = (1 + μ) x - μ x³,    z = μ (x² - 1),    z' = z³ + (μ - 2) z² + (1 - 2 μ) z.

z is the residual p - 1 in units of 1/μ. It stays in [-μ, 2] for μ <= 2, that is |x| <= √(1 + 2/μ),
whose ends are an unstable 2-cycle of x. With f the map of z, f(z) - z = z (z - 2)(z + μ). It has
critical points at z = 1, which goes to the unstable origin, and at (1 - 2 μ)/3, whose orbit finds
the attractor.

| μ | behaviour | because |
|---|---|---|
| (0, 2√2 - 2] | the loss falls at every step | f(z)/z > -1 on (-μ, 2) iff μ² + 4μ - 4 < 0 |
| (2√2 - 2, 1] | it may rise first (catapult), but converges | the slope at z = 0 is 1 - 2 μ |
| (1, √5 - 1) | a stable 2-cycle | its multiplier is 9 - 2 (1 + μ)² |
| [√5 - 1, 1.302283…) | 4, 8, … cycles | period doublings, `bifurcations.period_doublings` |
| (1.302283…, 2] | chaos with periodic windows | both signs of x join at 3√3/2 - 1 |
| > 2 | divergence from almost every start | the largest value leaves the interval |

References:
    Chen, Balasubramanian, Ghosal and Agrawalla (2023), arXiv 2310.01687, on phases of this map.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import StepFunction
from fracjax.systems.training_maps.product_map import Real

__all__ = [
    "BAND_MERGING",
    "DIVERGENCE",
    "FIRST_DOUBLING",
    "MONOTONE_LIMIT",
    "SECOND_DOUBLING",
    "balanced_map",
    "critical_residual",
    "factor_of_residual",
    "residual",
    "residual_map",
    "transverse_growth",
    "two_cycle",
    "two_cycle_multipliers",
]

MONOTONE_LIMIT = 2 * math.sqrt(2) - 2  # the loss falls at every step up to here
FIRST_DOUBLING = 1.0  # the minimum loses its stability to a 2-cycle
SECOND_DOUBLING = math.sqrt(5) - 1  # and the 2-cycle to a 4-cycle
BAND_MERGING = 1.5 * math.sqrt(3) - 1  # the sign of x is no longer conserved
DIVERGENCE = 2.0  # almost every start diverges beyond


def balanced_map(step_size: Real = 2.0) -> StepFunction:
    """Make x' = (1 + μ) x - μ x³, with a scalar state.

    At μ = 2 it is conjugate, by x = √2 s, to s' = 3 s - 4 s³, minus the third Chebyshev polynomial:
    the exponent is ln 3. Rounding at the largest value can then put an orbit outside of the
    interval, from where it diverges: in float32 once in 2e5 steps, in float64 never in 8e7.
    """
    return lambda x: (1 + step_size) * x - step_size * x**3


def residual_map(step_size: Real = 2.0) -> StepFunction:
    """Make z' = z³ + (μ - 2) z² + (1 - 2 μ) z, with a scalar state."""
    return lambda z: z * (z * (z + step_size - 2) + 1 - 2 * step_size)


def residual(factor: Real, step_size: Real) -> Real:
    """Residual z = μ (x² - 1), which conjugates the maps, two to one: x and -x have the same."""
    return step_size * (factor**2 - 1)


def factor_of_residual(z: Real, step_size: Real) -> Float[Array, "..."]:
    """The x >= 0 of a residual; NaN below -μ."""
    return jnp.sqrt(1 + z / step_size)


def critical_residual(step_size: Real) -> Real:
    """(1 - 2 μ)/3, where the map of z has slope 0 and whose orbit finds every attractor."""
    return (1 - 2 * step_size) / 3


def two_cycle(step_size: Real) -> Float[Array, "2 ..."]:
    """The two x > 0 of the 2-cycle: x₁² + x₂² = 1 + 1/μ, x₁ x₂ = 1/μ; real for μ >= 1."""
    ratio = jnp.asarray(step_size, jnp.result_type(float))
    # The sum and the difference squared.
    q, d = jnp.sqrt(1 + 3 / ratio), jnp.sqrt(1 - 1 / ratio)
    return jnp.stack([(q + d) / 2, (q - d) / 2])


def two_cycle_multipliers(step_size: Real) -> tuple[Real, Real]:
    """Multipliers of the 2-cycle: 9 - 2 (1 + μ)² within the slice and 3 - 2 μ across it.

    The first is 1 at μ = 1 and -1 at √5 - 1; the second is between -1 and 1 for 1 < μ < 2, where
    gradient descent restores balance.
    """
    return 9 - 2 * (1 + step_size) ** 2, 3 - 2 * step_size


def transverse_growth(factor: Real, step_size: Real) -> Float[Array, "..."]:
    """ln|1 - μ (1 - x²)|: growth of a small imbalance x - y in one step, −inf where it vanishes.

    Its mean over an attractor is the transverse exponent: 0 at a minimum, negative for
    1 < μ < 2, and 0 at μ = 2.
    """
    return jnp.log(jnp.abs(1 - step_size * (1 - factor**2)))
