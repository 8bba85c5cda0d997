"""How many policy steps per second, against PyTorch on the same machine in the same run?

Both sides roll out the same pendulum (fourth-order Runge-Kutta) under many different 64-64
tanh policies, one initial state each, and must return the same discounted returns. fracjax
goes through `map_points`, as every scan does; PyTorch batches the policies with `baddbmm` on
all cores or on the GPU, without gradients, in batches of the size that is fastest in a trial.
The two alternate, so that a change of the machine's load hits both; still, run it on an idle
machine: PyTorch's threads wait for each other at every operation, and other processes slow it
down far more than they slow down fracjax.

    python benchmarks/rollouts.py                  # CPU or GPU, whichever JAX finds
    python benchmarks/rollouts.py --quick --json

Finding: see the table in README.md beside this file.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from interleaved import interleaved, load, machine, num_cores, ratios, spread, timed

from fracjax import devices, evaluation
from fracjax.rl import classic, rollouts

_MODULES, _VERSIONS = load(("torch",))
if "torch" not in _MODULES:
    sys.exit(f"this benchmark needs torch ({_VERSIONS['torch']}): pip install 'fracjax[bench]'")
torch = _MODULES["torch"]

DISCOUNT = 0.99
WIDTH = 64
TORCH_BATCHES = (128, 512, 2048, 1_000_000)


class Network:
    """A tanh network on plain (weights, biases) pairs."""

    def act(self, params: list, observation: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Choose an action for one observation."""
        del key
        for weights, biases in params:
            observation = jnp.tanh(observation @ weights + biases)
        return observation


def main() -> None:
    arguments = parse()
    devices.one_cpu_device_per_core()
    jax.config.update("jax_enable_x64", True)
    ours = Problem("pendulum", WIDTH, np.float32, arguments)
    candidates = {
        size: in_torch(ours.params, ours.states, arguments, size)
        for size in sorted({min(size, arguments.policies) for size in TORCH_BATCHES})
    }
    trials = {size: min(timed(run, 2)) for size, run in candidates.items()}
    torch_batch = min(trials, key=lambda size: trials[size])
    theirs = candidates[torch_batch]
    steps = arguments.policies * arguments.steps
    first = {}
    for name, run in (("fracjax", ours.run), ("torch", theirs)):
        begin = time.perf_counter()
        first[name] = (run(), time.perf_counter() - begin)
    agree = check(first["fracjax"][0], first["torch"][0])

    seconds = interleaved({"fracjax": ours.run, "torch": theirs}, arguments.repeats)
    acrobot = Problem("acrobot", 32, np.float64, arguments, num_states=4)
    acrobot.run()
    result = {
        "machine": {
            **machine(),
            "torch_device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "torch": torch.__version__,
        },
        "cores_used": arguments.cores,
        "policies": arguments.policies,
        "steps": arguments.steps,
        "chunk_size": ours.chunk_size,
        "torch_batch": torch_batch,
        "torch_trials": {size: steps / best / 1e6 for size, best in trials.items()},
        "largest_relative_difference": agree,
        "first_run_seconds": {name: value[1] for name, value in first.items()},
        "million_steps_per_second": {
            name: spread([steps / s / 1e6 for s in times]) for name, times in seconds.items()
        },
        "ratio": ratios(seconds["torch"], seconds["fracjax"]),
        "ratio_of_best": min(seconds["torch"]) / min(seconds["fracjax"]),
        "acrobot_float64_million_steps_per_second": spread(
            [steps * 4 / s / 1e6 for s in timed(acrobot.run, arguments.repeats)]
        ),
    }
    if arguments.json not in (None, "-"):
        Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if arguments.json == "-" else report(result))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    parser.add_argument(
        "--json", nargs="?", const="-", help="JSON instead of a table, or also into a file"
    )
    parser.add_argument("--policies", type=int, help="how many policies (default 8192)")
    parser.add_argument("--steps", type=int, help="steps per rollout (default 200)")
    parser.add_argument("--repeats", type=int, help="timed runs of each side (default 5)")
    parser.add_argument("--chunk-size", type=int, help="policies per device and chunk")
    parser.add_argument("--cores", type=int, default=num_cores(), help="cores of each side")
    arguments = parser.parse_args()
    defaults = (256, 50, 2) if arguments.quick else (8192, 200, 5)
    for name, default in zip(("policies", "steps", "repeats"), defaults, strict=True):
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    return arguments


