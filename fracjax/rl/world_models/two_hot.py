"""Symmetric logarithms, and numbers as distributions over exponentially spaced bins."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["bin_centres", "expected_value", "symexp", "symlog", "two_hot", "two_hot_loss"]


def symlog(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compress numbers of any size and sign: sign(x) ln(1 + |x|)."""
    return _odd(jnp.log1p, values)


def symexp(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Undo `symlog`: sign(x) (e^|x| - 1)."""
    return _odd(jnp.expm1, values)


@functools.lru_cache(maxsize=16)
def bin_centres(number: int, limit: float) -> np.ndarray:
    """Numbers whose symmetric logarithms are evenly spaced in [-limit, limit], in float64.

    Args:
        number: How many; odd, so that 0 is one of them.
        limit: Symmetric logarithm of the largest.

    Raises:
        ValueError: If `number` is even or less than 3.
    """
    if number < 3 or number % 2 == 0:
        msg = f"Argument `number` must be odd and at least 3, but is {number}."
        raise ValueError(msg)
    logs = np.linspace(-limit, limit, number)
    centres = np.sign(logs) * np.expm1(np.abs(logs))
    centres[number // 2] = 0.0
    return centres


def two_hot(values: Float[Array, "*batch"], centres: np.ndarray) -> Float[Array, "*batch bins"]:
    """Weights on the two neighbouring bins whose mean is the value.

    The weights are linear in the values themselves, not in their logarithms, so that the mean of
    the bins under them is the value, to rounding. Values beyond the last bins are clipped.
    """
    bins = jnp.asarray(centres, values.dtype)
    clipped = jnp.clip(values, bins[0], bins[-1])
    right = jnp.clip(jnp.searchsorted(bins, clipped, side="right"), 1, len(centres) - 1)
    low, high = bins[right - 1], bins[right]
    share = ((clipped - low) / (high - low))[..., None]
    left_hot = jax.nn.one_hot(right - 1, len(centres), dtype=values.dtype)
    right_hot = jax.nn.one_hot(right, len(centres), dtype=values.dtype)
    return (1 - share) * left_hot + share * right_hot


def expected_value(
    logits: Float[Array, "*batch bins"], centres: np.ndarray
) -> Float[Array, "*batch"]:
    """Mean of the bins under a softmax.

    Bins of equal size and opposite sign are paired first, so that a uniform distribution has the
    mean 0 exactly and not what rounding leaves of large numbers.
    """
    weights = jax.nn.softmax(logits, axis=-1)
    half = len(centres) // 2
    upper = jnp.asarray(centres[half + 1 :], logits.dtype)
    surplus = weights[..., half + 1 :] - weights[..., :half][..., ::-1]
    return jnp.sum(surplus * upper, axis=-1)


def two_hot_loss(
    logits: Float[Array, "*batch bins"], values: Float[Array, "*batch"], centres: np.ndarray
) -> Float[Array, "*batch"]:
    """Cross-entropy of a softmax with the two-hot weights of the values."""
    target = two_hot(values, centres)
    return -jnp.sum(target * jax.nn.log_softmax(logits, axis=-1), axis=-1)


def _odd(function: Callable[[Array], Array], values: Array) -> Array:
    """Continue a function of positive numbers to negative ones, with its derivative at 0."""
    positive = values >= 0
    size = function(jnp.where(positive, values, -values))
    return jnp.where(positive, size, -size)
