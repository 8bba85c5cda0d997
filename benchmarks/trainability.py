"""How fast is a plane of trainability, in pixels per second, next to PyTorch?

The published network (tanh, no biases, n² + n data) in float64, full-batch gradient descent at
every pixel of a plane of two learning rates, and the label and speed of every run. Ours is
`landscapes.scan` of `trainability_objective`. Three peers in PyTorch: `torch.func.vmap` of
`torch.func.grad_and_value`; gradients written by hand for a batch of weights with `torch.bmm` and
`torch.baddbmm`; and by hand in our layout, where products with the data are one for all pixels of a
batch. All have the batch that was fastest on a trial, and end one whose losses are all infinite,
as ours does. The labels must agree in all but 1 % of the pixels: rounding moves single ones at a
fractal boundary.

Pixels per second do not depend on how many there are: the part `sizes` shows it. A floor is
written first: the operations of both products over a step, at the speed of a product of
matrices of that shape, and the tanh of every datum and unit, alone. It counts every step of every
pixel, also those that a batch which has diverged leaves out, so that times can lie below it. Runs
alternate; ratios are taken within a round.

    pip install torch
    python benchmarks/trainability.py
    python benchmarks/trainability.py --full --json PATH          # 512² at width 16, 500 steps
    python benchmarks/trainability.py --only plane --side 512 --peers func.vmap --repeats 0
        # no rounds: the one run that compiles is timed
    python benchmarks/trainability.py --quick
"""

import argparse
import functools
import math
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import announced, options, show, some_of, with_rounds, write
from interleaved import best_threads, interleaved, ratios, spread, timed

from fracjax import landscapes
from fracjax.learning.trainability.planes import hyperparameter_plane, trainability_objective
from fracjax.learning.trainability.problems import RegressionProblem, regression_problem

PARTS = ("plane", "sizes")
PEERS = ("bmm by hand", "our layout by hand", "func.vmap")
KEY = jax.random.key(0)
ROUNDS = (3, 2)  # usually, and when quick
DISAGREE = 0.01  # share of labels
CENTRE, SPAN = 1.5, 4.5
TAIL, CAP = 20, 1e6
Runs = dict[str, Callable[[], np.ndarray]]


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    arguments = parse()
    host, modules, versions = announced(("torch",))
    result: dict[str, Any] = {"machine": host, "packages": versions}
    parts = {"plane": plane_part, "sizes": sizes_part}
    for part in arguments.only:
        result[part] = parts[part](modules, arguments)
    if arguments.json:
        write(result, arguments.json)


