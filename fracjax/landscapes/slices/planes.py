"""Slices through given points: between policies, along a recorded path."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import PyTree
from fracjax.landscapes.slices.grids import Grid, per_axis

__all__ = ["PlacedGrid", "principal_plane", "slice_through"]

Centre = Literal["last", "mean"]
_SMALLEST_SHARE = 1e-12  # of the squared size that an axis must have to be one


@dataclasses.dataclass(frozen=True)
class PlacedGrid:
    """A grid that given points lie on or near.

    Coordinates are root-mean-square changes per parameter, as everywhere: directions are
    orthogonal and have root mean square 1.

    Attributes:
        grid: The line, plane or box, with `centre` at its origin. Its `details` repeat the
            numbers below as lists, so that a scan of it is stored with them.
        centre: Parameters at the origin.
        coordinates: Where the given points are, (points, axes).
        residual: Root-mean-square distance of every point from the slice, (points,).
        explained: Share of the points' squared distances from the centre along each axis.
        random_walk: What `explained` would be for a random walk of as many points in very
            many dimensions; None where the points are no path.
    """

    grid: Grid
    centre: PyTree
    coordinates: np.ndarray
    residual: np.ndarray
    explained: np.ndarray
    random_walk: np.ndarray | None


def slice_through(
    points: Sequence[PyTree], *, num_points: int | tuple[int, ...] = 49, margin: float = 0.5
) -> PlacedGrid:
    """Make the line through two points, or the plane through three.

    The first point is the origin, the second lies on the first axis.

    Args:
        points: Two or three pytrees of the same structure and shapes.
        num_points: Points along all axes, or along each.
        margin: How far the grid reaches beyond the points, as a share of their extent.

    Raises:
        ValueError: If there are not two or three points, their shapes differ, or they
            coincide or lie on one line.
    """
    if len(points) not in (2, 3):
        msg = f"Argument `points` must hold two or three points, but has {len(points)}."
        raise ValueError(msg)
    rows = _rows(points)
    basis: list[np.ndarray] = []
    for row in rows[1:]:
        remainder = row - rows[0]
        whole = np.linalg.norm(remainder)
        for _ in range(2):  # once more, for what the first pass leaves of rounding
            remainder = remainder - sum((remainder @ unit) * unit for unit in basis)
        length = np.linalg.norm(remainder)
        if not length > math.sqrt(_SMALLEST_SHARE) * whole:
            msg = "Argument `points` must not coincide or lie on one line, but do."
            raise ValueError(msg)
        basis.append(remainder / length)
    return _placed(points[0], rows - rows[0], np.stack(basis), "through points", num_points, margin)


def principal_plane(
    path: Sequence[PyTree],
    *,
    num_axes: int = 2,
    centre: Centre = "last",
    num_points: int | tuple[int, ...] = 49,
    margin: float = 0.25,
) -> PlacedGrid:
    """Make the line, plane or box along which a recorded path moves most.

    Principal components by the Gram matrix of the snapshots in float64, which needs
    snapshots × parameters numbers and no covariance matrix.

    The path is off the slice by `residual`, snapshot by snapshot: what it met there is not
    what the slice shows below it.

    Do not read a curved path in this plane as a curved valley: the principal components of a
    random walk in many dimensions are cosines, and two of them explain 76 % of it (around
    its mean). `random_walk` says what that null explains; a path is more than a walk only
    where `explained` differs from it.

    Args:
        path: Snapshots in order, at least three, as pytrees of one structure.
        num_axes: 1, 2 or 3.
        centre: Origin of the grid, and what distances are counted from: the last snapshot
            (Li et al.) or the mean.
        num_points: Points along all axes, or along each.
        margin: How far the grid reaches beyond the path, as a share of its extent.

    Raises:
        ValueError: If a setting is out of range, or the path spans fewer dimensions.

    References:
        Li et al. (2018), arXiv 1712.09913. Antognini and Sohl-Dickstein (2018), PCA of high
        dimensional random walks, arXiv 1806.08805.
    """
    if num_axes not in (1, 2, 3):
        msg = f"Argument `num_axes` must be 1, 2 or 3, but is {num_axes}."
        raise ValueError(msg)
    if centre not in get_args(Centre):
        msg = f"Argument `centre` must be one of {get_args(Centre)}, but is {centre!r}."
        raise ValueError(msg)
    if len(path) < 3:
        msg = f"Argument `path` must hold at least three snapshots, but has {len(path)}."
        raise ValueError(msg)
    rows = _rows(path)
    origin = rows[-1].copy() if centre == "last" else rows.mean(axis=0)
    rows -= origin  # in place: they are the bulk of the memory
    gram = rows @ rows.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:num_axes], vectors[:, ::-1][:, :num_axes]
    if not (len(values) == num_axes and values[-1] > _SMALLEST_SHARE * np.trace(gram)):
        msg = f"Argument `path` must span {num_axes} dimensions, but does not."
        raise ValueError(msg)
    basis = (vectors / np.sqrt(values)).T @ rows
    # The Gram matrix squares the ratio of the axes, and with it their rounding.
    basis = np.linalg.qr(basis.T)[0].T
    # Every axis points to where the path began, so that pictures do not flip with rounding.
    basis *= np.where(basis @ rows[0] < 0, -1.0, 1.0)[:, None]
    middle = _as_tree(origin, path[0])
    walk = _walk_shares(len(path), centre)[:num_axes]
    return _placed(middle, rows, basis, "principal components", num_points, margin, walk)


def _walk_shares(count: int, centre: Centre) -> np.ndarray:
    """Eigenvalues of the Gram matrix of a walk of independent steps, over their sum."""
    steps = count - 1
    order = np.arange(1, steps + 1)
    if centre == "mean":
        angles = order * math.pi / (2 * count)
    else:
        angles = (2 * order - 1) * math.pi / (2 * (2 * steps + 1))
    values = 1 / np.sin(angles) ** 2
    return values / values.sum()


def _rows(points: Sequence[PyTree]) -> np.ndarray:
    """One float64 row per point."""
    structures = {
        (jax.tree.structure(p), tuple(np.shape(x) for x in jax.tree.leaves(p))) for p in points
    }
    if len(structures) > 1:
        msg = "Argument `points` must have one structure and shape, but has several."
        raise ValueError(msg)
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(points[0]))
    rows = np.empty((len(points), size))
    for row, point in zip(rows, points, strict=True):
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(point)], out=row)
    if not np.isfinite(rows).all():
        msg = "Argument `points` must be finite, but is not."
        raise ValueError(msg)
    return rows


def _as_tree(row: np.ndarray, like: PyTree) -> PyTree:
    """Cut a row into leaves of the shapes and dtypes of `like`."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    parts = [
        jnp.asarray(part.reshape(np.shape(leaf)), jnp.asarray(leaf).dtype)
        for part, leaf in zip(np.split(row, ends), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, parts)


