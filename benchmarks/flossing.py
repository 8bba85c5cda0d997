"""What does one update of gradient flossing cost, next to the same in PyTorch?

The network of the flossing paper: 80 tanh units, one channel of random bits, a window of 55
steps of which 16 are discarded, an orthonormalisation at every step, k exponents. One update is
loss, gradient and Adam, for 16 seeds. Ours is vmapped, on one device and with the seeds cut over
one device per core, by the adjoint rule and by automatic differentiation. PyTorch goes through
`torch.linalg.qr`, with all seeds in one batch, which is the best it can do, and one seed after
the other. Runs alternate; ratios are taken within a round. Values and gradients of all must agree,
or the script ends. Compilation is apart.

What no implementation can do without is written first: `flops` per update of 2 n² k for each of
three products with the coupling (tangents, their cotangents, the gradient) and n k² for each of
a triangle of the Gram matrix and two triangular solves; `bytes` of the frames, written and
read once, and of parameters and moments. Both are also given as seconds, at the rate of a batched
product of 80 × 80 by 80 × k measured here, and of a copy.

    pip install torch
    python benchmarks/flossing.py
    python benchmarks/flossing.py --quick --json PATH
"""

import argparse
import functools
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command_line import announced, options, show, some_of, with_rounds, write
from interleaved import (
    SHORTEST,
    best_threads,
    compiled,
    finished,
    interleaved,
    ratios,
    spread,
    timed,
)

from fracjax import devices, tangent
from fracjax.learning.flossing.cells import driven_tanh_step
from fracjax.learning.flossing.losses import flossing_loss

DTYPES = {"float32": np.float32, "float64": np.float64}
RATE = 1e-3
SEED = 0
ROUNDS = (7, 2)  # usually, and when quick
NAMES = ("recurrent", "input", "bias")


def main() -> None:
    arguments = parse()
    devices.one_cpu_device_per_core()
    jax.config.update("jax_enable_x64", True)
    host, modules, versions = announced(("torch",))
    result: dict[str, Any] = {"machine": host, "packages": versions, "floors": [], "rows": []}
    for count, dtype in itertools.product(arguments.counts, arguments.dtypes):
        problem = Problem(arguments, count, DTYPES[dtype])
        floor = floors(problem)
        show(f"Least work of {problem.title()}", [floor])
        rows = measure(modules, problem, arguments)
        show(f"One update of {problem.title()}", rows)
        result["floors"].append(floor)
        result["rows"] += [{"k": count, "dtype": dtype, **row} for row in rows]
    if arguments.json:
        write(result, arguments.json)


def parse() -> argparse.Namespace:
    parser = options(__doc__, ROUNDS)
    parser.add_argument(
        "--counts", type=lambda text: [int(part) for part in text.split(",")], help="k (16,75)"
    )
    parser.add_argument(
        "--dtypes", type=some_of(DTYPES), default=list(DTYPES), help=",".join(DTYPES)
    )
    arguments = with_rounds(parser.parse_args(), ROUNDS)
    arguments.units, arguments.seeds = (12, 4) if arguments.quick else (80, 16)
    arguments.window, arguments.discard = (10, 3) if arguments.quick else (55, 16)
    arguments.counts = arguments.counts or ([3] if arguments.quick else [16, 75])
    return arguments


