"""A scan as CSV and NPZ, and what exports of any format share.

Files are written aside and renamed, so that a file is there whole or not at all.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xarray

from fracjax import safe_files
from fracjax.landscapes.slices.grids import AXES

__all__ = [
    "AXES",
    "Column",
    "columns",
    "grid_axes",
    "numeric_columns",
    "write_csv",
    "write_npz",
    "written_aside",
]


@dataclasses.dataclass(frozen=True)
class Column:
    """One number per point: a variable, or one output of it.

    Attributes:
        name: The variable's name, followed by the output's index where it has several:
            "value_0".
        variable: Name of the variable in the dataset.
        index: Position along the variable's dimensions that are no axes of the grid.
    """

    name: str
    variable: str
    index: tuple[int, ...]

    def of(self, dataset: xarray.Dataset) -> xarray.DataArray:
        """Select the column, over the axes of the grid in order."""
        array = dataset[self.variable]
        axes = grid_axes(dataset)
        rest = [dim for dim in array.dims if dim not in axes]
        return array.isel(dict(zip(rest, self.index, strict=True))).transpose(*axes)


def grid_axes(dataset: xarray.Dataset) -> tuple[str, ...]:
    """Name the dimensions that are axes of the grid: one letter each, "a" to "f".

    Some of them, in a slice of a larger grid.

    Raises:
        ValueError: If there is none.
    """
    axes = tuple(name for name in AXES if name in dataset.dims)
    if not axes:
        found = ", ".join(map(str, dataset.dims)) or "none"
        msg = f'Argument `dataset` must have a dimension "a", but its dimensions are: {found}.'
        raise ValueError(msg)
    return axes


def columns(dataset: xarray.Dataset) -> tuple[Column, ...]:
    """List what there is at every point, in the dataset's order.

    Variables that do not vary over all axes of the grid are left out.
    """
    axes = set(grid_axes(dataset))
    found = []
    for variable, array in dataset.data_vars.items():
        if not axes <= set(array.dims):
            continue
        rest = [array.sizes[dim] for dim in array.dims if dim not in axes]
        for index in np.ndindex(*rest):
            name = "_".join([str(variable), *map(str, index)])
            found.append(Column(name, str(variable), index))
    return tuple(found)


def write_csv(dataset: xarray.Dataset, path: Path | str, *, block_size: int = 65536) -> Path:
    """Write one row per point: its coordinates, then every variable and output.

    Numbers have as many digits as it takes to get the same bytes back, `nan`, `inf` and
    `-inf` are spelled so, booleans are 0 and 1. Read it with `pandas.read_csv(path)` (before
    pandas 3 with `float_precision="round_trip"`, else the last digit may differ) or
    `numpy.genfromtxt(path, delimiter=",", names=True)`.

    Args:
        dataset: Result of `scan` or `open_scan`.
        path: Where to write.
        block_size: Points that are turned into text at a time, which bounds the memory.

    Returns:
        The path.

    Raises:
        ValueError: If `block_size` is not positive, or a variable holds no numbers.
        OSError: If the file cannot be written; an older one is left as it was.
    """
    if block_size < 1:
        msg = f"Argument `block_size` must be positive, but is {block_size}."
        raise ValueError(msg)
    axes = grid_axes(dataset)
    wanted = numeric_columns(dataset)
    with written_aside(path) as file:
        header = ",".join([*axes, *(column.name for column in wanted)])
        file.write(f"{header}\n".encode())
        for part in _blocks({axis: dataset.sizes[axis] for axis in axes}, block_size):
            block = dataset.isel(part)
            coordinates = np.meshgrid(*(block[axis].values for axis in axes), indexing="ij")
            texts = [_texts(values) for values in coordinates]
            texts += [_texts(column.of(block).values) for column in wanted]
            rows = "\n".join(map(",".join, zip(*texts, strict=True)))
            file.write(f"{rows}\n".encode())
    return Path(path)


def write_npz(dataset: xarray.Dataset, path: Path | str) -> Path:
    """Write coordinates and variables under their names, as `numpy.load` reads them.

    Nothing is pickled; the dataset's attributes are JSON text in the entry `attrs`.

    Args:
        dataset: Result of `scan` or `open_scan`.
        path: Where to write.

    Returns:
        The path.

    Raises:
        ValueError: If a variable holds no numbers.
        OSError: If the file cannot be written; an older one is left as it was.
    """
    numeric_columns(dataset)
    arrays = {str(name): array.values for name, array in dataset.variables.items()}
    arrays["attrs"] = np.array(json.dumps(dict(dataset.attrs), default=str))
    with written_aside(path) as file:
        safe_files.write_npz(file, arrays)
    return Path(path)


def numeric_columns(dataset: xarray.Dataset) -> tuple[Column, ...]:
    """List the columns, all of real numbers or booleans.

    Raises:
        ValueError: If a variable holds something else.
    """
    found = columns(dataset)
    for column in found:
        if dataset[column.variable].dtype.kind not in "fiub":
            msg = (
                f"Variable {column.variable!r} must hold real numbers to be exported, but holds"
                f" {dataset[column.variable].dtype}."
            )
            raise ValueError(msg)
    return found


def _texts(values: np.ndarray) -> list[str]:
    """Shortest text of every number that reads back as the same one."""
    flat = values.ravel()
    if flat.dtype.kind == "f":
        if flat.dtype.itemsize == 8:
            return list(map(repr, flat.tolist()))
        return flat.astype("U").tolist()
    return list(map(str, flat.astype(int).tolist() if flat.dtype.kind == "b" else flat.tolist()))


def _blocks(sizes: dict[str, int], limit: int) -> Iterator[dict[str, slice]]:
    """Cut a grid into boxes of at most `limit` points, in row-major order."""
    names = list(sizes)
    inner, split = 1, len(names) - 1
    while split > 0 and inner * sizes[names[split]] <= limit:
        inner *= sizes[names[split]]
        split -= 1
    step = max(1, limit // inner)
    for outer in np.ndindex(*(sizes[name] for name in names[:split])):
        fixed = {name: slice(at, at + 1) for name, at in zip(names, outer, strict=False)}
        for start in range(0, sizes[names[split]], step):
            yield {**fixed, names[split]: slice(start, start + step)}


@contextlib.contextmanager
def written_aside(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file that appears at its place when all of it is written; errors name it."""
    try:
        with safe_files.written_whole(path) as file:
            yield file
    except OSError as error:
        msg = f"Writing {path} failed ({error.strerror or error}); nothing was changed there."
        raise OSError(error.errno, msg) from error
