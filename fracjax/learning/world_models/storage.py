"""Training runs on disk: arrays by their place in the tree, whole or not at all, no pickle."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import safe_files
from fracjax._types import PyTree

__all__ = ["RunFileError", "describe_settings", "load_tree", "read_metadata", "save_tree"]

_METADATA = "metadata"
_LEAF_BYTES = 4096  # name and header of an array, at most
_SPARE_BYTES = 2**24  # of metadata, and of what grows with a run


class RunFileError(ValueError):
    """A file that cannot be read as a run of these settings."""


def save_tree(tree: PyTree, path: str | os.PathLike, metadata: dict[str, Any]) -> None:
    """Write a pytree of arrays as `.npz`, named by the paths of its leaves.

    The file appears complete or not at all, and equal trees give equal bytes. Keys are stored as
    the numbers they hold.

    Args:
        tree: What to write.
        path: Where to; an existing file is replaced.
        metadata: What a reader must agree on, as values that JSON can hold.
    """
    path = Path(path)
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    arrays = {jax.tree_util.keystr(place): np.asarray(_plain(leaf)) for place, leaf in leaves}
    text = np.array(json.dumps(metadata, sort_keys=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    with safe_files.written_whole(path) as file:
        safe_files.write_npz(file, {_METADATA: text, **arrays})


def load_tree(like: PyTree, path: str | os.PathLike, metadata: dict[str, Any]) -> PyTree:
    """Read what `save_tree` wrote.

    Args:
        like: Pytree of the same structure; shapes and dtypes are enough.
        path: The file.
        metadata: What was given to `save_tree`.

    Raises:
        RunFileError: If the file is damaged, of other metadata, or of another structure.
    """
    path = Path(path)
    arrays, found = _read(path, like)
    wanted = json.loads(json.dumps(metadata))
    other = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if other:
        msg = f"File `{path}` holds a run of other settings: {', '.join(other)} differ."
        raise RunFileError(msg)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(place) for place, _ in leaves]
    if set(names) != set(arrays):
        msg = f"File `{path}` holds other arrays: {sorted(set(names) ^ set(arrays))[:4]}."
        raise RunFileError(msg)
    read = [
        _restore(arrays[name], leaf, name, path)
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, read)


def read_metadata(path: str | os.PathLike, like: PyTree) -> dict[str, Any]:
    """Read what `save_tree` was told of the tree.

    Args:
        path: The file.
        like: As for `load_tree`, up to what grows with a run: much more is not read.

    Raises:
        RunFileError: If the file is damaged.
    """
    return _read(Path(path), like)[1]


def describe_settings(**parts: Any) -> dict[str, Any]:
    """Settings as values that JSON can hold; dataclasses become their fields."""

    def plain(part: Any) -> Any:
        described = dataclasses.is_dataclass(part) and not isinstance(part, type)
        return dataclasses.asdict(part) if described else part

    return {name: plain(part) for name, part in parts.items()}


def _read(path: Path, like: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    most = _SPARE_BYTES + sum(_num_bytes(leaf) + _LEAF_BYTES for leaf in jax.tree.leaves(like))
    try:
        arrays = safe_files.read_npz(safe_files.read_bytes(path, most=most), most=most)
        return arrays, dict(json.loads(str(arrays.pop(_METADATA))))
    except Exception as error:  # damaged files fail in many ways inside the parsers
        msg = f"File `{path}` is damaged or not a training run ({type(error).__name__}: {error})."
        raise RunFileError(msg) from error


def _num_bytes(leaf: Any) -> int:
    plain = jax.eval_shape(_plain, leaf)
    return math.prod(plain.shape) * plain.dtype.itemsize


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    leaf = jnp.asarray(leaf) if not hasattr(leaf, "dtype") else leaf
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restore(array: np.ndarray, like: Any, name: str, path: Path) -> Any:
    plain = jax.eval_shape(_plain, like)
    if (array.shape, array.dtype) != (plain.shape, plain.dtype):
        msg = (
            f"File `{path}` holds {array.dtype}{array.shape} at `{name}`, where"
            f" {plain.dtype}{plain.shape} was expected."
        )
        raise RunFileError(msg)
    value = jnp.asarray(array)
    return jax.random.wrap_key_data(value) if _is_key(like) else value
