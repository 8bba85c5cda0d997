"""What detrended fluctuations of fractional Gaussian noise are: mean, covariance, moments.

In one window of s samples the residual of an order-m fit to the profile is A x, with x the
samples and A = (1 - Q Qᵀ) C a constant matrix: C sums, Q spans the polynomials. So F²(s) is
a quadratic form in Gaussian samples, and everything below is exact up to quadrature. Tables
are made in NumPy, in float64, once per setting; no randomness is involved.
"""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import toeplitz
from scipy.special import gamma

from fracjax.estimators.multifractals.detrending import detrending_operator, polynomials

__all__ = ["FluctuationModel", "at_hurst", "fluctuation_model", "moment_curves"]

_HURST = np.linspace(0.02, 0.98, 33)
_COARSE_HURST = np.linspace(0.02, 0.98, 17)
_FREQUENCIES = 700
_LARGEST_EXACT = 512  # windows above this are taken as rescaled copies of this one
_LARGEST_MOMENT = 128  # the same for the shape of its distribution
# Windows are a quarter of their length apart, not one sample: their means vary a little more.
_GRID_NOISE = 0.01
_ALIASES = 30


@dataclasses.dataclass(frozen=True)
class FluctuationModel:
    """Law of ln F² at all windows, for each H of a grid.

    Attributes:
        hurst: Grid of H, (h,); the exponent of the samples is H, or H + 1 for motions.
        mean: E ln F²(s) up to a constant, (h, windows), the bias of the logarithm included.
        functional: Weights w with Ĥ = H + w · (ln F² - mean(H)) in generalised least squares.
        stderr: Standard error of that Ĥ, (h,).
        precision: Quadratic form of the residuals, (h, windows, windows); χ² with
            windows - 2 degrees of freedom.
        covariance: Covariance of ln F², (h, windows, windows).
    """

    hurst: np.ndarray
    mean: np.ndarray
    functional: np.ndarray
    stderr: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray


def _response(frequency: np.ndarray, window: int, order: int) -> np.ndarray:
    """Mean squared residual per unit of power at each frequency, over that of the sum alone.

    Tends to 1 where the window holds many waves, to 0 where it holds a small part of one.
    """
    exact = min(window, _LARGEST_EXACT)
    shifted = frequency * (window / exact)
    inside = shifted < (math.pi / 2 if window > exact else math.inf)
    waves = np.exp(-1j * np.outer(np.arange(1, exact + 1), shifted[inside]))
    basis = polynomials(exact, order)
    # The constant part of the sum of a wave, 1/(1 - e^{-iω}), is a polynomial: left out.
    residual = waves - basis @ (basis.T @ waves)
    response = np.ones_like(frequency)
    response[inside] = (np.abs(residual) ** 2).mean(axis=0)
    return response


def _motion_spectrum(frequency: np.ndarray, hurst: np.ndarray) -> np.ndarray:
    """Spectrum of sampled fractional Brownian motion up to a factor: Σ_k |ω + 2πk|^{-2H-1}."""
    power = -2 * hurst[:, None, None] - 1
    alias = 2 * math.pi * np.arange(1, _ALIASES + 1)[:, None]
    folded = ((alias + frequency) ** power + (alias - frequency) ** power).sum(axis=1)
    power = power[:, 0]
    edge = 2 * math.pi * (_ALIASES + 0.5)
    rest = (edge + frequency) ** (power + 1) + (edge - frequency) ** (power + 1)
    return frequency**power + folded - rest / (2 * math.pi * (power + 1))


@dataclasses.dataclass(frozen=True)
class _Spectra:
    """Quadrature over frequency: weighted responses (windows, f) and spectra (h, f)."""

    frequency: np.ndarray
    response: np.ndarray
    weighted: np.ndarray
    spectrum: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """E F², (h, windows), up to a factor that depends on H."""
        return self.spectrum @ self.weighted.T / math.pi


def _spectra(
    num_points: int, windows: tuple[int, ...], order: int, motion: bool, hurst: np.ndarray
) -> _Spectra:
    frequency = np.geomspace(math.pi / (30 * num_points), math.pi, _FREQUENCIES)
    width = np.gradient(np.log(frequency)) * frequency
    width[[0, -1]] /= 2
    step = 4 * np.sin(frequency / 2) ** 2  # squared response of a difference
    spectrum = _motion_spectrum(frequency, hurst) * (1 if motion else step)
    response = np.stack([_response(frequency, window, order) for window in windows]) / step
    return _Spectra(frequency, response, response * width, spectrum)


