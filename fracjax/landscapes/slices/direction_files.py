"""Directions in files: a user's own axes of a slice, as `.npz` or `.msgpack`.

Both hold one array per leaf of the parameters, (directions, *shape of the leaf), named by the
leaf's place in the tree: `layer_0/kernel`, or `params/Dense_0/bias`. A single direction may
go without its leading axis. An `.npz` is flat, with these names; a `.msgpack` is nested, as
`flax.serialization.to_bytes` writes it and `msgpack_restore` reads it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgpack
import numpy as np

from fracjax import directions as directions_
from fracjax import safe_files
from fracjax._types import PyTree

__all__ = ["load_directions", "save_directions"]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_BARE = "directions"  # name of the only leaf of parameters that are one array


def save_directions(path: str | os.PathLike, directions: PyTree) -> None:
    """Write stacked directions to `.npz` or `.msgpack`, by suffix.

    The file appears complete or not at all; an existing one is replaced.

    Args:
        path: Where to.
        directions: Pytree like the parameters with a leading axis on every leaf, of one
            length: `grid.directions`, for example.

    Raises:
        ValueError: If the suffix is neither, leaves are not floating or differ in their
            leading axes, or two have one name.
        OSError: If it cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".msgpack"):
        msg = f"Argument `path` must end in .npz or .msgpack, but is `{path}`."
        raise ValueError(msg)
    arrays = {name: np.asarray(leaf) for name, leaf in _named(directions).items()}
    counts = {array.shape[:1] for array in arrays.values()}
    if len(counts) != 1 or () in counts:
        msg = "Argument `directions` must have one leading axis of one length on every leaf."
        raise ValueError(msg)
    for name, array in arrays.items():
        if str(array.dtype) not in _FLOATS:
            msg = f"Argument `directions` must be floating, but `{name}` is {array.dtype}."
            raise ValueError(msg)
        if str(array.dtype) == "bfloat16":  # which NumPy's format does not know
            arrays[name] = array.astype(np.float32)
    with safe_files.written_whole(path) as file:
        if path.suffix == ".npz":
            safe_files.write_npz(file, arrays, compress=True)
        else:
            file.write(_msgpack(arrays))


def load_directions(path: str | os.PathLike, params: PyTree, *, normalize: bool = True) -> PyTree:
    """Read stacked directions for parameters; `landscapes.along` makes a grid of them.

    Nothing in the file is run: no pickles, and only floating arrays.

    Args:
        path: An `.npz` or `.msgpack` with the names and shapes of the module's note.
        params: What the directions must fit.
        normalize: Whether to scale each direction to root mean square 1 over the parameters,
            so that coordinates compare with other slices; else they stay as given.

    Returns:
        Pytree like `params`, in its dtypes, with a leading axis on every leaf.

    Raises:
        ValueError: In one line, if there is no such file, it is damaged or of another kind,
            it does not fit `params` (with the leaf that differs), or a direction is zero
            or not finite.
    """
    path = Path(path)
    try:
        arrays = _read(path)
    except Exception as error:  # damaged files fail in many ways inside the parsers
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        msg = f"Directions file `{path}` cannot be read ({reason})."
        raise ValueError(msg) from error
    try:
        stacked = _fitted(arrays, params)
    except ValueError as error:
        msg = f"Directions file `{path}` does not fit: {error}"
        raise ValueError(msg) from error
    return directions_.normalize(stacked) if normalize else stacked


def _named(tree: PyTree) -> dict[str, Any]:
    """Leaves by their place, in the tree's order."""
    named: dict[str, Any] = {}
    for place, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(place, simple=True, separator="/") or _BARE
        if name in named:
            msg = f"Parameters must have one name each, but two are `{name}`."
            raise ValueError(msg)
        named[name] = leaf
    return named


def _fitted(arrays: Mapping[str, np.ndarray], params: PyTree) -> PyTree:
    """Arrays in the order, dtypes and structure of the parameters."""
    wanted = {name: jax.eval_shape(jnp.asarray, leaf) for name, leaf in _named(params).items()}
    for name in wanted.keys() - arrays.keys():
        msg = f"`{name}` is missing."
        raise ValueError(msg)
    for name in arrays.keys() - wanted.keys():
        msg = f"the parameters have no `{name}`."
        raise ValueError(msg)
    if all(arrays[name].shape == leaf.shape for name, leaf in wanted.items()):
        arrays = {name: array[None] for name, array in arrays.items()}
    first = next(iter(wanted))
    count = max(arrays[first].shape[:1], default=0)
    leaves = []
    for name, leaf in wanted.items():
        array = arrays[name]
        if array.shape != (count, *leaf.shape) or count == 0:
            expected = f"({', '.join(map(str, ('directions', *leaf.shape)))})"
            msg = f"`{name}` must have shape {expected}, but has {array.shape}"
            msg += f" beside {count} directions of `{first}`." if name != first else "."
            raise ValueError(msg)
        with np.errstate(over="ignore"):
            leaves.append(array.astype(leaf.dtype))
        if not np.isfinite(leaves[-1]).all():
            msg = f"`{name}` is not finite as {leaf.dtype}."
            raise ValueError(msg)
    moving = [leaf.reshape(count, -1).any(axis=1) for leaf in leaves]
    for index in np.flatnonzero(~np.any(moving, axis=0)):
        msg = f"direction {index} is zero."
        raise ValueError(msg)
    return jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(leaf) for leaf in leaves])


def _msgpack(arrays: Mapping[str, np.ndarray]) -> bytes:
    nested: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        above = {"/".join(folders[:depth]) for depth in range(1, len(folders) + 1)}
        if above & arrays.keys():
            msg = f"Parameters must have one name each, but `{name}` lies inside another's."
            raise ValueError(msg)
        inside = nested
        for folder in folders:
            inside = inside.setdefault(folder, {})
        content = msgpack.packb((array.shape, array.dtype.name, array.tobytes()))
        inside[last] = msgpack.ExtType(safe_files.FLAX_ARRAY, content)
    return msgpack.packb(nested)


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        arrays = safe_files.read_npz(safe_files.read_bytes(path))
    elif path.suffix == ".msgpack":
        stored = safe_files.read_msgpack(safe_files.read_bytes(path), floats=_FLOATS)
        arrays = dict(_flattened(stored, ""))
    else:
        msg = "it must end in .npz or .msgpack"
        raise ValueError(msg)
    for name, array in arrays.items():
        if str(array.dtype) not in _FLOATS:
            msg = f"`{name}` is of type {array.dtype}, but only floats are directions"
            raise ValueError(msg)
    return arrays


def _flattened(stored: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of nested maps by their joined names."""
    if isinstance(stored, np.ndarray):
        yield name or _BARE, stored
        return
    if not isinstance(stored, dict):
        msg = f"`{name}` is no array but {type(stored).__name__}"
        raise TypeError(msg)
    for part, inside in stored.items():
        yield from _flattened(inside, f"{name}/{part}" if name else str(part))
