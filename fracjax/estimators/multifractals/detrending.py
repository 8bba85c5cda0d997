"""Windows of one series, each with a polynomial taken out of its profile."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

__all__ = [
    "OUTSIDE",
    "check_windows",
    "detrending_operator",
    "is_motion",
    "line_slope",
    "polynomials",
    "prepare",
    "stride",
    "window_squares",
]

OUTSIDE = 2.0  # standard errors by which an exponent may leave the range of its model
_OVERLAP = 4  # windows start so many times per window
_LARGEST_OPERATOR = 256
_FEWEST_WINDOWS = 3


def polynomials(window: int, order: int) -> np.ndarray:
    """Orthonormal basis of the polynomials up to a degree on a window, (window, order + 1)."""
    return np.linalg.qr(np.vander(np.linspace(-1, 1, window), order + 1))[0]


@functools.lru_cache(maxsize=64)
def detrending_operator(window: int, order: int) -> np.ndarray:
    """Matrix that sums the samples of a window and takes an order-m polynomial out."""
    sums = np.tril(np.ones((window, window)))
    basis = polynomials(window, order)
    return sums - basis @ (basis.T @ sums)


def stride(window: int) -> int:
    """Samples between the starts of neighbouring windows."""
    return max(1, window // _OVERLAP)


def is_motion(order: int, model: str) -> bool:
    """Check the order and the name of the model; tell whether it is the motion."""
    if model not in ("noise", "motion"):
        msg = f'Argument `model` must be "noise" or "motion", but is {model!r}.'
        raise ValueError(msg)
    smallest = 2 if model == "motion" else 1
    if order < smallest:
        msg = f"Argument `order` must be at least {smallest} for a {model}, but is {order}."
        raise ValueError(msg)
    return model == "motion"


def check_windows(
    shape: tuple[int, ...],
    order: int,
    windows: tuple[int, ...] | None,
    *,
    shortest: int,
    default_share: int,
    share: int,
) -> tuple[int, ...]:
    """Take the given windows, or double from the shortest to a share of the series.

    Args:
        shape: Shape of the series.
        order: Degree of the polynomials.
        windows: Window lengths, or None.
        shortest: First default window, for low orders.
        default_share: Default windows end before 1/default_share of the series, but there
            are three at least.
        share: No window may be longer than 1/share of the series.

    Raises:
        ValueError: If the windows or the series are out of range.
    """
    if len(shape) != 1:
        msg = f"Argument `values` must be one series, but has shape {shape}."
        raise ValueError(msg)
    if windows is None:
        chosen = [max(shortest, 4 * order) * 2**power for power in range(_FEWEST_WINDOWS)]
        while 2 * chosen[-1] * default_share <= shape[0]:
            chosen.append(2 * chosen[-1])
        windows = tuple(chosen)
        if windows[-1] * share > shape[0]:
            msg = (
                f"Argument `values` must have at least {windows[-1] * share} samples, but has"
                f" {shape[0]}."
            )
            raise ValueError(msg)
    windows = tuple(int(window) for window in windows)
    ascending = list(windows) == sorted(set(windows))
    longest = shape[0] // share
    if len(windows) < _FEWEST_WINDOWS or not ascending or windows[0] < order + 3:
        msg = (
            f"Argument `windows` must be {_FEWEST_WINDOWS} or more ascending lengths from"
            f" {order + 3} on, but is {windows}."
        )
        raise ValueError(msg)
    if windows[-1] > longest:
        msg = (
            f"Argument `windows` must end at {longest}, 1/{share} of the samples, or before,"
            f" but is {windows}."
        )
        raise ValueError(msg)
    return windows


def prepare(values: Array) -> tuple[Float[Array, " points"], Bool[Array, ""], Array]:
    """Finite samples of unit size, whether all were, and the square of their rounding."""
    values = values.astype(jnp.result_type(values.dtype, jnp.float32))
    finite = jnp.isfinite(values).all()
    clean = jnp.where(jnp.isfinite(values), values, 0)
    loudest = jnp.max(jnp.abs(clean))
    clean = clean / jnp.where(loudest > 0, loudest, 1)
    centred = clean - clean.mean()
    size = jnp.std(centred)
    size = jnp.where(size > 0, size, 1)
    return centred / size, finite, (2 * jnp.finfo(clean.dtype).eps / size) ** 2


def window_squares(
    values: Float[Array, " points"], window: int, order: int
) -> Float[Array, " places"]:
    """Mean squared residual of the detrended profile, F², in every window."""
    places = (values.shape[0] - window) // stride(window) + 1
    index = stride(window) * jnp.arange(places)[:, None] + jnp.arange(window)
    if window <= _LARGEST_OPERATOR:
        # Summed inside the window: sums over a long series would lose digits in float32.
        samples = values[index]
        samples = samples - samples.mean(axis=1, keepdims=True)
        operator = jnp.asarray(detrending_operator(window, order), values.dtype)
        residual = jnp.matmul(samples, operator.T, precision="highest")
    else:
        profile = jnp.cumsum(values)[index]
        profile = profile - profile.mean(axis=1, keepdims=True)
        basis = jnp.asarray(polynomials(window, order), values.dtype)
        trend = jnp.matmul(profile, basis, precision="highest")
        residual = profile - jnp.matmul(trend, basis.T, precision="highest")
    return (residual**2).mean(axis=1)


def line_slope(windows: tuple[int, ...], weights: np.ndarray) -> np.ndarray:
    """Weights that turn a curve over windows into its least-squares slope on ln s."""
    x = np.log(np.asarray(windows, float))
    weights = weights / weights.sum()
    x = x - weights @ x
    return weights * x / (weights @ x**2)
