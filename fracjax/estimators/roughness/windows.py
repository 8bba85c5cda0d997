"""Slope of a log-log curve, averaged over windows of scales and corrections to scaling.

A variogram follows a power law over some range of scales only, and where the range ends is
not known. Every run of neighbouring levels is a candidate window, once as a plain power law
and once with each of two corrections that leave the curve first,

    ln V(s) = a + 2H ln s [ + b s^{-2H} : nugget or inner cut-off | + b s^{2H} : outer scale ].

Candidates are weighted by their estimated error rather than one of them chosen, so that
estimate and error change smoothly with the data and include the search.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc
from jaxtyping import Array, Bool, Float

__all__ = [
    "Candidates",
    "WindowFits",
    "candidates",
    "chi_square_tail",
    "fit_windows",
    "window_weights",
]

_POWER = 4.0
_FREEDOM_OF_MEANS = 3
_LARGEST_LOG = 30.0


class Candidates(NamedTuple):
    """Windows with their corrections, as constants.

    Attributes:
        windows: Levels used, boolean (candidates, levels).
        terms: 0 for a plain power law, -1 with a nugget, +1 with an outer scale.
        freedom: Degrees of freedom of the residuals.
    """

    windows: np.ndarray
    terms: np.ndarray
    freedom: np.ndarray


@functools.lru_cache(maxsize=32)
def candidates(num_levels: int, numbers_per_level: int) -> Candidates:
    """List every run of neighbouring levels that leaves degrees of freedom for an error.

    Longer first, and among equals the one at smaller scales (levels are ordered from large
    to small scales), because an exponent is a limit. At least two levels, three with a
    correction. With one number per level at least three degrees of freedom, if the ladder
    has them: the residuals are the only error there, and with fewer some window is straight
    by accident.

    Args:
        num_levels: Levels of the ladder.
        numbers_per_level: 2 if every level brings a mean and a slope, 1 if only a mean.
    """
    fewest = 1 if numbers_per_level == 2 else min(_FREEDOM_OF_MEANS, num_levels - 2)
    rows, terms = [], []
    for length in range(num_levels, 1, -1):
        for start in range(num_levels - length, -1, -1):
            for term in (0, -1, 1):
                left = length * numbers_per_level - 2 - abs(term)
                if left < fewest or (term and length < 3):
                    continue
                rows.append([start <= level < start + length for level in range(num_levels)])
                terms.append(term)
    windows = np.asarray(rows, bool)
    freedom = numbers_per_level * windows.sum(axis=1) - 2 - np.abs(terms)
    return Candidates(windows, np.asarray(terms), freedom)


class WindowFits(NamedTuple):
    """Weighted least-squares fits of every candidate, as linear maps of the whitened data.

    With orthonormal columns e of (1, term, slope), `basis` (candidates, 3, data), the slope
    is e_3·y / `length`, its variance under the weights 1 / length².
    """

    basis: Float[Array, "c 3 s"]
    length: Float[Array, " c"]
    intercept: Float[Array, "c 3"]


def fit_windows(
    position: Float[Array, " k"],
    precision: Float[Array, " i"],
    hurst: Float[Array, ""],
    table: Candidates,
) -> WindowFits:
    """Orthogonalise the columns of every candidate.

    Each level contributes numbers y_k0 = level mean of ln V and y_k1 = its slope inside the
    level, with independent errors of variance 1/precision.

    Args:
        position: Mean ln s of every level.
        precision: Weights of a mean and of a slope; 0 for a number that is not used.
        hurst: Exponent that shapes the corrections.
        table: Candidates.

    Returns:
        Fits; `basis` refers to y times the root of the precision, flattened over (k, i), and
        `intercept` gives the power law's value at `position` zero from the three scores.
    """
    root = jnp.sqrt(precision)
    windows = jnp.asarray(table.windows, position.dtype)[:, :, None]
    terms = jnp.asarray(table.terms, position.dtype)[:, None]
    last = table.windows.shape[1] - 1 - np.argmax(table.windows[:, ::-1], axis=1)
    first = np.argmax(table.windows, axis=1)
    reference = position[np.where(table.terms < 0, last, first)][:, None]
    exponent = 2 * hurst * terms * (position - reference)
    shape = jnp.where(terms == 0, 0.0, jnp.exp(jnp.clip(exponent, -_LARGEST_LOG, _LARGEST_LOG)))

    def column(mean: Array, slope: Array) -> Array:
        return jnp.stack(jnp.broadcast_arrays(mean, slope), axis=-1) * root * windows

    one = column(jnp.ones_like(shape), jnp.zeros_like(shape))
    term = column(shape, 2 * hurst * terms * shape)
    slope = column(jnp.broadcast_to(position, shape.shape), jnp.ones_like(shape))

    def dot(left: Array, right: Array) -> Array:
        return jnp.sum(left * right, axis=(1, 2))[:, None, None]

    size = dot(one, one)
    term_mean, slope_mean = dot(one, term) / size, dot(one, slope) / size
    term, slope = term - term_mean * one, slope - slope_mean * one
    square = dot(term, term)
    present = square > jnp.finfo(position.dtype).tiny
    square = jnp.where(present, square, 1.0)
    mixing = dot(term, slope) / square
    slope = slope - mixing * term
    length = jnp.sqrt(dot(slope, slope))
    basis = jnp.stack([one / jnp.sqrt(size), term / jnp.sqrt(square), slope / length], axis=1)
    # ln V = mean + t·(term - its mean) + b·(x - mean x - mixing·(term - its mean))
    intercept = jnp.concatenate(
        [
            1 / jnp.sqrt(size),
            -term_mean / jnp.sqrt(square),
            -(slope_mean - mixing * term_mean) / length,
        ],
        axis=1,
    )[..., 0]
    return WindowFits(basis.reshape(len(basis), 3, -1), length[:, 0, 0], intercept)


def window_weights(errors: Float[Array, "c r"], allowed: Bool[Array, " c"]) -> Float[Array, "c r"]:
    """Weigh candidates by the inverse fourth power of their error variances.

    Weights fall fast enough for a window twice as uncertain to have hardly any, and slowly
    enough for equals to share.

    Args:
        errors: Error variance of every candidate in every resample.
        allowed: Candidates all of whose levels can be used.

    Returns:
        Weights, adding up to 1 over candidates.
    """
    score = jnp.where(allowed[:, None], -_POWER * jnp.log(errors), -jnp.inf)
    return jax.nn.softmax(jnp.where(allowed.any(), score, 0.0), axis=0)


def chi_square_tail(statistic: Array, freedom: Array | int) -> Array:
    """Upper tail of χ² by Wilson and Hilferty's cube root, within .01 of the exact value."""
    spread = 2 / (9 * freedom)
    normal = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / jnp.sqrt(spread)
    return 0.5 * erfc(normal / np.sqrt(2.0))
