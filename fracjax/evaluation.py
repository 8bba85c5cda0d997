"""Evaluate a function at very many points: bounded memory, all devices, same bits.

The per-device batch (`chunk_size`) is part of the result: a chaotic function amplifies
the rounding of the last bit, and the last bit depends on the batch that XLA compiled
for. At a fixed `chunk_size` results do not depend on the number of devices or on where
a run was interrupted.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import devices as devices_
from fracjax import tree
from fracjax._types import Key, Objective, PyTree
from fracjax.liveness import peak_bytes

__all__ = [
    "cache_chunk_size",
    "call_bytes",
    "check_memory",
    "combination_bytes",
    "fitting_chunk_size",
    "map_combinations",
    "map_points",
]

_CACHE_BYTES = 512 * 1024
_ACCELERATOR_BYTES = 256 * 1024 * 1024
_COPIES = 2


def cache_chunk_size(params: PyTree, *, platform: str | None = None) -> int:
    """Choose how many perturbed copies of `params` one device evaluates at a time.

    On a CPU the copies of a chunk should stay in the second-level cache while a rollout
    reads them once per step (measured 3 times faster than one large batch for a
    64-64 policy); on an accelerator a chunk should be large enough to fill it.

    Args:
        params: Parameters of one point.
        platform: `"cpu"`, `"gpu"` or `"tpu"`; the default backend if not given.

    Returns:
        A power of two between 8 and 128 (CPU) or between 128 and 16384.
    """
    leaves = jax.tree.leaves(params)
    num_bytes = sum(leaf.size * jnp.asarray(leaf).dtype.itemsize for leaf in leaves)
    on_cpu = (platform or jax.default_backend()) == "cpu"
    budget, smallest, largest = (
        (_CACHE_BYTES, 8, 128) if on_cpu else (_ACCELERATOR_BYTES, 128, 16384)
    )
    fitting = max(1, budget // max(num_bytes, 1))
    return int(min(largest, max(smallest, 2 ** int(np.log2(fitting)))))


@functools.lru_cache(maxsize=64)
def _compiled(
    function: Callable, chunk_size: int, chunks_per_call: int, devices: tuple[jax.Device, ...]
) -> Callable:
    """Build the program for one call: a loop over chunks, cut over the devices."""

    def on_one_device(rows: PyTree, *shared: PyTree) -> PyTree:
        def chunk(part: PyTree) -> PyTree:
            return jax.vmap(lambda row: function(row, *shared))(part)

        parts = jax.tree.map(
            lambda leaf: leaf.reshape((chunks_per_call, chunk_size, *leaf.shape[1:])), rows
        )
        results = jax.lax.map(chunk, parts)
        return jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:])), results)

    return jax.jit(devices_.spread(on_one_device, devices))


def map_points(
    function: Callable,
    rows: PyTree,
    *shared: PyTree,
    chunk_size: int,
    chunks_per_call: int = 1,
    devices: Sequence[jax.Device] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PyTree:
    """Evaluate `function(row, *shared)` for every row, a bounded number at a time.

    Args:
        function: Pure function of one row; compiled once per function object, so pass
            the same object again rather than a fresh closure.
        rows: Pytree of arrays with a common leading axis: what differs between points.
        *shared: Pytrees that every point reads.
        chunk_size: Points that one device evaluates together (see the module's note).
        chunks_per_call: Chunks between two returns to the host, that is, between two
            progress reports. More than one pays only for functions that take
            milliseconds, and each number compiles a program of its own.
        devices: Devices to use; all local devices if not given.
        on_progress: Called with the number of points finished so far.

    Returns:
        A pytree of NumPy arrays with the leading axis of `rows`.

    Raises:
        ValueError: If `rows` is empty, or a number of points or chunks is not positive.
    """
    leaves = jax.tree.leaves(rows)
    if not leaves or len(leaves[0]) == 0:
        msg = "Argument `rows` must hold at least one point, but is empty."
        raise ValueError(msg)
    if chunk_size < 1 or chunks_per_call < 1:
        msg = (
            "Arguments `chunk_size` and `chunks_per_call` must be positive, but are"
            f" {chunk_size} and {chunks_per_call}."
        )
        raise ValueError(msg)
    devices = tuple(jax.local_devices() if devices is None else devices)
    num_points = len(leaves[0])
    # Fewer points than one full call: shorten the loop, never the chunk.
    needed = -(-num_points // (chunk_size * len(devices)))
    chunks_per_call = min(chunks_per_call, needed)
    run = _compiled(function, chunk_size, chunks_per_call, devices)
    step = chunk_size * chunks_per_call * len(devices)

    finished = []
    for start in range(0, num_points, step):
        index = np.minimum(np.arange(start, start + step), num_points - 1)
        part = jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], rows)
        result = jax.tree.map(np.asarray, run(part, *shared))
        keep = min(step, num_points - start)
        finished.append(jax.tree.map(lambda leaf, keep=keep: leaf[:keep], result))
        if on_progress is not None:
            on_progress(start + keep)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *finished)


def call_bytes(function: Callable, rows: PyTree, *shared: PyTree, chunk_size: int) -> int:
    """Bound the memory that a call of `map_points` needs: on a CPU of all devices, else of one.

    In bytes, by `liveness.peak_bytes`, with room for the copies that products make of their
    operands (measured: up to half as much again).

    Args:
        function: See `map_points`.
        rows: See `map_points`; shapes are enough.
        *shared: See `map_points`; shapes are enough.
        chunk_size: Points that one device evaluates together.
    """

    def chunk(part: PyTree, *shared: PyTree) -> PyTree:
        return jax.vmap(lambda row: function(row, *shared))(part)

    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((chunk_size, *leaf.shape[1:]), leaf.dtype), rows
    )
    sharing = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return _COPIES * peak_bytes(chunk, shapes, *shared) * sharing


def fitting_chunk_size(chunk_size: int, memory: int | None, needed: Callable[[int], int]) -> int:
    """Halve a chunk until a call fits into memory.

    Args:
        chunk_size: Points that one device evaluates together, at most.
        memory: Bound in bytes, if there is one.
        needed: Bytes that a call needs, by chunk size; see `call_bytes`.

    Raises:
        ValueError: If one point alone needs more.
    """
    if memory is None:
        return chunk_size
    while (size := needed(chunk_size)) > memory:
        if chunk_size == 1:
            msg = (
                f"One point needs {size / 2**20:.4g} MiB, more than the {memory / 2**20:.4g} MiB"
                " that the scan may use; allow more memory."
            )
            raise ValueError(msg)
        halvings = max(1, int(np.ceil(np.log2(size / memory))))
        chunk_size = max(1, chunk_size // 2**halvings)
    return chunk_size


def check_memory(memory: int, needed: int, *, chunk_size: int) -> None:
    """Refuse to go on with a store whose chunk, which is part of its values, needs too much.

    Args:
        memory: Bound in bytes.
        needed: Bytes that a call needs.
        chunk_size: Points that the store evaluates together.

    Raises:
        ValueError: If it does.
    """
    if needed > memory:
        msg = (
            f"Argument `memory` must be at least {needed / 2**20:.4g} MiB to go on with this"
            f" store on these devices, but is {memory / 2**20:.4g} MiB: it was begun with"
            f" {chunk_size} points at once, and others could round differently. Allow more, or"
            " begin in another folder."
        )
        raise ValueError(msg)


@functools.lru_cache(maxsize=64)
def _at_combination(objective: Objective) -> Callable:
    """Evaluate at params + a u_i + b u_j; one function object per objective."""

    def evaluate(row: PyTree, params: PyTree, directions: PyTree, key: Key) -> PyTree:
        first, a, second, b = row
        point = params
        for index, factor in ((first, a), (second, b)):
            direction = jax.tree.map(lambda leaf, index=index: leaf[index], directions)
            point = tree.add_scaled(point, factor, direction)
        return objective(point, key)

    return evaluate


def map_combinations(
    objective: Objective,
    params: PyTree,
    directions: PyTree,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    key: Key,
    *,
    chunk_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> PyTree:
    """Evaluate an objective at `params + a u_i + b u_j` for many (i, a, j, b).

    Lines, planes and Gaussian perturbations are all of this form, so that one compiled
    program serves them all, as long as the number of directions and the chunk size stay
    the same: compiling is most of what a CPU user waits for. The key is the same at all
    points (common random numbers).

    Args:
        objective: `objective(params, key)`, any output.
        params: Centre.
        directions: Stacked directions u, a leading axis on every leaf.
        rows: Arrays i, a, j, b of one length.
        key: The objective's key.
        chunk_size: Points that one device evaluates together.
        on_progress: Called with the number of points finished so far.
    """
    return map_points(
        _at_combination(objective),
        _cast(rows, params),
        params,
        directions,
        key,
        chunk_size=chunk_size,
        on_progress=on_progress,
    )


def combination_bytes(
    objective: Objective, params: PyTree, directions: PyTree, key: Key, *, chunk_size: int
) -> int:
    """Bound the memory that a call of `map_combinations` needs, see `call_bytes`."""
    nothing = np.zeros(1)
    rows = _cast((nothing, nothing, nothing, nothing), params)
    return call_bytes(
        _at_combination(objective), rows, params, directions, key, chunk_size=chunk_size
    )


def _cast(rows: tuple[np.ndarray, ...], params: PyTree) -> tuple[np.ndarray, ...]:
    """Give numbers of directions and factors of the parameters the dtypes of the program."""
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(params)))
    kinds = (np.dtype(np.int32), dtype, np.dtype(np.int32), dtype)
    return tuple(np.asarray(part, kind) for part, kind in zip(rows, kinds, strict=True))
