"""What does a step of local loss landscape decomposition cost, next to PyTorch?

The toy model of superposition 5-2, 1000 sparse samples, batches of 32, 5 subnetworks of rank 1,
float32. One step is 32 per-sample gradients, encode, batch top-k, decode, backward, Adam, and the
normalisation of the decoder. Ours: one seed, and 8 seeds vmapped, each a scan over epochs. PyTorch:
as the published code does it (`torch.func.jacrev` over the losses of a batch, a sort, factors and
moments tensor by tensor, norms in a Python loop; one seed at a time), and the strongest batched
form we could write (all seeds in one program: vmap of vmap of grad, `topk`, one flat tensor
of factors, fused Adam), also through `torch.compile` where that works. All start from the same
factors and see the same batches and references, which come from our keys; the script fails where
a loss curve departs from ours. Runs alternate; ratios are taken within a round.

The floor is written down first: arithmetic at the measured rate of a matrix product, and
bytes at the measured rate of a copy. At this size both are far below what any
framework needs per operation.

    pip install torch
    python benchmarks/decomposition.py
    python benchmarks/decomposition.py --quick --json PATH
"""

import argparse
import functools
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import announced, options, show, with_rounds, write
from comparisons import bound_of
from decomposition_peers import Batched, Published
from decomposition_problem import EPOCHS_CHECKED, MODEL, SAMPLES, SEEDS, SETTINGS, Problem
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

from fracjax.learning.decomposition.fits import continue_fit

ROUNDS = (7, 2)  # usually, and when quick
# Rounding decides now and then which of two entries is kept, and the curves part a little.
AGREES = 1e-3
Runs = dict[str, Callable[[], object]]


def main() -> None:
    arguments = parse()
    host, modules, versions = announced(("torch",))
    problem = Problem()
    floor = floor_part(problem)
    runs, losses, epochs, first = ours(problem, arguments.epochs)
    if "torch" in modules:
        theirs, curves = there(modules["torch"], problem, compile_it=not arguments.quick)
        runs |= theirs
        losses |= curves
        epochs |= dict.fromkeys(theirs, 1)
    gaps = check(losses)
    seconds = interleaved(runs, arguments.repeats, shortest=SHORTEST)
    steps = SAMPLES // SETTINGS.batch_size
    each = {
        name: [
            1e6 * value / (steps * epochs[name] * (1 if "one seed" in name else SEEDS))
            for value in seconds[name]
        ]
        for name in runs
    }
    rows = [
        {
            "way": name,
            "µs per step and seed (min / median / max)": spread(each[name]),
            "times 8 seeds vmapped": ratios(each[name], each["fracjax, 8 seeds"]),
            "times one seed of ours": ratios(each[name], each["fracjax, one seed"]),
            "times the floor": min(each[name]) / floor["floor (µs)"],
            "s per fit of 1000 epochs": min(each[name]) * steps * 1e-3,
            "largest gap of the loss curve": gaps.get(name),
            "compilation (s)": first.get(name),
        }
        for name in runs
    ]
    target = f"target: PyTorch at least {bound_of('decomposition'):g} times 8 seeds vmapped"
    show(f"One step of the fit, per seed ({target})", rows)
    if arguments.json:
        write(
            {"machine": host, "packages": versions, "floor": floor, "fit": {"rows": rows}},
            arguments.json,
        )


def parse() -> argparse.Namespace:
    arguments = with_rounds(options(__doc__, ROUNDS).parse_args(), ROUNDS)
    arguments.epochs = EPOCHS_CHECKED if arguments.quick else 40
    return arguments


