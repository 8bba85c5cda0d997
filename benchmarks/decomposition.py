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
import itertools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from interleaved import (
    SHORTEST,
    best_threads,
    compiled,
    interleaved,
    load,
    machine,
    ratios,
    spread,
    timed,
)
from work_precision import show, write

from fracjax.learning.decomposition.fits import continue_fit, epoch_batches, start_fit
from fracjax.learning.decomposition.sample_gradients import other_samples
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.toy_models import superposition

SEEDS, SAMPLES, EPOCHS_CHECKED = 8, 1000, 3
MODEL = superposition(5, 2)
SETTINGS = FitSettings(num_subnetworks=5)
SHAPES = {"bias": (5,), "decoder": (2, 5), "encoder": (5, 2)}  # in the order of tree leaves
# Rounding decides now and then which of two entries is kept, and the curves part a little.
AGREES = 1e-3
Runs = dict[str, Callable[[], object]]


def main() -> None:
    arguments = parse()
    host = machine()
    modules, versions = load(("torch",))
    for name, value in {**host, **versions}.items():
        print(f"{name}: {value}")
    problem = Problem()
    floor = floor_part(problem)
    runs, losses, epochs, first = ours(problem, arguments.epochs)
    if "torch" in modules:
        theirs, curves = there(modules["torch"], problem, compile_it=not arguments.quick)
        runs |= theirs
        losses |= curves
        epochs |= dict.fromkeys(theirs, 1)
    else:
        print("PyTorch: not installed")
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
    show("One step of the fit, per seed (target: PyTorch at least 10 times 8 seeds vmapped)", rows)
    if arguments.json:
        write(
            {"machine": host, "packages": versions, "floor": floor, "fit": {"rows": rows}},
            arguments.json,
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all numbers there")
    parser.add_argument("--repeats", type=int, help="timed rounds (default 7, quick 2)")
    arguments = parser.parse_args()
    arguments.epochs = EPOCHS_CHECKED if arguments.quick else 40
    if arguments.repeats is None:
        arguments.repeats = 2 if arguments.quick else 7
    return arguments


class Problem:
    """A network, samples, first factors, batches and references, the same for all."""

    def __init__(self) -> None:
        angles = 2 * np.pi * np.arange(5) / 5
        encoder = 1.13 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        bias = np.full(5, -0.245)
        network = {"encoder": encoder, "decoder": encoder.T, "bias": bias}
        self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), network)
        self.inputs = MODEL.inputs(jax.random.key(1), SAMPLES)
        self.keys = jax.random.split(jax.random.key(0), SEEDS)
        self.states = jax.vmap(lambda key: start_fit(self.params, key, SETTINGS))(self.keys)
        self.layout = SETTINGS.layout(self.params)
        self.entries = SETTINGS.batch_size * SETTINGS.num_subnetworks

        def batches(key: jax.Array, epoch: jax.Array) -> tuple[jax.Array, jax.Array]:
            order, draws = epoch_batches(key, epoch, SAMPLES, SETTINGS.batch_size)
            return order, jax.vmap(lambda k: other_samples(k, SETTINGS.batch_size))(draws)

        epochs = jnp.arange(EPOCHS_CHECKED)
        over = jax.vmap(jax.vmap(batches, in_axes=(None, 0)), in_axes=(0, None))
        # (seeds, epochs, batches, samples)
        self.order, self.others = map(np.asarray, over(self.states.key, epochs))

    def kept(self, epoch: int) -> int:
        """Entries that are kept of a batch."""
        warm = epoch < SETTINGS.warm_epochs
        return round(self.entries * (SETTINGS.warm_fraction if warm else SETTINGS.fraction))


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
        runs[name] = functools.partial(finish, program, state)
        runs[name]()
    checked = jax.jit(jax.vmap(functools.partial(fit, num_epochs=EPOCHS_CHECKED)))
    curve = np.asarray(checked(problem.states)[1].loss)
    single = np.asarray(runs["fracjax, one seed"]()[1].loss)[:EPOCHS_CHECKED]
    losses = {"fracjax, 8 seeds": curve, "fracjax, one seed": single[None]}
    return runs, losses, dict.fromkeys(runs, epochs), first


