"""A scan on disk: written block by block, resumable after any interruption.

A Zarr group that `xarray.open_zarr` reads: one array per output over the axes of the grid, the
axes' coordinates, and `done`. A block is one tile of the grid and one chunk of every array.
Zarr writes a chunk to a side file and moves it into place, so that a chunk is there whole or
not at all, and every chunk carries a CRC-32C of its bytes. The chunk of `done` is written
last. A block is done when all its chunks are there and pass the check.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray
import zarr
from zarr.codecs import Crc32cCodec

from fracjax.landscapes.scans.blocks import ScanStore, tile_shape
from fracjax.landscapes.scans.layout import (
    DONE,
    FORMAT,
    fill_value_of,
    open_arrays,
    output_dimensions,
    read_attributes,
    refuse_larger,
    refuse_lost,
    whole_coordinates,
)

__all__ = [
    "ScanStore",
    "dataset_attributes",
    "existing_manifest",
    "open_journal",
    "open_scan",
    "open_store",
    "save_scan",
    "tile_shape",
]

_COORDINATE_CHUNK = 2**20


def open_store(
    folder: Path | str,
    manifest: Mapping[str, Any],
    *,
    axes: Mapping[str, np.ndarray],
    outputs: Mapping[str, jax.ShapeDtypeStruct],
    block_shape: tuple[int, ...],
    clean: bool = True,
) -> ScanStore:
    """Open a store for a scan, or make it.

    Args:
        folder: Where it is or shall be.
        manifest: Names and JSON values of all that the values depend on. An entry `notes` is
            kept from the first run and not compared.
        axes: Coordinates along each axis of the grid, by name.
        outputs: Shape and dtype of each output at one point, by name.
        block_shape: Points of one block along each axis; a store that is there keeps its own.
        clean: Whether to remove what a killed process left half written; not while others
            write.

    Raises:
        ValueError: If a store for something else is there (what differs is named), or
            something that is no store.
    """
    folder = Path(folder)
    clash = sorted(set(outputs) & {DONE, *axes})
    if clash:
        msg = f"An objective's output must not be called {clash[0]!r}: the scan uses the name."
        raise ValueError(msg)
    wanted = {
        "format": FORMAT,
        "manifest": json.loads(json.dumps(manifest)),
        "shape": [len(axis) for axis in axes.values()],
        "block_shape": list(block_shape),
        "outputs": {n: [list(o.shape), np.dtype(o.dtype).str] for n, o in outputs.items()},
    }
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = read_attributes(folder)
        _refuse_others(folder, found, wanted)
        for leftover in folder.rglob("*.partial") if clean else ():
            leftover.unlink(missing_ok=True)
    else:
        _create(folder, wanted, axes)
    return _opened(folder, read_attributes(folder), axes)


def open_journal(
    folder: Path | str,
    manifest: Mapping[str, Any],
    *,
    num_batches: int,
    batch_size: int,
    output: jax.ShapeDtypeStruct,
) -> ScanStore:
    """Open or make a store for batches of points that are chosen as values come in.

    What `adaptive_scan` and `zoom_frames` take as `store`; it remembers nothing but `value`, in
    the order of evaluation.

    Args:
        folder: Where it is or shall be.
        manifest: What the values depend on, see `open_store`.
        num_batches: Most batches there can be.
        batch_size: Points in each.
        output: Shape and dtype of a value.

    Raises:
        ValueError: See `open_store`.
    """
    return open_store(
        folder,
        manifest,
        axes={"a": np.arange(num_batches * batch_size)},
        outputs={"value": output},
        block_shape=(batch_size,),
    )


def save_scan(folder: Path | str, dataset: xarray.Dataset, manifest: Mapping[str, Any]) -> None:
    """Write a finished scan as a store that `open_scan` reads.

    Args:
        folder: New, empty, or with the same scan, whose blocks are kept.
        dataset: Result of a scan in memory or of `adaptive_scan`.
        manifest: What the values depend on; `kind`, `chunk size` and so on become attributes.

    Raises:
        ValueError: If the folder holds something else.
        OSError: If there is no room.
    """
    axes = {str(name): dataset[name].values for name in dataset.dims if name in dataset.coords}
    outputs = {
        str(name): jax.ShapeDtypeStruct(variable.shape[len(axes) :], variable.dtype)
        for name, variable in dataset.data_vars.items()
    }
    shape = tuple(len(axis) for axis in axes.values())
    kept = open_store(
        folder, manifest, axes=axes, outputs=outputs, block_shape=tile_shape(shape, 2**18)
    )
    for block in range(kept.num_blocks):
        if not kept.is_done(block):
            where = kept.bounds(block)
            kept.write(block, {name: dataset[name].values[where] for name in outputs})


def open_scan(folder: Path | str) -> xarray.Dataset:
    """Read a stored scan, finished or not, without loading it.

    Args:
        folder: What `scan(store=…)` wrote.

    Returns:
        The Dataset that `scan` gives, read from disk where it is used, and `done` over the
        axes of the grid: points that are not done are NaN (or -1 for integers). Damaged
        blocks count as not done only when `scan` runs again; reading one here raises
        `ValueError`.

    Raises:
        ValueError: If the folder holds no scan of this version, or has lost a part of one, or a
            file in it is larger than what it should hold.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{folder} holds no scan."
        raise ValueError(msg)
    found = read_attributes(folder)
    arrays, coordinates = open_arrays(folder, found, mode="r")
    if not all(whole_coordinates(folder / name, axis) for name, axis in coordinates.items()):
        msg = f"coordinates in {folder} are damaged; run the scan again to repair them."
        raise ValueError(msg)
    refuse_lost(folder, found, arrays)
    refuse_larger(folder, arrays)
    others = {path.name for path in folder.iterdir()} - arrays.keys() - coordinates.keys()
    try:
        dataset = xarray.open_zarr(
            folder,
            consolidated=False,
            chunks=None,
            mask_and_scale=False,
            zarr_format=3,
            drop_variables=sorted(others),
        )
        manifest = found["manifest"]
        attrs = dataset_attributes(manifest)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, OSError) as error:
        msg = f"{folder} holds something that is no scan of this version."
        raise ValueError(msg) from error
    dataset.attrs = {**attrs, "manifest": json.dumps(manifest, sort_keys=True)}
    return dataset


