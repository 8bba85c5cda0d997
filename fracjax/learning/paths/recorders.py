"""Recording a path: from an Optax loop, a train state, a compiled run or Brax's callback."""

import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from jaxtyping import Array

from fracjax._types import PyTree
from fracjax.learning.paths.buffers import PathBuffer, buffered_rows
from fracjax.learning.paths.documents import PARAMETERS, STEP, PathError, check_metrics
from fracjax.learning.paths.layouts import Layout, compiled_row, layout_of
from fracjax.learning.paths.projections import Projection
from fracjax.learning.paths.resuming import heal, refuse_others
from fracjax.learning.paths.store import StoredArrays, create_arrays, open_arrays
from fracjax.learning.paths.writers import BlockWriter, note_state, take_lock

__all__ = ["Recorder", "open_recorder"]

_ROUNDING = 1e-4  # of projections, from one compiled program to another
_TOGETHER = 256  # snapshots written at once: memory stays bounded, and little is lost by a kill


class Recorder(BlockWriter):
    """Writes the path of one run; made by `open_recorder`, best in a `with` block.

    Attributes:
        folder: Where the path is.
        layout: Where leaves lie in a row.
    """

    def __init__(self, stored: StoredArrays, lock: IO[bytes]):
        self._stored = stored
        self._lock: IO[bytes] | None = lock
        about = stored.document["attributes"]
        self.folder = stored.folder
        self.layout = Layout.from_json(about["layout"])
        self._metrics: tuple[str, ...] = tuple(about["metrics"])
        self._dtype: str = about["dtype"]
        self._every: int = about["every"]
        self._num_seeds: int | None = about["num_seeds"]
        steps = stored.read(STEP, 0, stored.count).tolist()
        self._places: dict[int, int] = {step: row for row, step in enumerate(steps)}
        self._last: int | None = steps[-1] if steps else None

    @property
    def count(self) -> int:
        """Snapshots that are done."""
        return self._stored.count

    @property
    def last_step(self) -> int | None:
        """Step of the last snapshot; None before the first."""
        return self._last

    def is_due(self, step: int) -> bool:
        """Whether `record` would keep a snapshot of this step."""
        return self._last is None or step - self._last >= self._every

    def record(self, step: int, params: PyTree, **metrics: float | Array | np.ndarray) -> bool:
        """Keep a snapshot where one is due: the first, and those `every` steps after the last.

        Costs a transfer from the device and about 5 ms of a CPU where it is due, nothing
        where it is not. When it returns, the snapshot outlives the process.

        A run that was resumed may repeat steps that are there: they are compared and passed over.

        Args:
            step: Of training.
            params: Of the run's shapes, with the leading axis of seeds if it has one.
            **metrics: Numbers under the names given to `open_recorder`, one for each seed or
                one for all; NaN is kept where one is left out.

        Returns:
            Whether a snapshot was written.

        Raises:
            ValueError: If shapes or names differ from the run's, or the path has other
                numbers at this step.
            OSError: If there is no room.
        """
        self._check_open()
        self._check_names(metrics)
        step = int(step)
        if not self.is_due(step) and step not in self._places:
            return False
        values = self._row(params)[:, None]
        numbers = {
            name: self._number(name, metrics.get(name, np.nan))[:, None] for name in self._metrics
        }
        return self._append(np.array([step], np.int64), values, numbers) > 0

    def record_state(self, state: Any, **metrics: float | Array | np.ndarray) -> bool:
        """Keep a snapshot of a train state: anything with `.step` and `.params`, such as Flax's.

        See `record`. The step of a state over seeds is that of the first seed.
        """
        return self.record(int(np.ravel(np.asarray(state.step))[0]), state.params, **metrics)

    def record_buffer(self, buffer: PathBuffer) -> int:
        """Keep all snapshots of a buffer that a compiled run has filled.

        Args:
            buffer: With a leading axis of seeds if the store has one.

        Returns:
            How many were written; those that are there already are compared and passed over.

        Raises:
            ValueError: If the buffer had no room for some, or is of another layout.
        """
        self._check_open()
        steps, values, metrics = buffered_rows(buffer)
        if buffer.layout != self.layout:
            msg = "Argument `buffer` must have the layout of the path, but has another."
            raise ValueError(msg)
        self._check_names(metrics)
        if (values.ndim == 3) != (self._num_seeds is not None) or (
            self._num_seeds not in (None, len(values))
        ):
            msg = f"Argument `buffer` must be of {self._num_seeds} seeds, but is not."
            raise ValueError(msg)
        rows = values[None] if self._num_seeds is None else values
        shape = rows.shape[:2]
        numbers = {
            name: np.reshape(metrics.get(name, np.full(shape, np.nan)), shape).astype(np.float64)
            for name in self._metrics
        }
        return self._append(steps, rows.astype(self._dtype), numbers)

    def policy_params_fn(
        self, select: Callable[[Any], PyTree] | None = None
    ) -> Callable[[int, Any, Any], None]:
        """Make Brax's `policy_params_fn(step, make_policy, params)`, which keeps the policy.

        Args:
            select: Takes what is recorded out of `params`; by default the second entry, the
                weights of the policy network, of a tuple (normaliser, policy, value).
        """
        from fracjax.learning.paths.callbacks import brax_callbacks

        return brax_callbacks(self, select=select)[0]

    def close(self, *, finished: bool = True) -> None:
        """Note how the run ended and let others write; the recorder cannot be used after it."""
        if self._lock is None:
            return
        try:
            note_state(self.folder, "finished" if finished else "interrupted")
        finally:
            self._lock.close()
            self._lock = None

    def _row(self, params: PyTree) -> np.ndarray:
        """Lay the parameters in rows, (seeds or 1, width)."""
        leaves = jax.tree.leaves(params)
        seeds = () if self._num_seeds is None else (self._num_seeds,)
        shapes = [tuple(np.shape(leaf)) for leaf in leaves]
        wanted = [(*seeds, *leaf.shape) for leaf in self.layout.leaves]
        if shapes != wanted:
            msg = f"Argument `params` must have shapes {wanted}, but has {shapes}."
            raise ValueError(msg)
        if self.layout.projection is not None:  # on the device, where the large leaves are
            compiled = compiled_row(self.layout, self._dtype, seeds=bool(seeds))
            return np.asarray(compiled(leaves)).reshape(-1, self.layout.width)
        rows = np.empty((*(seeds or (1,)), self.layout.width), self._dtype)
        for place, leaf in zip(self.layout.leaves, jax.device_get(leaves), strict=True):
            rows[:, place.start : place.stop] = np.reshape(leaf, (len(rows), place.size))
        return rows

    def _number(self, name: str, value: float | Array | np.ndarray) -> np.ndarray:
        found = np.asarray(value, np.float64)
        wanted = 1 if self._num_seeds is None else self._num_seeds
        if found.shape not in ((), (wanted,)):
            msg = (
                f"Metric `{name}` must be one number or one for each of {wanted} seeds, but has"
                f" shape {found.shape}."
            )
            raise ValueError(msg)
        return np.broadcast_to(found, (wanted,))

    def _append(
        self, steps: np.ndarray, values: np.ndarray, metrics: Mapping[str, np.ndarray]
    ) -> int:
        """Write what is due of (seed, n, ...) arrays, and compare what is there."""
        new: list[int] = []
        last = self._last
        for index, step in enumerate(steps.tolist()):
            if step in self._places:
                self._compare(step, values[:, index])
            elif last is None or step - last >= self._every:
                new.append(index)
                last = step
        if not new:
            return 0
        rows = {PARAMETERS: values[:, new], STEP: steps[new]}
        rows |= {name: kept[:, new] for name, kept in metrics.items()}
        for index in range(0, len(new), _TOGETHER):
            part = slice(index, index + _TOGETHER)
            self._stored.append(
                {name: kept[part] if name == STEP else kept[:, part] for name, kept in rows.items()}
            )
            written = steps[new][part].tolist()
            for step in written:
                self._places[step] = len(self._places)
            self._last = written[-1]
        return len(new)

    def _compare(self, step: int, values: np.ndarray) -> None:
        row = self._places[step]
        there = self._stored.read(PARAMETERS, row, row + 1)[:, 0]
        values = values.astype(self._dtype)
        same = np.array_equal(there, values, equal_nan=True)
        if self.layout.projection is not None and not same:
            # One map in two compiled programs, a loop's and a buffer's, differs by rounding.
            size = np.sqrt(np.mean(np.square(there)))
            same = np.allclose(there, values, rtol=0, atol=_ROUNDING * size, equal_nan=True)
        if not same:
            msg = (
                f"{self.folder} has other parameters at step {step}: this is another run, or one"
                " that does not repeat itself to the bit. Choose another folder, or pass"
                f" `keep_until={step - 1}` to `open_recorder` to drop what was recorded from there."
            )
            raise PathError(msg)

    def _check_names(self, metrics: Mapping[str, Any]) -> None:
        unknown = sorted(set(metrics) - set(self._metrics))
        if unknown:
            known = ", ".join(self._metrics) or "none"
            msg = (
                f"Metrics of this path are {known}, but {unknown[0]!r} was given: name all of them"
                " in `metrics=` of `open_recorder`."
            )
            raise ValueError(msg)

    def _check_open(self) -> None:
        if self._lock is None:
            msg = f"The recorder of {self.folder} is closed: open it again by `open_recorder`."
            raise ValueError(msg)


