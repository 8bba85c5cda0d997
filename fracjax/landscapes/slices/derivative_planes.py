"""Slices along derivatives of the objective: its gradient, its Hessian's eigenvectors.

Random slices hide the dominant curvature: of n directions few matter, and a random one has
about 1/√n of each. All directions here have root mean square 1 per parameter, as Gaussian ones
do, so that coordinates compare. Along such a direction the objective rises with n^{1/2} times
the Euclidean derivative and bends with n times the Euclidean eigenvalue, which `details`
have as `slope` and `curvatures`.

A rough objective has no such derivatives (see `fracjax.curvature`). Its exact gradient can be
computed and leads nowhere: the slice shows it, by not following `slope` near the centre.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import curvature, tree
from fracjax import directions as directions_
from fracjax._types import Key, Objective, PyTree, Status
from fracjax.landscapes.slices.grids import Grid, along

__all__ = ["gradient_line", "gradient_plane", "hessian_plane"]

_ASIDE = 0xA51DE  # folded into the objective's key for the random direction


def gradient_line(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    span: float = 0.2,
    num_points: int = 257,
    method: curvature.GradientMethod = "auto",
    chunk_size: int | None = None,
) -> Grid:
    """Make the line through `params` along the gradient; positive coordinates go up it.

    Args:
        objective: Pure function of parameters and key returning one number.
        params: Centre.
        key: The objective's key: scan with the same one.
        span: Half the width, as a root-mean-square change per parameter.
        num_points: Points.
        method: See `curvature.gradient`.
        chunk_size: Likewise.

    Returns:
        Grid with `details`: `value`, `gradient_norm` (Euclidean), `slope` (derivative by the
        line's coordinate at 0), `method`, `status`.

    Raises:
        ValueError: If the gradient is not finite or zero, or a setting is out of range.
    """
    unit, details = _gradient_direction(objective, params, key, method, chunk_size)
    return along(unit, span=span, num_points=num_points, kind="gradient", details=details)


def gradient_plane(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    span: float | tuple[float, ...] = 0.2,
    num_points: int | tuple[int, ...] = 49,
    method: curvature.GradientMethod = "auto",
    chunk_size: int | None = None,
) -> Grid:
    """Make the plane along the gradient and a random direction orthogonal to it.

    Arguments, `details` and errors as for `gradient_line`; `span` and `num_points` may be
    tuples with an entry per axis. The random direction is Gaussian, from a key folded from
    `key`; along it the objective has no slope at the centre.
    """
    unit, details = _gradient_direction(objective, params, key, method, chunk_size)
    if tree.size(params) < 2:
        msg = "Argument `params` must hold two numbers for a plane, but holds one."
        raise ValueError(msg)
    drawn = directions_.draw("gaussian", jax.random.fold_in(key, _ASIDE), params, 1)
    pair = jax.tree.map(lambda u, v: jnp.concatenate([u, v]), unit, drawn)
    return along(
        directions_.orthonormalize(pair),
        span=span,
        num_points=num_points,
        kind="gradient and random",
        details=details,
    )


def hessian_plane(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    which: curvature.Which = "magnitude",
    num_axes: int = 2,
    span: float | tuple[float, ...] = 0.2,
    num_points: int | tuple[int, ...] = 49,
    num_iterations: int | None = None,
    tolerance: float = 1e-3,
    method: curvature.HessianMethod = "auto",
    step: float | None = None,
    chunk_size: int | None = None,
) -> Grid:
    """Make the plane through `params` along eigenvectors of the Hessian.

    Args:
        objective: Pure function of parameters and key returning one number.
        params: Centre.
        key: The objective's key: scan with the same one.
        which: `"magnitude"`, `"largest"`, `"smallest"`, or `"both ends"` (the largest and the
            smallest).
        num_axes: Eigenvectors; 2 make a plane.
        span: Half the width along all axes, or along each, as a root-mean-square change.
        num_points: Points along all axes, or along each.
        num_iterations: See `curvature.top_hessian_eigenvectors`, also for all below.
        tolerance: Residual that counts as converged, relative to the largest eigenvalue.
        method: Of Hessian-vector products.
        step: Of finite differences.
        chunk_size: Of forward-mode gradients.

    Returns:
        Grid with `details`: `eigenvalues` (Euclidean), `curvatures` (second derivatives by the
        grid's coordinates), `residuals`, `statuses` (`"ok"` or `"not_converged"`; look at
        them), `which`, `method`, `step` of differences, `num_iterations`.

    Raises:
        ValueError: If products are not finite, or a setting is out of range.
    """
    pairs = curvature.top_hessian_eigenvectors(
        objective,
        params,
        key,
        num_eigenvectors=num_axes,
        which=which,
        num_iterations=num_iterations,
        tolerance=tolerance,
        method=method,
        step=step,
        chunk_size=chunk_size,
    )
    statuses = [Status(code).label for code in np.asarray(pairs.status).tolist()]
    _refuse_nonfinite("Hessian", statuses)
    eigenvalues = np.asarray(pairs.values, np.float64)
    details: dict[str, Any] = {
        "eigenvalues": eigenvalues.tolist(),
        "curvatures": (eigenvalues * tree.size(params)).tolist(),
        "residuals": np.asarray(pairs.residuals, np.float64).tolist(),
        "statuses": statuses,
        "which": which,
        "method": str(pairs.method),
        "num_iterations": len(pairs.ritz_values),
    }
    if pairs.step is not None:
        details["step"] = float(pairs.step)
    directions = tree.scale(math.sqrt(tree.size(params)), pairs.vectors)
    kind = "hessian eigenvectors"
    return along(directions, span=span, num_points=num_points, kind=kind, details=details)


def _gradient_direction(
    objective: Objective,
    params: PyTree,
    key: Key,
    method: curvature.GradientMethod,
    chunk_size: int | None,
) -> tuple[PyTree, dict[str, Any]]:
    """The gradient with root mean square 1 and a leading axis, and what is known of it."""
    found = curvature.gradient(objective, params, key, method=method, chunk_size=chunk_size)
    status = Status(int(found.status)).label
    _refuse_nonfinite("gradient", [status])
    unit = directions_.normalize(jax.tree.map(lambda leaf: leaf[None], found.gradient))
    slope = float(tree.dot(found.gradient, jax.tree.map(lambda leaf: leaf[0], unit)))
    if slope == 0:
        msg = "Argument `objective` must have a gradient at `params`, but its gradient is zero."
        raise ValueError(msg)
    return unit, {
        "value": float(found.value),
        "gradient_norm": slope / math.sqrt(tree.size(params)),
        "slope": slope,
        "method": str(found.method),
        "status": status,
    }


def _refuse_nonfinite(derivative: str, statuses: list[str]) -> None:
    """Raise where there is no direction to make a slice along."""
    culprits = {"diverged": "value", "nonfinite_tangent": derivative}
    for status in statuses:
        if status in culprits:
            msg = (
                f"Argument `objective` must have a finite {derivative} at `params`, but its"
                f" {culprits[status]} there is not finite."
            )
            raise ValueError(msg)
