"""The line, plane or box that a `fracjax scan` is over."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax.cli.scan_request import ScanRequest

if TYPE_CHECKING:
    from fracjax._types import Key, PyTree
    from fracjax.directions import DirectionKind
    from fracjax.landscapes import Grid, PlacedGrid

__all__ = ["make_grid"]

_RANDOM: "dict[str, DirectionKind]" = {
    "random": "gaussian",
    "filter": "filter",
    "orthonormal": "orthonormal",
}


def make_grid(
    request: ScanRequest, objective: Callable, params: "PyTree", key: "Key", *, trust: bool
) -> "tuple[Grid, PyTree, PlacedGrid | None]":
    """Make the grid of a request.

    Args:
        request: What was asked for.
        objective: Return of the first discount, for derivatives.
        params: Parameters of the policy.
        key: Draws directions; the objective's key for derivatives.
        trust: Whether policy files that are pickles may be read.

    Returns:
        The grid, the parameters at its origin, and where given points lie on it, if it was
        laid through points.

    Raises:
        ValueError: If the files do not fit the policy.
    """
    from fracjax import landscapes

    size: dict[str, Any] = {"span": request.span, "num_points": request.grid}
    kind, axes = request.plane_kind, len(request.grid)
    if kind in _RANDOM:
        grid = landscapes.box(params, key, num_axes=axes, kind=_RANDOM[kind], **size)
        return grid, params, None
    if kind == "gradient":
        if axes == 1:
            size["num_points"] = request.grid[0]
            return landscapes.gradient_line(objective, params, key, **size), params, None
        return landscapes.gradient_plane(objective, params, key, **size), params, None
    if kind == "hessian":
        grid = landscapes.hessian_plane(objective, params, key, num_axes=axes, **size)
        return grid, params, None
    if kind == "file":
        table = landscapes.load_directions(request.plane_files[0], params)
        grid = landscapes.along(table, kind="file", **size)
        return grid, params, None
    placed = _through(request, params, trust=trust)
    return placed.grid, placed.centre, placed


def _through(request: ScanRequest, params: "PyTree", *, trust: bool) -> "PlacedGrid":
    """Lay a grid through policies, or along a path of them."""
    import jax
    import jax.numpy as jnp

    from fracjax import landscapes, tree
    from fracjax.rl import checkpoints, snapshots

    dtype = jnp.result_type(*jax.tree.leaves(params))
    if request.plane_kind == "path":
        policies = snapshots.read_policies(request.plane_files[0])
        path = [tree.astype(policy.params, dtype) for policy in policies]
        return landscapes.principal_plane(
            path, num_axes=len(request.grid), num_points=request.grid, margin=0.25
        )
    others = [checkpoints.load_policy(Path(file), trust=trust) for file in request.plane_files]
    points = [params, *(tree.astype(other.params, dtype) for other in others)]
    return landscapes.slice_through(points, num_points=request.grid)
