"""Singular values, directions and time courses of a path of parameters."""

import dataclasses
import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Leaf, Status
from fracjax.estimators.settings import check_at_least, check_choice
from fracjax.learning.policy_paths.batching import in_float64
from fracjax.learning.policy_paths.changes import detour_ratio
from fracjax.learning.policy_paths.path_gram import (
    Centering,
    PathGram,
    by_columns,
    centred_gram,
    joined,
    path_gram,
)
from fracjax.learning.policy_paths.path_matrix import check_path

__all__ = [
    "SHARES",
    "TemporalSvd",
    "major_dimensionality",
    "path_directions",
    "summarise_gram",
    "temporal_svd",
]

SHARES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
_SIGN = 3.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TemporalSvd:
    """Temporal singular value decomposition of a path, Θ = U Σ Vᵀ with one row per snapshot.

    Attributes:
        singular_values: All d of them, falling; σ.
        information: a_k = Σ_{i≤k} σ_i / Σ_i σ_i, of the first powers as in the paper.
        dimensionality: D(β) = min{k : a_k ≥ β} for each of `shares`.
        courses: (n, k) first columns of U: the coordinates of the snapshots over time.
        detour: Detour ratio of each course, see `detour_ratio`.
        final: |u_{n,k} - u_{1,k}| of each course.
        num_resolved: How many singular values are above √eps of the largest, eps that of the
            arithmetic of the Gram matrix; all where it was not used.
        stride: Optimiser steps between snapshots.
        status: `DIVERGED` with a snapshot that is not finite; `AT_NOISE_FLOOR` for a path that
            does not move, and where a direction that is returned is not resolved.
        shares: The β.
        center: What was taken off the snapshots.
    """

    singular_values: Leaf
    information: Leaf
    dimensionality: Leaf
    courses: Leaf
    detour: Leaf
    final: Leaf
    num_resolved: Leaf
    stride: Leaf
    status: Leaf
    shares: tuple[float, ...] = dataclasses.field(default=SHARES, metadata={"static": True})
    center: Centering = dataclasses.field(default="mean", metadata={"static": True})


def temporal_svd(
    path: Float[Array | np.ndarray, "n m"] | PathGram,
    *,
    center: Centering = "mean",
    num_directions: int = 8,
    shares: tuple[float, ...] = SHARES,
    stride: int | float | Array = 1,
    method: Literal["gram", "svd"] = "gram",
) -> TemporalSvd:
    """Decompose a path in time: how many directions it uses, and how it moves along each.

    `center="none"` is the paper's, and reads mostly how large the parameters are beside their
    displacement: the same random walk (200 steps, 20 000 parameters) has D(.5) = 6, 2 or 1 from
    a start of norm 0, 20 or 200. `"mean"` and `"first"` do not depend on where the path starts.

    A random walk shows what the paper calls its phenomena, a concentrated spectrum, a monotone
    first course, harmonic later ones and detours that grow with k: `walks` has the laws and
    `walk_null` the null of this very path. Do not read anything into a number without it.

    The number of directions is d = min(n, m) uncentred and min(n - 1, m) else.

    Args:
        path: Snapshots, one per row, or their `path_gram`.
        center: `"none"`, `"mean"` (over time) or `"first"` (the first snapshot).
        num_directions: How many time courses to return; at most d are.
        shares: The β of D(β), in (0, 1].
        stride: Optimiser steps between snapshots; handed through, a `PathGram` has its own.
        method: `"gram"` by inner products in float64; `"svd"` by a thin SVD in the dtype of
            the snapshots, for comparison: it needs the centred path as a copy.

    Returns:
        `TemporalSvd`. Courses have the sign that makes their product with exp(3t) positive, t
        in [0, 1] over the path: the first rises.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Tang et al. (2024), The Ladder in Chaos, https://arxiv.org/abs/2303.01391;
        Antognini and Sohl-Dickstein (2018), https://arxiv.org/abs/1806.08805, for the walk.

    Example:
        >>> import jax
        >>> from fracjax import learning
        >>> steps = jax.random.normal(jax.random.key(0), (200, 5000))
        >>> found = learning.temporal_svd(steps.cumsum(axis=0))
        >>> f"{found.information[0]:.2f}"  # of nothing but a random walk
        '0.16'
        >>> print(found.detour[:3:2].round(0))  # monotone, then waves
        [1. 3.]
    """
    check_choice("center", center, get_args(Centering))
    check_choice("method", method, ("gram", "svd"))
    check_at_least(num_directions=(num_directions, 1))
    _check_shares(shares)
    if method == "svd":
        if isinstance(path, PathGram):
            msg = "Argument `path` must be snapshots for `method='svd'`, but is a PathGram."
            raise ValueError(msg)
        check_path(path)
        path = jnp.asarray(path)
        found = _by_svd(path, center, num_directions, shares)
        finite, stride = jnp.isfinite(path).all(), jnp.asarray(stride, path.dtype)
    else:
        gram = path if isinstance(path, PathGram) else path_gram(path, stride=stride)
        found = _by_gram(gram, center, num_directions, shares)
        finite, stride = gram.finite, gram.stride
    values, resolved = found["singular_values"], found["num_resolved"]
    kept = found["courses"].shape[1]
    silent = ~(values[0] > 0)
    status = jnp.where(silent | (resolved < kept), Status.AT_NOISE_FLOOR, Status.OK)
    status = jnp.where(finite, status, Status.DIVERGED)
    unknown = silent | ~finite
    found = {
        name: jnp.where(unknown, jnp.nan, part)
        if jnp.issubdtype(part.dtype, jnp.floating)
        else jnp.where(unknown, 0, part)
        for name, part in found.items()
    }
    return TemporalSvd(**found, stride=stride, status=status, shares=shares, center=center)


