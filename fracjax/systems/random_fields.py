"""Random surfaces and volumes whose roughness is known in every direction; exact laws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.fft import next_fast_len

from fracjax._types import Key
from fracjax.systems.signals import fractional_brownian_motion

__all__ = ["additive_fractional_motion", "fractional_brownian_field"]

_ROUNDING = 1e-12  # negative eigenvalues of an embedding that are only rounding


def fractional_brownian_field(
    key: Key, hurst: float, shape: tuple[int, ...], *, spacing: float = 1.0
) -> Float[Array, "*shape"]:
    """Sample an isotropic fractional Brownian field on a grid in 2 or 3 dimensions.

    Gaussian with f(first corner) = 0 and E[(f(x) - f(y))²] = |x - y|^{2H}: Hölder exponent
    H almost surely, along every line and in every direction; the graph has dimension
    d + 1 - H. The law is exact to rounding (Stein's method): a stationary field whose
    covariance is c0 + c2 r² - r^{2H} inside the grid and reaches zero at a finite distance
    can be drawn on a torus, and a random plane turns it into the field.

    The torus is 2√d to 4√d times as wide as the longest side, so a 512 × 512 surface costs
    an FFT of 1452² points for H up to 0.75 and 2904² above.

    Args:
        key: Randomness.
        hurst: H, a Python number inside (0, 1).
        shape: Points along each axis, two or three axes, at least 2 points each.
        spacing: Distance between neighbouring points.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Stein (2002), https://doi.org/10.1198/106186002466.
        Gneiting et al. (2006), https://doi.org/10.1198/106186006X128551.
    """
    if not 0 < hurst < 1:
        msg = f"Argument `hurst` must lie inside (0, 1), but is {hurst}."
        raise ValueError(msg)
    if len(shape) not in (2, 3) or min(shape) < 2:
        msg = f"Argument `shape` must have 2 or 3 axes of at least 2 points, but is {shape}."
        raise ValueError(msg)
    amplitude, tilt, diameter = _embedding(shape, hurst)
    field_key, plane_key = jax.random.split(key)
    dtype = jnp.result_type(float)
    real, imaginary = jax.random.normal(field_key, (2, *amplitude.shape), dtype)
    waves = jnp.asarray(amplitude, dtype) * jax.lax.complex(real, imaginary)
    field = jnp.fft.fftn(waves).real[tuple(slice(size) for size in shape)]
    slopes = tilt * jax.random.normal(plane_key, (len(shape),), dtype)
    axes = [jnp.arange(size, dtype=dtype) / diameter for size in shape]
    plane = sum(
        slope * axis for slope, axis in zip(slopes, jnp.meshgrid(*axes, indexing="ij"), strict=True)
    )
    centred = field - field[(0,) * len(shape)] + plane
    return (spacing * diameter) ** hurst / math.sqrt(2) * centred


def _embedding(shape: tuple[int, ...], hurst: float) -> tuple[np.ndarray, float, float]:
    """Amplitudes on the torus, standard deviation of the plane's slopes, and the diameter.

    Lengths are in units of the diameter of the grid. The covariance and its first two
    derivatives are continuous at r = 1 and it ends smoothly at `reach`. In two dimensions
    and for H up to 3/4 the shortest reach, 1, is enough.
    """
    power, diameter = 2 * hurst, math.hypot(*(size - 1 for size in shape))
    if hurst <= 0.75 and len(shape) == 2:
        reach, beta, curvature, level = 1.0, 0.0, hurst, 1 - hurst
    else:
        reach = 2.0
        beta = power * (2 - power) / (3 * reach * (reach**2 - 1))
        curvature = (power - beta * (reach - 1) ** 2 * (reach + 2)) / 2
        level = beta * (reach - 1) ** 3 + 1 - curvature
    period = 2 * next_fast_len(math.ceil(reach * diameter), real=False)
    around = np.minimum(np.arange(period), period - np.arange(period)) / diameter
    square = sum(np.ix_(*[around**2] * len(shape)))
    distance = np.sqrt(square)
    inner = level + curvature * square - distance**power
    outer = beta * np.maximum(reach - distance, 0) ** 3 / np.maximum(distance, 1)
    spectrum = np.fft.fftn(np.where(distance <= 1, inner, outer)).real
    if spectrum.min() < -_ROUNDING * spectrum.max():
        msg = f"Argument `shape` must allow an embedding, but {shape} at H = {hurst} does not."
        raise ValueError(msg)
    amplitude = np.sqrt(np.maximum(spectrum, 0) / spectrum.size)
    return amplitude, math.sqrt(2 * curvature), diameter


def additive_fractional_motion(
    key: Key, hursts: tuple[float, ...], shape: tuple[int, ...], *, spacing: float = 1.0
) -> Float[Array, "*shape"]:
    """Sample a sum of independent fractional Brownian motions, one along each axis.

    f(x) = Σ_i B_i(x_i) is Gaussian with f(0) = 0 and
    E[(f(x + h) - f(x))²] = Σ_i |h_i|^{2 H_i}, an exact law in any dimension. Along axis i
    the exponent is H_i; in a direction v it is the smallest H_i with v_i ≠ 0, so all
    directions but those in a subspace show the roughest axis: a test for estimators that
    report a direction's exponent or the smallest of all.

    Args:
        key: Randomness.
        hursts: One H per axis, Python numbers inside (0, 1).
        shape: Points along each axis, at least 3 each.
        spacing: Distance between neighbouring points.

    Raises:
        ValueError: If `hursts` and `shape` differ in length or a value is out of range.
    """
    if len(hursts) != len(shape):
        msg = (
            f"Argument `hursts` must have one exponent per axis of `shape`, but has"
            f" {len(hursts)} for {len(shape)}."
        )
        raise ValueError(msg)
    keys = jax.random.split(key, len(shape))
    motions = [
        fractional_brownian_motion(k, hurst, size, spacing=spacing)
        for k, hurst, size in zip(keys, hursts, shape, strict=True)
    ]
    return jnp.stack(jnp.broadcast_arrays(*jnp.ix_(*motions))).sum(axis=0)
