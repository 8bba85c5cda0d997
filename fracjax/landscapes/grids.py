"""Grids of points along directions through parameter space."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import directions as directions_
from fracjax._types import Key, PyTree
from fracjax.directions import DirectionKind

__all__ = ["Grid", "line", "plane", "zoom"]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A line or plane of points: params + a u + b v.

    Attributes:
        directions: Directions stacked along a leading axis, one per axis of the grid.
        axes: Coordinates along each direction, in units of the direction.
        kind: How the directions were made.
    """

    directions: PyTree
    axes: tuple[np.ndarray, ...]
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of points."""
        return int(np.prod(self.shape))


def _axis(span: float, num_points: int) -> np.ndarray:
    if num_points < 2 or not span > 0:
        msg = (
            "Arguments `num_points` and `span` must be at least 2 and positive,"
            f" but are {num_points} and {span}."
        )
        raise ValueError(msg)
    return np.linspace(-span, span, num_points)


def line(
    params: PyTree,
    key: Key,
    *,
    span: float = 0.2,
    num_points: int = 257,
    kind: DirectionKind = "filter",
) -> Grid:
    """Make a line through `params`, from -span to span along one random direction."""
    drawn = directions_.draw(kind, key, params, 1)
    return Grid(drawn, (_axis(span, num_points),), kind)


def plane(
    params: PyTree,
    key: Key,
    *,
    span: float = 0.2,
    num_points: int | tuple[int, ...] = 49,
    kind: DirectionKind = "filter",
) -> Grid:
    """Make a plane through `params` along two random directions.

    In thousands of dimensions random directions are orthogonal to a few per cent.

    Args:
        params: Centre.
        key: Draws the directions.
        span: Half the width along both.
        num_points: Points along each direction, or along both.
        kind: Of the directions.
    """
    first, second = (num_points,) * 2 if isinstance(num_points, int) else num_points
    drawn = directions_.draw(kind, key, params, 2)
    return Grid(drawn, (_axis(span, first), _axis(span, second)), kind)


def zoom(grid: Grid, factor: float) -> Grid:
    """Shrink a grid towards its centre by `factor`, with as many points."""
    if not factor > 0:
        msg = f"Argument `factor` must be positive, but is {factor}."
        raise ValueError(msg)
    return dataclasses.replace(grid, axes=tuple(axis / factor for axis in grid.axes))


def padded_directions(grid: Grid, count: int) -> PyTree:
    """Directions with zeros appended, to match the table another program was compiled for."""
    have = len(grid.axes)

    def pad(leaf: jax.Array) -> jax.Array:
        return jnp.concatenate([leaf, jnp.zeros((count - have, *leaf.shape[1:]), leaf.dtype)])

    return jax.tree.map(pad, grid.directions)
