"""Named numbers along a run, beside its path or without one: appended, read while they grow.

    with open_series("run/metrics.zarr", ("loss", "dead_units/hidden_0")) as series:
        series.record(step, {"loss": loss, "dead_units/hidden_0": share})
    found = load_series("run/metrics.zarr")
    found.steps, found.values["loss"]

The metrics of a `Recorder` are written with its snapshots, under names that are fixed with them.
Here the numbers are the snapshot: a row of float64 for every step, in the format, and with the
guarantees, of a path of parameters (whole after a kill at any moment, one writer, any readers).
A row costs about as much as a snapshot, some 5 ms, however many numbers it has.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Array

from fracjax.learning.paths.reading import load_path
from fracjax.learning.paths.recorders import Recorder, open_recorder
from fracjax.learning.paths.writers import BlockWriter

__all__ = ["METRICS_NAME", "Series", "SeriesRecorder", "load_series", "open_series"]

METRICS_NAME = "metrics.zarr"
_MARK = "named numbers"


@dataclasses.dataclass(frozen=True)
class Series:
    """Named numbers along a run, as of the moment they were loaded.

    Attributes:
        steps: Steps of training, (n,).
        values: Numbers by name, (n,) each; over seeds (seeds, n). NaN where none was given.
        num_seeds: Number of seeds; None where there is no such axis.
        settings: Of the run, as they were recorded.
    """

    steps: np.ndarray
    values: Mapping[str, np.ndarray]
    num_seeds: int | None
    settings: Mapping[str, Any]

    def __len__(self) -> int:
        """Rows."""
        return len(self.steps)


class SeriesRecorder(BlockWriter):
    """Writes named numbers; made by `open_series`, best in a `with` block."""

    def __init__(self, recorder: Recorder, names: Sequence[str], num_seeds: int | None):
        self._recorder = recorder
        self._num_seeds = num_seeds
        self.names = tuple(names)

    @property
    def last_step(self) -> int | None:
        """Step of the last row; None before the first."""
        return self._recorder.last_step

    def is_due(self, step: int) -> bool:
        """Whether `record` would keep a row of this step."""
        return self._recorder.is_due(step)

    def record(self, step: int, numbers: Mapping[str, float | Array | np.ndarray]) -> bool:
        """Keep a row where one is due; when it returns, the row outlives the process.

        A run that was resumed may repeat steps that are there: they are compared and passed over.

        Args:
            step: Of training.
            numbers: By name, one for each seed or one for all; NaN is kept where one is left out.

        Returns:
            Whether a row was written.

        Raises:
            ValueError: If a name or a shape is wrong, or other numbers are there at this step.
            OSError: If there is no room.
        """
        unknown = sorted(set(numbers) - set(self.names))
        if unknown:
            msg = (
                f"Argument `numbers` must have names given to `open_series`, but has"
                f" {unknown[0]!r}."
            )
            raise ValueError(msg)
        shape = () if self._num_seeds is None else (self._num_seeds,)
        row = {}
        for name in self.names:
            value = np.asarray(numbers.get(name, np.nan), np.float64)
            if value.shape not in ((), shape):
                msg = f"Argument `numbers` must have shape {shape}, but {name} has {value.shape}."
                raise ValueError(msg)
            row[name] = np.broadcast_to(value, shape)
        return self._recorder.record(step, row)

    def close(self, *, finished: bool = True) -> None:
        """Note how the run ended and let others write; the recorder cannot be used after it."""
        self._recorder.close(finished=finished)


def open_series(
    folder: str | os.PathLike,
    names: Sequence[str],
    *,
    every: int = 1,
    num_seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    keep_until: int | None = None,
) -> SeriesRecorder:
    """Begin named numbers of a run, or go on with them after the last whole row.

    Args:
        folder: Where they are or shall be; `run/metrics.zarr` stands beside `run/path.zarr`.
        names: Of the numbers; slashes are welcome.
        every: Fewest steps between two rows.
        num_seeds: Number of seeds that train side by side.
        settings: What makes this run another one than others, as JSON values.
        keep_until: Drop all rows after this step first.

    Raises:
        ValueError: If names are missing or occur twice, or the folder holds other numbers.
        OSError: If it cannot be written to.
    """
    if not names or len(set(names)) < len(names):
        msg = f"Argument `names` must be distinct names, but is {tuple(names)}."
        raise ValueError(msg)
    shape = () if num_seeds is None else (num_seeds,)
    recorder = open_recorder(
        folder,
        {name: np.zeros(shape, np.float32) for name in names},
        every=every,
        num_seeds=num_seeds,
        dtype="float64",
        settings={**(settings or {}), "holds": _MARK},
        keep_until=keep_until,
    )
    return SeriesRecorder(recorder, names, num_seeds)


def load_series(folder: str | os.PathLike) -> Series:
    """Read named numbers of a run, finished or not, while another process may be writing.

    Args:
        folder: What `open_series` wrote, or the folder of a run with `metrics.zarr` in it.

    Raises:
        PathError: If there are none, or they are damaged.
        ValueError: If the folder holds a path of parameters instead.
    """
    inside = Path(folder) / METRICS_NAME
    path = load_path(inside if inside.is_dir() else folder)
    if path.settings.get("holds") != _MARK:
        msg = f"{folder} holds parameters and no named numbers: read it by `load_path`."
        raise ValueError(msg)
    rows = path.values
    values = {leaf.name: rows[..., leaf.start] for leaf in path.layout.leaves}
    settings = {name: value for name, value in path.settings.items() if name != "holds"}
    return Series(path.steps, MappingProxyType(values), path.num_seeds, MappingProxyType(settings))
