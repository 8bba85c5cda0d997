"""LAPACK one matrix at a time, for programs that run on several CPU devices at once.

A batch of matrices (a QR under `vmap`, say) is cut over XLA's threads by jaxlib, and the thread
that cuts it, itself one of them, waits for the others. All CPU devices share as many threads as
there are cores. When every one of them waits, nobody works, and the program hangs: two devices on
two cores within a second of batched QR (jaxlib 0.10.2; the stacks end in `ParallelBatchMap`).
A single matrix is factored where it is met. Where every core has a device of its own nothing is
lost by that.

One device is enough for it where a program holds several batches that do not depend on each
other: `after` puts them in order.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

from fracjax import traced
from fracjax._types import Leaf, PyTree

__all__ = ["after", "one_matrix_at_a_time"]

# Axes of the first operand that are not batches; two if not listed.
_CORE_AXES = {"tridiagonal_solve": 1}
_LAPACK = {
    "cholesky",
    "eig",
    "eigh",
    "geqp3",
    "geqrf",
    "hessenberg",
    "householder_product",
    "lu",
    "ormqr",
    "qr",
    "schur",
    "svd",
    "triangular_solve",
    "tridiagonal",
    "tridiagonal_solve",
}


def after(array: Array, earlier: Array) -> Array:
    """Give an array of floats unchanged, but not before another one has been computed.

    What is factored from it then waits for what `earlier` came from. Not by
    `jax.lax.optimization_barrier`, which XLA takes away before it decides what runs at once.

    Args:
        array: What must wait.
        earlier: What it waits for; any values, at least one.
    """
    number = jnp.ravel(earlier)[0]
    nothing = 0 * jnp.where(jnp.isfinite(number), number, 0)
    return array + nothing.astype(array.dtype)


def one_matrix_at_a_time(function: Callable) -> Callable:
    """Make the same function with every batch of matrices factored in a loop.

    Same values; meant for tracing once, after `vmap`. A function without such batches is
    traced, and left as it is.
    """

    def sequential(*arguments: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        leaves = jax.tree.leaves(arguments)
        if _has_batch(closed.jaxpr):
            results = _run(closed, leaves)
        else:
            results = core.jaxpr_as_fun(closed)(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return sequential


def _batch(equation: Any) -> tuple[int, ...]:
    """Shape of a LAPACK call's batch, () for anything else."""
    name = equation.primitive.name
    if name not in _LAPACK:
        return ()
    shape = equation.invars[0].aval.shape
    return shape[: len(shape) - _CORE_AXES.get(name, 2)]


def _has_batch(jaxpr: core.Jaxpr) -> bool:
    return any(
        math.prod(_batch(equation)) > 1 or any(map(_has_batch, traced.bodies(equation)))
        for equation in jaxpr.eqns
    )


def _run(jaxpr: Any, values: Sequence[Leaf]) -> list[Leaf]:
    inner, constants = traced.opened(jaxpr)
    environment: dict[Any, Leaf] = {}

    def read(atom: Any) -> Leaf:
        return atom.val if isinstance(atom, core.Literal) else environment[atom]

    environment.update(zip(inner.constvars, constants, strict=True))
    environment.update(zip(inner.invars, values, strict=True))
    for equation in inner.eqns:
        results = _equation(equation, [read(atom) for atom in equation.invars])
        environment.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in inner.outvars]


def _equation(equation: Any, values: list[Leaf]) -> list[Leaf]:
    name = equation.primitive.name
    if math.prod(batch := _batch(equation)) > 1:
        return _one_by_one(equation, len(batch), values)
    if name in traced.CALLS:  # always: applied again, a custom rule would want its functions
        inner, constants = traced.called(equation)
        return _run(core.ClosedJaxpr(inner, constants), values)
    if not any(map(_has_batch, traced.bodies(equation))):
        return traced.apply(equation, values)
    if name == "scan":
        return traced.scan(equation, values, _run)
    if name == "while":
        return traced.while_loop(equation, values, _run)
    if name == "cond":
        return traced.cond(equation, values[0], values[1:], _run)
    if name == "custom_linear_solve":
        return _linear_solve(equation, values)
    msg = (
        "Argument `devices` must be one CPU device for a function with batched LAPACK calls"
        f" inside `{name}`, but are several: they could wait for each other forever."
    )
    raise ValueError(msg)


def _one_by_one(equation: Any, num_axes: int, values: list[Leaf]) -> list[Leaf]:
    batch = values[0].shape[:num_axes]
    flat = [value.reshape((-1, *value.shape[num_axes:])) for value in values]
    results = jax.lax.map(lambda parts: tuple(traced.apply(equation, parts)), tuple(flat))
    return [result.reshape((*batch, *result.shape[1:])) for result in results]


def _linear_solve(equation: Any, values: list[Leaf]) -> list[Leaf]:
    """Apply the solver of a `custom_linear_solve`; nothing is differentiated any more."""
    lengths, jaxprs = equation.params["const_lengths"], equation.params["jaxprs"]
    names = list(lengths._fields)
    sizes = [getattr(lengths, name) for name in names]
    before = sum(sizes[: names.index("solve")])
    constants = values[before : before + lengths.solve]
    return _run(jaxprs.solve, [*constants, *values[sum(sizes) :]])