class Problem:
    """Random policies and a function that returns all their discounted returns."""

    def __init__(
        self,
        name: str,
        width: int,
        dtype: type,
        arguments: argparse.Namespace,
        num_states: int = 1,
    ) -> None:
        environment = {"pendulum": classic.pendulum, "acrobot": classic.acrobot}[name](dtype=dtype)
        rng = np.random.default_rng(0)
        sizes = (environment.observation_size, width, width, environment.action_size)
        self.params = [
            (
                (rng.normal(size=(arguments.policies, i, o)) / np.sqrt(i)).astype(dtype),
                (0.1 * rng.normal(size=(arguments.policies, o))).astype(dtype),
            )
            for i, o in itertools.pairwise(sizes)
        ]
        key = jax.random.key(0)
        self.states = rollouts.initial_states(environment, key, num_states)
        one = jax.tree.map(lambda leaf: leaf[0], self.params)
        self.chunk_size = arguments.chunk_size or evaluation.cache_chunk_size(one)
        returns = rollouts.discounted_returns(
            environment, Network(), horizon=arguments.steps, discounts=(DISCOUNT,)
        )
        self.run: Callable[[], np.ndarray] = lambda: evaluation.map_points(
            returns,
            self.params,
            self.states,
            key,
            chunk_size=self.chunk_size,
            chunks_per_call=4,
            devices=jax.local_devices()[: arguments.cores],
        )[:, 0]


def in_torch(
    params: list, states: jax.Array, arguments: argparse.Namespace, batch: int
) -> Callable[[], np.ndarray]:
    """The same rollouts in PyTorch, `batch` policies at a time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(arguments.cores)
    layers = [tuple(torch.tensor(leaf, device=device) for leaf in pair) for pair in params]
    start = torch.tensor(np.asarray(states[0]), device=device)
    dt = 0.05

    def act(part: list, theta: torch.Tensor, omega: torch.Tensor) -> torch.Tensor:
        hidden = torch.stack([theta.cos(), theta.sin(), omega], dim=-1)[:, None, :]
        for weights, biases in part:
            hidden = torch.baddbmm(biases[:, None, :], hidden, weights).tanh()
        return 2 * hidden[:, 0, 0]

    def slope(theta: torch.Tensor, omega: torch.Tensor, u: torch.Tensor) -> tuple:
        return omega, 15 * theta.sin() + 3 * u

    @torch.no_grad()
    def roll(part: list) -> torch.Tensor:
        theta, omega = (x.repeat(len(part[0][0])) for x in start)
        total, weight = torch.zeros_like(theta), 1.0
        for _ in range(arguments.steps):
            u = act(part, theta, omega)
            reward = -(2 * (1 - theta.cos()) + 0.1 * omega**2 + 0.001 * u**2)
            total, weight = total + weight * reward, weight * DISCOUNT
            a, b = slope(theta, omega, u)
            c, d = slope(theta + dt / 2 * a, omega + dt / 2 * b, u)
            e, f = slope(theta + dt / 2 * c, omega + dt / 2 * d, u)
            g, h = slope(theta + dt * e, omega + dt * f, u)
            theta = theta + dt / 6 * (a + 2 * (c + e) + g)
            omega = omega + dt / 6 * (b + 2 * (d + f) + h)
        return total

    def run() -> np.ndarray:
        parts = (
            [tuple(leaf[begin : begin + batch] for leaf in pair) for pair in layers]
            for begin in range(0, arguments.policies, batch)
        )
        return torch.cat([roll(part) for part in parts]).cpu().numpy()

    return run


def check(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest relative difference of the returns; neither side may be dead code."""
    scale = np.abs(theirs).mean()
    difference = float(np.abs(ours - theirs).max() / scale)
    if not difference < 1e-2 or not np.std(theirs) > 1e-3 * scale:
        sys.exit(f"The two sides do not compute the same returns: they differ by {difference:.3g}.")
    return difference


def report(result: dict) -> str:
    def row(name: str, values: dict[str, float]) -> str:
        return f"| {name} | {values['min']:.2f} | {values['median']:.2f} | {values['max']:.2f} |"

    rates = result["million_steps_per_second"]
    lines = [
        *(f"{name}: {value}" for name, value in result["machine"].items()),
        f"cores used: {result['cores_used']}, policies: {result['policies']},"
        f" steps: {result['steps']},"
        f" chunk size: {result['chunk_size']}, PyTorch's batch: {result['torch_batch']}",
        "PyTorch by batch (million steps/s): "
        + ", ".join(f"{size}: {rate:.2f}" for size, rate in result["torch_trials"].items()),
        "first run with compilation (s): "
        + ", ".join(f"{name} {value:.1f}" for name, value in result["first_run_seconds"].items()),
        f"largest difference of returns: {result['largest_relative_difference']:.1e} of the mean",
        "",
        "| million policy steps per second | min | median | max |",
        "| --- | --- | --- | --- |",
        row("pendulum, 64-64, float32: fracjax", rates["fracjax"]),
        row("pendulum, 64-64, float32: PyTorch", rates["torch"]),
        row("ratio, pair by pair", result["ratio"]),
        f"| ratio of the best runs | | {result['ratio_of_best']:.2f} | |",
        row(
            "acrobot, 32-32, float64, 4 states: fracjax",
            result["acrobot_float64_million_steps_per_second"],
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
