"""How near do the evaluators of a pendulum scan come to what the machine can do?

Counted per policy step and point:

* operations: from the jaxpr of a whole rollout, divided by its steps. A product of matrices is
  2 m n k; an addition, multiplication, division, negation, maximum or square of an element is
  one; a sine, cosine, tanh or other function is one, and is counted again apart. Comparisons,
  selections and moves are free. It is what the program says: XLA drops or shares a little.
* bytes, from the widths n_i of the layers (P = Σ n_i n_{i+1} weights, B = Σ n_{i+1} biases), k
  axes and c points in a chunk, in words of the dtype. Plain: every point reads its own weights
  and biases, P + B, and its hidden layers are written and read, 2 B. Affine: the shared
  matrices are read once for the chunk, (1 + k) P / c; a point reads its biases, B, and writes
  and reads the products with all of them, 2 (1 + k) B, and its hidden layers, 2 B. Both read
  and write the state. Caches are not modelled: the bandwidth is measured where the data are.

Peaks are measured in the same run: a product of large matrices (on a CPU the better of XLA's
and NumPy's), a tanh of an array in cache, and a copy (negation) of an array as large as what a
chunk reads in every step, on every device at once. The roofline is the larger of the times
that operations and bytes take at these peaks; the fraction is that time over the measured one.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from fracjax import devices
from fracjax.affine import along_affine_family

__all__ = ["Work", "compare", "measure_peaks", "operations", "roofline", "work"]

_ARITHMETIC = {"add", "add_any", "sub", "mul", "div", "neg", "max", "min", "square", "integer_pow"}
_FUNCTIONS = {"sin", "cos", "tanh", "exp", "log", "log1p", "logistic", "erf", "sqrt", "rsqrt"}
_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
_MEMORY = 256 * 2**20
_SECONDS = 0.05  # of a loop, at least


@dataclasses.dataclass(frozen=True)
class Work:
    """Work of one policy step of one point.

    Attributes:
        operations: Floating-point operations, functions included.
        functions: Sines, cosines, tanhs and the like among them.
        bytes: Bytes moved.
        chunk_bytes: What all points of a chunk touch in a step, in bytes: the working set.
    """

    operations: float
    functions: float
    bytes: float
    chunk_bytes: float


def operations(function: Callable, *arguments: Any) -> tuple[float, float]:
    """Count the operations of a call, and the functions among them."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: core.Jaxpr) -> tuple[float, float]:
    total, functions = 0.0, 0.0
    for equation in jaxpr.eqns:
        name, out = equation.primitive.name, equation.outvars[0].aval
        if name == "scan" or name in _CALLS:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            inside = _count(inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner)
            times = equation.params["length"] if name == "scan" else 1
            total, functions = total + times * inside[0], functions + times * inside[1]
        elif name in ("while", "cond"):
            msg = f"Operations of a `{name}` cannot be counted."
            raise ValueError(msg)
        elif name == "dot_general":
            left = equation.invars[0].aval.shape
            contracted = equation.params["dimension_numbers"][0][0]
            total += 2.0 * out.size * np.prod([left[axis] for axis in contracted])
        elif not jnp.issubdtype(out.dtype, jnp.floating):
            continue
        elif name in _FUNCTIONS:
            total, functions = total + out.size, functions + out.size
        elif name in _ARITHMETIC:
            total += out.size
        elif name == "reduce_sum":
            total += equation.invars[0].aval.size
    return float(total), float(functions)


def work(problem: Any, evaluator: str, chunk: int) -> Work:
    """Work per policy step of one point of a `scan_pendulum.Problem`."""
    arguments: tuple = (problem.params, problem.key)
    function = problem.objective
    axes = len(problem.grid.axes)
    dtype = jax.tree.leaves(problem.params)[0].dtype
    if evaluator == "affine":
        function = along_affine_family(problem.objective)
        row = jnp.zeros(axes, dtype)
        arguments = (problem.params, problem.grid.directions, row, problem.key)
    total, functions = operations(function, *arguments)
    word = dtype.itemsize
    weights = sum(a * b for a, b in zip(problem.sizes[:-1], problem.sizes[1:], strict=True))
    biases = sum(problem.sizes[1:])
    state = 2 * 2 * word
    if evaluator == "plain":
        moved = word * (weights + 3 * biases) + state
        held = chunk * word * (weights + 2 * biases)
    else:
        moved = word * ((1 + axes) * weights / chunk + biases * (3 + 2 * (1 + axes))) + state
        held = word * ((1 + axes) * weights + chunk * biases * (3 + axes))
    return Work(total / problem.horizon, functions / problem.horizon, moved, held)


