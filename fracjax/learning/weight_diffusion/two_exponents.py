"""Exponent at short lags, exponent at long lags, and the lag where one turns into the other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Leaf, Status
from fracjax.estimators.diffusion.displacements import segments_of
from fracjax.estimators.diffusion.exponents import diffusion_exponent
from fracjax.estimators.diffusion.nulls import Surrogate, null_exponents

__all__ = [
    "TwoExponents",
    "default_windows",
    "null_two_exponents",
    "two_exponents",
    "two_exponents_of_segments",
]

_SEPARATE = 2.0  # errors between two exponents that cross somewhere
_CROSSING_QUANTILE = 1.96


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TwoExponents:
    """Descriptors of the mean squared displacement of one segment.

    Attributes:
        short: Exponent 1, over the window of short lags.
        long: Exponent 2, over the window of long lags.
        crossover: Lag at which the two power laws meet, in steps; its interval is that of the
            logarithm. Status NO_SCALING_REGION where the exponents do not differ by two errors.
        waiting_time: Index of the first point.
    """

    short: Estimate
    long: Estimate
    crossover: Estimate
    waiting_time: Leaf


def default_windows(num_points: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Windows of short and of long lags: 1 … n/50 (at least 4) and n/10 … 2n/5."""
    return (1, max(num_points // 50, 4)), (max(num_points // 10, 5), 2 * num_points // 5)


def two_exponents(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    *,
    short_window: tuple[int, int] | None = None,
    long_window: tuple[int, int] | None = None,
) -> TwoExponents:
    """Estimate the diffusion exponent at short and at long lags, and the lag of the crossover.

    These are the descriptors of Chen, Qu and Gong (exponent 1, exponent 2, τ_0). Theirs are fitted
    by hand, with windows that are not published, so that the values in their tables cannot be
    recomputed from a path: name the windows wherever a value is quoted. Here lags of a window
    count alike, and errors are those of correlated lags (`diffusion_exponent`, `"uniform"`). Long
    windows hold few independent stretches: .4 n is seen two and a half times, and the error of a
    single path of one direction says so.

    Args:
        path: One segment, (n, m) or (n,).
        short_window: Smallest and largest lag; 1 … n/50 by default (1 … 20 of 1000).
        long_window: Likewise; n/10 … 2n/5 (100 … 400 of 1000).

    Raises:
        ValueError: If a window does not fit.

    References:
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    first, second = default_windows(jnp.shape(path)[0])
    short = diffusion_exponent(path, window=short_window or first, weights="uniform")
    long = diffusion_exponent(path, window=long_window or second, weights="uniform")
    return TwoExponents(short, long, _crossover(short, long), jnp.zeros((), int))


def two_exponents_of_segments(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    *,
    segment_length: int = 1000,
    short_window: tuple[int, int] | None = None,
    long_window: tuple[int, int] | None = None,
) -> TwoExponents:
    """Describe consecutive segments of a path by `two_exponents`; a leading axis of segments.

    Args:
        path: (n, m) or (n,).
        segment_length: Points of a segment; the paper's 1000.
        short_window: See `two_exponents`.
        long_window: See `two_exponents`.

    Raises:
        ValueError: If the path is shorter than one segment.
    """
    segments = segments_of(path, segment_length)

    def one(segment: Array) -> TwoExponents:
        return two_exponents(segment, short_window=short_window, long_window=long_window)

    found: TwoExponents = jax.lax.map(one, segments)
    return dataclasses.replace(found, waiting_time=segment_length * jnp.arange(len(segments)))


def null_two_exponents(
    key: Key,
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    surrogate: Surrogate,
    *,
    num_surrogates: int = 19,
    short_window: tuple[int, int] | None = None,
    long_window: tuple[int, int] | None = None,
) -> tuple[Estimate, Estimate]:
    """Estimate what a simpler process with the same steps shows in both windows.

    Args:
        key: Randomness.
        path: One segment.
        surrogate: See `fracjax.estimators.diffusion.nulls.null_exponents`.
        num_surrogates: How many.
        short_window: See `two_exponents`.
        long_window: See `two_exponents`.
    """
    first, second = default_windows(jnp.shape(path)[0])

    def null(window: tuple[int, int]) -> Estimate:
        return null_exponents(
            key,
            path,
            surrogate,
            num_surrogates=num_surrogates,
            window=window,
            weights="uniform",
        )

    return null(short_window or first), null(long_window or second)


def _crossover(short: Estimate, long: Estimate) -> Estimate:
    """Where two lines through their own windows meet, with the error of both slopes."""
    gap = short.value - long.value
    apart = jnp.abs(gap) > _SEPARATE * jnp.sqrt(short.stderr**2 + long.stderr**2)
    safe = jnp.where(apart, gap, 1)
    sizes = [jnp.log(part.details["size"]) for part in (short, long)]
    place = (sizes[1] - sizes[0]) / safe
    middles = [jnp.mean(jnp.log(part.details["lags"])) for part in (short, long)]
    # A slope turns its line about the middle of its window.
    error = jnp.sqrt(
        ((middles[0] - place) * short.stderr) ** 2 + ((middles[1] - place) * long.stderr) ** 2
    ) / jnp.abs(safe)
    usable = apart & jnp.isfinite(place)
    blank = jnp.where(usable, 0, jnp.nan).astype(place.dtype)
    lag = jnp.exp(place) + blank
    margin = jnp.exp(_CROSSING_QUANTILE * error)
    failed = jnp.where(jnp.isfinite(gap), int(Status.NO_SCALING_REGION), short.status)
    return Estimate(
        value=lag,
        stderr=lag * error,
        low=lag / margin,
        high=lag * margin,
        status=jnp.where(usable, int(Status.OK), failed),
        details={"log": place + blank, "log_stderr": error + blank},
    )
