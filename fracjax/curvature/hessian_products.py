"""Hessian-vector products of objectives, exact or by differences of gradients."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, Label, Leaf, Objective, PyTree, Status
from fracjax.curvature.gradients import (
    check_objective,
    differentiate,
    exists,
    resolve,
    with_key,
)

__all__ = [
    "HessianMethod",
    "HessianVectorProduct",
    "Operator",
    "check_hessian_settings",
    "flattened",
    "hessian_operator",
    "hessian_vector_product",
    "where_finite",
]

# How to multiply by a Hessian; see `hessian_vector_product`.
HessianMethod = Literal["auto", "forward over reverse", "forward over forward", "differences"]
Operator: TypeAlias = Callable[[PyTree], PyTree]
_FEW = 8  # vectors to put end to end at once


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HessianVectorProduct:
    """A Hessian times a direction, and how it was computed.

    Attributes:
        product: A pytree like the parameters.
        status: `OK` or `NONFINITE_TANGENT` (the product or the objective is not finite).
        method: `"forward over reverse"`, `"forward over forward"`, or `"differences of"`
            reverse-mode or forward-mode `"gradients"`.
        step: Euclidean length of the step of the differences; None where there is none.
    """

    product: PyTree
    status: Leaf
    method: Label
    step: Leaf | None


def hessian_vector_product(
    objective: Objective,
    params: PyTree,
    key: Key,
    direction: PyTree,
    *,
    method: HessianMethod = "auto",
    step: float | Float[Array, ""] | None = None,
    chunk_size: int | None = None,
) -> HessianVectorProduct:
    """Multiply the Hessian of `objective(params, key)` with a direction.

    Forward mode over reverse mode is exact and costs a few gradients. Where it does not exist
    (see `gradient`), central differences of gradients along the direction,

        H v ≈ |v| (g(params + h v/|v|) - g(params - h v/|v|)) / 2h,

    are off by h²/6 times the third derivative of the gradient, and by its rounding over h. The
    default h = ε^{1/3} · max(1, root mean square of params), ε the rounding of the dtype
    (6e-6 in float64, 5e-3 in float32), balances the two where the objective changes over
    lengths of about 1; nothing can make both small in float32 where it changes much faster.
    Use float64 for differences.

    `"forward over forward"` is exact without reverse mode too (the forward-mode gradient of
    the derivative along the direction, one nested product per parameter); it costs about as
    much as the differences to run, and more to compile.

    Args:
        objective: See `gradient`.
        params: Pytree of floating arrays.
        key: The objective's key.
        direction: Pytree like `params`.
        method: `"auto"` takes forward over reverse where it exists, else `"differences"`,
            of reverse-mode gradients where they exist, else of forward-mode ones.
        step: h of the differences, a Euclidean length in parameter space.
        chunk_size: See `gradient`.

    Raises:
        ValueError: See `gradient`; also if the direction is not like the parameters, or
            `step` is not positive.
    """
    check_hessian_settings(objective, params, key, method, step, chunk_size)
    shapes = [jax.tree.map(jnp.shape, each) for each in (params, direction)]
    if shapes[0] != shapes[1]:
        msg = "Argument `direction` must have the structure and shapes of `params`, but has not."
        raise ValueError(msg)
    return _product(objective, method, chunk_size, params, key, direction, step)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _product(
    objective: Objective,
    method: HessianMethod,
    chunk_size: int | None,
    params: PyTree,
    key: Key,
    direction: PyTree,
    step: Array | float | None,
) -> HessianVectorProduct:
    operator, label, step = hessian_operator(objective, params, key, method, step, chunk_size)
    like = jax.tree.map(lambda d, p: jnp.asarray(d, jnp.asarray(p).dtype), direction, params)
    product = operator(like)
    bad, good = int(Status.NONFINITE_TANGENT), int(Status.OK)
    return HessianVectorProduct(
        product, jnp.where(tree.all_finite(product), good, bad), label, step
    )


def hessian_operator(
    objective: Objective,
    params: PyTree,
    key: Key,
    method: HessianMethod,
    step: Array | float | None,
    chunk_size: int | None,
) -> tuple[Operator, Label, Array | None]:
    """Make `direction -> H direction` at `params`, for use inside one compiled program.

    Returns:
        The operator on pytrees like `params`, the method's name, and the step of the
        differences or None.
    """
    params = jax.tree.map(jnp.asarray, params)
    function = with_key(objective, key)

    def over_reverse(direction: PyTree) -> PyTree:
        primal, tangent = jax.jvp(jax.value_and_grad(function), (params,), (direction,))
        return where_finite(primal[0], tangent[1])

    def over_forward(direction: PyTree) -> PyTree:
        def along(point: PyTree) -> Array:
            value, derivative = jax.jvp(function, (point,), (direction,))
            return derivative + 0 * value  # NaN where the objective is not finite

        return where_finite(*differentiate("forward", along, params, chunk_size))

    if method == "auto":
        method = "forward over reverse" if exists(over_reverse, params) else "differences"
    if method == "forward over reverse":
        return over_reverse, Label(method), None
    if method == "forward over forward":
        return over_forward, Label(method), None

    inner = resolve("auto", function, params)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    if step is None:
        spread = tree.norm(params) / tree.size(params) ** 0.5
        step = jnp.finfo(dtype).eps ** (1 / 3) * jnp.maximum(1, spread)
    length = jnp.asarray(step, dtype)

    def differences(direction: PyTree) -> PyTree:
        size = tree.norm(direction)
        unit = tree.scale(1 / jnp.where(size > 0, size, 1), direction)

        def at(offset: Array) -> PyTree:
            point = tree.add_scaled(params, offset, unit)
            return where_finite(*differentiate(inner, function, point, chunk_size))

        ends = jax.lax.map(at, jnp.stack([length, -length]))
        return jax.tree.map(lambda g: (g[0] - g[1]) * (size / (2 * length)), ends)

    return differences, Label(f"differences of {inner}-mode gradients"), length


def flattened(operator: Operator, like: PyTree) -> tuple[Callable[[Array], Array], Array, Callable]:
    """Make an operator on pytrees like `like` one on vectors.

    Returns:
        The product, `like` as a vector, and what makes a pytree of a vector.
    """
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, like))

    def apply(vector: Array) -> Array:
        leaves = jax.tree.leaves(operator(unravel(vector)))
        return _joined([jnp.ravel(leaf).astype(flat.dtype) for leaf in leaves])

    return apply, flat, unravel


def _joined(parts: list[Array]) -> Array:
    """Put vectors end to end.

    On a CPU of several cores XLA cuts `concatenate` of matrix products into a parallel loop whose
    threads hinder each other (it looks like false sharing): in a network of 10⁵ parameters this
    took twenty times as long as the rest of a product, and as it does in one thread (jaxlib
    0.10.2). Sums of a few padded vectors do not.
    """
    if jax.default_backend() != "cpu":
        return jnp.concatenate(parts)
    while len(parts) > 1:
        parts = [_padded_sum(parts[i : i + _FEW]) for i in range(0, len(parts), _FEW)]
    return parts[0]


def _padded_sum(parts: list[Array]) -> Array:
    ends = np.cumsum([len(part) for part in parts])
    padded = [
        jnp.pad(part, (end - len(part), ends[-1] - end))
        for part, end in zip(parts, ends, strict=True)
    ]
    return functools.reduce(jnp.add, padded)


def where_finite(value: Array, derivative: PyTree) -> PyTree:
    """A constant NaN has a derivative, of zero; it must not pass for one."""
    return jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(value), leaf, jnp.nan), derivative)


def check_hessian_settings(
    objective: Objective,
    params: PyTree,
    key: Key,
    method: str,
    step: float | Array | None,
    chunk_size: int | None,
) -> None:
    """Raise ValueError for what every function of the Hessian refuses."""
    if method not in get_args(HessianMethod):
        msg = f"Argument `method` must be one of {get_args(HessianMethod)}, but is {method!r}."
        raise ValueError(msg)
    if isinstance(step, int | float) and not step > 0:
        msg = f"Argument `step` must be positive, but is {step}."
        raise ValueError(msg)
    check_objective(objective, params, key, chunk_size)
