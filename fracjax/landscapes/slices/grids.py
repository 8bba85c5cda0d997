"""Grids of points along directions through parameter space."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import directions as directions_
from fracjax._types import Key, PyTree
from fracjax.directions import DirectionKind, Vectors

__all__ = [
    "AXES",
    "Grid",
    "along",
    "axis_names",
    "box",
    "line",
    "padded_directions",
    "per_axis",
    "plane",
    "zoom",
]

# Names of the axes of a grid, wherever it is stored, tabulated or drawn.
AXES = ("a", "b", "c", "d", "e", "f")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Points of a line, a plane or a box of any number of axes: params + a u + b v + ….

    Attributes:
        directions: Directions stacked along a leading axis, one per axis of the grid.
        axes: Coordinates along each direction, in units of the direction.
        kind: How the directions were made.
        details: What else is known of them (eigenvalues, method, explained variance), in
            JSON's types: strings, numbers, lists.
    """

    directions: PyTree
    axes: tuple[np.ndarray, ...]
    kind: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)


def axis_names(num_axes: int) -> tuple[str, ...]:
    """Names of the axes of a grid: a, b, c and so on.

    Raises:
        ValueError: If there are more axes than names.
    """
    if num_axes > len(AXES):
        msg = f"A grid must have at most {len(AXES)} axes, but has {num_axes}."
        raise ValueError(msg)
    return AXES[:num_axes]


def per_axis(name: str, given: Any, num_axes: int) -> tuple:
    """Repeat one setting for every axis, or check that there is one for each."""
    if not isinstance(given, tuple):
        return (given,) * num_axes
    if len(given) != num_axes:
        msg = (
            f"Argument `{name}` must be one number or one per axis ({num_axes}),"
            f" but has {len(given)}."
        )
        raise ValueError(msg)
    return given


def _axis(span: float, num_points: int) -> np.ndarray:
    if num_points < 2 or not 0 < span < math.inf:
        msg = (
            "Arguments `num_points` and `span` must be at least 2 and positive,"
            f" but are {num_points} and {span}."
        )
        raise ValueError(msg)
    return np.linspace(-span, span, num_points)


def along(
    directions: PyTree,
    *,
    span: float | tuple[float, ...] = 0.2,
    num_points: int | tuple[int, ...] = 49,
    kind: str = "given",
    details: Mapping[str, Any] | None = None,
) -> Grid:
    """Make a grid along given directions, one axis for each.

    Args:
        directions: Pytree like the parameters with a leading axis on every leaf, as
            `directions.draw` and `load_directions` return.
        span: Half the width along all axes, or along each.
        num_points: Points along all axes, or along each.
        kind: How the directions were made.
        details: See `Grid`.

    Raises:
        ValueError: If leaves have different leading axes, or a setting is out of range.
    """
    counts = sorted({np.shape(leaf)[:1] for leaf in jax.tree.leaves(directions)})
    if len(counts) != 1 or counts[0] in ((), (0,)):
        msg = (
            "Argument `directions` must have one leading axis of the same length on every leaf,"
            f" but the leaves have {[count[0] if count else None for count in counts]}."
        )
        raise ValueError(msg)
    num_axes = counts[0][0]
    spans = per_axis("span", span, num_axes)
    sizes = per_axis("num_points", num_points, num_axes)
    axes = tuple(_axis(*each) for each in zip(spans, sizes, strict=True))
    return Grid(directions, axes, kind, dict(details or {}))


def box(
    params: PyTree,
    key: Key,
    *,
    span: float | tuple[float, ...] = 0.2,
    num_points: int | tuple[int, ...] = 33,
    num_axes: int = 3,
    kind: DirectionKind = "filter",
    vectors: Vectors = "scaled",
) -> Grid:
    """Make a grid of any number of axes around `params` along random directions.

    In thousands of dimensions random directions are orthogonal to a few per cent; those of
    kind `"orthonormal"` are to rounding.

    Args:
        params: Centre.
        key: Draws the directions; a grid of fewer axes has the first of them.
        span: Half the width along all axes, or along each. In units of the direction: of
            each filter's length for `"filter"`, else of the root-mean-square change.
        num_points: Points along all axes, or along each.
        num_axes: Number of directions.
        kind: Of the directions, see `directions.draw`.
        vectors: What biases do in `"filter"`, see `directions.filter_normalized`.

    Raises:
        ValueError: If a setting is out of range, or tuples do not have one entry per axis.
    """
    if num_axes < 1:
        msg = f"Argument `num_axes` must be positive, but is {num_axes}."
        raise ValueError(msg)
    drawn = directions_.draw(kind, key, params, num_axes, vectors=vectors)
    details = {"vectors": vectors} if kind == "filter" else {}
    return along(drawn, span=span, num_points=num_points, kind=kind, details=details)


def line(
    params: PyTree,
    key: Key,
    *,
    span: float = 0.2,
    num_points: int = 257,
    kind: DirectionKind = "filter",
    vectors: Vectors = "scaled",
) -> Grid:
    """Make a line through `params`, from -span to span along one random direction.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import landscapes
        >>> grid = landscapes.line({"w": jnp.ones(3)}, jax.random.key(0), span=1.0, num_points=5)
        >>> print(grid.axes[0])
        [-1.  -0.5  0.   0.5  1. ]
    """
    return box(
        params, key, span=span, num_points=num_points, num_axes=1, kind=kind, vectors=vectors
    )


def plane(
    params: PyTree,
    key: Key,
    *,
    span: float | tuple[float, ...] = 0.2,
    num_points: int | tuple[int, ...] = 49,
    kind: DirectionKind = "filter",
    vectors: Vectors = "scaled",
) -> Grid:
    """Make a plane through `params` along two random directions; see `box`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import landscapes
        >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
        >>> grid = landscapes.plane(params, jax.random.key(0), span=0.5, num_points=(5, 7))
        >>> grid.shape, grid.kind
        ((5, 7), 'filter')
        >>> jax.tree.map(jnp.shape, grid.directions)
        {'bias': (2, 2), 'kernel': (2, 3, 2)}
    """
    return box(
        params, key, span=span, num_points=num_points, num_axes=2, kind=kind, vectors=vectors
    )


def zoom(grid: Grid, factor: float) -> Grid:
    """Shrink a grid towards the origin of its coordinates, with as many points.

    The origin is where the parameters are that a line, plane or box was made around.

    Args:
        grid: The grid.
        factor: How much narrower the result is; below 1 it is wider.

    Raises:
        ValueError: If `factor` is not positive.
    """
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