def finish(program: Callable, *arguments: object) -> Any:
    return jax.block_until_ready(program(*arguments))


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


class Published:
    """One seed: factors tensor by tensor, gradients by `jacrev`, norms in a loop."""

    def __init__(self, torch: ModuleType, problem: Problem) -> None:
        self.torch, self.problem, self.epoch = torch, problem, 0
        self.params = {name: torch.tensor(np.asarray(problem.params[name])) for name in SHAPES}
        self.inputs = torch.tensor(np.asarray(problem.inputs))
        rows = np.asarray(problem.states.factors[0])
        self.encoder, self.decoder = ([], [])
        for side, row in ((self.encoder, rows[0]), (self.decoder, rows[1])):
            for parts in problem.layout.cut(jnp.asarray(row)):
                side.append([torch.tensor(np.asarray(part), requires_grad=True) for part in parts])
        parts = [part for side in (self.encoder, self.decoder) for group in side for part in group]
        self.optimizer = torch.optim.Adam(parts, lr=SETTINGS.learning_rate)

    def losses_of(self, params: dict, x: Any, others: Any) -> Any:
        """Divergences of a batch, a vector."""
        hidden = x @ params["encoder"]
        output = self.torch.relu(hidden @ params["decoder"] + params["bias"])
        return ((output - output[others].detach()) ** 2).mean(dim=-1)

    def dense(self, side: list) -> list:
        """Multiply out, tensor by tensor."""
        patterns = {1: "na,nia->ni", 2: "nab,nia,njb->nij"}
        return [self.torch.einsum(patterns[len(parts) - 1], *parts) for parts in side]

    def step(self, x: Any, others: Any, count: int) -> float:
        """One update; its loss."""
        torch = self.torch
        with torch.no_grad():
            slopes = torch.func.jacrev(self.losses_of, chunk_size=100)(self.params, x, others)
        slopes = [slopes[name] for name in SHAPES]
        encoded = sum(
            torch.einsum("n...,s...->sn", tensor, slope)
            for tensor, slope in zip(self.dense(self.encoder), slopes, strict=True)
        )
        with torch.no_grad():
            cut = torch.sort(abs(encoded).flatten(), descending=True)[0][count - 1]
            keep = (abs(encoded) >= cut).float()
        found = [
            torch.einsum("sn,n...->s...", encoded * keep, tensor)
            for tensor in self.dense(self.decoder)
        ]
        flat, back = (
            torch.cat([part.flatten(1) for part in tensors], dim=1) for tensors in (slopes, found)
        )
        loss = ((flat - back) ** 2).sum() / ((flat**2).sum() + 1e-10)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            tensors = self.dense(self.decoder)
            for k in range(SETTINGS.num_subnetworks):
                norm = sum((tensor[k] ** 2).sum() for tensor in tensors) ** 0.5
                for parts in self.decoder:
                    for part in parts:
                        part.data[k] /= norm ** (1 / len(parts))
        return loss.item()

    def epochs(self, count: int) -> np.ndarray:
        """Train for some epochs; mean losses, (1, epochs)."""
        means = []
        for _ in range(count):
            number = self.epoch % EPOCHS_CHECKED
            order = self.torch.tensor(self.problem.order[0, number])
            others = self.torch.tensor(self.problem.others[0, number])
            kept = self.problem.kept(self.epoch)
            losses = [
                self.step(self.inputs[chosen], other, kept)
                for chosen, other in zip(order, others, strict=True)
            ]
            means.append(np.mean(losses))
            self.epoch += 1
        return np.array(means)[None]


