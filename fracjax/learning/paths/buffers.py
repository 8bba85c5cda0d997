"""A path recorded inside a compiled training run: a buffer that is carried through its scan."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from fracjax._types import Leaf, PyTree
from fracjax.learning.paths.layouts import Layout, layout_of
from fracjax.learning.paths.projections import Projection

__all__ = ["PathBuffer", "path_buffer"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PathBuffer:
    """Room for `capacity` snapshots, a pytree of fixed shape. Make it by `path_buffer`.

    Attributes:
        steps: Step of each snapshot, -1 where there is none yet, (capacity,).
        values: Snapshots in rows, NaN where there is none yet, (capacity, width).
        metrics: Metrics beside the snapshots, (capacity,) each; NaN where none was given.
        count: Snapshots that there are.
        missed: Snapshots for which there was no room left.
        last: Step of the last snapshot, also of one that there was no room for.
        layout: Where leaves lie in a row; static.
        every: Fewest steps between two snapshots; static.
    """

    steps: Leaf
    values: Leaf
    metrics: dict[str, Leaf]
    count: Leaf
    missed: Leaf
    last: Leaf
    layout: Layout = dataclasses.field(metadata={"static": True})
    every: int = dataclasses.field(metadata={"static": True})

    def record(
        self, step: int | Int[Array, ""], params: PyTree, **metrics: float | Array
    ) -> "PathBuffer":
        """Put in a snapshot where it is due: the first, and those `every` steps after the last.

        Pure. Where it is not due the row is not computed; under `jax.vmap` that holds where the
        buffer was made inside of the mapped function and steps are common to its members. Where
        no room is left the snapshot is left out and counted in `missed`.

        Args:
            step: Of training, larger than the last one's.
            params: Of the layout that the buffer was made for.
            **metrics: Numbers under the names that the buffer was made for.

        Raises:
            ValueError: If a metric has another name, or shapes differ.
        """
        unknown = sorted(set(metrics) - set(self.metrics))
        if unknown:
            msg = (
                f"Argument `metrics` must name metrics of the buffer ({', '.join(self.metrics)}),"
                f" but has {unknown[0]!r}: pass `metrics=` to `path_buffer`."
            )
            raise ValueError(msg)
        shapes = [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(params)]
        if shapes != [leaf.shape for leaf in self.layout.leaves]:
            msg = f"Argument `params` must have the buffer's shapes, but has {shapes}."
            raise ValueError(msg)
        capacity = self.steps.shape[0]
        step = jnp.asarray(step, self.steps.dtype)
        due = (self.count == 0) | (step - self.last >= self.every)
        row = jax.lax.cond(
            due,
            lambda tree: self.layout.row(tree, self.values.dtype),
            lambda _: jnp.zeros(self.values.shape[1:], self.values.dtype),
            params,
        )
        slot = jnp.where(due, self.count, capacity)  # a slot past the end is written nowhere

        def put(array: Array, entry: Any) -> Array:
            return array.at[slot].set(jnp.asarray(entry, array.dtype), mode="drop")

        room = due & (self.count < capacity)
        return dataclasses.replace(
            self,
            steps=put(self.steps, step),
            values=put(self.values, row),
            metrics={
                name: put(kept, metrics.get(name, jnp.nan)) for name, kept in self.metrics.items()
            },
            count=self.count + room.astype(self.count.dtype),
            missed=self.missed + (due & ~room).astype(self.missed.dtype),
            last=jnp.where(due, step, self.last),
        )


def path_buffer(
    params: PyTree,
    *,
    capacity: int,
    every: int = 1,
    metrics: tuple[str, ...] = (),
    dtype: np.dtype | type | str = "float32",
    projection: Projection | None = None,
) -> PathBuffer:
    """Make an empty buffer for a path, to be carried through a `lax.scan`.

    Under `jax.vmap` over seeds every member has its own; `Recorder.record_buffer` and
    `path_in_memory` take what comes out, with or without the axis of seeds. It holds
    capacity × width numbers on the device: with `projection`, width is at most
    leaves × dimensions.

    Example:
        def step(carry, number):
            params, opt_state, path = carry
            ...
            return (params, opt_state, path.record(number, params, loss=loss)), None

    Args:
        params: What will be recorded, for its shapes; one member where the caller vmaps.
        capacity: Most snapshots.
        every: Fewest steps between two snapshots.
        metrics: Names of numbers beside the snapshots.
        dtype: Of the snapshots.
        projection: Keep random projections of large leaves instead of the leaves.

    Raises:
        ValueError: If a setting is out of range, or the parameters cannot be laid out.
    """
    for name, value in (("capacity", capacity), ("every", every)):
        if value < 1:
            msg = f"Argument `{name}` must be positive, but is {value}."
            raise ValueError(msg)
    layout = layout_of(params, projection=projection)
    return PathBuffer(
        steps=jnp.full((capacity,), -1, jnp.int32),
        values=jnp.full((capacity, layout.width), jnp.nan, jnp.dtype(dtype)),
        metrics={name: jnp.full((capacity,), jnp.nan, jnp.float32) for name in metrics},
        count=jnp.zeros((), jnp.int32),
        missed=jnp.zeros((), jnp.int32),
        last=jnp.full((), -1, jnp.int32),
        layout=layout,
        every=every,
    )


def buffered_rows(
    buffer: PathBuffer,
) -> tuple[Int[np.ndarray, " n"], np.ndarray, dict[str, np.ndarray]]:
    """Take the snapshots out of a buffer: steps, rows and metrics, over seeds if it has any.

    Raises:
        ValueError: If there was no room for some, or seeds recorded at different steps.
    """
    missed = int(np.max(np.asarray(buffer.missed)))
    if missed:
        msg = (
            f"Argument `buffer` must have had room for all snapshots, but {missed} did not fit:"
            " make it with more `capacity`, or a larger `every`."
        )
        raise ValueError(msg)
    steps, counts = np.asarray(buffer.steps), np.asarray(buffer.count)
    if steps.ndim == 2:
        if (steps != steps[:1]).any():
            msg = (
                "Argument `buffer` must have recorded all seeds at the same steps, but has not:"
                " give every seed a store of its own."
            )
            raise ValueError(msg)
        steps, counts = steps[0], counts[0]
    count = int(counts)
    values = np.asarray(buffer.values)[..., :count, :]
    metrics = {name: np.asarray(kept)[..., :count] for name, kept in buffer.metrics.items()}
    return steps[:count].astype(np.int64), values, metrics
