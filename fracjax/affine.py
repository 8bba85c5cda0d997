"""Evaluate a function of parameters along θ0 + Σ c_k d_k without forming the parameters.

A dense layer's kernel W(c) = W0 + Σ c_k D_k acts on a vector x as W0 x + Σ c_k D_k x: products
with matrices that all points share. The plain way reads a matrix of its own for every point
and step, which is bound by memory; shared matrices are read once per batch.

The function is traced to a jaxpr and interpreted: kernels stay families (the stack of W0 and
D_k) up to the product that uses them, everything else is formed as usual. So any function
works, whatever library made its layers.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from fracjax import traced
from fracjax._types import Leaf, PyTree

__all__ = ["along_affine_family"]

_PRODUCTS = ("dot_general", "conv_general_dilated")
# Applied to W0 and every D_k alike; all linear.
_LINEAR = ("transpose", "reshape", "squeeze", "convert_element_type", "slice", "rev", "copy")
# With more columns per point than this, forming the kernel is the smaller part of the work.
_MAX_COLUMNS = 16


class _Family:
    """W0 and the D_k, stacked; stands for W0 + Σ c_k D_k."""

    def __init__(self, stack: Leaf, formed: Leaf | None = None):
        self.stack = stack
        self._formed = formed

    def form(self, coordinates: Leaf) -> Leaf:
        if self._formed is None:
            total = self.stack[0]
            for index in range(len(self.stack) - 1):
                total = total + coordinates[index].astype(total.dtype) * self.stack[index + 1]
            self._formed = total
        return self._formed


class _Shared:
    """A value that is the same at all points."""

    def __init__(self, value: Leaf):
        self.value = value


_Value: TypeAlias = "_Family | _Shared | Leaf"


def along_affine_family(function: Callable, *, num_varying: int = 0) -> Callable:
    """Make `(centre, directions, coordinates, *rest) -> function(centre + Σ c_k d_k, *rest)`.

    Equal to the plain evaluation to rounding, not bit for bit. Meant to be mapped over
    coordinates with everything else shared: `jax.vmap(f, in_axes=(None, None, 0, None))`.

    Args:
        function: Pure function of parameters (a pytree) and further arguments.
        num_varying: How many of the further arguments, the first ones, differ between points;
            what depends on the others alone is taken as shared.

    Returns:
        A function of the centre, the directions (stacked along a leading axis), the
        coordinates, an array with one entry per direction, and the further arguments.
    """

    def evaluate(centre: PyTree, directions: PyTree, coordinates: Leaf, *rest: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(centre, *rest)
        stacks = jax.tree.map(
            lambda leaf, along: jnp.concatenate([jnp.asarray(leaf)[None], along]),
            centre,
            directions,
        )
        families: list[_Value] = [_Family(stack) for stack in jax.tree.leaves(stacks)]
        varying: list[_Value] = jax.tree.leaves(rest[:num_varying])
        shared: list[_Value] = [_Shared(leaf) for leaf in jax.tree.leaves(rest[num_varying:])]
        constants: list[_Value] = [_Shared(leaf) for leaf in closed.consts]
        reader = _Interpreter(coordinates)
        results = reader.run(closed.jaxpr, constants, families + varying + shared)
        leaves = [reader.plain(result) for result in results]
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return evaluate


class _Interpreter:
    """Runs a jaxpr on families, shared values and values that differ between points."""

    def __init__(self, coordinates: Leaf):
        self._coordinates = coordinates

    def plain(self, value: _Value) -> Leaf:
        """Return the array that a value stands for."""
        if isinstance(value, _Family):
            return value.form(self._coordinates)
        return value.value if isinstance(value, _Shared) else value

    def run(
        self, jaxpr: core.Jaxpr, constants: Sequence[_Value], arguments: Sequence[_Value]
    ) -> list[_Value]:
        """Interpret a jaxpr equation by equation."""
        environment: dict[Any, _Value] = {}

        def read(atom: Any) -> _Value:
            return _Shared(atom.val) if isinstance(atom, core.Literal) else environment[atom]

        environment.update(zip(jaxpr.constvars, constants, strict=True))
        environment.update(zip(jaxpr.invars, arguments, strict=True))
        for equation in jaxpr.eqns:
            values = [read(atom) for atom in equation.invars]
            results = self._equation(equation, values)
            environment.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, values: list[_Value]) -> list[_Value]:
        name = equation.primitive.name
        if name in traced.CALLS:
            return self._inline(traced.called(equation), values)
        if not any(isinstance(value, _Family) for value in values):
            return self._bind(equation, values)
        if name in _LINEAR and len(values) == 1 and self._stays_floating(equation):
            (family,) = values
            assert isinstance(family, _Family)
            stack = jax.vmap(lambda leaf: traced.apply(equation, [leaf])[0])(family.stack)
            return [_Family(stack)]
        if name in _PRODUCTS:
            return [self._product(equation, values)]
        if name == "scan":
            return self._scan(equation, values)
        if name == "while":
            return self._while(equation, values)
        if name == "cond":
            return self._cond(equation, values)
        return self._bind(equation, values)

    def _bind(self, equation: Any, values: list[_Value]) -> list[_Value]:
        shared = all(isinstance(value, _Shared) for value in values)
        results = traced.apply(equation, [self.plain(value) for value in values])
        return [_Shared(result) for result in results] if shared else list(results)

    @staticmethod
    def _stays_floating(equation: Any) -> bool:
        return jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating)

    def _product(self, equation: Any, values: list[_Value]) -> _Value:
        """Form Σ c_k (D_k x), where that is cheaper than (Σ c_k D_k) x."""
        side = 0 if isinstance(values[0], _Family) else 1
        family, other = values[side], values[1 - side]
        if isinstance(other, _Family) or not self._pays(equation, side, other):
            return self._bind(equation, values)[0]
        assert isinstance(family, _Family)
        operand = self.plain(other)

        def product(leaf: Leaf) -> Leaf:
            return traced.apply(equation, [leaf, operand] if side == 0 else [operand, leaf])[0]

        products = jax.vmap(product)(family.stack)
        total = products[0]
        for index in range(len(family.stack) - 1):
            total = total + self._coordinates[index].astype(total.dtype) * products[index + 1]
        return total

    @staticmethod
    def _pays(equation: Any, side: int, other: _Value) -> bool:
        if isinstance(other, _Shared):  # x is the same everywhere, and so is D_k x
            return True
        shape = equation.invars[1 - side].aval.shape
        if equation.primitive.name != "dot_general":
            return shape[0] <= _MAX_COLUMNS
        contracted, batched = equation.params["dimension_numbers"]
        used = (*contracted[1 - side], *batched[1 - side])
        columns = [size for axis, size in enumerate(shape) if axis not in used]
        return int(np.prod(columns)) <= _MAX_COLUMNS

    def _inline(
        self, program: tuple[core.Jaxpr, Sequence[Leaf]], values: Sequence[_Value]
    ) -> list[_Value]:
        jaxpr, constants = program
        return self.run(jaxpr, [_Shared(leaf) for leaf in constants], values)

    def _formed(self, jaxpr: Any, values: Sequence[_Value]) -> list[Leaf]:
        return [self.plain(value) for value in self._inline(traced.opened(jaxpr), values)]

    def _hoisted(self, jaxpr: Any, values: Sequence[_Value]) -> list[_Value]:
        """Form before a loop what the loop would form in every step (biases, scales)."""
        wanted = _reaches_product(traced.opened(jaxpr)[0])[: len(values)]
        return [
            self.plain(value) if isinstance(value, _Family) and not keep else value
            for value, keep in zip(values, wanted, strict=True)
        ]

    def _scan(self, equation: Any, values: list[_Value]) -> list[_Value]:
        split, _ = traced.scan_parts(equation)
        constants = self._hoisted(equation.params["jaxpr"], values[:split])
        moving = [self.plain(value) for value in values[split:]]
        return list(traced.scan(equation, [*constants, *moving], self._formed))

    def _while(self, equation: Any, values: list[_Value]) -> list[_Value]:
        parameters = equation.params
        split = parameters["cond_nconsts"]
        ends = split + parameters["body_nconsts"]
        for_test = self._hoisted(parameters["cond_jaxpr"], values[:split])
        for_body = self._hoisted(parameters["body_jaxpr"], values[split:ends])
        begin = [self.plain(value) for value in values[ends:]]
        return list(traced.while_loop(equation, [*for_test, *for_body, *begin], self._formed))

    def _cond(self, equation: Any, values: list[_Value]) -> list[_Value]:
        index, *operands = values
        return list(traced.cond(equation, self.plain(index), operands, self._formed))


def _reaches_product(jaxpr: Any) -> list[bool]:
    """Which arguments of a jaxpr are, perhaps after linear steps, factors of a product."""
    useful: set[Any] = set()
    for equation in reversed(jaxpr.eqns):
        name = equation.primitive.name
        atoms = [atom for atom in equation.invars if not isinstance(atom, core.Literal)]
        if name in _PRODUCTS:
            useful.update(atoms)
        elif name in _LINEAR:
            useful.update(atoms if equation.outvars[0] in useful else [])
        elif name in traced.CALLS or name == "scan":
            flags = _reaches_product(traced.called(equation)[0])
            useful.update(
                atom
                for atom, flag in zip(equation.invars, flags, strict=True)
                if flag and not isinstance(atom, core.Literal)
            )
        elif name in ("while", "cond"):
            useful.update(atoms)
    return [variable in useful for variable in jaxpr.invars]