class Batched:
    """All seeds in one program, with one flat tensor of factors."""

    def __init__(self, torch: ModuleType, problem: Problem, *, compiled: bool = False) -> None:
        self.torch, self.problem, self.epoch = torch, problem, 0
        self.params = {name: torch.tensor(np.asarray(problem.params[name])) for name in SHAPES}
        self.inputs = torch.tensor(np.asarray(problem.inputs))
        self.factors = torch.tensor(np.array(problem.states.factors), requires_grad=True)
        self.powers = torch.tensor(problem.layout.powers() / 2, dtype=torch.float32)
        self.optimizer = torch.optim.Adam([self.factors], lr=SETTINGS.learning_rate, fused=True)
        over_samples = torch.func.vmap(torch.func.grad(self.divergence), in_dims=(None, 0, 0))
        self.slopes = torch.func.vmap(over_samples, in_dims=(None, 0, 0))
        self.outputs = torch.func.vmap(self.output, in_dims=(None, 0))
        self.loss = self.loss_of
        self.normalised = self.normalised_of
        if compiled:
            self.loss = torch.compile(self.loss_of)
            self.normalised = torch.compile(self.normalised_of)

    def output(self, params: dict, x: Any) -> Any:
        """Of one sample or many."""
        hidden = x @ params["encoder"]
        return self.torch.relu(hidden @ params["decoder"] + params["bias"])

    def divergence(self, params: dict, x: Any, reference: Any) -> Any:
        """Of one sample."""
        return ((self.output(params, x) - reference) ** 2).mean()

    def matrix(self, rows: Any) -> Any:
        """(..., factors) to (..., parameters); rank 1, so that all is elementwise."""
        tensors, used = [], 0
        for shape in SHAPES.values():
            ends = list(itertools.accumulate(shape, initial=used + 1))
            core = rows[..., used : used + 1]
            modes = [rows[..., a:b] for a, b in itertools.pairwise(ends)]
            used = ends[-1]
            tensor = core * modes[0]
            if len(shape) == 2:
                tensor = (tensor[..., :, None] * modes[1][..., None, :]).flatten(-2)
            tensors.append(tensor)
        return self.torch.cat(tensors, dim=-1)

    def loss_of(self, factors: Any, x: Any, others: Any, count: int) -> Any:
        """Loss of a batch of every seed."""
        torch = self.torch
        with torch.no_grad():
            seeds, batch = x.shape[:2]
            output = self.output(self.params, x)
            reference = torch.gather(output, 1, others[..., None].expand(-1, -1, output.shape[2]))
            slopes = self.slopes(self.params, x, reference)
            flat = torch.cat([slopes[name].reshape(seeds, batch, -1) for name in SHAPES], dim=2)
        dense = self.matrix(factors)
        encoded = flat @ dense[:, 0].transpose(1, 2)
        with torch.no_grad():
            sizes = abs(encoded).flatten(1)
            chosen = torch.topk(sizes, count, dim=1, sorted=False)[1]
            keep = torch.zeros_like(sizes).scatter_(1, chosen, 1.0).view_as(encoded)
        left = ((flat - (encoded * keep) @ dense[:, 1]) ** 2).sum((1, 2))
        return left / ((flat**2).sum((1, 2)) + 1e-10)

    def normalised_of(self, rows: Any) -> Any:
        """Factors of unit directions."""
        squares = (self.matrix(rows) ** 2).sum(-1, keepdim=True)
        return rows * self.torch.exp(-self.torch.log(squares) * self.powers)

    def step(self, x: Any, others: Any, count: int) -> Any:
        """One update of every seed; the losses."""
        self.optimizer.zero_grad(set_to_none=False)
        losses = self.loss(self.factors, x, others, count)
        losses.sum().backward()
        self.optimizer.step()
        with self.torch.no_grad():
            self.factors[:, 1] = self.normalised(self.factors[:, 1])
        return losses.detach()

    def epochs(self, count: int) -> np.ndarray:
        """Train for some epochs; mean losses, (seeds, epochs)."""
        means = []
        for _ in range(count):
            number = self.epoch % EPOCHS_CHECKED
            order = self.torch.tensor(self.problem.order[:, number])
            others = self.torch.tensor(self.problem.others[:, number])
            kept = self.problem.kept(self.epoch)
            losses = [
                self.step(self.inputs[order[:, step]], others[:, step], kept)
                for step in range(order.shape[1])
            ]
            means.append(self.torch.stack(losses).mean(0).numpy())
            self.epoch += 1
        return np.stack(means, axis=1)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        main()