# Attributes of a scan's Dataset, and where the manifest has them.
_ATTRIBUTES = {
    "directions": "kind",
    "chunk_size": "chunk size",
    "dtype": "parameter dtype",
    "evaluator": "evaluator",
}


def dataset_attributes(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a scan's Dataset, from its manifest; `details` of directions as JSON."""
    found = {name: manifest.get(label) for name, label in _ATTRIBUTES.items()}
    return {**found, "details": json.dumps(manifest.get("details", {}), sort_keys=True)}


def existing_manifest(folder: Path | str) -> Mapping[str, Any] | None:
    """Manifest of a store; None where there is none yet.

    Raises:
        ValueError: If the folder holds something that is no store.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    return read_attributes(folder)["manifest"]


def _opened(folder: Path, found: Mapping[str, Any], axes: Mapping[str, np.ndarray]) -> ScanStore:
    # An argument `config` is not heeded for an array that is there (Zarr 3.1.6), and a chunk of
    # nothing but NaN would not be written, so that its block never counts as done.
    with zarr.config.set({"array.write_empty_chunks": True}):
        arrays, coordinates = open_arrays(folder, found, mode="r+", names=tuple(axes))
    for name, wanted in axes.items():
        if not _holds(folder / name, coordinates[name], wanted):
            coordinates[name][:] = np.asarray(wanted, np.float64)
    return ScanStore(
        folder, found["manifest"], tuple(found["shape"]), tuple(found["block_shape"]), arrays
    )


def _holds(folder: Path, array: zarr.Array, wanted: np.ndarray) -> bool:
    """Whether coordinates are there and right."""
    try:
        return whole_coordinates(folder, array) and np.array_equal(array[:], wanted)
    except (ValueError, RuntimeError):  # what a failed checksum raises
        return False


def _create(folder: Path, wanted: dict[str, Any], axes: Mapping[str, np.ndarray]) -> None:
    """Make the group beside its place and move it there, so that it is never half made."""
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    group = zarr.open_group(making, mode="w", attributes=wanted)
    for name, axis in axes.items():
        coordinates = group.create_array(
            name,
            shape=(len(axis),),
            chunks=(min(len(axis), _COORDINATE_CHUNK),),
            dtype="float64",
            fill_value=np.nan,
            compressors=[Crc32cCodec()],
            dimension_names=(name,),
        )
        coordinates[:] = np.asarray(axis, np.float64)
    arrays = {**wanted["outputs"], DONE: [[], "|b1"]}
    further = output_dimensions({name: tuple(shape) for name, (shape, _) in arrays.items()})
    for name, (outputs, dtype) in arrays.items():
        group.create_array(
            name,
            shape=(*wanted["shape"], *outputs),
            chunks=(*wanted["block_shape"], *(max(size, 1) for size in outputs)),
            dtype=dtype,
            fill_value=fill_value_of(np.dtype(dtype)),
            compressors=[Crc32cCodec()],
            dimension_names=(*axes, *further[name]),
        )
    with warnings.catch_warnings():  # Zarr warns that version 3 has not settled the format
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(making)
    if folder.exists():
        folder.rmdir()
    making.rename(folder)


def _refuse_others(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise if values there depend on something else than values wanted."""
    there = {**found, **found["manifest"]}
    here = {**wanted, **wanted["manifest"]}
    names = sorted((there.keys() | here.keys()) - {"manifest", "notes", "block_shape"})
    absent = "nothing"
    differing = [
        f"{name}: {there.get(name, absent)} there, {here.get(name, absent)} now"
        for name in names
        if there.get(name) != here.get(name)
    ]
    if differing:
        msg = f"{folder} holds another scan ({'; '.join(differing)}); choose another folder."
        raise ValueError(msg)
