"""Curves through parameter space with given ends: Bézier curves and polylines."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree

__all__ = [
    "CurveKind",
    "bends_on_line",
    "curve_length",
    "curve_weights",
    "point_on_curve",
    "stack_points",
]

CurveKind = Literal["bezier", "polyline"]


def point_on_curve(bends: PyTree, t: float | Array, *, kind: CurveKind = "bezier") -> PyTree:
    """Parameters at t on a curve with the given control points.

    Bézier: Σ_i C(n, i) t^i (1 - t)^{n - i} b_i with n + 1 control points b_i; polyline: straight
    pieces between them, each as long in t. Pure; t may be traced.

    Args:
        bends: Control points, stacked along a leading axis of every leaf.
        t: Between 0 and 1.
        kind: Of the curve.
    """
    leaves = jax.tree.leaves(bends)
    dtype = jnp.result_type(*leaves)
    weights = curve_weights(jnp.asarray(t, dtype), len(leaves[0]), kind)
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, 1), bends)


def curve_weights(t: Float[Array, ""], count: int, kind: CurveKind) -> Float[Array, " bends"]:
    """Share of every control point in the point at t."""
    order = np.arange(count)
    if kind == "polyline":
        return jnp.maximum(1 - jnp.abs(t * (count - 1) - order), 0).astype(t.dtype)
    binomial = np.array([math.comb(count - 1, i) for i in order], float)
    powers = t ** order.astype(int) * (1 - t) ** order[::-1].astype(int)
    return (jnp.asarray(binomial, t.dtype) * powers).astype(t.dtype)


def stack_points(points: list[PyTree]) -> PyTree:
    """Stack points along a new leading axis of every leaf."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *points)


def bends_on_line(ends: PyTree, count: int, spread: float, key: Key) -> PyTree:
    """Control points evenly on the line, the inner ones moved off it."""
    first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], ends) for i in (0, 1))
    length = tree.norm(jax.tree.map(jnp.subtract, second, first))
    size = tree.size(first)
    even = np.linspace(0, 1, count)
    stacked = jax.tree.map(
        lambda leaf: jnp.tensordot(jnp.asarray(np.stack([1 - even, even], 1), leaf.dtype), leaf, 1),
        ends,
    )
    moves = tree.random_normal(key, stacked)
    inner = jnp.asarray((even > 0) & (even < 1))
    factor = spread * length / math.sqrt(size)

    def move(leaf: Array, draw: Array) -> Array:
        mask = inner.reshape((-1,) + (1,) * (leaf.ndim - 1))
        return (leaf + jnp.where(mask, factor * draw, 0)).astype(leaf.dtype)

    return jax.tree.map(move, stacked, moves)


def curve_length(bends: PyTree, t: np.ndarray, kind: CurveKind) -> float:
    """Length of the curve, as that of straight pieces between the points t."""
    count = len(jax.tree.leaves(bends)[0])
    weights = jax.vmap(lambda s: curve_weights(s, count, kind))(jnp.asarray(t))
    steps = jnp.diff(weights, axis=0)
    # |Σ w_i b_i|² by the Gram matrix of the control points, less the first one's part.
    rows = [jnp.reshape(leaf - leaf[:1], (count, -1)) for leaf in jax.tree.leaves(bends)]
    gram = sum(row @ row.T for row in rows)
    squares = jnp.einsum("si,ij,sj->s", steps, gram, steps)
    return float(jnp.sqrt(jnp.maximum(squares, 0)).sum())