def major_dimensionality(
    singular_values: Float[Array, " d"], shares: tuple[float, ...] = SHARES
) -> Array:
    """Smallest k whose first k singular values make up each share of their sum, D(β).

    Args:
        singular_values: σ, falling.
        shares: The β, in (0, 1]; D(1) = d.

    Raises:
        ValueError: If a share is out of range.
    """
    _check_shares(shares)
    information = jnp.cumsum(singular_values) / singular_values.sum()
    below = information[:, None] < jnp.asarray(shares, information.dtype)
    # A share of 1 is reached with the last one only, whatever the cumulated sum rounds to.
    found = jnp.where(jnp.asarray(shares) >= 1, singular_values.size, 1 + below.sum(axis=0))
    return jnp.minimum(found, singular_values.size).astype(jnp.int32)


def path_directions(snapshots: Float[Array, "n m"], found: TemporalSvd) -> Float[Array, "k m"]:
    """Directions in parameter space that belong to the time courses: the first rows of Vᵀ.

    Args:
        snapshots: The path that was decomposed.
        found: Its decomposition.

    Raises:
        ValueError: If `snapshots` is no matrix with two rows at least.
    """
    check_path(snapshots)
    kept = found.courses.shape[1]
    return _directions(
        jnp.asarray(snapshots), found.courses, found.singular_values[:kept], found.center
    )


@functools.partial(jax.jit, static_argnums=3)
def _directions(path: Array, courses: Array, values: Array, center: Centering) -> Array:
    def compute(path: Array, courses: Array, values: Array) -> Array:
        # The weights of the snapshots are applied to displacements from the first one.
        weights = courses.astype(jnp.float64).T / values.astype(jnp.float64)[:, None]
        if center == "mean":
            weights = weights - weights.mean(axis=1, keepdims=True)
        first = 1.0 if center == "none" else 0.0

        def of_block(block: Array) -> Array:
            moved = weights[:, 1:] @ (block[1:] - block[0])
            return moved + first * weights.sum(axis=1)[:, None] * block[0]

        return by_columns(of_block, path, jnp.float64).astype(dtype)

    dtype = path.dtype
    return in_float64(compute)(path, courses, values)


def summarise_gram(
    gram: Float[Array, "n n"],
    *,
    center: Centering,
    rank: int,
    num_directions: int,
    shares: tuple[float, ...],
) -> dict[str, Array]:
    """Decompose the matrix of a `PathGram`, in its own dtype."""
    squares, vectors = jnp.linalg.eigh(centred_gram(gram, center))
    squares, vectors = squares[::-1][:rank], vectors[:, ::-1][:, :num_directions]
    values = jnp.sqrt(jnp.maximum(squares, 0))
    floor = jnp.sqrt(jnp.finfo(gram.dtype).eps) * values[0]
    return {
        **_summary(values, vectors, shares),
        "num_resolved": jnp.sum(values > floor).astype(jnp.int32),
    }


def _by_gram(
    gram: PathGram, center: Centering, num_directions: int, shares: tuple[float, ...]
) -> dict[str, Array]:
    rank = min(gram.parts.shape[-1] - (center != "none"), gram.num_parameters)
    settings = (center, rank, min(num_directions, rank), tuple(shares))
    if gram.precision == "float64":
        return _decompose(gram.parts, *settings)
    return _summarise(gram.parts[0].astype(jnp.float32), *settings)


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _decompose(parts: Float[Array, "p n n"], *settings: Any) -> dict[str, Array]:
    def compute(parts: Array) -> dict[str, Array]:
        found = _summarise(joined(parts), *settings)
        return {
            name: part.astype(dtype) if jnp.issubdtype(part.dtype, jnp.floating) else part
            for name, part in found.items()
        }

    dtype = parts.dtype
    return in_float64(compute)(parts)


def _summarise(gram: Array, center: Centering, rank: int, count: int, shares: tuple) -> dict:
    return summarise_gram(gram, center=center, rank=rank, num_directions=count, shares=shares)


def _by_svd(
    path: Array, center: Centering, num_directions: int, shares: tuple[float, ...]
) -> dict[str, Array]:
    rank = min(path.shape[0] - (center != "none"), path.shape[1])
    if center != "none":
        path = path - path[0]
    if center == "mean":
        path = path - path.mean(axis=0)
    vectors, values, _ = jnp.linalg.svd(path, full_matrices=False)
    values, vectors = values[:rank], vectors[:, : min(num_directions, rank)]
    return {
        **_summary(values, vectors, shares),
        "num_resolved": jnp.asarray(rank, jnp.int32),
    }


def _summary(values: Array, vectors: Array, shares: tuple[float, ...]) -> dict[str, Array]:
    number = vectors.shape[0]
    ramp = jnp.exp(_SIGN * jnp.arange(number, dtype=vectors.dtype) / number)
    courses = vectors * jnp.where(ramp @ vectors < 0, -1, 1).astype(vectors.dtype)
    return {
        "singular_values": values,
        "information": jnp.cumsum(values) / values.sum(),
        "dimensionality": major_dimensionality(values, shares),
        "courses": courses,
        "detour": detour_ratio(courses),
        "final": jnp.abs(courses[-1] - courses[0]),
    }


def _check_shares(shares: tuple[float, ...]) -> None:
    if not shares or not all(0 < share <= 1 for share in shares):
        msg = f"Argument `shares` must hold numbers in (0, 1], but is {shares}."
        raise ValueError(msg)
