"""What do products, Lanczos iterations and spectral densities of a Hessian cost, next to peers?

A tanh network and its cross entropy on random images, float32, everywhere the same weights and
data. (product) A Hessian-vector product over a gradient, both compiled: alone, and inside a
loop. (lanczos) 100 iterations in about 10⁵ and 10⁶
dimensions: ours with and without a basis, matfree with `reortho="full"` and `"none"` on the same
product, and two packages in PyTorch with products by autograd; the largest eigenvalue must agree
where a method is re-orthogonalised, and the ghosts of it are counted. (density) 10 draws of 80
iterations, ours next to PyHessian and hessian-eigenthings; the mean eigenvalue must agree. Runs
alternate; ratios are taken within a round.

    pip install torch matfree pyhessian hessian-eigenthings
    python benchmarks/curvature.py
    python benchmarks/curvature.py --quick --only product --json PATH
"""

import argparse
import functools
import importlib
import itertools
import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import announced, options, show, some_of, with_rounds, write
from comparisons import bound_of
from curvature_peers import Runs, densities_there, lanczos_there, products_there
from interleaved import SHORTEST, compiled, finished, interleaved, ratios, spread

from fracjax.curvature import hessian, lanczos, spectral_density, spectral_mean
from fracjax.curvature.operators import flat_operator

PEERS = ("torch", "matfree", "hessian_eigenthings", "pyhessian")
PARTS = ("product", "lanczos", "density")
SHAPES = {100_000: (784, 120, 40, 10), 1_000_000: (784, 715, 600, 10)}
KEY = jax.random.key(0)
LOOP = 20  # gradients or products in a loop
ROUNDS = (5, 2)  # usually, and when quick
AGREES = 1e-3  # relative difference of eigenvalues between packages


def main() -> None:
    arguments = parse()
    host, modules, versions = announced(PEERS)
    result: dict[str, Any] = {"machine": host, "packages": versions}
    parts = {"product": product_part, "lanczos": lanczos_part, "density": density_part}
    for part in arguments.only:
        result[part] = parts[part](modules, arguments)
    if arguments.json:
        write(result, arguments.json)


