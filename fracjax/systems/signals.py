"""Rough functions and processes whose Hölder exponents are known.

Series take a key and return evenly spaced samples; functions of x take an array of any
shape and act on every element; `weierstrass_field` makes an `objective(params, key)`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, Objective, PyTree

__all__ = [
    "cusp",
    "fractional_brownian_motion",
    "fractional_gaussian_noise",
    "heaviside",
    "multifractal_random_walk",
    "stable_flight",
    "stable_jump",
    "takagi",
    "weierstrass",
    "weierstrass_field",
]


def _check_exponent(hurst: float) -> None:
    if isinstance(hurst, int | float) and not 0 < hurst < 1:
        msg = f"Argument `hurst` must lie inside (0, 1), but is {hurst}."
        raise ValueError(msg)


def fractional_gaussian_noise(
    key: Key, hurst: float, num_points: int
) -> Float[Array, " num_points"]:
    """Draw fractional Gaussian noise exactly, by circulant embedding.

    Stationary, Gaussian, mean 0 and variance 1, with autocovariance
    ½(|k+1|^{2H} - 2|k|^{2H} + |k-1|^{2H}) at lag k.

    Args:
        key: Randomness.
        hurst: H, a Python number inside (0, 1).
        num_points: Length of the series, at least 2.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Davies and Harte (1987), https://doi.org/10.1093/biomet/74.1.95.
    """
    _check_exponent(hurst)
    if num_points < 2:
        msg = f"Argument `num_points` must be at least 2, but is {num_points}."
        raise ValueError(msg)
    return _stationary_noise(key, _gaussian_covariance(hurst, num_points))


def _gaussian_covariance(hurst: float, num_points: int) -> np.ndarray:
    """Covariance of fractional Gaussian noise at lags 0 … num_points.

    In float64 whatever the dtype of the noise: it is a difference of large powers.
    """
    lag = np.arange(num_points + 1, dtype=np.float64)
    power = 2 * hurst
    return ((lag + 1) ** power - 2 * lag**power + np.abs(lag - 1) ** power) / 2


def _stationary_noise(key: Key, covariance: np.ndarray) -> Float[Array, " num_points"]:
    """Draw a Gaussian sequence with the given covariance at lags 0 … num_points."""
    return _stationary_noises(key[None], covariance[None])[0]


def _stationary_noises(keys: Key, covariances: np.ndarray) -> Float[Array, "n num_points"]:
    """Draw independent sequences, each from its key and with its covariance at lags 0 ….

    One transform for all: on CPUs two that run at once can wait for each other's threads for
    ever (seen with JAX 0.11.2 on two cores).
    """
    circles = np.concatenate([covariances, covariances[:, -2:0:-1]], axis=1)
    # The embeddings used here are non-negative; rounding may leave −1e-16.
    amplitudes = np.sqrt(np.maximum(np.fft.fft(circles).real, 0) / circles.shape[1])
    dtype = jnp.result_type(float)
    draws = jax.vmap(lambda key: jax.random.normal(key, (2, circles.shape[1]), dtype))(keys)
    waves = jnp.asarray(amplitudes, dtype) * jax.lax.complex(draws[:, 0], draws[:, 1])
    return jnp.fft.fft(waves).real[:, : covariances.shape[1] - 1]


def fractional_brownian_motion(
    key: Key, hurst: float, num_points: int, *, spacing: float = 1.0
) -> Float[Array, " num_points"]:
    """Sample fractional Brownian motion at 0, spacing, 2·spacing, …; exact law.

    Starts at 0 with Var[B(t) - B(s)] = |t - s|^{2H}. Hölder exponent H almost surely, box
    dimension of the graph 2 - H.

    Args:
        key: Randomness.
        hurst: H, inside (0, 1).
        num_points: Number of samples, the zero included, at least 3.
        spacing: Distance between samples.
    """
    noise = fractional_gaussian_noise(key, hurst, num_points - 1)
    return spacing**hurst * jnp.concatenate([jnp.zeros(1, noise.dtype), jnp.cumsum(noise)])


def multifractal_random_walk(
    key: Key,
    hurst: float,
    intermittency: float,
    num_points: int,
    *,
    integral_scale: float | None = None,
) -> Float[Array, " num_points"]:
    """Sample the log-normal multifractal random walk MRW(H, λ) at 0, 1, 2, …; exact law.

    X(t) = Σ_{k<=t} ε_k exp(ω_k), with ε fractional Gaussian noise of index H and variance 1,
    and ω an independent Gaussian sequence, both drawn by circulant embedding, with

        Cov(ω_i, ω_j) = λ² ln⁺(L / (1 + |i - j|)),    E ω = -Var ω = -λ² ln L.

    So increments have mean 0 and variance 1, and for H = ½ no correlation, while their
    logarithms are correlated over the integral scale L. Between the sampling step and L

        E |X(t + ℓ) - X(t)|^q ∝ ℓ^{ζ(q)},    ζ(q) = c1 q + c2 q² / 2,    c2 = -λ²,
        c1 = H + λ² for H = ½,    c1 = H + λ²/2 for H > ½.

    The step in c1 is real: at H = ½ the exponents are pinned by ζ(2) = 1, because
    increments do not correlate, above by ζ(1) = H, because correlated increments average
    exp(ω) itself. Close above ½ (2H < 1 + λ²) the sum decorrelates and c1 = ½ + λ² again.
    Software that takes c1 = H + λ² for every H is off by λ²/2. Below ½ the anticorrelation
    that fractional Brownian motion needs does not survive the factor exp(ω), so H < ½ is
    refused.

    The 1 in the covariance is the smallest scale: over the first few samples log-cumulants
    grow more slowly than c2 says (by a factor ℓ/(1+ℓ), 11 % at 8 samples). Sample every 8th
    point of a longer walk where this matters. At H = ½ moments q < 1/λ² exist in the limit of
    fine sampling.

    Args:
        key: Randomness.
        hurst: H, a Python number in [½, 1).
        intermittency: λ, a Python number in [0, 0.7]; λ² is called the intermittency
            coefficient. 0 is fractional Brownian motion.
        num_points: Number of samples, the zero included, at least 3.
        integral_scale: L in samples, at least 1; the length of the walk by default.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Bacry, Delour and Muzy (2001), https://doi.org/10.1103/PhysRevE.64.026103.
        Abry, Chainais, Coutin and Pipiras (2009), for H > ½,
        https://doi.org/10.1109/TIT.2009.2023708.
    """
    if not 0.5 <= hurst < 1:
        msg = f"Argument `hurst` must lie inside [0.5, 1), but is {hurst}."
        raise ValueError(msg)
    if not 0 <= intermittency <= 0.7:
        msg = f"Argument `intermittency` must lie inside [0, 0.7], but is {intermittency}."
        raise ValueError(msg)
    if num_points < 3:
        msg = f"Argument `num_points` must be at least 3, but is {num_points}."
        raise ValueError(msg)
    steps = num_points - 1
    scale = float(steps if integral_scale is None else integral_scale)
    if not scale >= 1:
        msg = f"Argument `integral_scale` must be at least 1, but is {scale}."
        raise ValueError(msg)
    # Convex, decreasing and non-negative, hence embeddable at any length (Pólya).
    lag = np.arange(steps + 1, dtype=np.float64)
    covariance = intermittency**2 * np.maximum(np.log(scale / (1 + lag)), 0)
    both = np.stack([_gaussian_covariance(hurst, steps), covariance])
    noise, magnitude = _stationary_noises(jax.random.split(key), both)
    walk = jnp.cumsum(jnp.exp(magnitude - covariance[0]) * noise)
    return jnp.concatenate([jnp.zeros(1, walk.dtype), walk])


def _num_terms(dtype: jnp.dtype, base: float) -> int:
    """Count the terms whose phase is known to a hundredth of a radian, for |x| up to 1."""
    return 1 + int(math.log(0.01 / float(jnp.finfo(dtype).eps)) / math.log(base))


def weierstrass(
    x: Float[Array, "*shape"],
    hurst: float,
    *,
    base: float = 2.0,
    num_terms: int | None = None,
    key: Key | None = None,
) -> Float[Array, "*shape"]:
    """Evaluate Σ_k base^{-Hk} cos(2π base^k x + φ_k), k = 0 … num_terms - 1.

    Uniformly Hölder with exponent H, box dimension 2 - H, down to the finest wavelength
    base^{-(num_terms - 1)}; smooth below. Local slopes oscillate with period ln(base): fit
    over whole periods. On a grid leave out the terms above its Nyquist frequency.

    Args:
        x: Where to evaluate, of order 1.
        hurst: H, inside (0, 1).
        base: Any number above 1.
        num_terms: By default as many as the rounding of x can resolve.
        key: Draws the phases φ_k uniformly; all zero if not given.
    """
    _check_exponent(hurst)
    if base <= 1:
        msg = f"Argument `base` must be above 1, but is {base}."
        raise ValueError(msg)
    num_terms = _num_terms(x.dtype, base) if num_terms is None else num_terms
    phases = jnp.zeros(num_terms, x.dtype)
    if key is not None:
        phases = jax.random.uniform(key, (num_terms,), x.dtype, maxval=2 * math.pi)
    frequencies = 2 * math.pi * base ** jnp.arange(num_terms, dtype=x.dtype)
    weights = base ** (-hurst * jnp.arange(num_terms, dtype=x.dtype))

    def add(total: Array, term: tuple[Array, Array, Array]) -> tuple[Array, None]:
        frequency, weight, phase = term
        return total + weight * jnp.cos(frequency * x + phase), None

    return jax.lax.scan(add, jnp.zeros_like(x), (frequencies, weights, phases))[0]


def weierstrass_field(
    key: Key, hurst: float, *, base: float = 2.0, num_terms: int | None = None
) -> Objective:
    """Make a landscape that has Hölder exponent H in every direction at every point.

    f(params) = d^{-1/2} Σ_i W_i(params_i), a sum of d independent Weierstrass functions, one
    per scalar parameter, each with its own random phases. Along a direction v the term of
    the largest |v_i| dominates at equal H, so every direction has exponent H. The landscape
    is fixed by `key`; the objective is deterministic and ignores its own key.

    Args:
        key: Draws the phases.
        hurst: H, inside (0, 1).
        base: See `weierstrass`.
        num_terms: See `weierstrass`.
    """
    _check_exponent(hurst)

    def objective(params: PyTree, _: Key) -> Float[Array, ""]:
        flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(flat.size))

        def one(x: Array, phases: Key) -> Array:
            return weierstrass(x, hurst, base=base, num_terms=num_terms, key=phases)

        return jnp.sum(jax.vmap(one)(flat, keys)) / math.sqrt(flat.size)

    return objective


def takagi(
    x: Float[Array, "*shape"], *, weight: float = 0.5, num_terms: int | None = None
) -> Float[Array, "*shape"]:
    """Evaluate Σ_k weight^k d(2^k x), d the distance to the nearest integer.

    For weight w in (½, 1) the Hölder exponent is -log2 w. At w = ½ (blancmange curve) it is
    1 with a logarithm: |f(x+h) - f(x)| <= C h ln(1/h).
    """
    if isinstance(weight, int | float) and not 0 < weight < 1:
        msg = f"Argument `weight` must lie inside (0, 1), but is {weight}."
        raise ValueError(msg)
    num_terms = jnp.finfo(x.dtype).nmant if num_terms is None else num_terms

    def add(carry: tuple, weight_k: Array) -> tuple[tuple, None]:
        total, x = carry
        return (total + weight_k * jnp.abs(x - jnp.round(x)), (2 * x) % 1.0), None

    weights = weight ** jnp.arange(num_terms, dtype=x.dtype)
    return jax.lax.scan(add, (jnp.zeros_like(x), x), weights)[0][0]


def cusp(x: Float[Array, "*shape"], exponent: float) -> Float[Array, "*shape"]:
    """Evaluate |x|^exponent: that pointwise Hölder exponent at 0, smooth elsewhere."""
    return jnp.abs(x) ** exponent


def heaviside(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Evaluate the unit step: Hölder exponent 0 at the jump, constant elsewhere."""
    return jnp.where(x < 0, 0, 1).astype(x.dtype)


