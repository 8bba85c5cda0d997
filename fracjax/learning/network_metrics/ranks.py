"""Ranks of features and kernels, seven definitions that go by each other's names.

    values = singular_values(activations)
    effective_rank(values), srank(values), feature_rank(values, num_samples)

All are functions of singular values, in any order. They give 0 for a matrix of zeros and NaN for
one that is not finite, and are floats so that they can. `fracjax.learning.network_metrics.aliases`
says who calls which one by what name.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from fracjax.learning.network_metrics.units import unit_samples

__all__ = [
    "approximate_rank",
    "effective_rank",
    "feature_rank",
    "numerical_rank",
    "participation_ratio",
    "singular_values",
    "srank",
    "stable_rank",
]

Spectrum = Float[Array | np.ndarray, " n"]


def singular_values(matrix: Float[Array | np.ndarray, "..."]) -> Float[Array, " n"]:
    """Singular values of activations (samples, ..., units) or of a kernel (..., inputs, units).

    The last axis are the columns, all others together the rows, without centring. They come from
    the matrix and not from its Gram matrix, whose small eigenvalues drown in float32.

    Args:
        matrix: The array.
    """
    rows = unit_samples(matrix)
    finite = jnp.isfinite(rows).all()
    # LAPACK may search long for the singular values of a NaN.
    found = jnp.linalg.svd(jnp.where(finite, rows, 0), compute_uv=False)
    return jnp.where(finite, found, jnp.nan)


def effective_rank(values: Spectrum) -> Float[Array, ""]:
    """Exponential of the entropy of p = σ/Σσ: exp(-Σ p ln p).

    From 1 for a rank-one matrix to n for n equal singular values. Dohare et al. use this one.

    Args:
        values: Singular values σ.

    References:
        Roy and Vetterli (2007), EUSIPCO, "The effective rank: a measure of effective
        dimensionality".
    """
    values = jnp.asarray(values)
    total = jnp.sum(values)
    shares = values / jnp.where(total == 0, 1, total)
    return jnp.where(total == 0, 0, jnp.exp(-jnp.sum(xlogy(shares, shares))))


def srank(values: Spectrum, delta: float = 0.01) -> Float[Array, ""]:
    """Fewest singular values that hold a share 1 - δ of their sum, srank_δ.

    Kumar et al. call it effective rank, Dohare et al. stable rank; it is neither of the two
    functions of that name here.

    Args:
        values: Singular values σ.
        delta: Share δ that is left out.

    References:
        Kumar et al. (2021), https://arxiv.org/abs/2010.14498.
    """
    return _fewest(jnp.asarray(values), 1 - delta)


def approximate_rank(values: Spectrum, share: float = 0.99) -> Float[Array, ""]:
    """Fewest singular values whose squares hold a share of the sum of squares.

    The directions that explain so much of the (uncentred) variance.

    Args:
        values: Singular values σ.
        share: Share of Σσ².

    References:
        Yang et al. (2020), https://arxiv.org/abs/1909.12255.
    """
    return _fewest(_normed(values) ** 2, share)


def stable_rank(values: Spectrum) -> Float[Array, ""]:
    """‖W‖_F²/‖W‖_2² = Σσ²/max σ², the stable rank of linear algebra.

    Args:
        values: Singular values σ.

    References:
        Rudelson and Vershynin (2007), https://doi.org/10.1145/1255443.1255449.
    """
    return jnp.sum(_normed(values) ** 2)


def participation_ratio(values: Spectrum) -> Float[Array, ""]:
    """(Σσ²)²/Σσ⁴: how many equal variances would be as concentrated.

    Joudaki et al. log this, of centred features, as stable rank.

    Args:
        values: Singular values σ.

    References:
        Gao et al. (2017), https://doi.org/10.1101/214262.
    """
    squares = _normed(values) ** 2
    total = jnp.sum(squares**2)
    return jnp.where(total == 0, 0, jnp.sum(squares) ** 2 / jnp.where(total == 0, 1, total))


def numerical_rank(values: Spectrum, shape: tuple[int, ...]) -> Float[Array, ""]:
    """Singular values above rounding, σ > max(rows, columns) ε max σ, as NumPy's `matrix_rank`.

    Args:
        values: Singular values σ.
        shape: Of the matrix; the last axis are its columns.
    """
    size = max(math.prod(shape[:-1]), shape[-1])
    normed = _normed(values)
    return _count(normed > size * jnp.finfo(normed.dtype).eps, normed)


def feature_rank(values: Spectrum, num_samples: int, threshold: float = 0.01) -> Float[Array, ""]:
    """Singular values of Φ/√n above a threshold that is not relative to the largest.

    It depends on the scale of the features. One port leaves the 1/√n out, which makes it grow
    with the batch.

    Args:
        values: Singular values of the features Φ.
        num_samples: n, the rows of Φ.
        threshold: The threshold; the paper's .01.

    References:
        Lyle et al. (2022), https://arxiv.org/abs/2204.09560.
    """
    values = jnp.asarray(values)
    return _count(values > threshold * math.sqrt(num_samples), values)


def _normed(values: Spectrum) -> Float[Array, " n"]:
    """Divide by the largest: squares must not leave the range of float32."""
    values = jnp.asarray(values)
    largest = jnp.max(values)
    return values / jnp.where(largest == 0, 1, largest)


def _fewest(weights: Float[Array, " n"], share: float) -> Float[Array, ""]:
    """Fewest of the weights, largest first, that reach a share of their sum."""
    reached = jnp.cumsum(jnp.sort(weights, descending=True))
    total = reached[-1]
    short = reached / jnp.where(total == 0, 1, total) < share
    return jnp.where(total == 0, 0, 1 + _count(short, weights))


def _count(flags: Array, values: Float[Array, " n"]) -> Float[Array, ""]:
    count = jnp.sum(flags, dtype=values.dtype)
    return jnp.where(jnp.isfinite(values).all(), count, jnp.nan)