def parse() -> argparse.Namespace:
    parser = options(__doc__, ROUNDS)
    parser.add_argument("--only", type=some_of(PARTS), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument(
        "--sizes",
        type=some_of(SHAPES),
        default=list(SHAPES),
        help=f"about how many parameters lanczos has: {','.join(map(str, SHAPES))}",
    )
    return with_rounds(parser.parse_args(), ROUNDS)


class Problem:
    """A network and its data, the same for both frameworks."""

    def __init__(self, sizes: tuple[int, ...], batch: int) -> None:
        draws = np.random.default_rng(0)
        self.sizes, self.batch = sizes, batch
        self.params = [
            {
                "kernel": (draws.normal(size=(a, b)) / math.sqrt(a)).astype(np.float32),
                "bias": np.zeros(b, np.float32),
            }
            for a, b in itertools.pairwise(sizes)
        ]
        self.data = (
            draws.normal(size=(batch, sizes[0])).astype(np.float32),
            draws.integers(0, sizes[-1], batch).astype(np.int32),
        )
        self.size = sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def arrays(self) -> tuple[list, tuple]:
        """Parameters and data for JAX."""
        return jax.tree.map(jnp.asarray, (self.params, self.data))

    def title(self) -> str:
        """What is in it."""
        sizes = "-".join(map(str, self.sizes))
        return f"tanh {sizes}, {self.size} parameters, batch of {self.batch}"


def loss(params: list, batch: tuple) -> jax.Array:
    hidden, labels = batch
    for layer in params[:-1]:
        hidden = jnp.tanh(hidden @ layer["kernel"] + layer["bias"])
    logits = hidden @ params[-1]["kernel"] + params[-1]["bias"]
    chosen = jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def product_part(modules: dict[str, ModuleType], arguments: argparse.Namespace) -> dict[str, list]:
    """A product over a gradient, in JAX and by autograd in PyTorch."""
    shapes = (
        [((64, 32, 10), 64)]
        if arguments.quick
        else [
            ((784, 256, 256, 10), 512),
            ((64, 64, 64, 10), 128),
        ]
    )
    rows = []
    for sizes, batch in shapes:
        problem = Problem(sizes, batch)
        runs = products_here(problem)
        if "torch" in modules:
            runs |= products_there(modules["torch"], problem)
        seconds = interleaved(runs, arguments.repeats, shortest=SHORTEST)
        for name, times in seconds.items():
            if "loop" in name:
                seconds[name] = [value / LOOP for value in times]
        own = {
            "one product": "one gradient",
            "product in a loop": "gradient in a loop",
            "PyTorch product": "PyTorch gradient",
        }
        rows += [
            {
                "network": problem.title(),
                "work": name,
                "ms (min / median / max)": spread([1e3 * value for value in seconds[name]]),
                "times a gradient": ratios(seconds[name], seconds[own[name]])
                if name in own
                else None,
            }
            for name in seconds
        ]
    show(f"Hessian-vector product over gradient (target {bound_of('curvature'):g})", rows)
    return {"rows": rows}


def products_here(problem: Problem) -> Runs:
    params, data = problem.arrays()
    direction = jax.tree.map(lambda leaf: jnp.ones_like(leaf) / problem.size**0.5, params)

    def gradients(params: list, data: tuple) -> list:
        def step(params: list, _: None) -> tuple[list, None]:
            slope = jax.grad(loss)(params, data)
            return jax.tree.map(lambda p, g: p - 1e-6 * g, params, slope), None

        return jax.lax.scan(step, params, length=LOOP)[0]

    def products(params: list, data: tuple, direction: list) -> list:
        product = hessian(loss, params, data).linear_map()

        def step(vector: list, _: None) -> tuple[list, None]:
            return jax.tree.map(lambda v, p: v + 1e-6 * p, vector, product(vector)), None

        return jax.lax.scan(step, direction, length=LOOP)[0]

    def one(params: list, data: tuple, direction: list) -> list:
        return hessian(loss, params, data)(direction)

    runs: Runs = {}
    for name, function, inputs in (
        ("one gradient", jax.grad(loss), (params, data)),
        ("one product", one, (params, data, direction)),
        ("gradient in a loop", gradients, (params, data)),
        ("product in a loop", products, (params, data, direction)),
    ):
        runs[name] = functools.partial(finished, compiled(function, *inputs)[0], *inputs)
        runs[name]()
    return runs


def lanczos_part(modules: dict[str, ModuleType], arguments: argparse.Namespace) -> dict[str, list]:
    """100 iterations from one start, the product being the Hessian of a network."""
    chosen = [(64, 60, 20, 10)] if arguments.quick else [SHAPES[size] for size in arguments.sizes]
    steps, rows = (30 if arguments.quick else 100), []
    for sizes in chosen:
        problem = Problem(sizes, 32)
        start = jax.random.normal(KEY, (problem.size,))
        runs, values, first = lanczos_here(modules, problem, start, steps)
        if "torch" in modules:
            theirs, found = lanczos_there(modules, problem, np.array(start), steps)
            runs, values = runs | theirs, values | found
        seconds = interleaved(runs, arguments.repeats)
        largest = values["fracjax"].max()
        for name, found in values.items():
            gap = abs(found.max() - largest) / abs(largest)
            if not gap < AGREES:
                msg = f"{name} finds {found.max()} for the largest eigenvalue, not {largest}."
                raise SystemExit(msg)
        rows += [
            {
                "n": problem.size,
                "method": name,
                "s (min / median / max)": spread(seconds[name]),
                "times fracjax": ratios(seconds[name], seconds["fracjax"]),
                "copies of the largest": int(np.sum(values[name] > largest * (1 - 1e-4))),
                "compilation (s)": first.get(name, (None, None))[0],
                "scratch (MB)": first.get(name, (None, None))[1],
            }
            for name in runs
        ]
    show(f"{steps} iterations of Lanczos", rows)
    return {"rows": rows}


def lanczos_here(
    modules: dict[str, ModuleType], problem: Problem, start: jax.Array, steps: int
) -> tuple[Runs, dict[str, np.ndarray], dict[str, tuple[float, float | None]]]:
    """Ours and matfree's: runs, eigenvalues, seconds of compilation and megabytes of scratch."""
    params, data = problem.arrays()

    def ours(params: list, data: tuple, start: jax.Array, *, keep_basis: bool) -> jax.Array:
        apply, *_ = flat_operator(hessian(loss, params, data))
        found = lanczos(apply, start, KEY, num_iterations=steps, keep_basis=keep_basis)
        return found.dense()

    def theirs(params: list, data: tuple, start: jax.Array, *, reortho: str) -> jax.Array:
        apply, *_ = flat_operator(hessian(loss, params, data))
        # `import matfree` leaves its modules out.
        algorithm = importlib.import_module("matfree.decomp").tridiag_sym(
            steps, reortho=reortho, custom_vjp=False, materialize=True
        )
        return algorithm(apply, start).J_small

    functions = {
        "fracjax": functools.partial(ours, keep_basis=True),
        "fracjax, no basis": functools.partial(ours, keep_basis=False),
    }
    if "matfree" in modules:
        functions["matfree, full"] = functools.partial(theirs, reortho="full")
        functions["matfree, none"] = functools.partial(theirs, reortho="none")
    runs: Runs = {}
    values, first = {}, {}
    for name, function in functions.items():
        program, seconds, scratch = compiled(function, params, data, start)
        first[name] = (seconds, None if scratch is None else scratch / 1e6)
        runs[name] = functools.partial(finished, program, params, data, start)
        values[name] = np.linalg.eigvalsh(np.asarray(runs[name](), np.float64))
    return runs, values, first


def density_part(modules: dict[str, ModuleType], arguments: argparse.Namespace) -> dict[str, list]:
    """10 draws of 80 iterations on the same network and data."""
    draws, steps = (2, 10) if arguments.quick else (10, 80)
    sizes, batch = ((32, 16, 10), 64) if arguments.quick else ((784, 64, 32, 10), 512)
    problem = Problem(sizes, batch)
    params, data = problem.arrays()

    def ours(params: list, data: tuple) -> tuple:
        found = spectral_density(
            hessian(loss, params, data), KEY, num_draws=draws, num_iterations=steps
        )
        return found, spectral_mean(found.quadrature, jnp.square)

    program, first, _ = compiled(ours, params, data)
    runs: Runs = {"fracjax": functools.partial(finished, program, params, data)}
    _, moment = runs["fracjax"]()
    known, error = float(moment.value), float(moment.stderr)
    moments = {"fracjax": known}
    if "torch" in modules:
        theirs, found = densities_there(modules, problem, draws, steps)
        runs, moments = runs | theirs, moments | found
    for name, value in moments.items():
        # Both are means of as many draws: six standard errors of their difference.
        if not abs(value - known) <= 6 * math.sqrt(2) * error:
            msg = f"{name} finds a mean squared eigenvalue of {value}, not {known} ± {error}."
            raise SystemExit(msg)
    seconds = interleaved(runs, arguments.repeats)
    rows = [
        {
            "method": name,
            "s (min / median / max)": spread(seconds[name]),
            "times fracjax": ratios(seconds[name], seconds["fracjax"]),
            "mean squared eigenvalue": moments[name],
            "compilation (s)": first if name == "fracjax" else None,
        }
        for name in runs
    ]
    show(f"Density, {draws} draws of {steps} iterations, {problem.title()}", rows)
    return {"rows": rows}


if __name__ == "__main__":
    main()
