"""What does a step of a Langevin sampler cost, next to plain SGD, here and in PyTorch?

A ReLU network 784-100-100-10 and batches of 500, the sizes of natural Langevin dynamics, float32.
JAX: updates in a compiled loop, from the batch to the new parameters, by `optax.sgd`, by every
metric of fracjax with the moments of the dense route, and by per-sample gradients. PyTorch: SGD,
and the same diagonal (dop) metric from per-sample gradients by `torch.func.vmap(grad)`, which is
how a sampler without our products would get them. Both sides must agree on the moments. Runs
alternate; ratios are taken within a round, each side's to its own SGD, and one across.

    python benchmarks/langevin.py
    python benchmarks/langevin.py --quick --json PATH
"""

import argparse
import functools
import itertools
import math
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command_line import announced, options, show, with_rounds, write
from interleaved import (
    SHORTEST,
    best_threads,
    compiled,
    finished,
    interleaved,
    ratios,
    spread,
)

from fracjax.learning.langevin_sampling.priors import gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import apply_dense, gradient_moments
from fracjax.learning.langevin_sampling.transformations import preconditioned_sgld

NUM_DATA = 50_000
METRICS = ("euclidean", "rmsprop", "dop", "qdop")
ROUNDS = (7, 2)  # usually, and when quick
AGREES = 1e-3  # relative difference of the moments of both sides


def main() -> None:
    arguments = parse()
    host, modules, versions = announced(("torch",))
    sizes, batch, steps = (
        ((64, 20, 10), 50, 4) if arguments.quick else ((784, 100, 100, 10), 500, 20)
    )
    params, data = problem(sizes, batch, steps)
    runs, first = ours(params, data)
    if "torch" in modules:
        peers, difference = theirs(modules["torch"], params, data)
        print(f"largest relative difference of the moments: {difference:.2g}")
        if not difference < AGREES:
            msg = "The two sides do not compute the same moments."
            raise SystemExit(msg)
        runs |= peers
    seconds = interleaved(runs, arguments.repeats, shortest=SHORTEST)
    rows = [
        {
            "update": name,
            "ms per step (min / median / max)": spread([1e3 * s / steps for s in seconds[name]]),
            "times its own SGD": ratios(seconds[name], seconds[f"{side(name)} SGD"]),
            "times qdop of fracjax": ratios(seconds[name], seconds["JAX qdop"]),
            "first run (s)": first.get(name),
        }
        for name in runs
    ]
    show(f"ReLU network {'-'.join(map(str, sizes))}, batches of {batch}, float32", rows)
    if arguments.json:
        result = {"machine": host, "packages": versions, "steps": {"rows": rows}}
        write(result, arguments.json)


def parse() -> argparse.Namespace:
    return with_rounds(options(__doc__, ROUNDS).parse_args(), ROUNDS)


def side(name: str) -> str:
    return name.split()[0]


