"""What a flossing loss and its gradient cost: operations, stored bytes, seconds."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.interpreters import partial_eval

from fracjax._types import PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.exponent_regularization.penalties import ExponentPenalty

__all__ = [
    "FlossingCost",
    "ProgramCost",
    "checkpoint_costs",
    "count_operations",
    "flossing_cost",
    "stored_bytes",
]


class ProgramCost(NamedTuple):
    """What one compiled program costs.

    Attributes:
        operations: Additions and multiplications of matrix products and factorisations, loops
            multiplied out, see `count_operations`.
        compiler_flops: XLA's own count. It takes the body of every loop once and no call of a
            library, so that it is far too small here; None where it has none.
        compiler_bytes: XLA's count of bytes read and written, with the same reservation.
        scratch_bytes: Memory beside arguments and results that XLA has planned; on CPUs it
            leaves out much of what loops and libraries take. None where it is not known.
        compile_seconds: Tracing and compiling, less if a compilation cache had it.
        seconds: Shortest of several runs.
    """

    operations: int
    compiler_flops: float | None
    compiler_bytes: float | None
    scratch_bytes: int | None
    compile_seconds: float
    seconds: float


class FlossingCost(NamedTuple):
    """Forward and backward cost of one loss.

    Attributes:
        forward: The loss alone.
        backward: Loss and gradient.
        stored_bytes: What reverse mode keeps between the two, see `stored_bytes`.
        seconds_ratio: Seconds of loss and gradient over seconds of the loss.
        operations_ratio: The same of operations.
    """

    forward: ProgramCost
    backward: ProgramCost
    stored_bytes: int
    seconds_ratio: float
    operations_ratio: float


def flossing_cost(
    loss: Callable[[PyTree], Any], params: PyTree, *, repeats: int = 5
) -> FlossingCost:
    """Compile a loss and its gradient, count what they do, and time them.

    Seconds are those of this machine as busy as it is now: for a comparison let runs alternate,
    as the scripts in `benchmarks/` do.

    Args:
        loss: `params -> ExponentPenalty` or scalar; a vmapped one, summed, for many seeds.
        params: Parameters.
        repeats: Timed runs of each program.

    Raises:
        ValueError: If nothing is to be timed.
    """
    check_at_least(repeats=(repeats, 1))

    value = _scalar(loss)
    forward = _program(value, params, repeats)
    backward = _program(jax.value_and_grad(value), params, repeats)
    return FlossingCost(
        forward,
        backward,
        stored_bytes(value, params),
        backward.seconds / forward.seconds,
        backward.operations / max(forward.operations, 1),
    )


def checkpoint_costs(
    loss: Callable[..., Any],
    params: PyTree,
    choices: Sequence[int | None],
    *,
    repeats: int = 5,
) -> dict[int | None, FlossingCost]:
    """Compare checkpointing policies of one loss.

    Args:
        loss: `loss(params, checkpoint_every=choice)`.
        params: Parameters.
        choices: Values of `checkpoint_every`, None for storing everything. With `m`
            orthonormalisations √m stores least.
        repeats: See `flossing_cost`.
    """

    def of_choice(choice: int | None) -> FlossingCost:
        return flossing_cost(
            lambda params: loss(params, checkpoint_every=choice), params, repeats=repeats
        )

    return {choice: of_choice(choice) for choice in choices}


def stored_bytes(function: Callable[[PyTree], Any], params: PyTree) -> int:
    """Count the bytes that reverse mode stores between the forward and the backward pass.

    These are the residuals of `jax.vjp`: the arrays that the backward function holds on to, the
    parameters themselves among them, found from shapes alone. It is what grows with the window,
    and what checkpointing saves; while it runs the backward pass needs more. XLA's memory analysis
    on CPUs does not show it. When both passes are compiled into one program, XLA may recompute
    a part instead of storing it.

    Args:
        function: `params -> scalar`, or an `ExponentPenalty`.
        params: Parameters.
    """
    value = _scalar(function)
    held = jax.eval_shape(lambda params: jax.vjp(value, params)[1], params)
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(held))


def count_operations(function: Callable, *arguments: PyTree) -> int:
    """Count additions and multiplications of matrix products and factorisations.

    2 m n k for a product of m × k and k × n, n³/3 for a Cholesky factor of n × n, n² m for a
    triangular solve with m right sides, 2 n² (m − n/3) for a QR factorisation of m × n and as
    much for its basis. A scan counts as often as it runs, a branch as the dearest one, and a loop
    without a known length not at all: here only the fallback of a failed Cholesky factorisation
    is one. What acts element by element is left out: it is of the order of a share 1/n. Results
    that nobody uses are not counted, as no compiler makes them.

    Args:
        function: What is called.
        *arguments: Arrays or their shapes.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return _count(partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


def _scalar(loss: Callable[[PyTree], Any]) -> Callable[[PyTree], jax.Array]:
    """Make a function of parameters that gives what is to be differentiated."""

    def value(params: PyTree) -> jax.Array:
        found = loss(params)
        return found.value if isinstance(found, ExponentPenalty) else found

    return value


def _program(function: Callable, params: PyTree, repeats: int) -> ProgramCost:
    begin = time.perf_counter()
    program = jax.jit(function).lower(params).compile()
    compiling = time.perf_counter() - begin
    jax.block_until_ready(program(params))
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(program(params))
        seconds.append(time.perf_counter() - begin)
    found = program.cost_analysis() or {}
    memory = program.memory_analysis()
    return ProgramCost(
        operations=count_operations(function, params),
        compiler_flops=found.get("flops"),
        compiler_bytes=found.get("bytes accessed"),
        scratch_bytes=None if memory is None else int(memory.temp_size_in_bytes),
        compile_seconds=compiling,
        seconds=min(seconds),
    )


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _count(jaxpr: core.Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, inner = equation.primitive.name, list(_inner(equation))
    if name == "while":
        return 0
    if name == "cond":
        return max(map(_count, inner))
    if inner:
        # A rule of derivatives comes along as a function and is not among them.
        return equation.params.get("length", 1) * sum(map(_count, inner))
    shapes = [atom.aval.shape for atom in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        depth = math.prod(shapes[0][axis] for axis in contracted)
        return 2 * depth * math.prod(equation.outvars[0].aval.shape)
    if name == "cholesky":
        return math.prod(shapes[0]) * shapes[0][-1] // 3
    if name == "triangular_solve":
        return math.prod(shapes[1]) * shapes[0][-1]
    if name in ("geqrf", "householder_product", "qr"):
        *batch, rows, columns = shapes[0]
        least = min(rows, columns)
        once = 2 * math.prod(batch) * least**2 * (max(rows, columns) - least / 3)
        return int(2 * once if name == "qr" else once)
    return 0


def _inner(equation: Any) -> Iterator[core.Jaxpr]:
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part