def roofline(done: Work, rate: float, peaks: dict[str, float], bandwidth: float) -> dict[str, Any]:
    """Compare a measured rate (policy steps per second) with what the peaks allow."""
    times = {
        "operations": done.operations / peaks["operations/s"],
        "bytes": done.bytes / bandwidth,
    }
    return {
        "operations per step": done.operations,
        "functions per step": done.functions,
        "bytes per step": done.bytes,
        "working set, KiB": done.chunk_bytes / 1024,
        "bandwidth there, GB/s": bandwidth / 1e9,
        "bound by": max(times, key=lambda name: times[name]),
        "million steps/s": rate / 1e6,
        "roofline, million steps/s": 1e-6 / max(times.values()),
        "fraction of the roofline": rate * max(times.values()),
        "fraction of the peak of operations": rate * times["operations"],
        "fraction of the peak of functions": rate * done.functions / peaks["functions/s"],
    }


def compare(problem: Any, compared: dict[str, Any]) -> dict[str, Any]:
    """Both evaluators at the median rates of `scan_pendulum.compare`."""
    done = {name: work(problem, name, chunk) for name, chunk in compared["chunk sizes"].items()}
    peaks, bandwidths = measure_peaks([each.chunk_bytes for each in done.values()])
    rows = []
    for (name, each), bandwidth in zip(done.items(), bandwidths, strict=True):
        rate = 1e6 * compared["million steps/s"][f"fracjax {name}"]["median"]
        rows.append({"evaluator": name, **roofline(each, rate, peaks, bandwidth)})
    return {"peaks": peaks, "roofline": rows}


def measure_peaks(
    sizes: Sequence[float], dtype: str = "float32"
) -> tuple[dict[str, float], list[float]]:
    """Peaks of the machine, and the bandwidth for working sets of `sizes` bytes per device."""
    word = jnp.dtype(dtype).itemsize
    peaks = {
        "operations/s": _product_rate(dtype),
        "functions/s": _loop_rate(jnp.tanh, 2**15, dtype) / (2 * word),
        "bytes/s in memory": _loop_rate(jnp.negative, _MEMORY, dtype),
    }
    return peaks, [_loop_rate(jnp.negative, max(int(size), 4096), dtype) for size in sizes]


def _product_rate(dtype: str) -> float:
    """Operations per second of a product of matrices on all devices together."""
    local = jax.local_devices()
    size = 1024 if jax.default_backend() == "cpu" else 8192
    matrices = jnp.full((len(local), size, size), 1e-3, dtype)
    multiply = jax.jit(devices.spread(lambda row: row @ row, local))
    rate = len(local) * 2 * size**3 / _best(lambda: multiply(matrices))
    if jax.default_backend() == "cpu":
        one = np.full((2 * size, 2 * size), 1e-3, dtype)
        rate = max(rate, 2 * (2 * size) ** 3 / _best(lambda: one @ one))
    return rate


def _loop_rate(function: Callable, size: int, dtype: str) -> float:
    """Bytes read and written per second where `function` runs over an array again and again."""
    local = jax.local_devices()
    values = jnp.full((len(local), size // jnp.dtype(dtype).itemsize), 0.5, dtype)

    def loop(rows: jax.Array, repeats: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, repeats, lambda _, x: function(x), rows)

    run = jax.jit(devices.spread(loop, local))
    repeats, seconds = 1, 0.0
    while seconds < _SECONDS:
        repeats *= 4
        seconds = _best(functools.partial(run, values, jnp.int32(repeats)))
    return 2 * values.nbytes * repeats / seconds


def _best(run: Callable[[], Any], tries: int = 4) -> float:
    """Least seconds of a call that has run before."""
    jax.block_until_ready(run())
    seconds = []
    for _ in range(tries):
        begin = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