def problem(
    sizes: tuple[int, ...], batch: int, steps: int
) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Random weights and images: what is in them does not matter for the cost."""
    draws = np.random.default_rng(0)
    params = [
        {
            "kernel": (draws.normal(size=(a, b)) / math.sqrt(a)).astype(np.float32),
            "bias": np.zeros(b, np.float32),
        }
        for a, b in itertools.pairwise(sizes)
    ]
    images = draws.uniform(size=(steps, batch, sizes[0])).astype(np.float32)
    return params, {"x": images, "y": draws.integers(0, sizes[-1], (steps, batch))}


def losses(params: list, batch: dict) -> jax.Array:
    hidden = batch["x"]
    for layer in params[:-1]:
        hidden = jax.nn.relu(apply_dense(layer, hidden))
    logits = apply_dense(params[-1], hidden)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def ours(params: list, data: dict) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """Compile a loop over all batches per method; return runs and seconds of compilation."""
    params, data = jax.tree.map(jnp.asarray, (params, data))

    def sampler(metric: str) -> optax.GradientTransformationExtraArgs:
        return preconditioned_sgld(
            1e-4, metric, num_data=NUM_DATA, key=jax.random.key(0), prior=gaussian_prior()
        )

    def loop(update: Callable, start: Callable, params: list, data: dict) -> list:
        def step(carry: tuple, batch: dict) -> tuple[tuple, None]:
            params, state = carry
            change, state = update(params, state, batch)
            return (optax.apply_updates(params, change), state), None

        return jax.lax.scan(step, (params, start(params)), data)[0][0]

    def plain(params: list, state: object, batch: dict) -> tuple:
        gradient = jax.grad(lambda p: losses(p, batch).mean())(params)
        return optax.sgd(1e-4).update(gradient, state, params)

    def langevin(metric: str, route: str, params: list, state: object, batch: dict) -> tuple:
        _, gradient, moments = gradient_moments(losses, params, batch, route=route)
        return sampler(metric).update(gradient, state, params, moments=moments)

    loops = {"JAX SGD": functools.partial(loop, plain, optax.sgd(1e-4).init)}
    for metric in METRICS:
        update = functools.partial(langevin, metric, "dense")
        loops[f"JAX {metric}"] = functools.partial(loop, update, sampler(metric).init)
    update = functools.partial(langevin, "qdop", "samples")
    loops["JAX qdop, gradients of samples"] = functools.partial(loop, update, sampler("qdop").init)
    runs, first = {}, {}
    for name, function in loops.items():
        program, first[name], _ = compiled(function, params, data)
        runs[name] = functools.partial(finished, program, params, data)
        runs[name]()
    return runs, first


def theirs(
    torch: ModuleType, params: list, data: dict
) -> tuple[dict[str, Callable[[], object]], float]:
    """SGD and dop in PyTorch, and how far its moments are from ours."""
    functional = torch.nn.functional
    start = [torch.tensor(layer[name]) for layer in params for name in ("kernel", "bias")]
    images, labels = torch.tensor(data["x"]), torch.tensor(data["y"])

    def logits(flat: list, x: object) -> object:
        for index in range(0, len(flat) - 2, 2):
            x = torch.relu(x @ flat[index] + flat[index + 1])
        return x @ flat[-2] + flat[-1]

    def sgd() -> None:
        flat = [part.clone().requires_grad_() for part in start]
        for x, y in zip(images, labels, strict=True):
            loss = functional.cross_entropy(logits(flat, x), y)
            gradient = torch.autograd.grad(loss, flat)
            with torch.no_grad():
                for part, slope in zip(flat, gradient, strict=True):
                    part.sub_(1e-4 * slope)

    def one(flat: tuple, x: object, y: object) -> object:
        return functional.cross_entropy(logits(list(flat), x[None]), y[None])

    of_samples = torch.func.vmap(torch.func.grad(one), (None, 0, 0))

    def dop() -> None:
        flat, averages = list(start), [torch.ones_like(part) for part in start]
        for x, y in zip(images, labels, strict=True):
            gradients = of_samples(tuple(flat), x, y)
            for index, samples in enumerate(gradients):
                averages[index] = 0.9 * averages[index] + 0.1 * (samples**2).mean(0)
                inverse = 1 / (averages[index] + 1e-3)
                noise = torch.randn_like(flat[index]) * (inverse * 2e-4 / NUM_DATA) ** 0.5
                flat[index] = flat[index] - 1e-4 * inverse * samples.mean(0) + noise

    best_threads(torch, dop)
    first = {"x": jnp.asarray(data["x"][0]), "y": jnp.asarray(data["y"][0])}
    tree = jax.tree.map(jnp.asarray, params)
    squares = gradient_moments(losses, tree, first)[2].squares
    known = [layer[name] for layer in squares for name in ("kernel", "bias")]
    found = [(part**2).mean(0).numpy() for part in of_samples(tuple(start), images[0], labels[0])]
    difference = max(
        float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, known, strict=True)
    )
    return {"PyTorch SGD": sgd, "PyTorch dop, gradients of samples": dop}, difference


if __name__ == "__main__":
    main()
