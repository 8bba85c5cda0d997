"""How far every parameter travelled, how far it came, and how unevenly the travel is spread."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Leaf, Status
from fracjax.learning.policy_paths.path_matrix import check_path

__all__ = [
    "PathChanges",
    "detour_ratio",
    "gini_coefficient",
    "path_changes",
    "top_share",
    "walk_gini",
    "walk_top_share",
]

_SPREAD = math.sqrt(math.pi / 2 - 1)  # deviation over mean of |x|, x standard normal


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PathChanges:
    """Change of every parameter along a path.

    Attributes:
        accumulated: Σ|θ_{i+1,j} - θ_{i,j}| per parameter j, `Δ^apc` of the paper.
        final: |θ_{n,j} - θ_{1,j}|, `Δ^fpc`.
        detour: Their ratio, `r^pud`, see `detour_ratio`.
        detour_median: Median of the detours of the parameters that moved.
        gini: Gini coefficient of the accumulated change.
        top_share: Share of all accumulated change that the most travelled tenth holds.
        effective_steps: (Σl)²/Σl² of the lengths l of the steps: their number if all are
            equal. The laws of `walks` take it for the number of steps.
        stride: Optimiser steps between snapshots, as given: accumulated change and detours
            fall like its root for a walk, and do not depend on it for a drift.
        status: `Status.OK`; `DIVERGED` with a value that is not finite; `AT_NOISE_FLOOR` of a
            path that does not move.
    """

    accumulated: Leaf
    final: Leaf
    detour: Leaf
    detour_median: Leaf
    gini: Leaf
    top_share: Leaf
    effective_steps: Leaf
    stride: Leaf
    status: Leaf


def path_changes(snapshots: Float[Array, "n m"], *, stride: int | float | Array = 1) -> PathChanges:
    """Measure accumulated and final change of every parameter, detours, and asymmetry.

    The paper reads "asymmetry" off histograms of the accumulated change and gives it no number.
    Here it has two: the Gini coefficient (0 if all parameters travel equally far, towards 1 if
    one does all) and the share of the most travelled tenth (.1 to 1). A Gaussian random walk is
    not at 0: see `walk_gini` and `walk_top_share`, and put `effective_steps` there.

    Mean detours do not exist for a random walk (the final change has a density at zero), so
    only medians and other quantiles mean something.

    Args:
        snapshots: Path, one row per snapshot. For a period of training, its rows.
        stride: Optimiser steps between snapshots; handed through.

    Returns:
        `PathChanges`; of a constant parameter the detour is NaN, of one that ends where it
        started infinite.

    Raises:
        ValueError: If `snapshots` is no matrix with two rows at least.

    References:
        Tang et al. (2024), The Ladder in Chaos, https://arxiv.org/abs/2303.01391.
    """
    check_path(snapshots)
    snapshots = jnp.asarray(snapshots)
    steps = jnp.diff(snapshots, axis=0)
    accumulated = jnp.abs(steps).sum(axis=0)
    lengths = jnp.linalg.norm(steps, axis=1)
    detour = detour_ratio(snapshots)
    finite = jnp.isfinite(snapshots).all()
    moved = (accumulated > 0).any()
    status = jnp.where(~finite, Status.DIVERGED, jnp.where(moved, Status.OK, Status.AT_NOISE_FLOOR))
    return PathChanges(
        accumulated=accumulated,
        final=jnp.abs(snapshots[-1] - snapshots[0]),
        detour=detour,
        detour_median=jnp.where(finite, jnp.nanmedian(detour), jnp.nan),
        gini=gini_coefficient(accumulated),
        top_share=top_share(accumulated),
        effective_steps=lengths.sum() ** 2 / (lengths**2).sum(),
        stride=jnp.asarray(stride, snapshots.dtype),
        status=status,
    )


def detour_ratio(series: Float[Array | np.ndarray, "n m"]) -> Float[Array, " m"]:
    """Length of the way over the distance between its ends, per column.

    At least 1, and exactly 1 for a monotone column; infinite for one that moved and came back
    to the very start; NaN for one that never moved, or with a value that is not finite.

    Args:
        series: Columns over time: parameters, or time courses of directions.

    Raises:
        ValueError: If `series` is no matrix with two rows at least.
    """
    check_path(series, name="series")
    series = jnp.asarray(series)
    steps = jnp.diff(series, axis=0)
    up, down = jnp.maximum(steps, 0).sum(axis=0), jnp.maximum(-steps, 0).sum(axis=0)
    distance = jnp.abs(series[-1] - series[0])
    monotone = (up == 0) | (down == 0)
    ratio = jnp.maximum((up + down) / distance, 1)  # rounding may put it just below
    ratio = jnp.where(monotone, 1, ratio)
    usable = jnp.isfinite(series).all(axis=0) & (up + down > 0)
    return jnp.where(usable, ratio, jnp.nan).astype(series.dtype)


def gini_coefficient(values: Float[Array, " m"]) -> Float[Array, ""]:
    """Gini coefficient of non-negative values: half the mean absolute difference over the mean.

    0 if all are equal, 1 - 1/m if one holds everything; NaN if all are zero.

    Args:
        values: The values, at least 0.

    References:
        Gini (1912), Variabilità e mutabilità.
    """
    count = values.shape[0]
    ranks = jnp.arange(1 - count, count, 2, dtype=values.dtype)
    ordered = jnp.sort(values)
    total = ordered.sum()
    # Scaled first: a sum of float32 products of 10^5 ranks would lose digits.
    return jnp.sum(ranks / count * (ordered / total)).astype(values.dtype)


def top_share(values: Float[Array, " m"], share: float = 0.1) -> Float[Array, ""]:
    """Share of the total that the largest values hold.

    Args:
        values: The values, at least 0.
        share: Which share of the values counts as the largest, in (0, 1]; at least one does.

    Raises:
        ValueError: If `share` is out of range.
    """
    if not 0 < share <= 1:
        msg = f"Argument `share` must lie in (0, 1], but is {share}."
        raise ValueError(msg)
    count = max(round(share * values.shape[0]), 1)
    return jnp.sort(values)[-count:].sum() / values.sum()


def walk_gini(effective_steps: int | float | Array) -> Float[Array, "..."]:
    """Gini coefficient of the accumulated change under an isotropic Gaussian random walk.

    √((π/2 - 1)/(π k)) = .426/√k for k steps: sums of k terms are nearly normal. Simulated with
    400 000 parameters it is right to .2 % for 10, 20 and 100 steps.

    Args:
        effective_steps: Number of steps, or `PathChanges.effective_steps`.
    """
    steps = jnp.asarray(effective_steps, jnp.result_type(float, effective_steps))
    return _SPREAD / jnp.sqrt(math.pi * steps)


def walk_top_share(effective_steps: int | float | Array, share: float = 0.1) -> Float[Array, "..."]:
    """Share of the most travelled parameters under an isotropic Gaussian random walk.

    q + .756 φ(z_q)/√k of k steps, φ the normal density and z_q the quantile with a share q
    above: for a tenth .1 + .1326/√k. Simulated .145 for 10 steps (law .142), .1135 for 100
    (.1133).

    Args:
        effective_steps: Number of steps, or `PathChanges.effective_steps`.
        share: Which share of the parameters counts, in (0, 1).
    """
    steps = jnp.asarray(effective_steps, jnp.result_type(float, effective_steps))
    quantile = jax.scipy.stats.norm.ppf(1 - jnp.asarray(share, steps.dtype))
    return share + _SPREAD * jax.scipy.stats.norm.pdf(quantile) / jnp.sqrt(steps)