def parse() -> argparse.Namespace:
    parser = options(__doc__, ROUNDS)
    parser.add_argument("--full", action="store_true", help="512² pixels, width 16, 500 steps")
    parser.add_argument("--side", type=int, help="pixels along an axis of the plane")
    parser.add_argument("--only", type=some_of(PARTS), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--peers", type=some_of(PEERS), default=list(PEERS), help=",".join(PEERS))
    arguments = with_rounds(parser.parse_args(), ROUNDS)
    if not arguments.repeats and arguments.only != ["plane"]:
        parser.error("--repeats 0 goes with --only plane")
    return arguments


class Plane:
    """A problem, its pixels, and how long to train."""

    def __init__(self, width: int, side: int, num_steps: int) -> None:
        self.width, self.side, self.num_steps = width, side, num_steps
        self.problem: RegressionProblem = regression_problem(KEY, width=width)
        self.objective = trainability_objective(self.problem, num_steps=num_steps)
        self.middle, directions = hyperparameter_plane(centre=(CENTRE, CENTRE))
        self.grid = landscapes.along(directions, span=SPAN, num_points=side)
        first, second = np.meshgrid(*(CENTRE + axis for axis in self.grid.axes), indexing="ij")
        self.rates = 10 ** np.stack([first.ravel(), second.ravel()], axis=1)

    @property
    def data(self) -> int:
        """Number of data."""
        return int(self.problem.inputs.shape[0])

    def title(self) -> str:
        """What is in it."""
        return f"tanh, width {self.width}, {self.side}² pixels, {self.num_steps} steps, float64"

    def ours(self, chunk_size: int | None = None) -> np.ndarray:
        """Speeds of all pixels."""
        found = landscapes.scan(
            self.objective,
            self.middle,
            self.grid,
            KEY,
            evaluator="plain",
            chunk_size=chunk_size,
        )
        return found["value"].values.ravel()


class Peer:
    """The same plane in PyTorch."""

    def __init__(self, torch: ModuleType, plane: Plane, way: str) -> None:
        self._torch, self._plane = torch, plane
        parts = plane.problem.inputs, plane.problem.targets, plane.problem.first
        self._inputs, self._targets, self._first = (torch.tensor(np.array(p)) for p in parts)
        self._second = torch.tensor(np.array(plane.problem.second))[:, None]
        self._rates = torch.tensor(plane.rates)
        steps = {
            "bmm by hand": self._by_hand,
            "our layout by hand": self._in_our_layout,
            "func.vmap": self._by_vmap(),
        }
        self._step = steps[way]
        self.batch = 64

    def choose(self, batches: tuple[int, ...]) -> None:
        """Take the batch that is fastest on pixels of the middle of the plane."""
        trials = {}
        for batch in batches:
            self.batch = batch
            self.trial(max(batches))
            trials[batch] = min(timed(functools.partial(self.trial, max(batches)), 2))
        self.batch = min(trials, key=lambda size: trials[size])

    def trial(self, pixels: int) -> None:
        """Train pixels of the middle of the plane for 20 steps."""
        middle = len(self._rates) // 2
        self._run(self._rates[middle : middle + pixels], 20)

    def __call__(self) -> np.ndarray:
        """Speeds of all pixels."""
        return np.asarray(self._run(self._rates, self._plane.num_steps).numpy())

    def _run(self, rates: Any, steps: int) -> Any:
        torch = self._torch
        with torch.no_grad():
            parts = [self._batch(part, steps) for part in torch.split(rates, self.batch)]
        return torch.cat(parts)

    def _batch(self, rates: Any, steps: int) -> Any:
        torch, pixels = self._torch, len(rates)
        first = self._first.expand(pixels, -1, -1).clone()
        second = self._second.expand(pixels, -1, -1).clone()
        zeros = torch.zeros(pixels, dtype=rates.dtype)
        total, inverse, tail, start = zeros, zeros, zeros, zeros
        for index in range(steps):
            losses, gradients = self._step(first, second)
            start = losses if index == 0 else start
            if index % 10 == 9 and not bool(torch.isfinite(losses).any()):
                left = steps - index
                total, inverse = total + CAP * left, inverse + left / CAP
                tail = tail + CAP * min(left, TAIL)
                break
            relative = torch.nan_to_num(losses / start, nan=CAP, posinf=CAP).clamp(max=CAP)
            total, inverse = total + relative, inverse + 1 / relative
            if index >= steps - TAIL:
                tail = tail + relative
            first = first - rates[:, :1, None] * gradients[0]
            second = second - rates[:, 1:, None] * gradients[1]
        return torch.where(tail < min(TAIL, steps), -total, inverse)

    def _by_hand(self, first: Any, second: Any) -> tuple[Any, tuple[Any, Any]]:
        torch, width = self._torch, self._plane.width
        pixels, data = len(first), self._plane.data
        scaled = self._inputs * math.sqrt(2 / width)
        inputs = scaled.expand(pixels, -1, -1)
        hidden = torch.bmm(inputs, first).tanh_()
        targets = self._targets.expand(pixels, -1)[..., None]
        errors = torch.baddbmm(targets, hidden, second, beta=-1, alpha=1 / width)
        losses = errors.square().mean(dim=(1, 2))
        slopes = errors * (2 / (width * data))
        last = torch.bmm(hidden.transpose(1, 2), slopes)
        back = torch.bmm(slopes, second.transpose(1, 2)) * (1 - hidden.square())
        return losses, (torch.bmm(inputs.transpose(1, 2), back), last)

    def _in_our_layout(self, first: Any, second: Any) -> tuple[Any, tuple[Any, Any]]:
        torch, width = self._torch, self._plane.width
        pixels, data = len(first), self._plane.data
        scaled = self._inputs * math.sqrt(2 / width)
        flat = first.transpose(1, 2).reshape(pixels * width, width)
        hidden = (flat @ scaled.T).tanh_().view(pixels, width, data)
        outputs = torch.bmm(second.transpose(1, 2), hidden)[:, 0]
        errors = outputs / width - self._targets
        losses = errors.square().mean(dim=1)
        slopes = errors * (2 / (width * data))
        last = torch.bmm(hidden, slopes[..., None])
        back = second * slopes[:, None] * (1 - hidden.square())
        product = (back.view(pixels * width, data) @ scaled).view(pixels, width, width)
        return losses, (product.transpose(1, 2), last)

    def _by_vmap(self) -> Callable[[Any, Any], tuple[Any, tuple[Any, Any]]]:
        torch, width = self._torch, self._plane.width

        def loss(first: Any, second: Any) -> Any:
            hidden = torch.tanh(self._inputs @ first * math.sqrt(2 / width))
            return ((hidden @ second)[:, 0] / width - self._targets).square().mean()

        both = torch.func.vmap(torch.func.grad_and_value(loss, argnums=(0, 1)))

        def step(first: Any, second: Any) -> tuple[Any, tuple[Any, Any]]:
            gradients, losses = both(first, second)
            return losses, gradients

        return step


def plane_part(modules: dict[str, ModuleType], arguments: argparse.Namespace) -> dict[str, Any]:
    """One plane, all ways."""
    width, side, steps = 8, 128, 200
    if arguments.quick:
        width, side, steps = 4, 24, 40
    elif arguments.full:
        width, side, steps = 16, 512, 500
    plane = Plane(width, arguments.side or side, steps)
    bound = floor(plane)
    print(f"floor: {bound['text']}")
    runs: Runs = {"fracjax": plane.ours}
    batches: dict[str, int] = {}
    if "torch" in modules:
        torch = modules["torch"]
        for way in arguments.peers:
            peer = Peer(torch, plane, way)
            best_threads(torch, functools.partial(peer.trial, 256))
            peer.choose((16, 64, 256))
            runs[f"PyTorch, {way}"], batches[f"PyTorch, {way}"] = peer, peer.batch
    values, seconds = {}, {}
    for name, run in runs.items():  # also compiles
        started = time.perf_counter()
        values[name] = run()
        seconds[name] = [time.perf_counter() - started]
    differ = {
        name: float(np.mean((found < 0) != (values["fracjax"] < 0)))
        for name, found in values.items()
    }
    for name, share in differ.items():
        if not share <= DISAGREE:
            msg = f"{name} has another label in {share:.2%} of the pixels."
            raise SystemExit(msg)
    if arguments.repeats:
        seconds = interleaved(runs, arguments.repeats)
    pixels = plane.side**2
    rows = [
        {
            "way": name,
            "pixels/s (min / median / max)": spread([pixels / value for value in seconds[name]]),
            "times the cost of fracjax": ratios(seconds[name], seconds["fracjax"]),
            "other labels": differ[name],
            "batch": batches.get(name),
            "floor / time": bound["seconds"] / min(seconds[name]),
        }
        for name in runs
    ]
    show(plane.title(), rows)
    converged = float(np.mean(values["fracjax"] < 0))
    return {"title": plane.title(), "rows": rows, "floor": bound, "share converged": converged}


def floor(plane: Plane) -> dict[str, Any]:
    """Seconds of the products and of the tanh of all steps, if nothing else were done."""
    rows, width, data = 64 * plane.width, plane.width, plane.data
    left, right = jnp.ones((rows, width)), jnp.ones((width, data))
    hidden = jnp.full((rows, data), 0.1)
    forward = jax.jit(jnp.matmul)
    backward = jax.jit(lambda h, x: h @ x.T)
    tanh = jax.jit(jnp.tanh)
    work = {
        "products": lambda: (forward(left, right), backward(hidden, right)),
        "tanh": lambda: tanh(hidden),
    }
    per_step = {}
    for name, run in work.items():
        jax.block_until_ready(run())
        # The shortest of many: what the machine can do.
        times = timed(lambda run=run: jax.block_until_ready([run() for _ in range(20)]), 10)
        per_step[name] = min(times) / 20 / 64
    steps = plane.side**2 * plane.num_steps
    # Runs that are infinite end early; what they leave out is not known beforehand.
    operations = 4 * width * width * data
    text = (
        f"{operations} operations and {width * data} tanh a step: "
        + ", ".join(f"{name} {1e6 * value:.2f} µs" for name, value in per_step.items())
        + f" on {jax.local_devices()[0].device_kind}, all steps of all pixels done"
    )
    return {"seconds": sum(per_step.values()) * steps, "text": text, "per step": per_step}


def sizes_part(modules: dict[str, ModuleType], arguments: argparse.Namespace) -> dict[str, Any]:
    """Pixels per second of ours and of the stronger peer, over numbers of pixels."""
    width, steps = (4, 40) if arguments.quick else (8, 200)
    runs: Runs = {}
    pixels: dict[str, int] = {}
    for side in (16, 24) if arguments.quick else (64, 128, 256):
        plane = Plane(width, side, steps)
        runs[f"fracjax, {side}²"] = plane.ours
        pixels[f"fracjax, {side}²"] = side * side
        if "torch" in modules and side < 256:
            peer = Peer(modules["torch"], plane, "our layout by hand")
            peer.choose((16, 64, 256))
            runs[f"PyTorch, our layout by hand, {side}²"] = peer
            pixels[f"PyTorch, our layout by hand, {side}²"] = side * side
    for run in runs.values():
        run()
    seconds = interleaved(runs, arguments.repeats)
    rows = [
        {
            "way": name,
            "pixels/s (min / median / max)": spread(
                [pixels[name] / value for value in seconds[name]]
            ),
        }
        for name in runs
    ]
    show(f"Width {width}, {steps} steps", rows)
    return {"rows": rows}


if __name__ == "__main__":
    main()
