"""Do directions differ: homogeneity, spread and minimum of several exponents."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax.estimators.roughness.averaging import LevelNumbers, WindowAverage
from fracjax.estimators.roughness.windows import chi_square_tail

__all__ = ["Anisotropy", "compare_directions", "compare_lines"]

_FLOOR = 1e-10


class Anisotropy(NamedTuple):
    """Several exponents compared.

    Attributes:
        p_value: χ² test that all are equal; small says that directions differ.
        spread: Standard deviation of the true exponents beyond the sampling error.
        minimum: Smallest exponent, corrected for being the smallest of several.
        minimum_stderr: Its standard error.
        minimum_index: Which one it is.
    """

    p_value: Float[Array, ""]
    spread: Float[Array, ""]
    minimum: Float[Array, ""]
    minimum_stderr: Float[Array, ""]
    minimum_index: Array


def compare_directions(
    exponents: Float[Array, " g"], stderrs: Float[Array, " g"], used: Bool[Array, " g"]
) -> Anisotropy:
    """Compare exponents measured independently.

    Cochran's Q = Σ (H_g - mean)² / SE_g² is χ² under homogeneity; its excess gives the
    variance τ² between directions (DerSimonian and Laird). The smallest of many noisy
    numbers is too small: each is first drawn towards the mean by τ² / (τ² + SE²) (empirical
    Bayes), so that the minimum is the mean where directions agree and the plain minimum
    where they differ by far more than their errors.

    Args:
        exponents: One per direction.
        stderrs: Their standard errors, positive.
        used: Directions to compare.

    Returns:
        Comparison; NaN with fewer than two directions.

    References:
        DerSimonian and Laird (1986), Meta-analysis in clinical trials.
    """
    weight = jnp.where(used, 1 / jnp.where(used, stderrs, 1.0) ** 2, 0.0)
    value = jnp.where(used, exponents, 0.0)
    total, count = weight.sum(), used.sum()
    mean = (weight * value).sum() / total
    statistic = (weight * (value - mean) ** 2).sum()
    freedom = count - 1
    excess = jnp.maximum(statistic - freedom, 0.0)
    between = excess / (total - (weight**2).sum() / total)
    # The best mean under heterogeneity weighs by 1 / (τ² + SE²).
    joint = jnp.where(used, 1 / (between + 1 / jnp.where(used, weight, 1.0)), 0.0)
    mean, mean_variance = (joint * value).sum() / joint.sum(), 1 / joint.sum()
    trust = between * joint
    drawn = jnp.where(used, mean + trust * (value - mean), jnp.inf)
    index = jnp.argmin(drawn)
    variance = trust[index] ** 2 / weight[index] + (1 - trust[index]) ** 2 * mean_variance
    enough = count >= 2
    blank = jnp.where(enough, 0.0, jnp.nan)
    return Anisotropy(
        p_value=chi_square_tail(statistic, jnp.maximum(freedom, 1)) + blank,
        spread=jnp.sqrt(between) + blank,
        minimum=drawn[index] + blank,
        minimum_stderr=jnp.sqrt(variance) + blank,
        minimum_index=jnp.where(enough, index, -1),
    )


def compare_lines(
    fit: WindowAverage,
    curve: LevelNumbers,
    intermittent: Bool[Array, ""],
) -> dict[str, Array]:
    """Exponent of every line by the windows and weights of all, and how they differ.

    The error of one line's exponent comes from the residuals of the lines around their own
    fits over the best window, less what all lines share. That is independent from level to
    level for random functions, whatever their law. In deterministic ones (Weierstrass
    functions) neighbouring levels share terms and the test rejects 13 to 25 % of the time at
    the 5 % level.

    Args:
        fit: The fit; its last rows are the lines alone.
        curve: What it was fitted to.
        intermittent: Whether some lines are silent, so that logarithms of single lines
            mean nothing: the comparison is NaN then.
    """
    used, precision = curve.used, curve.precision
    lines = slice(len(fit.estimates) - len(used), None)
    exponents, residual = fit.estimates[lines], fit.residual[lines]
    count = jnp.maximum(used.sum(), 2)
    shared = jnp.einsum("d,dki->ki", used, residual) / count
    squares = jnp.einsum("d,dki,i->", used, (residual - shared) ** 2, precision)
    scatter = squares / ((count - 1) * jnp.maximum(fit.freedom, 1))
    gain = (fit.coefficients[0] ** 2).sum(axis=0) / jnp.where(precision > 0, precision, jnp.inf)
    stderr = jnp.sqrt(scatter * gain.sum() + _FLOOR)
    compared = compare_directions(exponents, jnp.broadcast_to(stderr, used.shape), used > 0)
    blank = jnp.where(intermittent, jnp.nan, 0.0).astype(exponents.dtype)
    return {
        "line_exponents": jnp.where(used > 0, exponents, jnp.nan),
        "line_stderr": stderr,
        "homogeneity_p_value": compared.p_value + blank,
        "direction_spread": compared.spread + blank,
        "minimum_exponent": compared.minimum + blank,
        "minimum_stderr": compared.minimum_stderr + blank,
        "minimum_direction": jnp.where(intermittent, -1, compared.minimum_index),
    }
