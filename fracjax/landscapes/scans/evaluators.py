"""How the points of a scan are evaluated: chosen by measurement, within a bound of memory."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.affine import along_affine_family
from fracjax.evaluation import cache_chunk_size, call_bytes, fitting_chunk_size, map_points

__all__ = ["Evaluator", "EvaluatorName", "choose_evaluator"]

EvaluatorName = Literal["auto", "plain", "affine"]
_Outputs: TypeAlias = dict[str, np.ndarray]

# Shared matrices stay in cache whatever the number of points; a few hundred points make the
# products efficient.
_AFFINE_CHUNK = {"cpu": 512}
_AFFINE_CHUNK_ELSEWHERE = 16384
# Do not time a second way of evaluating where the first is done in little more than it takes to
# compile a program, nor where a single call takes long: its objective is no rollout of a
# network, but a measurement that makes many.
_WORTH_PROBING = 2.0
_LONG_CALL = 30.0


@functools.lru_cache(maxsize=64)
def _plain(objective: Callable, common_random_numbers: bool) -> Callable:
    """Evaluate at params + Σ c_k d_k; one function object per objective."""

    def evaluate(row: PyTree, params: PyTree, directions: PyTree, key: Key) -> PyTree:
        coordinates, number = row
        for index in range(len(coordinates)):
            direction = jax.tree.map(lambda leaf, index=index: leaf[index], directions)
            params = tree.add_scaled(params, coordinates[index], direction)
        return objective(params, key if common_random_numbers else jax.random.fold_in(key, number))

    return evaluate


@functools.lru_cache(maxsize=64)
def _affine(objective: Callable, common_random_numbers: bool) -> Callable:
    """Evaluate the same by products with shared matrices; one function object per objective."""

    def evaluate(row: PyTree, params: PyTree, directions: PyTree, key: Key) -> PyTree:
        coordinates, number = row
        if common_random_numbers:
            return along_affine_family(objective)(params, directions, coordinates, key)
        own = jax.random.fold_in(key, number)
        return along_affine_family(objective, num_varying=1)(params, directions, coordinates, own)

    return evaluate


_KINDS = {"plain": _plain, "affine": _affine}


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Evaluates an objective at points of a grid.

    Attributes:
        name: `"plain"` forms the parameters of every point; `"affine"` uses products with
            matrices that all points share, and agrees with it to rounding.
        chunk_size: Points that one device evaluates together.
        common_random_numbers: Whether all points see one key.
    """

    name: str
    chunk_size: int
    common_random_numbers: bool = True

    def __call__(
        self,
        objective: Callable,
        params: PyTree,
        directions: PyTree,
        points: tuple[np.ndarray, np.ndarray],
        key: Key,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> _Outputs:
        """Evaluate at points, given by coordinates (points, axes) and numbers (points,).

        A point's number is its place in the whole grid: keys depend on it alone.
        """
        return map_points(
            _KINDS[self.name](objective, self.common_random_numbers),
            _cast(points, params),
            params,
            directions,
            key,
            chunk_size=self.chunk_size,
            on_progress=on_progress,
        )

    def bytes_needed(
        self, objective: Callable, params: PyTree, directions: PyTree, key: Key
    ) -> int:
        """Memory that one call needs, see `fracjax.evaluation.call_bytes`."""
        axes = len(jax.tree.leaves(directions)[0])
        points = (np.zeros((1, axes)), np.zeros(1, np.uint32))
        return call_bytes(
            _KINDS[self.name](objective, self.common_random_numbers),
            _cast(points, params),
            params,
            directions,
            key,
            chunk_size=self.chunk_size,
        )


def _cast(points: tuple[np.ndarray, np.ndarray], params: PyTree) -> tuple[np.ndarray, np.ndarray]:
    coordinates, numbers = points
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(params)))
    return np.asarray(coordinates, dtype), np.asarray(numbers, np.uint32)


