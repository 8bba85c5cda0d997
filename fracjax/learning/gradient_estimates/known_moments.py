"""Gradients of smoothed functions and the variances of their estimators in closed form."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = [
    "GradientMoments",
    "quadratic_moments",
    "step_moments",
    "weierstrass_moments",
]


class GradientMoments(NamedTuple):
    """Exact moments of samples of one gradient, at smoothing σ.

    Attributes:
        gradient: ∇J_σ, the gradient of E J(θ + σ ε).
        pathwise_mean: Mean of `pathwise_gradient`; equal to it unless J jumps.
        pathwise_variance: Its variance (trace of the covariance).
        smoothed_variance: That of antithetic `smoothed_gradient`.
    """

    gradient: Float[np.ndarray, "*d"]
    pathwise_mean: Float[np.ndarray, "*d"]
    pathwise_variance: float
    smoothed_variance: float


def quadratic_moments(
    matrix: Float[np.ndarray, "d d"],
    slope: Float[np.ndarray, " d"],
    place: Float[np.ndarray, " d"],
    sigma: float,
) -> GradientMoments:
    """Moments for J(θ) = ½ θᵀAθ + bᵀθ, A symmetric: (d + 1)|∇J|² by evolution strategies.

    Args:
        matrix: A; zero for a linear function.
        slope: b.
        place: θ.
        sigma: σ.
    """
    gradient = matrix @ place + slope
    size = len(gradient)
    return GradientMoments(
        gradient,
        gradient,
        float(sigma**2 * np.sum(matrix**2)),
        float((size + 1) * gradient @ gradient),
    )


def step_moments(place: float, sigma: float) -> GradientMoments:
    """Moments for the unit step at 0: the pathwise gradient is 0 wherever it is taken.

    Args:
        place: θ.
        sigma: σ.
    """
    gradient = math.exp(-(place**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    # An antithetic pair differs where |σ ε| > |place|: E ε² over that, over 4 σ².
    edge = abs(place) / sigma
    tail = math.erfc(edge / math.sqrt(2)) + 2 * edge * sigma * gradient
    return GradientMoments(
        np.asarray(gradient), np.asarray(0.0), 0.0, tail / (4 * sigma**2) - gradient**2
    )


def weierstrass_moments(
    place: float, hurst: float, sigma: float, *, base: float = 2.0, num_terms: int
) -> GradientMoments:
    """Moments for Σ_{k < n} b^{-Hk} cos(2π b^k x), `fracjax.systems.signals.weierstrass`.

    Smoothing multiplies a cosine of frequency ω by exp(-ω²σ²/2). Hence, for wavelengths on both
    sides of σ, ∇J_σ and the standard deviation by evolution strategies are both of size
    σ^{H - 1}: they grow without limit as σ shrinks, and their ratio stays. The pathwise standard
    deviation is that of the slopes at the finest wavelength, b^{(n-1)(1-H)}, at every σ above it.

    Args:
        place: x.
        hurst: H.
        sigma: σ.
        base: b.
        num_terms: n.
    """
    orders = np.arange(num_terms)
    frequency = 2 * math.pi * base**orders
    weight = base ** (-hurst * orders)
    phase = np.remainder(frequency * place, 2 * math.pi)
    gradient = -np.sum(weight * frequency * np.sin(phase) * np.exp(-(frequency**2) * sigma**2 / 2))
    pairs = np.outer(weight, weight)
    scaled = frequency * sigma
    apart, added = scaled[:, None] - scaled, scaled[:, None] + scaled
    minus, plus = phase[:, None] - phase, phase[:, None] + phase
    slopes = np.outer(frequency, frequency) * (
        np.exp(-(apart**2) / 2) * np.cos(minus) - np.exp(-(added**2) / 2) * np.cos(plus)
    )

    def second_moment(k: np.ndarray) -> np.ndarray:
        """E ε² cos(k ε)."""
        return (1 - k**2) * np.exp(-(k**2) / 2)

    odd = (second_moment(apart) - second_moment(added)) / 2
    differences = np.outer(np.sin(phase), np.sin(phase)) * odd / sigma**2
    return GradientMoments(
        np.asarray(gradient),
        np.asarray(gradient),
        float(np.sum(pairs * slopes) / 2 - gradient**2),
        float(np.sum(pairs * differences) - gradient**2),
    )
