"""Standard error of the mean of a correlated sequence, from its spectrum at zero frequency."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import digamma, polygamma

__all__ = ["degrees_of_freedom", "standard_error"]

_FEWEST = 64  # block means below which their plain scatter is used
_SHARE = 8  # one pair of frequencies per so many block means is fitted
_BIAS = float(digamma(2) - np.log(2))  # mean and variance of ln of the mean of two
_VARIANCE = float(polygamma(1, 2))  # exponential variables


def standard_error(blocks: Float[Array, "blocks ..."]) -> Float[Array, "..."]:
    """Estimate the standard error of the mean of a stationary sequence of block means.

    The squared error of a mean is the spectral density at zero frequency over the length.
    With 64 block means or more it is extrapolated: a straight line in frequency through the
    logarithm of the periodogram, averaged in pairs, over the lowest quarter of the
    frequencies. Where growth is first lent and then paid back, as on the Lorenz attractor,
    the density falls towards zero frequency, and the plain scatter of 20 block means
    overstates the error (2.1 times for 500 units of time, and this 1.0 times, measured over
    400 orbits); for sequences without memory both agree. With fewer than 64 block means
    the plain scatter is returned. Blocks much shorter than the memory are no harm, unless
    the memory exceeds some 16 blocks.

    Args:
        blocks: Means of consecutive blocks of equal length, along the leading axis.

    Returns:
        Standard error of their mean; NaN for a single block. Use Student's t with
        `degrees_of_freedom(len(blocks))`.

    References:
        Heidelberger and Welch (1981), https://doi.org/10.1145/358598.358630.
    """
    count = len(blocks)
    if count < 2:
        return jnp.full(blocks.shape[1:], jnp.nan, blocks.dtype)
    if count < _FEWEST:
        return blocks.std(axis=0, ddof=1) / count**0.5
    pairs = count // _SHARE
    centred = blocks - blocks.mean(axis=0)
    waves = jnp.asarray(_waves(count, 2 * pairs), blocks.dtype)
    cosine, sine = jnp.tensordot(waves, centred, axes=((1, 0)), precision="highest")
    power = (cosine**2 + sine**2).reshape(pairs, 2, *blocks.shape[1:]).mean(axis=1) / count
    logarithm = jnp.log(jnp.maximum(power, jnp.finfo(blocks.dtype).tiny)) - _BIAS
    weights = _intercept_weights(count)
    intercept = jnp.tensordot(jnp.asarray(weights, blocks.dtype), logarithm, axes=1)
    correction = _VARIANCE * float(weights @ weights) / 2  # the mean of a lognormal variable
    density = jnp.exp(intercept - correction)
    return jnp.where(jnp.isfinite(centred).all(axis=0), jnp.sqrt(density / count), jnp.nan)


def degrees_of_freedom(count: int) -> int:
    """Degrees of freedom of `standard_error` for so many block means."""
    if count < _FEWEST:
        return count - 1
    variance = _VARIANCE * float(_intercept_weights(count) @ _intercept_weights(count))
    return round(2 / np.expm1(variance))


@functools.lru_cache(maxsize=8)
def _waves(count: int, frequencies: int) -> np.ndarray:
    """Cosines and sines at the lowest frequencies, (2, count, frequencies) transposed."""
    angle = 2 * np.pi * np.outer(np.arange(1, frequencies + 1), np.arange(count)) / count
    return np.stack([np.cos(angle), np.sin(angle)]).transpose(0, 2, 1)


@functools.lru_cache(maxsize=8)
def _intercept_weights(count: int) -> np.ndarray:
    """Weights of the least-squares intercept at zero frequency."""
    pairs = count // _SHARE
    frequency = (4 * np.arange(1, pairs + 1) - 1) / (2 * count)
    design = np.stack([np.ones(pairs), frequency], axis=1)
    return np.linalg.pinv(design)[0]