def _placed(
    centre: PyTree,
    rows: np.ndarray,
    basis: np.ndarray,
    kind: str,
    num_points: int | tuple[int, ...],
    margin: float,
    random_walk: np.ndarray | None = None,
) -> PlacedGrid:
    """Lay a grid over the points, whose rows are relative to the centre."""
    sizes = per_axis("num_points", num_points, len(basis))
    if min(sizes) < 2 or not 0 <= margin < math.inf:
        msg = (
            "Arguments `num_points` and `margin` must be at least 2 and 0, but are"
            f" {num_points} and {margin}."
        )
        raise ValueError(msg)
    size = math.sqrt(rows.shape[1])
    lengths = rows @ basis.T
    off = [np.linalg.norm(row - length @ basis) for row, length in zip(rows, lengths, strict=True)]
    coordinates = lengths / size
    axes = []
    for axis, count in zip(coordinates.T, sizes, strict=True):
        reach = margin * (axis.max() - axis.min())
        axes.append(np.linspace(axis.min() - reach, axis.max() + reach, count))
    directions = [_as_tree(size * unit, centre) for unit in basis]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *directions)
    numbers = {
        "coordinates": coordinates,
        "residual": np.array(off) / size,
        "explained": (lengths**2).sum(axis=0) / np.vdot(rows, rows),
        "random_walk": random_walk,
    }
    details = {name: array.tolist() for name, array in numbers.items() if array is not None}
    return PlacedGrid(Grid(stacked, tuple(axes), kind, details), centre, **numbers)
