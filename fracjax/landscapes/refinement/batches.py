"""Points chosen as values come in, evaluated in equal batches that a journal remembers."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, Objective, PyTree
from fracjax.evaluation import (
    cache_chunk_size,
    combination_bytes,
    fitting_chunk_size,
    map_combinations,
)
from fracjax.landscapes.slices.grids import Grid

__all__ = ["Batches", "Journal", "chunk_size_for", "default_batch_size"]

_BATCH = 4096


@runtime_checkable
class Journal(Protocol):
    """Keeps the values of batches, by their number from 0.

    `fracjax.landscapes.scans.store.open_journal` makes one: a `ScanStore` over one axis with a
    place for every point of every batch, and with blocks of `batch_size` points.
    """

    def read(self, block: int) -> Mapping[str, np.ndarray] | None:
        """Values of a batch as `value`, or None if it was not written whole."""

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Keep the values of a batch: `value`, always `batch_size` of them."""


def default_batch_size(chunk_size: int) -> int:
    """Points in a batch: whole chunks, 4096 points where chunks are smaller."""
    return chunk_size * max(1, _BATCH // chunk_size)


def chunk_size_for(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    chunk_size: int | None = None,
    memory: int | None = None,
) -> int:
    """Choose how many points one device evaluates together.

    Args:
        objective: See `Batches`.
        params: Origin of the coordinates.
        grid: Its directions are heeded.
        key: The objective's key.
        chunk_size: At most so many; chosen from the size of `params` if not given.
        memory: Bound in bytes on what evaluating needs, see `landscapes.scan`.

    Raises:
        ValueError: If one point alone needs more memory.
    """
    return fitting_chunk_size(
        chunk_size or cache_chunk_size(params),
        memory,
        lambda size: combination_bytes(objective, params, grid.directions, key, chunk_size=size),
    )


class Batches:
    """Evaluates points of a line or plane in batches of one size.

    Every call evaluates whole batches, the last one filled up with its last point, so that
    one compiled program serves all. Batches are numbered in the order in which they are asked
    for; one that the journal holds is read instead. As long as the caller's choice of points
    depends on nothing but earlier values, a run that was killed and started again therefore
    asks for the same points and gets the same bytes.

    Attributes:
        dtype: Of the values.
        parameter_dtype: Name of that of the parameters.
        chunk_size: Points that one device evaluates together.
        batch_size: Points in a batch.
        num_batches: Batches asked for so far.
        num_points: Points asked for so far.
    """

    def __init__(
        self,
        objective: Objective,
        params: PyTree,
        grid: Grid,
        key: Key,
        *,
        chunk_size: int | None = None,
        memory: int | None = None,
        batch_size: int | None = None,
        journal: Journal | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Check the objective; nothing is evaluated yet.

        Raises:
            ValueError: If the objective is not scalar, the grid has neither one axis nor two,
                or a size is not positive, or one point needs more than `memory` bytes.
        """
        params = jax.tree.map(jnp.asarray, params)
        shape = jax.eval_shape(objective, params, key)
        if not isinstance(shape, jax.ShapeDtypeStruct) or shape.shape:
            msg = (
                "Argument `objective` must return one number, but returns"
                f" {jax.tree.map(lambda leaf: leaf.shape, shape)}; choose one output of it."
            )
            raise ValueError(msg)
        if len(grid.axes) not in (1, 2):
            msg = f"Argument `grid` must have one axis or two, but has {len(grid.axes)}."
            raise ValueError(msg)
        if (chunk_size is not None and chunk_size < 1) or (
            batch_size is not None and batch_size < 1
        ):
            msg = (
                "Arguments `chunk_size` and `batch_size` must be positive, but are"
                f" {chunk_size} and {batch_size}."
            )
            raise ValueError(msg)
        self._objective, self._params, self._key = objective, params, key
        self._directions = grid.directions
        self._second = len(grid.axes) - 1
        self._journal, self._on_progress = journal, on_progress
        self.dtype = np.dtype(shape.dtype)
        self.parameter_dtype = str(jnp.result_type(*jax.tree.leaves(params)))
        self.chunk_size = chunk_size_for(
            objective, params, grid, key, chunk_size=chunk_size, memory=memory
        )
        self.batch_size = batch_size or default_batch_size(self.chunk_size)
        self.num_batches = 0
        self.num_points = 0

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Evaluate at coordinates along the two directions (zeros for a line's second)."""
        parts = []
        for start in range(0, len(first), self.batch_size):
            stop = min(start + self.batch_size, len(first))
            index = np.minimum(np.arange(start, start + self.batch_size), stop - 1)
            values = self._batch(first[index], second[index])[: stop - start]
            parts.append(values)
            self.num_points += stop - start
            if self._on_progress is not None:
                self._on_progress(self.num_points)
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def _batch(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        number = self.num_batches
        self.num_batches += 1
        found = self._journal.read(number) if self._journal is not None else None
        if found is not None:
            return np.asarray(found["value"], self.dtype)
        size = self.batch_size
        values = map_combinations(
            self._objective,
            self._params,
            self._directions,
            (np.zeros(size, int), first, np.full(size, self._second), second),
            self._key,
            chunk_size=self.chunk_size,
        )
        if self._journal is not None:
            self._journal.write(number, {"value": values})
        return values
