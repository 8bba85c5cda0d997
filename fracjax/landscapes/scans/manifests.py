"""What the values of a scan depend on, as a document that two runs compare."""

import hashlib
import importlib.metadata
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, PyTree
from fracjax.landscapes.slices.grids import Grid

__all__ = ["describe", "fingerprint"]


def fingerprint(tree: PyTree) -> str:
    """Hash structure, shapes, dtypes and bytes of a pytree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    digest = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def describe(
    params: PyTree, grid: Grid, key: Key, *, evaluator: str, chunk_size: int, **more: Any
) -> dict[str, Any]:
    """Describe a scan: what it is of, how it is evaluated, and by which versions.

    Args:
        params: Centre of the grid.
        grid: The grid.
        key: The objective's key.
        evaluator: How points are evaluated.
        chunk_size: How many together.
        **more: What else the values depend on, as JSON values.
    """
    device = jax.local_devices()[0].device_kind
    return {
        "params": fingerprint(params),
        "directions": fingerprint(grid.directions),
        "axes": fingerprint(grid.axes),
        "key": fingerprint(jax.random.key_data(key)),
        "kind": grid.kind,
        "details": dict(grid.details),
        "parameter dtype": str(jnp.result_type(*jax.tree.leaves(params))),
        "evaluator": evaluator,
        "chunk size": chunk_size,
        "backend": f"{jax.default_backend()} ({device}, {platform.machine()})",
        "versions": {name: importlib.metadata.version(name) for name in ("fracjax", "jax")},
        **more,
    }