def choose_evaluator(
    objective: Callable,
    params: PyTree,
    directions: PyTree,
    points: tuple[np.ndarray, np.ndarray],
    key: Key,
    *,
    num_points: int,
    name: EvaluatorName = "auto",
    chunk_size: int | None = None,
    memory: int | None = None,
    common_random_numbers: bool = True,
) -> tuple[Evaluator, dict[str, Any]]:
    """Choose how to evaluate, and how many points together.

    `"auto"` times the plain way on one call, and, where the scan is long enough to pay for
    compiling another program, the affine one; the faster per point is taken.

    Args:
        objective: Gives a dict of arrays.
        params: Centre of the grid.
        directions: Stacked directions.
        points: Some points of the grid to time (coordinates and numbers).
        key: The objective's key.
        num_points: How many points the scan has.
        name: `"plain"`, `"affine"`, or `"auto"` to measure.
        chunk_size: Points per device; chosen if not given.
        memory: Bound on the memory of a call in bytes, see `Evaluator.bytes_needed`. The
            chunk is halved until it is kept.
        common_random_numbers: Whether all points see one key.

    Returns:
        The evaluator, and what was measured, as JSON values.

    Raises:
        ValueError: If a name is unknown, a number is not positive, or one point alone needs
            more memory than `memory`.
    """
    if name not in get_args(EvaluatorName):
        msg = f"Argument `evaluator` must be one of {get_args(EvaluatorName)}, but is {name!r}."
        raise ValueError(msg)
    if chunk_size is not None and chunk_size < 1:
        msg = f"Argument `chunk_size` must be positive, but is {chunk_size}."
        raise ValueError(msg)
    bounded = functools.partial(_bounded, objective, params, directions, key, memory)

    def make(name: str) -> Evaluator:
        size = chunk_size or _default_chunk(name, params, num_points)
        return bounded(Evaluator(name, size, common_random_numbers))

    if name != "auto":
        return make(name), {"evaluator": "as asked"}

    def seconds(evaluator: Evaluator) -> tuple[float, float]:
        """Give seconds per point, and seconds of the first call."""
        size = evaluator.chunk_size * jax.local_device_count()
        coordinates, numbers = points
        some = np.resize(coordinates, (size, coordinates.shape[1])), np.resize(numbers, size)
        begin = time.perf_counter()
        evaluator(objective, params, directions, some, key)
        first = time.perf_counter() - begin
        if first > _LONG_CALL:
            return first / size, first
        begin = time.perf_counter()
        evaluator(objective, params, directions, some, key)
        return (time.perf_counter() - begin) / size, first

    plain = make("plain")
    each, first = seconds(plain)
    notes: dict[str, Any] = {"plain points per second": 1 / each}
    if first > _LONG_CALL or each * num_points < _WORTH_PROBING * first:
        return plain, {**notes, "evaluator": "plain, the affine one was not worth a probe"}
    affine = make("affine")
    other, _ = seconds(affine)
    notes["affine points per second"] = 1 / other
    return (affine if other < each else plain), {**notes, "evaluator": "the faster of both"}


def _default_chunk(name: str, params: PyTree, num_points: int) -> int:
    if name == "plain":
        return cache_chunk_size(params)
    largest = _AFFINE_CHUNK.get(jax.default_backend(), _AFFINE_CHUNK_ELSEWHERE)
    # A small grid still makes several calls. Not a matter of the number of devices, which must
    # not change a bit.
    return int(min(largest, max(16, 2 ** int(np.log2(max(num_points / 8, 1))))))


def _bounded(
    objective: Callable,
    params: PyTree,
    directions: PyTree,
    key: Key,
    memory: int | None,
    evaluator: Evaluator,
) -> Evaluator:
    """Shrink the chunk until a call fits into `memory`."""

    def needed(chunk_size: int) -> int:
        smaller = dataclasses.replace(evaluator, chunk_size=chunk_size)
        return smaller.bytes_needed(objective, params, directions, key)

    size = fitting_chunk_size(evaluator.chunk_size, memory, needed)
    return dataclasses.replace(evaluator, chunk_size=size)
