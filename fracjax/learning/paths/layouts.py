"""Where the leaves of a pytree of parameters lie in one row of numbers, and back."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.learning.paths.projections import Projection

__all__ = ["Layout", "LeafPlace", "layout_of"]

_MOST_COLUMNS = 2**48


@dataclasses.dataclass(frozen=True)
class LeafPlace:
    """One leaf of the parameters in a row.

    Attributes:
        name: Its keys joined by slashes, `params/hidden_0/kernel`.
        keys: Kind ("key", "list", "tuple", "attribute" or "index") and value of every key.
        shape: Of the leaf, without an axis of seeds.
        dtype: Of the leaf.
        start: First column.
        stop: Column after the last.
    """

    name: str
    keys: tuple[tuple[str, str | int], ...]
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Numbers of the leaf itself."""
        return math.prod(self.shape)

    @property
    def projected(self) -> bool:
        """Whether its columns are random projections."""
        return self.stop - self.start != self.size

    @property
    def layer(self) -> str:
        """Name without its last key: a kernel and its bias are one layer."""
        return self.name.rpartition("/")[0] or self.name


@dataclasses.dataclass(frozen=True)
class Layout:
    """Leaves of a pytree in the order of `jax.tree.leaves`, side by side in a row.

    Attributes:
        leaves: Where each one lies.
        projection: How large leaves are projected; None where rows hold the numbers themselves.
    """

    leaves: tuple[LeafPlace, ...]
    projection: Projection | None = None

    @property
    def width(self) -> int:
        """Columns."""
        return self.leaves[-1].stop

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return tuple(dict.fromkeys(leaf.layer for leaf in self.leaves))

    def row(self, params: PyTree, dtype: np.dtype | str) -> Float[Array, " width"]:
        """Write parameters in one row. Pure; works under `jax.jit` and `jax.vmap`.

        Args:
            params: Of this layout, without an axis of seeds.
            dtype: Of the row.
        """
        kept = jnp.dtype(dtype)
        parts = []
        for index, leaf in enumerate(jax.tree.leaves(params)):
            flat = jnp.ravel(leaf).astype(kept)
            if self.projection is not None:
                flat = self.projection.leaf(flat, index)
            parts.append(flat)
        return jnp.concatenate(parts)

    def tree(self, row: Array | np.ndarray, like: PyTree | None = None) -> PyTree:
        """Turn a row back into its pytree, in the leaves' own shapes and dtypes.

        Args:
            row: Numbers, (width,).
            like: A pytree of the same leaves, whose structure is wanted. By default dicts,
                lists and tuples are made as they were; other containers become dicts, and
                containers without a leaf are lost.

        Raises:
            ValueError: If the leaves are projected, or `like` has other leaves.
        """
        if any(leaf.projected for leaf in self.leaves):
            msg = (
                "Parameters cannot be made from random projections: record them without"
                " `projection`."
            )
            raise ValueError(msg)
        leaves = [
            np.asarray(row[leaf.start : leaf.stop]).reshape(leaf.shape).astype(leaf.dtype)
            for leaf in self.leaves
        ]
        if like is None:
            return _nested(
                [(leaf.keys, array) for leaf, array in zip(self.leaves, leaves, strict=True)]
            )
        shapes = [tuple(np.shape(leaf)) for leaf in jax.tree.leaves(like)]
        if shapes != [leaf.shape for leaf in self.leaves]:
            msg = "Argument `like` must have the shapes of the recorded leaves, but has others."
            raise ValueError(msg)
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def select(self, names: Sequence[str]) -> tuple["Layout", np.ndarray]:
        """Choose leaves by their names, by how these begin, or by any run of keys in them.

        `params/hidden_0` is that layer; `hidden_0` also finds it, and `kernel` all kernels.

        Returns:
            Their layout side by side, and their columns in this one.

        Raises:
            ValueError: If a name fits no leaf.
        """
        wanted: set[str] = set()
        for name in names:
            found = [leaf.name for leaf in self.leaves if f"{leaf.name}/".startswith(f"{name}/")]
            found = found or [leaf.name for leaf in self.leaves if f"/{name}/" in f"/{leaf.name}/"]
            if not found:
                known = ", ".join(leaf.name for leaf in self.leaves)
                msg = f"Argument `names` must fit leaves of the path ({known}), but has {name!r}."
                raise ValueError(msg)
            wanted.update(found)
        kept = [leaf for leaf in self.leaves if leaf.name in wanted]
        columns = np.concatenate([np.arange(leaf.start, leaf.stop) for leaf in kept])
        placed, start = [], 0
        for leaf in kept:
            stop = start + leaf.stop - leaf.start
            placed.append(dataclasses.replace(leaf, start=start, stop=stop))
            start = stop
        return dataclasses.replace(self, leaves=tuple(placed)), columns

    def to_json(self) -> dict[str, Any]:
        """Make the JSON document that `from_json` reads."""
        return {
            "leaves": [
                {**dataclasses.asdict(leaf), "keys": [list(key) for key in leaf.keys]}
                | {"shape": list(leaf.shape)}
                for leaf in self.leaves
            ],
            "projection": None if self.projection is None else dataclasses.asdict(self.projection),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Layout":
        """Read what `to_json` made.

        Raises:
            ValueError: Or another error, if the document is none: leaves lie side by side, and
                only projected ones have other columns than numbers.
        """
        leaves = tuple(
            LeafPlace(
                name=str(leaf["name"]),
                keys=tuple((str(kind), key) for kind, key in leaf["keys"]),
                shape=tuple(int(size) for size in leaf["shape"]),
                dtype=str(leaf["dtype"]),
                start=int(leaf["start"]),
                stop=int(leaf["stop"]),
            )
            for leaf in document["leaves"]
        )
        found = document["projection"]
        layout = Layout(leaves, None if found is None else Projection(**found))
        starts = [0, *(leaf.stop for leaf in leaves)]
        fits = all(
            leaf.start == start <= leaf.stop
            and min(leaf.shape, default=0) >= 0
            and (layout.projection is not None or not leaf.projected)
            and np.dtype(leaf.dtype).kind in "biufV"
            for start, leaf in zip(starts, leaves, strict=False)
        )
        distinct = len({leaf.name for leaf in leaves}) == len(leaves)
        if not fits or not distinct or not 0 < starts[-1] < _MOST_COLUMNS:
            msg = "leaves do not lie side by side"
            raise ValueError(msg)
        return layout


def layout_of(
    params: PyTree, *, num_seeds: int | None = None, projection: Projection | None = None
) -> Layout:
    """Lay the leaves of a pytree side by side.

    Args:
        params: Arrays, or anything with a shape and a dtype.
        num_seeds: Size of the leading axis that all leaves have; None if they have none.
        projection: How large leaves are projected.

    Raises:
        ValueError: If there is no leaf, one has no leading axis of seeds, is complex, or two
            have one name.
    """
    found = jax.tree_util.tree_leaves_with_path(params)
    if not found:
        msg = "Argument `params` must hold arrays, but is an empty pytree."
        raise ValueError(msg)
    places: list[LeafPlace] = []
    start = 0
    for path, leaf in found:
        shape, dtype = tuple(np.shape(leaf)), np.dtype(jnp.result_type(leaf))
        name = "/".join(str(_key(part)) for part in path) or "params"
        if num_seeds is not None:
            if shape[:1] != (num_seeds,):
                msg = (
                    f"Argument `params` must have a leading axis of {num_seeds} seeds, but"
                    f" {name} has shape {shape}."
                )
                raise ValueError(msg)
            shape = shape[1:]
        if dtype.kind == "c":
            msg = f"Argument `params` must be real, but {name} is {dtype}."
            raise ValueError(msg)
        size = math.prod(shape)
        stop = start + (size if projection is None else projection.width(size))
        places.append(LeafPlace(name, _keys(path, params), shape, str(dtype), start, stop))
        start = stop
    if len({place.name for place in places}) < len(places) or start == 0:
        msg = (
            "Argument `params` must have leaves with distinct names and some numbers, but has not."
        )
        raise ValueError(msg)
    return Layout(tuple(places), projection)


def _key(part: Any) -> str | int:
    """What a key of JAX holds."""
    for attribute in ("key", "idx", "name"):
        if hasattr(part, attribute):
            found = getattr(part, attribute)
            return found if isinstance(found, str | int) else str(found)
    return str(part)


def _keys(path: tuple, tree: PyTree) -> tuple[tuple[str, str | int], ...]:
    """Name the kind of every key: a sequence is a list or a tuple, which only the tree knows."""
    found: list[tuple[str, str | int]] = []
    node = tree
    for part in path:
        if isinstance(part, jax.tree_util.SequenceKey):
            found.append(("tuple" if isinstance(node, tuple) else "list", part.idx))
        elif isinstance(part, jax.tree_util.DictKey):
            found.append(("key", _key(part)))
        elif isinstance(part, jax.tree_util.GetAttrKey):
            found.append(("attribute", part.name))
        else:
            found.append(("index", _key(part)))
        node = _child(node, part)
    return tuple(found)


def _child(node: Any, part: Any) -> Any:
    """Step down the tree; where the container says no more than an index, give up."""
    if isinstance(part, jax.tree_util.SequenceKey):
        return node[part.idx] if isinstance(node, Sequence) else None
    if isinstance(part, jax.tree_util.DictKey):
        return node[part.key] if isinstance(node, Mapping) else None
    return getattr(node, part.name, None) if hasattr(part, "name") else None


def _nested(leaves: list[tuple[tuple[tuple[str, str | int], ...], np.ndarray]]) -> PyTree:
    """Put leaves back into containers."""
    if not leaves[0][0]:
        return leaves[0][1]
    groups: dict[tuple[str, str | int], list] = {}
    for keys, array in leaves:
        groups.setdefault(keys[0], []).append((keys[1:], array))
    children = {key: _nested(group) for (_, key), group in groups.items()}
    kind = leaves[0][0][0][0]
    if kind in ("list", "tuple"):
        ordered = [children[key] for key in sorted(children)]
        return ordered if kind == "list" else tuple(ordered)
    return children


@functools.cache
def compiled_row(layout: Layout, dtype: str, *, seeds: bool) -> Any:
    """`layout.row` as a compiled function, over seeds where there are any."""

    def row(params: PyTree) -> Array:
        return layout.row(params, dtype)

    return jax.jit(jax.vmap(row) if seeds else row)
