"""The loss along a path: how it fluctuates, and how its changes grow with distance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import stdtrit

from fracjax._types import Estimate, Status
from fracjax.estimators.block_errors import block_variance, degrees_of_freedom
from fracjax.estimators.diffusion.displacements import checked_path, logarithmic_lags
from fracjax.learning.weight_diffusion.path_geometry import PathPairs

__all__ = [
    "LossChanges",
    "loss_changes_by_distance",
    "loss_exponent_along_path",
    "moving_variance",
]

_BLOCKS = 44
_MIN_POINTS = 450
_MIN_LAGS = 3


class LossChanges(NamedTuple):
    """Mean squared changes of the loss, grouped by distance.

    Attributes:
        distance: Middles of the bins, (bins,).
        mean_square: Mean of (L_j - L_i)², (bins,); NaN where a bin is empty.
        squared_mean: Square of the mean of L_j - L_i, (bins,).
        num_pairs: Pairs in the bin, (bins,).
    """

    distance: Array
    mean_square: Array
    squared_mean: Array
    num_pairs: Array


def moving_variance(
    losses: Float[Array | np.ndarray, " n"], *, window: int = 100
) -> Float[Array, " fewer"]:
    """Variance of the loss in every stretch of `window` consecutive points (the paper's 100).

    Args:
        losses: (n,).
        window: Points of a stretch, at least 2.

    Returns:
        (n - window + 1,), with the divisor window - 1.

    Raises:
        ValueError: If the window does not fit.
    """
    losses = jnp.asarray(losses)
    if not 2 <= window <= len(losses):
        msg = f"Argument `window` must lie in [2, {len(losses)}], but is {window}."
        raise ValueError(msg)
    centred = losses - losses.mean()

    def sums(values: Array) -> Array:
        total = jnp.concatenate([jnp.zeros(1, values.dtype), jnp.cumsum(values)])
        return total[window:] - total[:-window]

    mean = sums(centred) / window
    variance = (sums(centred**2) - window * mean**2) / (window - 1)
    return jnp.where(variance < 0, 0, variance)


def loss_changes_by_distance(
    pairs: PathPairs, *, num_bins: int = 50, logarithmic: bool = False
) -> LossChanges:
    """Group squared changes of the loss by the distance between the points, MSL(r).

    The published quantity is the square of the mean change at each distance; as hardly any two
    distances are equal that is the mean square, later averaged in 50 linear bins. Both are given:
    the square of the mean over a bin (`squared_mean`) is the drift down the slope alone.

    Args:
        pairs: From `path_pairs` with losses.
        num_bins: How many.
        logarithmic: Bins even in ln r, from the smallest positive distance, instead of in r.

    References:
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    distance, change = pairs.distance, pairs.loss_change
    largest = distance.max()
    if logarithmic:
        smallest = jnp.where(distance > 0, distance, jnp.inf).min()
        share = jnp.log(jnp.maximum(distance, smallest) / smallest) / jnp.log(largest / smallest)
        middles = smallest * (largest / smallest) ** ((jnp.arange(num_bins) + 0.5) / num_bins)
    else:
        share = distance / largest
        middles = largest * (jnp.arange(num_bins) + 0.5) / num_bins
    place = jnp.clip((share * num_bins).astype(int), 0, num_bins - 1)
    empty = jnp.zeros(num_bins, change.dtype)
    count = empty.at[place].add(1)
    mean = empty.at[place].add(change) / count
    square = empty.at[place].add(change**2) / count
    return LossChanges(middles.astype(change.dtype), square, mean**2, count)


def loss_exponent_along_path(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    losses: Float[Array | np.ndarray, " k"],
    *,
    window: tuple[int, int] | None = None,
) -> Estimate:
    """Estimate the Hurst-type exponent of the loss along a path: <ΔL²> ~ <r²>^H over the lags.

    Both mean squares at the same lags, so that the speed of the path cancels. On a smooth loss
    it is 1 wherever the first order rules, for a random walk as for a straight line; around a
    minimum, where curvature rules, up to 2; on an isotropic surface of Hurst exponent H it is H
    for paths that do not choose their way. A path of descent does choose: it follows the loss.
    Losses of minibatches hold the noise of the batch, which reads as roughness (towards 0): use
    the loss on one fixed set.

    Lags count alike; errors come from 44 blocks of time (a block bootstrap in closed form) with a
    Student interval. Tested for coverage on a smooth loss (H = 1)
    and on exact fractional Brownian surfaces.

    Args:
        path: (n, m) or (n,), at least 450 points.
        losses: (n,).
        window: Smallest and largest lag; 1 and n/60 by default, at most n/44.

    Returns:
        H with a 95 % interval. `details`: `lags`, `displacement`, `loss_changes` (mean squares).
        Status DIVERGED for numbers that are not finite, AT_NOISE_FLOOR where path or loss stays.

    Raises:
        ValueError: If the path is too short, or a setting is out of range.
    """
    path, losses = checked_path(path, _MIN_POINTS), jnp.asarray(losses)
    count = len(path)
    if losses.shape != (count,):
        msg = (
            f"Argument `losses` must hold one loss for each of {count} points, but has shape"
            f" {losses.shape}."
        )
        raise ValueError(msg)
    smallest, largest = (1, max(count // 60, 4)) if window is None else window
    if not 1 <= smallest <= largest <= count // _BLOCKS:
        msg = f"Argument `window` must lie in [1, {count // _BLOCKS}], but is {window}."
        raise ValueError(msg)
    lags = logarithmic_lags(largest, smallest=smallest)
    if len(lags) < _MIN_LAGS:
        msg = f"Argument `window` must hold at least {_MIN_LAGS} lags, but {window} holds {lags}."
        raise ValueError(msg)
    finite = jnp.isfinite(path).all() & jnp.isfinite(losses).all()
    joined = jnp.concatenate([path, losses[:, None].astype(path.dtype)], axis=1)
    joined = jnp.where(jnp.isfinite(joined), joined, 0)
    width = (count - lags[-1]) // _BLOCKS
    starts = joined[: _BLOCKS * width]

    def at(lag: Array) -> Array:
        change = jax.lax.dynamic_slice_in_dim(joined, lag, len(starts), axis=0) - starts
        both = jnp.stack([jnp.sum(change[:, :-1] ** 2, axis=1), change[:, -1] ** 2])
        return both.reshape(2, _BLOCKS, width).mean(axis=2)

    blocks = jax.lax.map(at, jnp.asarray(lags))  # (lags, 2, blocks)
    means = blocks.mean(axis=2)
    tiny = jnp.finfo(path.dtype).tiny
    moves = (means > tiny).all()
    safe = jnp.maximum(means, tiny)
    centred = np.log(lags) - np.log(lags).mean()
    weights = jnp.asarray(centred / (centred @ centred), path.dtype)
    slopes = weights @ jnp.log(safe)
    influence = jnp.einsum("l,lkb->kb", weights, blocks / safe[:, :, None])
    exponent = slopes[1] / slopes[0]
    stderr = jnp.sqrt(block_variance(influence[1] - exponent * influence[0]))
    stderr = stderr / jnp.abs(slopes[0])
    margin = float(stdtrit(degrees_of_freedom(_BLOCKS), 0.975)) * stderr
    blank = jnp.where(finite & moves, 0, jnp.nan).astype(path.dtype)
    status = jnp.select(
        [~finite, ~moves], [int(Status.DIVERGED), int(Status.AT_NOISE_FLOOR)], int(Status.OK)
    )
    return Estimate(
        value=exponent + blank,
        stderr=stderr + blank,
        low=exponent - margin + blank,
        high=exponent + margin + blank,
        status=status,
        details={
            "lags": jnp.asarray(lags),
            "displacement": means[:, 0],
            "loss_changes": means[:, 1],
        },
    )