def floor_part(problem: Problem) -> dict[str, float]:
    """The least time of a step: its arithmetic and its bytes at measured rates of this machine."""
    batch, count = SETTINGS.batch_size, SETTINGS.num_subnetworks
    size, factors = problem.layout.num_parameters, problem.layout.num_factors
    weights = 2 * 5 * 2
    # References, and forward and backward passes: a product of the batch with all weights each.
    gradients = 2 * batch * weights * (1 + 1 + 2)
    # Encode, decode, and three products backward.
    products = 2 * batch * count * size * 5
    # Directions multiplied out and back, Adam, norms: a few operations per factor.
    others = 2 * count * factors * 30
    flops = gradients + products + others
    # Batch, factors and two moments, read and written once.
    moved = 4 * (batch * 5 + 2 * 2 * 3 * count * factors)
    side = jnp.ones((512, 512), jnp.float32)
    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + 1)
    long = jnp.ones(2**23, jnp.float32)
    for function, argument in ((product, side), (copy, long)):
        jax.block_until_ready(function(argument))
    rate = 2 * 512**3 / min(timed(lambda: jax.block_until_ready(product(side)), 10))
    speed = 8 * 2**23 / min(timed(lambda: jax.block_until_ready(copy(long)), 10))
    row = {
        "flops": float(flops),
        "bytes": float(moved),
        "GFLOP/s": rate / 1e9,
        "GB/s": speed / 1e9,
        "floor (µs)": 1e6 * max(flops / rate, moved / speed),
    }
    show("Floor of one step of one seed", [row])
    return row


def ours(problem: Problem, epochs: int) -> tuple[Runs, dict, dict, dict]:
    """One seed, and all of them."""

    def fit(state: Any, num_epochs: int) -> Any:
        return continue_fit(
            MODEL.apply, problem.params, problem.inputs, state, SETTINGS, num_epochs=num_epochs
        )

    one = jax.tree.map(lambda leaf: leaf[0], problem.states)
    timed_fit = functools.partial(fit, num_epochs=epochs)
    runs: Runs = {}
    first = {}
    for name, function, state in (
        ("fracjax, 8 seeds", jax.vmap(timed_fit), problem.states),
        ("fracjax, one seed", timed_fit, one),
    ):
        program, first[name], _ = compiled(function, state)
        runs[name] = functools.partial(finished, program, state)
        runs[name]()
    checked = jax.jit(jax.vmap(functools.partial(fit, num_epochs=EPOCHS_CHECKED)))
    curve = np.asarray(checked(problem.states)[1].loss)
    single = np.asarray(runs["fracjax, one seed"]()[1].loss)[:EPOCHS_CHECKED]
    losses = {"fracjax, 8 seeds": curve, "fracjax, one seed": single[None]}
    return runs, losses, dict.fromkeys(runs, epochs), first


def check(losses: dict[str, np.ndarray]) -> dict[str, float]:
    """Compare mean losses of the first epochs, seed by seed, with ours."""
    expected = losses["fracjax, 8 seeds"]
    gaps = {
        name: float(np.max(abs(curve / expected[: len(curve)] - 1)))
        for name, curve in losses.items()
    }
    for name, gap in gaps.items():
        if not gap < AGREES:
            msg = f"The losses of {name} depart from ours by {gap}, more than {AGREES}."
            raise SystemExit(msg)
    return gaps


def there(
    torch: ModuleType, problem: Problem, *, compile_it: bool
) -> tuple[Runs, dict[str, np.ndarray]]:
    """The same in PyTorch: as published, and batched."""
    published = functools.partial(Published, torch, problem)
    batched = functools.partial(Batched, torch, problem)
    best_threads(torch, lambda: batched().epochs(1))
    ways = {"PyTorch as published, one seed": published, "PyTorch batched, 8 seeds": batched}
    if compile_it:
        name = "PyTorch batched and compiled, 8 seeds"
        ways[name] = functools.partial(Batched, torch, problem, compiled=True)
    runs: Runs = {}
    losses = {}
    for name, make in ways.items():
        begin = time.perf_counter()
        try:
            losses[name] = make().epochs(EPOCHS_CHECKED)
        except Exception as error:  # a compiler may be missing or fail in any way
            if "compiled" not in name:
                raise
            print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        print(f"{name}: {EPOCHS_CHECKED} epochs in {time.perf_counter() - begin:.1f} s")
        fit = make()
        fit.epochs(2)  # past the warm epoch, and warmed up
        runs[name] = functools.partial(fit.epochs, 1)
    return runs, losses


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        main()
