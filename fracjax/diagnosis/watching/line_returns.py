"""Returns along random lines around parameters that change, by one program compiled once."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, Objective, PyTree
from fracjax.diagnosis.findings import Problem
from fracjax.evaluation import map_points

__all__ = ["LineReturns", "Surroundings", "key_numbers"]


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Parameters, and the lines that are laid around them.

    Attributes:
        part: Parameters whose landscape is looked at.
        rest: Those that only go with them, such as the statistics of a normaliser.
        table: Offsets of the lines' centres, then the lines, stacked.
        key: Of the objective, the same at all points.
    """

    part: PyTree
    rest: PyTree
    table: PyTree
    key: Key


class LineReturns:
    """Evaluates a problem's returns on lines; parameters are an argument of the program.

    Every line has a centre of its own near the parameters, so that lines are independent.
    """

    def __init__(
        self,
        problem: Problem,
        num_lines: int,
        *,
        radius: float,
        join: Callable[[PyTree, PyTree], PyTree],
        chunk_size: int,
    ):
        """Prepare without compiling anything.

        Args:
            problem: Its `objective`, and its `reference` if there is one.
            num_lines: Most lines around any parameters.
            radius: Distance of the lines' centres, root mean square per parameter.
            join: Makes parameters of their two parts, see `Surroundings`.
            chunk_size: Points evaluated together on one device.
        """
        self.num_lines = num_lines
        self._radius = radius
        self._join = join
        self._chunk = chunk_size
        # One function object each, whose program is compiled once.
        self._value = self._program(problem.objective)
        reference = problem.reference
        self._exact = None if reference is None else self._program(reference[0])

    @property
    def has_reference(self) -> bool:
        """Whether the problem comes with an objective in double precision."""
        return self._exact is not None

    def around(self, part: PyTree, rest: PyTree, key: Key) -> Surroundings:
        """Draw lines around parameters.

        Args:
            part: Parameters whose landscape is looked at.
            rest: Those that only go with them.
            key: Draws lines and gives the objective's key.
        """
        table = _directions(jax.random.fold_in(key, 0), part, self.num_lines, self._radius)
        return Surroundings(part, rest, table, jax.random.fold_in(key, 1))

    def __call__(
        self,
        around: Surroundings,
        lines: np.ndarray,
        offsets: np.ndarray,
        inner: np.ndarray | None = None,
    ) -> np.ndarray:
        """Evaluate returns at points of lines.

        Args:
            around: Parameters and lines.
            lines: Line of every point.
            offsets: How far along the line it lies, root mean square per parameter.
            inner: Share of the way from the parameters to the line's centre; 1 by default.

        Returns:
            Array (points, discounts).
        """
        dtype = np.dtype(jnp.result_type(*jax.tree.leaves(around.part)))
        rows = (
            np.asarray(lines, np.int32),
            np.ones(len(lines), dtype) if inner is None else inner.astype(dtype),
            np.asarray(offsets, dtype),
        )
        shared = around.part, around.rest, around.table, around.key
        return np.asarray(map_points(self._value, rows, *shared, chunk_size=self._chunk))

    def exactly(self, around: Surroundings, lines: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Evaluate the same by the problem's reference, in double precision."""
        assert self._exact is not None
        with jax.enable_x64(True):
            parts = around.part, around.rest, around.table
            wide = tree.astype(jax.tree.map(jnp.asarray, parts), "float64")
            rows = np.asarray(lines, np.int32), np.ones(len(lines)), np.asarray(offsets, float)
            found = map_points(self._exact, rows, *wide, around.key, chunk_size=self._chunk)
            return np.asarray(found)

    def _program(self, objective: Objective) -> Callable:
        """Return at a point of a line around a centre."""

        def value(
            row: tuple[Array, Array, Array], part: PyTree, rest: PyTree, table: PyTree, key: Key
        ) -> Array:
            line, inner, offset = row

            def pick(index: Array) -> PyTree:
                return jax.tree.map(lambda leaf: leaf[index], table)

            centre = tree.add_scaled(part, inner, pick(line))
            point = tree.add_scaled(centre, offset, pick(line + self.num_lines))
            return jnp.atleast_1d(objective(self._join(point, rest), key))

        return value


def _directions(key: Key, part: PyTree, lines: int, radius: float) -> PyTree:
    """Offsets of the lines' centres, then lines of root mean square 1, stacked.

    Drawn by NumPy, seeded by the key: a draw by JAX takes a second to compile.
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, part))
    generator = np.random.default_rng(key_numbers(key).astype(np.uint64))
    sizes = [leaf.size for leaf in leaves]
    drawn = generator.standard_normal((2 * lines, sum(sizes)))
    scale = np.linalg.norm(drawn[lines:], axis=1, keepdims=True) / math.sqrt(max(sum(sizes), 1))
    drawn = np.concatenate([radius * drawn[:lines], drawn[lines:] / scale])
    cut = np.split(drawn, np.cumsum(sizes)[:-1], axis=1)
    stacked = [
        piece.reshape((2 * lines, *leaf.shape)).astype(leaf.dtype)
        for piece, leaf in zip(cut, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, stacked)


def key_numbers(key: Key) -> np.ndarray:
    """Numbers of a key of either kind."""
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key)
