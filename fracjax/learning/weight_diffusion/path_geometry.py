"""Contour length against displacement: how crooked a path is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.diffusion.displacements import checked_path
from fracjax.estimators.diffusion.exponents import diffusion_exponent, window_lags

__all__ = ["PathPairs", "contour_exponent", "path_pairs"]


class PathPairs(NamedTuple):
    """Pairs of points of a path, earlier and later.

    Attributes:
        distance: Straight distance r, (pairs,).
        contour: Length s along the path, (pairs,).
        loss_change: Later minus earlier loss, (pairs,); NaN without losses.
        lag: Steps between them, (pairs,).
    """

    distance: Array
    contour: Array
    loss_change: Array
    lag: Array


def path_pairs(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    losses: Float[Array | np.ndarray, " k"] | None = None,
    *,
    num_pairs: int | None = None,
    key: Key | None = None,
    one_step_more: bool = False,
) -> PathPairs:
    """List distance, contour length and change of the loss for pairs i < j of a path.

    All n (n - 1)/2 pairs, or a random sample with replacement where there are too many. Distances
    of all pairs come from inner products, which lose digits for close points of a path far from
    its mean: squared distances below 1e-6 (float32) of the largest are rough.

    The published code sums the steps k = i … j, one more than lie between the points, so that
    slopes at short distances come out steep: on a straight line at lags 1 to 4, r² grows as s³.
    `one_step_more` does as it does.

    Args:
        path: (n, m) or (n,).
        losses: Loss at every point.
        num_pairs: How many random pairs; all by default.
        key: Draws them.
        one_step_more: Whether contours hold the step into the earlier point, too, as published.
            Pairs that start at the first point, which has none, hold no more.

    Raises:
        ValueError: If pairs are to be drawn without a key, or there is not one loss per point.

    References:
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    path = checked_path(path, 2)
    count = len(path)
    if losses is not None and jnp.shape(losses) != (count,):
        msg = (
            f"Argument `losses` must hold one loss for each of {count} points, but has shape"
            f" {jnp.shape(losses)}."
        )
        raise ValueError(msg)
    along = _contour(path)
    if num_pairs is None:
        first, second = (jnp.asarray(index) for index in np.triu_indices(count, 1))
        centred = path - path.mean(axis=0)
        products = centred @ centred.T
        squares = jnp.diagonal(products)
        square = squares[first] + squares[second] - 2 * products[first, second]
    elif key is None:
        msg = "Argument `key` must be given to draw pairs, but is None."
        raise ValueError(msg)
    else:
        drawn = jax.random.randint(key, (2, num_pairs), 0, jnp.asarray([[count], [count - 1]]))
        other = drawn[1] + (drawn[1] >= drawn[0])
        first, second = jnp.minimum(drawn[0], other), jnp.maximum(drawn[0], other)
        square = jnp.sum((path[second] - path[first]) ** 2, axis=1)
    before = jnp.maximum(first - 1, 0) if one_step_more else first
    values = jnp.full(count, jnp.nan, path.dtype) if losses is None else jnp.asarray(losses)
    return PathPairs(
        distance=jnp.sqrt(jnp.maximum(square, 0)),
        contour=along[second] - along[before],
        loss_change=values[second] - values[first],
        lag=second - first,
    )


def contour_exponent(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    *,
    window: tuple[int, int] | None = None,
) -> Estimate:
    """Estimate the exponent 2/D_f of squared displacement against contour length, r² ~ s^{2/D_f}.

    2 for a straight path, whatever its speed, 1 for a random walk (D_f = 2), 0 for a path that
    stays in a place. Mean squares of both at the lags of the window: the exponent of
    displacement over half that of squared contour length, which is near 1 and known far better.
    Contour lengths depend on how often the path is looked at, as those of rough paths do.

    Args:
        path: (n, m) or (n,).
        window: Smallest and largest lag in steps; 1 and n/10 by default.

    Returns:
        The exponent with the interval and status of `diffusion_exponent`. `details`: `dimension`
        (D_f), `squared_contour` and `displacement` at `lags`, `contour_slope` (of ln s² on ln τ).

    Raises:
        ValueError: If the path or the window is too short.

    References:
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    found = diffusion_exponent(path, window=window, weights="uniform")
    path = checked_path(path, 2)
    lags = window_lags(len(path), window)
    along = _contour(path)
    padded = jnp.pad(along, (0, max(lags)))
    index = jnp.arange(len(path))

    def at(lag: Array) -> Array:
        length = jax.lax.dynamic_slice_in_dim(padded, lag, len(path)) - along
        kept = index < len(path) - lag
        return jnp.sum(jnp.where(kept, length**2, 0)) / (len(path) - lag)

    contours = jax.lax.map(at, jnp.asarray(lags))
    centred = np.log(lags) - np.log(lags).mean()
    weights = jnp.asarray(centred / (centred @ centred), path.dtype)
    slope = weights @ jnp.log(contours)
    # Without the correction for the logarithm's bias, which both would share.
    direct = weights @ jnp.log(found.details["displacement"])
    value = 2 * jnp.where(found.status == Status.DIVERGED, jnp.nan, direct) / slope
    stderr = 2 * found.stderr / slope
    return Estimate(
        value=value,
        stderr=stderr,
        low=value - 1.96 * stderr,
        high=value + 1.96 * stderr,
        status=found.status,
        details={
            "lags": jnp.asarray(lags),
            "displacement": found.details["displacement"],
            "squared_contour": contours,
            "contour_slope": slope,
            "dimension": 2 / value,
        },
    )


def _contour(path: Float[Array, "n m"]) -> Float[Array, " n"]:
    """Length of the path up to every point."""
    steps = jnp.sqrt(jnp.sum(jnp.diff(path, axis=0) ** 2, axis=1))
    return jnp.concatenate([jnp.zeros(1, path.dtype), jnp.cumsum(steps)])