class Problem:
    """Networks, inputs and the first frame, the same for all."""

    def __init__(self, arguments: argparse.Namespace, count: int, dtype: type) -> None:
        draws = np.random.default_rng(0)
        self.units, self.seeds, self.count = arguments.units, arguments.seeds, count
        self.window, self.discard, self.dtype = arguments.window, arguments.discard, dtype
        shape = (self.seeds, self.units)
        coupling = draws.normal(size=(*shape, self.units)) / self.units**0.5
        self.params = {
            "recurrent": coupling.astype(dtype),
            "input": draws.normal(size=(*shape, 1)).astype(dtype),
            "bias": draws.uniform(0, 0.1, shape).astype(dtype),
        }
        self.inputs = draws.integers(0, 2, (self.seeds, self.window, 1)).astype(dtype)
        self.state = np.zeros(self.units, dtype)
        # Once, here: it takes JAX ten times as long as PyTorch's whole forward pass.
        frame = tangent.random_frame(jax.random.key(SEED), jnp.asarray(self.state), count)
        self.first_frame = np.array(frame).T.copy()

    def title(self) -> str:
        """What it is."""
        return (
            f"{self.seeds} seeds, {self.units} units, {self.window} steps, k = {self.count},"
            f" {np.dtype(self.dtype).name}"
        )

    def loss(self, params: dict, inputs: jax.Array, derivative: str) -> jax.Array:
        """The mean over exponents of one seed."""
        return flossing_loss(
            driven_tanh_step,
            params,
            jnp.asarray(self.state),
            inputs,
            num_exponents=self.count,
            window=self.window,
            discard=self.discard,
            key=jax.random.key(SEED),
            derivative=derivative,
        ).value


def floors(problem: Problem) -> dict[str, float]:
    n, k, size = problem.units, problem.count, np.dtype(problem.dtype).itemsize
    flops = problem.seeds * problem.window * (6 * n * n * k + 3 * n * k * k)
    moved = 2 * size * problem.seeds * (problem.window * n * k + 3 * (n * n + 2 * n))
    left = jnp.ones((problem.seeds, n, n), problem.dtype)
    right = jnp.ones((problem.seeds, n, k), problem.dtype)

    def products(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda c, _: (left @ c / n, None), right, length=100)[0]

    place = jax.local_devices()
    program = jax.jit(devices.spread(lambda both: jax.vmap(products)(*both), place))
    finished(program, (left, right))
    rate = (
        100
        * 2
        * problem.seeds
        * n
        * n
        * k
        / min(timed(lambda: finished(program, (left, right)), 5))
    )
    buffer = np.ones(2**24)
    other = np.empty_like(buffer)
    copied = 2 * buffer.nbytes / min(timed(lambda: np.copyto(other, buffer), 5))
    return {
        "flops": float(flops),
        "bytes": float(moved),
        "GF/s of products": rate / 1e9,
        "GB/s of copies": copied / 1e9,
        "ms for the flops": 1e3 * flops / rate,
        "ms for the bytes": 1e3 * moved / copied,
    }


def measure(
    modules: dict[str, ModuleType], problem: Problem, arguments: argparse.Namespace
) -> list[dict[str, object]]:
    runs, compiling = here(problem)
    if "torch" in modules:
        torch = modules["torch"]
        runs |= there(torch, problem)
        best_threads(torch, runs["PyTorch, batched"])
    agree(modules, problem)
    seconds = interleaved(runs, arguments.repeats, shortest=0 if arguments.quick else SHORTEST)
    peer = "PyTorch, batched"
    return [
        {
            "method": name,
            "ms (min / median / max)": spread([1e3 * value for value in seconds[name]]),
            "times faster than a batch in PyTorch": ratios(seconds[peer], seconds[name])
            if peer in seconds
            else None,
            "times faster than its loop": ratios(seconds["PyTorch, in a loop"], seconds[name])
            if peer in seconds
            else None,
            "compilation (s)": compiling.get(name),
        }
        for name in runs
    ]


def here(problem: Problem) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    optimizer = optax.adam(RATE)
    params = jax.tree.map(jnp.asarray, problem.params)
    moments = jax.vmap(optimizer.init)(params)
    inputs = jnp.asarray(problem.inputs)

    def update(derivative: str, params: dict, moments: Any, inputs: jax.Array) -> tuple:
        value, slope = jax.value_and_grad(problem.loss)(params, inputs, derivative)
        change, moments = optimizer.update(slope, moments, params)
        return optax.apply_updates(params, change), moments, value

    def every_seed(derivative: str) -> Callable:
        return jax.vmap(functools.partial(update, derivative))

    place = jax.local_devices()
    cut = devices.spread(lambda given: every_seed("adjoint")(*given), place)

    def over_devices(*given: object) -> tuple:
        return cut(given)

    runs: dict[str, Callable[[], object]] = {}
    compiling = {}
    ways = {
        f"fracjax, {len(place)} devices": over_devices,
        "fracjax": every_seed("adjoint"),
        "fracjax, automatic derivative": every_seed("automatic"),
    }
    for name, function in ways.items():
        given = params, moments, inputs
        program, compiling[name], _ = compiled(function, *given)
        if function is over_devices:  # the arguments lie where they are used, as in a loop
            given = finished(jax.jit(devices.spread(lambda rows: rows, place)), given)
            program, compiling[name], _ = compiled(function, *given)
        runs[name] = functools.partial(finished, program, *given)
        runs[name]()
    return runs, compiling