def open_recorder(
    folder: str | os.PathLike,
    params: PyTree,
    *,
    metrics: Sequence[str] = (),
    every: int = 1,
    num_seeds: int | None = None,
    dtype: str = "float32",
    projection: Projection | None = None,
    settings: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    keep_until: int | None = None,
) -> Recorder:
    """Begin the path of a run, or go on with it after its last whole snapshot.

    A process that is killed at any moment leaves a path that can be read and gone on with; the
    finished store has the bytes of one that was never interrupted. After a power failure, the
    last snapshots may be damaged; they are found by size and checksum and dropped. One process
    writes at a time (a lock on the machine, which dies with its process); any number read.

    Args:
        folder: Where the path is or shall be; `run/path.zarr` is where `fracjax watch run` looks.
        params: What will be recorded, for its shapes and names.
        metrics: Names of numbers to be kept beside the snapshots (loss, return).
        every: Fewest steps between two snapshots.
        num_seeds: Size of the leading axis of all leaves where many seeds train side by side.
        dtype: Of the stored numbers, "float32" or "float64"; "leaf" for the widest dtype of the
            leaves, which keeps every number as it is.
        projection: Keep random projections of large leaves instead of the leaves: enough for
            distances, too little to make parameters of.
        settings: What makes this run another one than others, as JSON values; a path with other
            settings is refused.
        notes: Further JSON values, kept from the first opening and not compared.
        keep_until: Drop all snapshots after this step first: that of the checkpoint from which a
            training that does not repeat itself to the bit goes on.

    Raises:
        ValueError: If a setting is out of range, or the folder holds another run's path, or
            is damaged before its last snapshots.
        OSError: If it cannot be written to.

    Example:
        >>> import jax.numpy as jnp
        >>> from fracjax import learning
        >>> params = {"w": jnp.zeros(3)}
        >>> with learning.open_recorder("path.zarr", params, metrics=("loss",)) as recorder:
        ...     for step in range(3):
        ...         _ = recorder.record(step, {"w": jnp.full(3, step)}, loss=1 / (step + 1))
        >>> path = learning.load_path("path.zarr")
        >>> path.steps, path.metrics["loss"].round(2)
        (array([0, 1, 2]), array([1.  , 0.5 , 0.33]))
    """
    place = Path(folder)
    layout = layout_of(params, num_seeds=num_seeds, projection=projection)
    _check_settings(every, num_seeds, dtype, metrics)
    wanted = {
        "settings": json.loads(json.dumps(dict(settings or {}))),
        "layout": layout.to_json(),
        "metrics": list(metrics),
        "every": every,
        "num_seeds": num_seeds,
        "dtype": _stored_dtype(params) if dtype == "leaf" else dtype,
    }
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        versions = {name: importlib.metadata.version(name) for name in ("fracjax", "jax")}
        own = {"notes": {"versions": versions, **(notes or {})}}
        create_arrays(
            place,
            {**wanted, **own},
            width=layout.width,
            dtype=str(wanted["dtype"]),
            num_seeds=1 if num_seeds is None else num_seeds,
        )
    stored = open_arrays(place)
    refuse_others(place, stored.document["attributes"], wanted)
    lock = take_lock(place)
    try:
        stored = open_arrays(place)  # again: only now nobody else writes
        heal(stored, keep_until)
        recorder = Recorder(stored, lock)
        note_state(place, "running")
    except BaseException:
        lock.close()
        raise
    return recorder


def _stored_dtype(params: PyTree) -> str:
    """Widest floating dtype that holds every leaf as it is."""
    kinds = [np.dtype(jax.numpy.result_type(leaf)) for leaf in jax.tree.leaves(params)]
    plain = [np.dtype(np.float32) if kind.kind == "V" else kind for kind in kinds]  # bfloat16
    found = np.result_type(*plain)
    return str(found if found.kind == "f" else np.dtype(np.float64))


def _check_settings(every: int, num_seeds: int | None, dtype: str, metrics: Sequence[str]) -> None:
    if every < 1:
        msg = f"Argument `every` must be positive, but is {every}."
        raise ValueError(msg)
    if num_seeds is not None and num_seeds < 1:
        msg = f"Argument `num_seeds` must be positive, but is {num_seeds}."
        raise ValueError(msg)
    if dtype not in ("float32", "float64", "leaf"):
        msg = f"Argument `dtype` must be float32, float64 or leaf, but is {dtype!r}."
        raise ValueError(msg)
    check_metrics(metrics)
