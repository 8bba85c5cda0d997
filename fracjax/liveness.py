"""How much memory a function's values take at once, from its jaxpr alone."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

from fracjax import traced
from fracjax._types import PyTree

__all__ = ["peak_bytes"]


def peak_bytes(function: Callable, *arguments: PyTree) -> int:
    """Bound the memory that one call needs, in bytes, arguments and results included.

    Every value of the traced function is held from where it is made to its last use, as if the
    compiler fused nothing, which makes it more than what is used; copies that a compiler makes
    for its own purposes are not known here. What compilers say is not used: XLA's analysis for
    CPUs leaves out most temporary values (measured: 0 of 128 MiB for two products of
    matrices), and what a process really takes depends on what it did before, while the batch
    that is chosen by this number must come out the same again.

    Args:
        function: What is called.
        *arguments: Arrays, or their shapes (`jax.ShapeDtypeStruct`).
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return _peak(closed.jaxpr)


def _peak(jaxpr: Any) -> int:
    last: dict[Any, int] = {}
    for number, equation in enumerate(jaxpr.eqns):
        last.update((atom, number) for atom in equation.invars if _is_variable(atom))
    results = filter(_is_variable, jaxpr.outvars)  # a constant result is a literal
    kept = {*results, *jaxpr.invars, *jaxpr.constvars} if jaxpr.eqns else set()
    live = sum(map(_bytes, (*jaxpr.invars, *jaxpr.constvars)))
    peak = live
    for number, equation in enumerate(jaxpr.eqns):
        made = sum(map(_bytes, equation.outvars))
        peak = max(peak, live + made + _inside(equation))
        unused = [variable for variable in equation.outvars if variable not in last]
        ended = {atom for atom in equation.invars if _is_variable(atom) and last[atom] == number}
        live += made - sum(map(_bytes, {*ended, *unused} - kept))
    return peak


def _inside(equation: Any) -> int:
    """Memory that loops, branches and calls take beyond their arguments and results."""
    return max(map(_peak, traced.bodies(equation)), default=0)


def _is_variable(atom: Any) -> bool:
    return not isinstance(atom, core.Literal)


def _bytes(atom: Any) -> int:
    aval = atom.aval
    if not _is_variable(atom) or not hasattr(aval, "shape"):
        return 0
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 8)
