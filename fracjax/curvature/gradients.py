"""Gradients of objectives, whether or not reverse mode exists."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, Label, Leaf, Objective, PyTree, Status

__all__ = [
    "Function",
    "Gradient",
    "GradientMethod",
    "check_objective",
    "differentiate",
    "exists",
    "gradient",
    "resolve",
    "with_key",
]

# How to differentiate; see `gradient`.
GradientMethod = Literal["auto", "reverse", "forward"]
Function: TypeAlias = Callable[[PyTree], Array]

_MOST_TANGENTS = {"cpu": (64, 2**22), "accelerator": (1024, 2**26)}  # at once; numbers in them


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gradient:
    """A gradient, and how it was computed.

    Attributes:
        value: The objective.
        gradient: A pytree like the parameters.
        status: `OK`, `DIVERGED` (the objective is not finite), `NONFINITE_TANGENT`.
        method: `"reverse"` or `"forward"`.
    """

    value: Leaf
    gradient: PyTree
    status: Leaf
    method: Label


def gradient(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    method: GradientMethod = "auto",
    chunk_size: int | None = None,
) -> Gradient:
    """Differentiate `objective(params, key)` by the parameters.

    Reverse mode costs a few evaluations of the objective, and memory that grows with its
    length. It does not exist through loops of unknown length, such as the solver of Brax's
    mjx. Forward mode exists there: one Jacobian-vector product per parameter, a bounded number
    at a time (a pendulum's return by 4481 parameters: 300 to 500 times the time of reverse
    mode). Which one there is, is found by tracing the derivative, not by running it.

    Do not use it on an objective whose Hölder exponent is below 1 (see the package's note).

    Args:
        objective: Pure function of parameters and key returning one number; hashable, as
            functions are. Pass the same object again rather than a new closure: each is
            compiled once.
        params: Pytree of floating arrays.
        key: The objective's key.
        method: `"auto"` takes reverse mode where it exists.
        chunk_size: Directions that forward mode pushes through at once. Chosen if not given:
            at most 64 on a CPU and 1024 on an accelerator, fewer from 65 536 parameters on.

    Raises:
        ValueError: If the objective does not return one number, the parameters are not
            floating, or a setting is unknown.
    """
    if method not in get_args(GradientMethod):
        msg = f"Argument `method` must be one of {get_args(GradientMethod)}, but is {method!r}."
        raise ValueError(msg)
    check_objective(objective, params, key, chunk_size)
    return _gradient(objective, method, chunk_size, params, key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _gradient(
    objective: Objective, method: GradientMethod, chunk_size: int | None, params: PyTree, key: Key
) -> Gradient:
    params = jax.tree.map(jnp.asarray, params)
    function = with_key(objective, key)
    method = resolve(method, function, params)
    value, slope = differentiate(method, function, params, chunk_size)
    status = jnp.select(
        [~jnp.isfinite(value), ~tree.all_finite(slope)],
        [int(Status.DIVERGED), int(Status.NONFINITE_TANGENT)],
        int(Status.OK),
    )
    return Gradient(value, slope, status, Label(method))


def check_objective(objective: Objective, params: PyTree, key: Key, chunk_size: int | None) -> None:
    """Raise ValueError for objectives and parameters without a gradient in this sense."""
    dtypes = {jnp.result_type(leaf) for leaf in jax.tree.leaves(params)}
    if not dtypes or not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        names = sorted(str(dtype) for dtype in dtypes)
        msg = f"Argument `params` must hold floating arrays, but holds {', '.join(names)}."
        raise ValueError(msg)
    if chunk_size is not None and chunk_size < 1:
        msg = f"Argument `chunk_size` must be positive, but is {chunk_size}."
        raise ValueError(msg)
    # Tracing the objective itself first: its own errors must not pass for a missing derivative.
    output = jax.eval_shape(objective, params, key)
    shapes = [leaf.shape for leaf in jax.tree.leaves(output)]
    if shapes != [()]:
        msg = (
            "Argument `objective` must return one number, but returns arrays of shapes"
            f" {shapes}; select one entry."
        )
        raise ValueError(msg)


def with_key(objective: Objective, key: Key) -> Function:
    """Fix the key, and take the number out of whatever holds it."""

    def function(params: PyTree) -> Array:
        return jax.tree.leaves(objective(params, key))[0]

    return function


def exists(derivative: Callable[[PyTree], PyTree], params: PyTree) -> bool:
    """Whether a derivative can be traced and compiled; it is not run."""
    try:
        program = jax.make_jaxpr(derivative)(params)
    except (ValueError, TypeError, NotImplementedError):  # loops, callbacks
        return False
    return not _holds(program.jaxpr, "custom_lin")


def _holds(program: Any, name: str) -> bool:
    """Whether a primitive occurs anywhere in a program.

    JAX traces forward mode through functions that have a rule for reverse mode alone, and
    refuses only when it compiles the `custom_lin` left in their place.
    """
    for equation in program.eqns:
        if equation.primitive.name == name:
            return True
        for value in equation.params.values():
            for inside in value if isinstance(value, list | tuple) else [value]:
                inside = getattr(inside, "jaxpr", inside)  # open a closed one
                if hasattr(inside, "eqns") and _holds(inside, name):
                    return True
    return False


def resolve(
    method: GradientMethod, function: Function, params: PyTree
) -> Literal["reverse", "forward"]:
    """Choose reverse mode where it exists."""
    if method == "auto":
        return "reverse" if exists(jax.grad(function), params) else "forward"
    return method


def differentiate(
    method: Literal["reverse", "forward"],
    function: Function,
    params: PyTree,
    chunk_size: int | None,
) -> tuple[Array, PyTree]:
    """Value and gradient; forward mode by chunks of unit vectors."""
    if method == "reverse":
        return jax.value_and_grad(function)(params)
    flat, unravel = ravel_pytree(params)
    size = flat.size
    if chunk_size is None:
        platform = "cpu" if jax.default_backend() == "cpu" else "accelerator"
        most, numbers = _MOST_TANGENTS[platform]
        chunk_size = max(1, min(most, numbers // size))
    chunk_size = min(chunk_size, size)

    def along(axis: Array) -> tuple[Array, Array]:
        unit = unravel((jnp.arange(size) == axis).astype(flat.dtype))
        return jax.jvp(function, (params,), (unit,))

    num_chunks = -(-size // chunk_size)
    axes = jnp.arange(num_chunks * chunk_size).reshape(num_chunks, chunk_size)
    values, slopes = jax.lax.map(jax.vmap(along, out_axes=(None, 0)), axes)
    return values[0], unravel(slopes.reshape(-1)[:size].astype(flat.dtype))
