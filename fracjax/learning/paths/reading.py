"""A recorded path as it is read: steps, snapshots, metrics; whole or piece by piece."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import PyTree
from fracjax.learning.paths.buffers import PathBuffer, buffered_rows
from fracjax.learning.paths.chunks import read_rows
from fracjax.learning.paths.documents import (
    PARAMETERS,
    STEP,
    described_arrays,
    read_document,
    rows_done,
)
from fracjax.learning.paths.layouts import Layout, layout_of

__all__ = ["Path", "buffered_path", "load_path", "path_in_memory"]

_BLOCK_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Path:
    """Snapshots of parameters over training, as of the moment it was loaded.

    Choosing (`layer`, `stride`, `spread`, `last`, `seed`) reads nothing and gives another path;
    `values` and `blocks` read. An instance does not change while its run goes on.

    Attributes:
        steps: Steps of training, (n,).
        metrics: Numbers beside the snapshots, (n,) each; over seeds (seeds, n).
        layout: Where leaves lie in a row.
        num_seeds: Size of the leading axis of seeds; None where there is none.
        settings: Of the run, as it was recorded.
        notes: Further entries, not compared.
    """

    steps: np.ndarray
    metrics: Mapping[str, np.ndarray]
    layout: Layout
    num_seeds: int | None
    settings: Mapping[str, Any]
    notes: Mapping[str, Any]
    _source: "_Rows"
    _rows: np.ndarray
    _columns: np.ndarray | None = None
    _seed: int | None = None

    def __len__(self) -> int:
        """Snapshots."""
        return len(self.steps)

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.layout.width

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in order: a kernel and its bias are one."""
        return self.layout.layers

    @property
    def projected(self) -> bool:
        """Whether some columns are random projections: distances hold, coordinates do not."""
        return any(leaf.projected for leaf in self.layout.leaves)

    @property
    def nbytes(self) -> int:
        """Bytes of `values`."""
        seeds = 1 if self.num_seeds is None else self.num_seeds
        return seeds * len(self) * self.width * self._source.dtype.itemsize

    @property
    def values(self) -> np.ndarray:
        """Read all snapshots: (n, width), over seeds (seeds, n, width).

        Raises:
            PathError: If a chunk is missing or damaged.
        """
        return self._read(self._rows)

    def blocks(self, *, max_bytes: int = _BLOCK_BYTES) -> Iterator[tuple[slice, np.ndarray]]:
        """Read snapshots piece by piece: which rows, and their values.

        Args:
            max_bytes: Bytes of a piece, unless one snapshot alone has more.
        """
        one = max(self.nbytes // max(len(self), 1), 1)
        length = max(max_bytes // one, 1)
        for start in range(0, len(self), length):
            rows = self._rows[start : start + length]
            yield slice(start, start + len(rows)), self._read(rows)

    def layer(self, *names: str) -> "Path":
        """Keep some layers or leaves, by name or by any run of keys in it (`hidden_0`).

        Raises:
            ValueError: If a name fits no leaf.
        """
        layout, columns = self.layout.select(names)
        kept = columns if self._columns is None else self._columns[columns]
        return dataclasses.replace(self, layout=layout, _columns=kept)

    def stride(self, every: int) -> "Path":
        """Keep every so many snapshots, the last among them.

        Raises:
            ValueError: If `every` is not positive.
        """
        if every < 1:
            msg = f"Argument `every` must be positive, but is {every}."
            raise ValueError(msg)
        return self._keep(slice((len(self) - 1) % every if len(self) else 0, None, every))

    def spread(self, count: int) -> "Path":
        """Keep at most so many snapshots, spread evenly, the first and the last among them.

        Raises:
            ValueError: If `count` is less than 2.
        """
        if count < 2:
            msg = f"Argument `count` must be at least 2, but is {count}."
            raise ValueError(msg)
        if count >= len(self):
            return self
        return self._keep(np.rint(np.linspace(0, len(self) - 1, count)).astype(int))

    def last(self, count: int) -> "Path":
        """Keep the last so many snapshots.

        Raises:
            ValueError: If `count` is not positive.
        """
        if count < 1:
            msg = f"Argument `count` must be positive, but is {count}."
            raise ValueError(msg)
        return self._keep(slice(max(len(self) - count, 0), None))

    def seed(self, index: int) -> "Path":
        """Keep one seed, without the axis of seeds.

        Raises:
            ValueError: If there is no such seed.
        """
        if self.num_seeds is None or not 0 <= index < self.num_seeds:
            msg = f"Argument `index` must be one of {self.num_seeds or 'no'} seeds, but is {index}."
            raise ValueError(msg)
        metrics = {name: kept[index] for name, kept in self.metrics.items()}
        return dataclasses.replace(
            self, metrics=MappingProxyType(metrics), num_seeds=None, _seed=index
        )

    def unravel(self, snapshot: int, like: PyTree | None = None) -> PyTree:
        """Make the parameters of one snapshot, in their own shapes and dtypes.

        Args:
            snapshot: Its place, from the end if negative.
            like: A pytree whose structure is wanted, see `Layout.tree`.

        Returns:
            NumPy arrays; over seeds with their axis in front.

        Raises:
            ValueError: If they are random projections, or there is no such snapshot.
        """
        if not -len(self) <= snapshot < len(self):
            msg = f"Argument `snapshot` must be one of {len(self)}, but is {snapshot}."
            raise ValueError(msg)
        values = self._read(self._rows[snapshot : snapshot + 1 or None])
        if self.num_seeds is None:
            return self.layout.tree(values[0], like)
        trees = [self.layout.tree(rows[0], like) for rows in values]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

    def _keep(self, rows: slice | np.ndarray) -> "Path":
        metrics = {name: kept[..., rows] for name, kept in self.metrics.items()}
        return dataclasses.replace(
            self,
            steps=self.steps[rows],
            metrics=MappingProxyType(metrics),
            _rows=self._rows[rows],
        )

    def _read(self, rows: np.ndarray) -> np.ndarray:
        values = self._source.read(rows, self._columns, self._seed)
        return values if self.num_seeds is not None else values[0]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of (seeds, n, width): an array in memory, or chunks on disk."""

    array: Any
    folder: pathlib.Path | None = None

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.array.dtype)

    def read(
        self, rows: np.ndarray, columns: np.ndarray | None, seed: int | None
    ) -> Float[np.ndarray, "seeds n width"]:
        """Read rows in rising order."""
        seeds, _, width = self.array.shape
        span = slice(0, width) if columns is None else slice(int(columns[0]), int(columns[-1]) + 1)
        inside = None if columns is None else columns - span.start
        if inside is not None and len(inside) == span.stop - span.start:
            inside = None
        count = 1 if seed is not None else seeds
        size = span.stop - span.start if inside is None else len(inside)
        found = np.empty((count, len(rows), size), self.dtype)
        for start, stop, where in _runs(rows, self._together(span)):
            part = self._piece(start, stop, span, seed)[:, rows[where] - start]
            found[:, where] = part if inside is None else part[:, :, inside]
        return found

    def _piece(self, start: int, stop: int, span: slice, seed: int | None) -> np.ndarray:
        if self.folder is not None:
            return read_rows(
                self.folder, self.array, PARAMETERS, start, stop, seed=seed, columns=span
            )
        seeds = slice(None) if seed is None else slice(seed, seed + 1)
        return self.array[seeds, start:stop, span]

    def _together(self, span: slice) -> int:
        """Rows that are read at once: whole chunks, within bounds."""
        chunk = 1 if self.folder is None else int(self.array.chunks[1])
        size = self.array.shape[0] * (span.stop - span.start) * self.dtype.itemsize * chunk
        return chunk * max(_BLOCK_BYTES // max(size, 1), 1)


def load_path(folder: str | os.PathLike) -> Path:
    """Open the path of a run, finished or not, while others may be writing it.

    Reads the manifest, steps and metrics; the snapshots when they are asked for.

    Args:
        folder: What `open_recorder` wrote.

    Raises:
        PathError: If there is no path, or what there is is damaged.
    """
    place = pathlib.Path(folder)
    document = read_document(place)
    about = document["attributes"]
    count = rows_done(document)
    arrays = described_arrays(place, document, mode="r")
    steps = read_rows(place, arrays[STEP], STEP, 0, count)
    metrics = {
        name: _frozen(read_rows(place, arrays[name], name, 0, count)) for name in about["metrics"]
    }
    single = about["num_seeds"] is None
    return Path(
        steps=_frozen(steps),
        metrics=MappingProxyType({n: kept[0] if single else kept for n, kept in metrics.items()}),
        layout=Layout.from_json(about["layout"]),
        num_seeds=about["num_seeds"],
        settings=MappingProxyType(about["settings"]),
        notes=MappingProxyType(about["notes"]),
        _source=_Rows(arrays[PARAMETERS], place),
        _rows=np.arange(count),
        _seed=0 if single else None,
    )


def path_in_memory(
    steps: Int[Array, " n"] | Int[np.ndarray, " n"],
    snapshots: PyTree,
    *,
    metrics: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Make a path of snapshots that are stacked along a leading axis, such as `rl` reads them.

    Args:
        steps: Step of each, rising.
        snapshots: Parameters; every leaf has the leading axis n.
        metrics: Numbers beside them, (n,) each.

    Raises:
        ValueError: If leading axes differ.
    """
    count = len(steps)
    for name, beside in (("snapshots", snapshots), ("metrics", metrics or {})):
        for leaf in jax.tree.leaves(beside):
            if np.shape(leaf)[:1] != (count,):
                msg = (
                    f"Argument `{name}` must have a leading axis of {count}, one for each of"
                    f" `steps`, but has shape {np.shape(leaf)}."
                )
                raise ValueError(msg)
    layout = layout_of(snapshots, num_seeds=count)
    leaves = [np.reshape(np.asarray(leaf), (count, -1)) for leaf in jax.tree.leaves(snapshots)]
    return _memory_path(np.asarray(steps), np.concatenate(leaves, axis=1), metrics or {}, layout)


def buffered_path(buffer: PathBuffer) -> Path:
    """Make a path of a buffer that a compiled run has filled, with seeds if it has any.

    Raises:
        ValueError: If the buffer had no room for some.
    """
    steps, values, metrics = buffered_rows(buffer)
    return _memory_path(steps, values, metrics, buffer.layout)


def _memory_path(
    steps: np.ndarray, values: np.ndarray, metrics: Mapping[str, np.ndarray], layout: Layout
) -> Path:
    single = values.ndim == 2
    return Path(
        steps=_frozen(np.asarray(steps)),
        metrics=MappingProxyType({n: _frozen(np.asarray(kept)) for n, kept in metrics.items()}),
        layout=layout,
        num_seeds=None if single else len(values),
        settings=MappingProxyType({}),
        notes=MappingProxyType({}),
        _source=_Rows(_frozen(values[None] if single else values)),
        _rows=np.arange(len(steps)),
        _seed=0 if single else None,
    )


def _runs(rows: np.ndarray, together: int) -> Iterator[tuple[int, int, slice]]:
    """Cut rising rows into stretches of at most `together`: first, end, and which of them."""
    if not len(rows):
        return
    groups = rows // together
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield int(rows[start]), int(rows[stop - 1]) + 1, slice(int(start), int(stop))


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array.flags.writeable = False
    return array