def stable_jump(
    angle: Float[Array, " n"], wait: Float[Array, " n"], stability: float | Float[Array, ""]
) -> Float[Array, " n"]:
    """Turn uniform angles in (-π/2, π/2) and exponential waits into stable variables.

    π/2 in single precision lies beyond π/2, where the cosine is negative and its power NaN, and a
    wait may be 0: about one draw in 2^23. Both are kept within what their draws resolve.
    """
    limit = np.nextafter(np.asarray(math.pi / 2, angle.dtype), np.asarray(0, angle.dtype))
    angle, wait = jnp.clip(angle, -limit, limit), jnp.maximum(wait, jnp.finfo(wait.dtype).eps / 2)
    tilt = (jnp.cos((1 - stability) * angle) / wait) ** ((1 - stability) / stability)
    return jnp.sin(stability * angle) / jnp.cos(angle) ** (1 / stability) * tilt


def stable_flight(
    key: Key, stability: float, num_points: int, *, spacing: float = 1.0
) -> Float[Array, " num_points"]:
    """Sample a symmetric α-stable Lévy process at 0, spacing, 2·spacing, …; exact law.

    Increments over a time τ have the characteristic function exp(-τ |u|^α), so α = 2 is
    Brownian motion with variance 2τ. Paths jump for α < 2: typical increments scale as
    τ^{1/α} while their mean square does not exist, so the apparent exponent depends on the
    moment.

    Args:
        key: Randomness.
        stability: α, inside (0, 2].
        num_points: Number of samples, the zero included.
        spacing: Time between samples.

    References:
        Chambers, Mallows and Stuck (1976), https://doi.org/10.1080/01621459.1976.10480344.
    """
    if isinstance(stability, int | float) and not 0 < stability <= 2:
        msg = f"Argument `stability` must lie inside (0, 2], but is {stability}."
        raise ValueError(msg)
    angles, waits = jax.random.split(key)
    shape, dtype = (num_points - 1,), jnp.result_type(float)
    limit = math.pi / 2
    angle = jax.random.uniform(angles, shape, dtype, minval=-limit, maxval=limit)
    wait = jax.random.exponential(waits, shape, dtype)
    steps = spacing ** (1 / stability) * stable_jump(angle, wait, stability)
    return jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(steps)])