def torch_value(torch: ModuleType, problem: Problem, params: dict, inputs: Any) -> Any:
    """Losses of a batch of seeds, (seeds,)."""
    seeds, n = params["bias"].shape
    state = torch.zeros((seeds, n, 1), dtype=params["bias"].dtype)
    frame = torch.tensor(problem.first_frame).expand(seeds, -1, -1)
    growth = torch.zeros((seeds, problem.count), dtype=state.dtype)
    driven = params["bias"][:, None] + inputs @ params["input"].mT
    for step in range(problem.window):
        rates = torch.tanh(state)
        state = torch.baddbmm(driven[:, step, :, None], params["recurrent"], rates)
        frame, upper = torch.linalg.qr(params["recurrent"] @ ((1 - rates * rates) * frame))
        if step >= problem.discard:
            growth = growth + torch.diagonal(upper, dim1=-2, dim2=-1).abs().log()
    return ((growth / (problem.window - problem.discard)) ** 2).mean(dim=1)


def torch_params(torch: ModuleType, problem: Problem, seeds: slice) -> dict:
    return {name: torch.tensor(problem.params[name][seeds], requires_grad=True) for name in NAMES}


def there(torch: ModuleType, problem: Problem) -> dict[str, Callable[[], object]]:
    def updates(seeds: slice) -> Callable[[], object]:
        params = torch_params(torch, problem, seeds)
        optimizer = torch.optim.Adam(list(params.values()), lr=RATE)
        inputs = torch.tensor(problem.inputs[seeds])

        def update() -> Any:
            optimizer.zero_grad()
            value = torch_value(torch, problem, params, inputs).sum()
            value.backward()
            optimizer.step()
            return value

        return update

    alone = [updates(slice(seed, seed + 1)) for seed in range(problem.seeds)]
    runs = {
        "PyTorch, batched": updates(slice(None)),
        "PyTorch, in a loop": lambda: [update() for update in alone],
    }
    for run in runs.values():
        run()
    return runs


def agree(modules: dict[str, ModuleType], problem: Problem) -> None:
    """Compare values and gradients of all ways at the same parameters."""
    params = jax.tree.map(jnp.asarray, problem.params)
    found = {}
    for derivative in ("adjoint", "automatic"):
        both = jax.value_and_grad(functools.partial(problem.loss, derivative=derivative))
        value, slope = jax.jit(jax.vmap(both))(params, jnp.asarray(problem.inputs))
        found[derivative] = np.asarray(value), {name: np.asarray(slope[name]) for name in NAMES}
    if "torch" in modules:
        torch = modules["torch"]
        leaves = torch_params(torch, problem, slice(None))
        value = torch_value(torch, problem, leaves, torch.tensor(problem.inputs))
        value.sum().backward()
        found["PyTorch"] = (
            value.detach().numpy(),
            {name: leaves[name].grad.numpy() for name in NAMES},
        )
    tolerance = 1e-8 if problem.dtype is np.float64 else 5e-3
    known, gradient = found["automatic"]
    for name, (value, slope) in found.items():
        errors = [np.abs(value / known - 1).max()]
        errors += [np.abs(slope[n] - gradient[n]).max() / np.abs(gradient[n]).max() for n in NAMES]
        print(f"{name} next to automatic derivatives: value and gradients to {max(errors):.1e}")
        if not max(errors) < tolerance:
            msg = f"{name} differs from automatic derivatives by {max(errors)}."
            raise SystemExit(msg)


if __name__ == "__main__":
    main()