@functools.lru_cache(maxsize=16)
def fluctuation_model(
    num_points: int, windows: tuple[int, ...], order: int, motion: bool
) -> FluctuationModel:
    """Tabulate the law of ln F² for fractional Gaussian noise, or for its motion.

    With G_s(ω) the squared response of a window, E F²(s) = ∫ G_s S dω/2π and

        Cov(F²(s), F²(s')) ≈ (2 / N) (1 - s / 2N) ∫ G_s G_s' S² dω/2π,   N = n - s + 1,

    for s <= s' and windows at all positions; the bracket counts pairs near the ends
    (measured: within 5 % of simulated variances from n = 256, somewhat too large for the
    longest windows). ln F² has the relative covariance and half its variance as bias.

    Args:
        num_points: Length of the series.
        windows: Window lengths, ascending.
        order: Order of the detrending.
        motion: Whether samples are of the motion rather than of its increments.
    """
    spectra = _spectra(num_points, windows, order, motion, _HURST)
    mean = spectra.mean
    # Frequencies with less than half a wave in the series vary between series, not in one.
    seen = np.where(spectra.frequency >= math.pi / num_points, spectra.weighted, 0)
    covariance = np.einsum(
        "sw,tw,hw->hst", seen, spectra.response, spectra.spectrum**2, optimize=True
    )
    shorter = np.minimum.outer(windows, windows)
    places = num_points - shorter + 1
    pairs = 2 / places * (1 - np.minimum(shorter / places, 0.5) / 2) / math.pi
    covariance *= pairs / (mean[:, :, None] * mean[:, None, :])
    diagonal = np.arange(len(windows))
    covariance[:, diagonal, diagonal] *= 1 + _GRID_NOISE
    log_mean = np.log(mean) - covariance[:, diagonal, diagonal] / 2
    rate = np.gradient(np.log(mean), _HURST, axis=0)
    design = np.stack([np.ones_like(rate), rate], axis=-1)
    inverse = np.linalg.inv(covariance)
    weighing = np.einsum("hsk,hst->hkt", design, inverse)
    normal = np.linalg.inv(weighing @ design)
    solver = normal @ weighing
    return FluctuationModel(
        hurst=_HURST,
        mean=log_mean,
        functional=solver[:, 1],
        stderr=np.sqrt(normal[:, 1, 1]),
        precision=inverse - np.einsum("hkt,hku->htu", weighing, solver),
        covariance=covariance,
    )


@functools.lru_cache(maxsize=16)
def moment_curves(
    windows: tuple[int, ...], order: int, q: tuple[float, ...], motion: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate ln F_q(s) of Gaussian noise or motion: ln (E X^{q/2})^{1/q}, X = F² of a window.

    X = Σ λ_i z_i² with λ the eigenvalues of A Γ Aᵀ / s; its Laplace transform
    φ(t) = Π (1 + 2tλ_i)^{-1/2} gives E X^{k-r} = ∫ t^{r-1} E[X^k e^{-tX}] dt / Γ(r) and
    E ln X = ∫ (e^{-t} - φ(t)) / t dt.

    Args:
        windows: Window lengths.
        order: Order of the detrending.
        q: Moments.
        motion: Whether samples are of the motion.

    Returns:
        Grid of H, (h,), and curves (h, q, windows).
    """
    known = sorted({min(window, _LARGEST_MOMENT) for window in windows})
    exact = {window: _exact_moments(window, order, q, motion) for window in known}
    every = (*known, *windows)
    mean = _spectra(4 * max(every), every, order, motion, _COARSE_HURST).mean
    growth = dict(zip(every, np.log(mean).T / 2, strict=True))
    curves = []
    for window in windows:
        nearest = min(window, _LARGEST_MOMENT)
        curves.append(exact[nearest] + (growth[window] - growth[nearest])[:, None])
    return _COARSE_HURST, np.stack(curves, axis=-1)


def _exact_moments(window: int, order: int, q: tuple[float, ...], motion: bool) -> np.ndarray:
    """One window's curve, (h, q), from the eigenvalues of its covariance."""
    operator = detrending_operator(window, order)
    lag = np.arange(window, dtype=float)
    rows = []
    for power in 2 * _COARSE_HURST:
        if motion:
            first = -(lag**power) / 2
        else:
            first = ((lag + 1) ** power - 2 * lag**power + np.abs(lag - 1) ** power) / 2
        eigenvalues = np.linalg.eigvalsh(operator @ toeplitz(first) @ operator.T) / window
        rows.append(_log_moments(eigenvalues[eigenvalues > 1e-9 * eigenvalues[-1]], q))
    return np.stack(rows)


def _log_moments(eigenvalues: np.ndarray, q: tuple[float, ...]) -> np.ndarray:
    """Give ln (E X^{q/2})^{1/q} of X = Σ λ_i z_i², and E ln X / 2 for q = 0."""
    scale = eigenvalues.sum()
    position = np.arange(-30.0, 40.0, 0.15)
    time = np.exp(position)
    tilted = (eigenvalues / scale) / (1 + 2 * np.outer(time, eigenvalues / scale))
    laplace = np.exp(-0.5 * np.log1p(2 * np.outer(time, eigenvalues / scale)).sum(axis=1))
    one, two, three = (tilted.sum(axis=1), 2 * (tilted**2).sum(axis=1), 8 * (tilted**3).sum(axis=1))
    moments = [1.0, one, two + one**2, three + 3 * two * one + one**3]
    logs = []
    for moment in q:
        half = moment / 2
        if half == 0:
            logs.append(0.15 * (np.exp(-time) - laplace).sum() / 2)
            continue
        whole = max(math.ceil(half), 0)
        rest = whole - half
        start = moments[whole] if whole == 0 else moments[whole][0]
        if rest == 0:
            logs.append(math.log(start) / moment)
            continue
        tail = start * math.exp(rest * position[0]) * (1 / rest - 0.15 / 2)
        integral = 0.15 * (np.exp(rest * position) * moments[whole] * laplace).sum() + tail
        logs.append(math.log(integral / gamma(rest)) / moment)
    return np.asarray(logs) + math.log(scale) / 2


def at_hurst(hurst: Float[Array, ""], grid: np.ndarray, table: np.ndarray) -> Array:
    """Interpolate a table, (h, …), on its even grid of H."""
    rows = jnp.asarray(table, hurst.dtype)
    first, second, last = float(grid[0]), float(grid[1]), float(grid[-1])
    position = (jnp.clip(hurst, first, last) - first) / (second - first)
    lower = jnp.clip(position.astype(int), 0, len(grid) - 2)
    fraction = position - lower
    return (1 - fraction) * rows[lower] + fraction * rows[lower + 1]
