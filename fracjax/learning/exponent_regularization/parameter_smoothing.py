"""Objectives averaged over Gaussian changes of their parameters, and what that leaves rough."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gamma

from fracjax import tree
from fracjax._types import Key, Objective, PyTree
from fracjax.estimators.settings import check_at_least

__all__ = ["remaining_roughness", "rough_again_below", "smoothed_objective"]

_WAVENUMBERS = np.geomspace(1e-6, 1e9, 30001)


def smoothed_objective(objective: Objective, sigma: float, num_samples: int) -> Objective:
    """Average an objective over `num_samples` Gaussian changes of its parameters.

        J_R(θ) = (1/R) Σ_i J(θ + σ ε_i),    ε_i ~ N(0, I)

    The ε_i depend on the key alone, so that at one key (common random numbers) J_R is one
    function of θ, R times as expensive as J. At σ = 0 it is J.

    **What it smooths.** With infinitely many samples J_σ has no structure below σ and that of J
    above. With R samples mean squared second differences S(δ) at the step δ are

        S_R(δ) = (1 − 1/R) S_σ(δ) + S(δ)/R

    exactly, on average over the ε_i: the smooth part, and the rough one with its amplitude
    divided by √R and its exponent unchanged. Below `rough_again_below` the second dominates, and
    J_R is as rough as J was, at any R. Differences of J_R over steps of σ are what became
    informative; its derivative at a point did not. σ is the step per parameter, as are
    scales in `holder_exponent`.

    Args:
        objective: `objective(params, key)`, any output.
        sigma: Standard deviation of the change of every parameter.
        num_samples: R.

    Raises:
        ValueError: If `sigma` is negative or there are no samples.
    """
    check_at_least(num_samples=(num_samples, 1))
    if not 0 <= sigma < math.inf:
        msg = f"Argument `sigma` must be finite and not negative, but is {sigma}."
        raise ValueError(msg)

    def smoothed(params: PyTree, key: Key) -> PyTree:
        draws, inner = jax.random.split(key)

        def one(index: jax.Array) -> PyTree:
            change = tree.random_normal(jax.random.fold_in(draws, index), params)
            return objective(tree.add_scaled(params, sigma, change), inner)

        values = jax.vmap(one)(jnp.arange(num_samples))
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), values)

    return smoothed


def remaining_roughness(
    ratios: np.ndarray | float, exponent: float, num_samples: int | float = math.inf
) -> np.ndarray:
    """Share of the mean squared second differences that parameter smoothing leaves.

    S_R(δ)/S(δ) for a self-similar landscape of Hölder exponent α, a spectrum |k|^{-1-2α} along
    the line, whose modes a Gaussian of standard deviation σ multiplies by e^{−k²σ²/2}. It goes to
    1 for δ ≫ σ and to 1/R for δ ≪ σ. Landscapes of uniformly expanding loops have lines in their
    spectrum instead, and agree on average over a factor e^λ of δ.

    Args:
        ratios: δ/σ.
        exponent: α in (0, 2).
        num_samples: R; infinity for the exact mean.

    Raises:
        ValueError: If the exponent is out of range.
    """
    _check_exponent(exponent)
    k = _WAVENUMBERS
    steps = np.atleast_1d(np.asarray(ratios, float))
    # Over ln k the integrand is k times the spectrum. Both integrals share their grid.
    bump = (2 * np.sin(np.minimum(k * steps[:, None], 1e3) / 2)) ** 4 * k ** (-2 * exponent)
    fast = k * steps[:, None] > 200  # many periods per point of the grid: the mean of sin⁴
    bump = np.where(fast, 6 * k ** (-2 * exponent), bump)
    share = (bump * np.exp(-(k**2))).sum(axis=1) / bump.sum(axis=1)
    rest = 1 / num_samples
    return ((1 - rest) * share + rest).reshape(np.shape(ratios))


def rough_again_below(exponent: float, sigma: float, num_samples: int) -> float:
    """Step below which the mean over R samples is rough again, although it is smooth above.

    Where S(δ)/R exceeds the smooth part, S_σ(δ) ∝ δ⁴ σ^{2α−4}:

        δ = σ (A/(R Γ(2−α)))^{1/(4−2α)},    A = 2π (4 − 4^α)/(Γ(2α+1) sin πα).

    For α = .3, R = 1000 it is σ/3: the smooth window is narrow, and widens slowly with R.

    Args:
        exponent: α in (0, 2), of the landscape without smoothing.
        sigma: σ of the smoothing.
        num_samples: R.

    Returns:
        δ in the unit of σ.

    Raises:
        ValueError: If the exponent is out of range.
    """
    _check_exponent(exponent)
    check_at_least(num_samples=(num_samples, 1))
    near = exponent + (1e-7 if abs(exponent - 1) < 1e-7 else 0)  # a removable 0/0
    amplitude = 2 * math.pi * (4 - 4**near) / (gamma(2 * near + 1) * math.sin(math.pi * near))
    share = amplitude / (num_samples * gamma(2 - near))
    return float(sigma * share ** (1 / (4 - 2 * near)))


def _check_exponent(exponent: float) -> None:
    if not 0 < exponent < 2:
        msg = f"Argument `exponent` must lie in (0, 2), but is {exponent}."
        raise ValueError(msg)
