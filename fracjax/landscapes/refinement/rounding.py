"""How far rounding of the parameters moves neighbouring points of a grid."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import PyTree

__all__ = ["StepError", "step_error"]

_PAIRS = 16  # of neighbours, along each axis


class StepError(NamedTuple):
    """What becomes of the steps between neighbouring points.

    Attributes:
        error: Root mean square over parameters of (step made - step meant), over that of the
            step meant: 0 without rounding, 0.41 where a step is one unit in the last place, 1 and
            more where neighbours are no longer told apart. Along the worse axis.
        equal: Share of pairs of neighbours with all parameters the same.
    """

    error: float
    equal: float


def step_error(params: PyTree, directions: PyTree, axes: tuple[np.ndarray, ...]) -> StepError:
    """Compare steps between neighbours as they are with what they should be.

    Looks at 16 pairs of neighbours along each axis, spread over it, with the other coordinate
    in the middle.

    Args:
        params: Origin.
        directions: Stacked directions.
        axes: Coordinates along each direction.
    """
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(params)))
    worst, equal = 0.0, []
    for axis, coordinates in enumerate(axes):
        first = np.linspace(0, len(coordinates) - 2, _PAIRS).astype(int)
        ends = np.stack([coordinates[first], coordinates[first + 1]])
        meant = ends[1] - ends[0]
        rows = []
        for other, line in enumerate(axes):
            here = ends if other == axis else np.full_like(ends, line[len(line) // 2])
            rows.append(here.astype(dtype))
        # In units of the step, because its square underflows far in.
        found = _differences(params, directions, tuple(rows), meant.astype(dtype), axis=axis)
        deviation, length, same = (np.asarray(part, float) for part in found)
        total = deviation.sum() / length.sum() if length.sum() > 0 else np.inf
        worst = max(worst, float(np.sqrt(total)) if np.all(meant != 0) else np.inf)
        equal.append(same.mean())
    return StepError(worst, float(np.mean(equal)))


@functools.partial(jax.jit, static_argnames="axis")
def _differences(
    params: PyTree,
    directions: PyTree,
    ends: tuple[Float[Array, "two pairs"], ...],
    meant: Float[Array, " pairs"],
    *,
    axis: int,
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"], Array]:
    """Squares of deviation and of the step meant, in units of the step; whether equal."""

    def at(coordinates: tuple[Array, ...]) -> PyTree:
        point = params
        for index, coordinate in enumerate(coordinates):
            unit = jax.tree.map(lambda leaf, index=index: leaf[index], directions)
            point = tree.add_scaled(point, coordinate, unit)
        return point

    def pair(row: tuple[tuple[Array, ...], Array]) -> tuple[Array, Array, Array]:
        coordinates, step = row
        first, last = (at(tuple(x[end] for x in coordinates)) for end in (0, 1))
        unit = jax.tree.map(lambda leaf: leaf[axis], directions)
        made = jax.tree.map(lambda a, b: (b - a) / step, first, last)
        off = jax.tree.map(jnp.subtract, made, unit)
        nothing = jax.tree.map(lambda leaf: jnp.all(leaf == 0), made)
        same = jnp.stack(jax.tree.leaves(nothing)).all()
        return tree.dot(off, off), tree.dot(unit, unit), same

    return jax.lax.map(pair, (tuple(x.T for x in ends), meant))
