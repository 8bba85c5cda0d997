"""What readers of a traced program share: calls, and loops with other bodies."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from fracjax._types import Leaf

__all__ = [
    "CALLS",
    "apply",
    "bodies",
    "called",
    "cond",
    "opened",
    "scan",
    "scan_parts",
    "while_loop",
]

# Where a call keeps its jaxpr differs between primitives and versions.
CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")

# (jaxpr or closed jaxpr, values) -> leaves
_Run = Callable[[Any, Sequence[Any]], list[Leaf]]


def called(equation: Any) -> tuple[core.Jaxpr, Sequence[Leaf]]:
    """Return the jaxpr that a call calls, and its constants."""
    return opened(next(equation.params[name] for name in _INNER if name in equation.params))


def opened(jaxpr: Any) -> tuple[core.Jaxpr, Sequence[Leaf]]:
    """Split a closed jaxpr; an open one has no constants."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, core.ClosedJaxpr) else (jaxpr, ())


def bodies(equation: Any) -> list[core.Jaxpr]:
    """Jaxprs inside an equation: of a loop, its test, branches, or what is called."""
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    leaves = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda part: isinstance(part, kinds)
    )
    return [opened(part)[0] for part in leaves if isinstance(part, kinds)]


def apply(equation: Any, values: Sequence[Leaf]) -> list[Leaf]:
    """Apply an equation's primitive to arrays."""
    results = equation.primitive.bind(*values, **equation.params)
    return list(results) if equation.primitive.multiple_results else [results]


def scan_parts(equation: Any) -> tuple[int, int]:
    """Where the arguments of a `scan` end that are constants, and that are carried."""
    parameters = equation.params
    if "num_consts" in parameters:
        split = parameters["num_consts"]
        return split, split + parameters["num_carry"]
    constants, carry, _ = map(list, parameters["ft_in"].update(equation.invars).unpack())  # 0.11
    return len(constants), len(constants) + len(carry)


def scan(equation: Any, values: Sequence[Any], run: _Run) -> list[Leaf]:
    """Repeat a `scan` with `run` in place of its body; its constants may be anything."""
    parameters = equation.params
    split, ends = scan_parts(equation)
    constants, carry, rows = values[:split], list(values[split:ends]), list(values[ends:])

    def step(carry: list[Leaf], row: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
        leaves = run(parameters["jaxpr"], [*constants, *carry, *row])
        return leaves[: len(carry)], leaves[len(carry) :]

    carry, stacked = jax.lax.scan(
        step,
        carry,
        rows,
        length=parameters["length"],
        reverse=parameters["reverse"],
        unroll=parameters["unroll"],
    )
    return [*carry, *stacked]


def while_loop(equation: Any, values: Sequence[Any], run: _Run) -> list[Leaf]:
    """Repeat a `while` with `run` in place of its parts; their constants may be anything."""
    parameters = equation.params
    ends = parameters["cond_nconsts"], parameters["cond_nconsts"] + parameters["body_nconsts"]
    for_test, for_body, begin = values[: ends[0]], values[ends[0] : ends[1]], values[ends[1] :]

    def running(carry: list[Leaf]) -> Leaf:
        return run(parameters["cond_jaxpr"], [*for_test, *carry])[0]

    def step(carry: list[Leaf]) -> list[Leaf]:
        new = run(parameters["body_jaxpr"], [*for_body, *carry])
        # Under vmap the test has a batch: who has ended waits for the others.
        on = running(carry) if parameters["cond_jaxpr"].out_avals[0].shape else None
        return new if on is None else [_where(on, *both) for both in zip(new, carry, strict=True)]

    def go_on(carry: list[Leaf]) -> Leaf:
        return jnp.any(running(carry))

    return [*jax.lax.while_loop(go_on, step, list(begin))]


def _where(on: Leaf, new: Leaf, old: Leaf) -> Leaf:
    return jnp.where(jax.lax.expand_dims(on, range(on.ndim, new.ndim)), new, old)


def cond(equation: Any, index: Leaf, operands: Sequence[Any], run: _Run) -> list[Leaf]:
    """Repeat a `cond` or `switch` with `run` in place of its branches."""

    def branch(jaxpr: Any) -> Callable[[], list[Leaf]]:
        return lambda: run(jaxpr, operands)

    return list(jax.lax.switch(index, [branch(jaxpr) for jaxpr in equation.params["branches"]]))
