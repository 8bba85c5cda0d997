"""What do the Lyapunov exponents of many hopper policies cost, next to one policy at a time?

Contenders, each computing the largest or all 12 exponents of a closed loop from one initial state:

    fracjax        policies in batches (`map_points`), by tangents, in Brax (spring)
    loop           a Python loop over policies, each by the same program compiled once
    torch, MuJoCo  the recipe of Young and Pugeault: a PyTorch policy on gymnasium's Hopper-v5,
                   a copy at a distance of 1e-4 for every exponent, Gram-Schmidt every 10 steps

    python benchmarks/hopper_exponents.py                  # CPU or GPU, whichever JAX finds
    python benchmarks/hopper_exponents.py --quick          # small and noisy: does it run?
    python benchmarks/hopper_exponents.py --json hopper.json

The policies are the one that ships with fracjax with Gaussian noise of 2 % of its weights. The
batch is measured whole; who goes one by one is measured on a few policies and its seconds per
policy are compared, which favours nobody: one policy costs what another does. The hopper of
Brax and that of gymnasium are different simulators with states of 12 numbers both and control
steps of 8 ms both, so exponents are not compared between them; those of the loop must be the
batch's to rounding. float32 in JAX (exponents by tangents need no more), float64 in MuJoCo and
float32 in PyTorch, as it comes. Contenders alternate in one run and ratios are taken round by
round; still, use an idle machine. PyTorch and MuJoCo run in one process; the table also holds
what a perfect pool on all cores would leave of the ratio. Findings: README.md beside this file.
"""

import argparse
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import options, with_rounds, write
from comparisons import bound_of
from interleaved import compiled, interleaved, load, machine, num_cores, ratios, spread, table
from scan_hopper import positive_deviation

from fracjax import devices, evaluation, rl
from fracjax.learning import closed_loop_exponents

NOISE = 0.02  # of the standard deviation of every weight matrix
DISTANCE = 1e-4
PERIOD = 10
COORDINATES = 12
TARGET = bound_of("hopper_exponents")
ROUNDS = (5, 2)  # usually, and when quick


class Problem:
    """Perturbed hopper policies in Brax, and their exponents."""

    def __init__(self, num_policies: int, num_steps: int, num_exponents: int):
        self.num_policies, self.num_steps = num_policies, num_steps
        self.num_exponents = num_exponents
        self.environment = rl.make("hopper", backend="spring")
        self.policy = rl.shipped("hopper")
        self.states = jax.jit(lambda key: rl.initial_states(self.environment, key, 1))(
            jax.random.key(1)
        )
        self.key = jax.random.key(2)
        self.policies = self._perturbed(jax.random.key(3))
        self._measure = closed_loop_exponents(
            self.environment, self.policy, num_steps=num_steps, num_exponents=num_exponents
        )

    def _perturbed(self, key: Any) -> Any:
        leaves, structure = jax.tree.flatten(self.policy.params)
        noisy = []
        for index, leaf in enumerate(leaves):
            noise = jax.random.normal(
                jax.random.fold_in(key, index), (self.num_policies, *leaf.shape)
            )
            noisy.append(np.asarray(leaf + NOISE * jnp.std(leaf) * noise))
        return jax.tree.unflatten(structure, noisy)

    def exponents(self, params: Any, states: Any, key: Any) -> jax.Array:
        """Leading exponents of one policy, in nats per control step."""
        return self._measure(params, states, key).spectrum.value

    def member(self, index: int) -> Any:
        """Parameters of one policy."""
        return jax.tree.map(lambda leaf: leaf[index], self.policies)

    def batched(self, chunk_size: int) -> np.ndarray:
        """All policies in batches."""
        return evaluation.map_points(
            self.exponents, self.policies, self.states, self.key, chunk_size=chunk_size
        )


def loop(problem: Problem, run: Callable, indices: range) -> np.ndarray:
    """One policy after the other by a compiled program."""
    return np.stack(
        [np.asarray(run(problem.member(i), problem.states, problem.key)) for i in indices]
    )


class Peer:
    """The paper's recipe with PyTorch on gymnasium's hopper."""

    def __init__(self, torch: ModuleType, gymnasium: ModuleType, problem: Problem):
        torch.set_num_threads(1)  # of one observation there is nothing to share
        self._torch, self._problem = torch, problem
        self._environment = gymnasium.make("Hopper-v5", terminate_when_unhealthy=False).unwrapped
        self._environment.reset(seed=0)

    def network(self, index: int) -> Callable[[np.ndarray], np.ndarray]:
        """The policy, layer by layer, in PyTorch."""
        torch, problem = self._torch, self._problem
        activations = {"tanh": torch.nn.Tanh, "swish": torch.nn.SiLU, "relu": torch.nn.ReLU}
        layers: list[Any] = []
        sizes = problem.policy.action_size
        params = problem.member(index)["params"]
        names = [f"hidden_{number}" for number in range(len(params))]
        for name in names:
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            if name == names[-1]:
                kernel, bias = kernel[:, :sizes], bias[:sizes]
            layer = torch.nn.Linear(*kernel.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(np.array(kernel.T)))
                layer.bias.copy_(torch.from_numpy(np.array(bias)))
            layers += [layer, activations[problem.policy.network.activation]()]
        model = torch.nn.Sequential(*layers[:-1], torch.nn.Tanh())
        normalizer = problem.policy.normalizer
        mean, std = (np.asarray(part) for part in (normalizer.mean, normalizer.std))

        @torch.no_grad()
        def act(observation: np.ndarray) -> np.ndarray:
            scaled = ((observation - mean) / std).astype(np.float32)
            return model(torch.from_numpy(scaled)).numpy()

        return act

    def exponents(self, indices: range) -> np.ndarray:
        """Leading exponents of some policies, in nats per control step."""
        return np.stack([self._of_policy(self.network(index)) for index in indices])

    def _of_policy(self, act: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        environment = self._environment
        half = environment.model.nq

        def after(place: np.ndarray) -> np.ndarray:
            environment.data.qacc_warmstart[:] = 0
            environment.set_state(place[:half], place[half:])
            seen = environment._get_obs()
            for _ in range(PERIOD):
                seen = environment.step(act(seen))[0]
            return environment.state_vector()

        generator = np.random.default_rng(0)
        environment.reset(seed=0)
        place = environment.state_vector()
        count, periods = self._problem.num_exponents, self._problem.num_steps // PERIOD
        frame = np.linalg.qr(generator.random((COORDINATES, count)))[0]
        total = np.zeros(count)
        for _ in range(periods):
            following = after(place)
            copies = np.stack([after(place + DISTANCE * row) for row in frame.T])
            frame, upper = np.linalg.qr((copies - following).T / DISTANCE)
            total += np.log(np.abs(np.diagonal(upper)))
            place = following
        return total / (periods * PERIOD)


def compare(sizes: argparse.Namespace) -> dict[str, Any]:
    """Time everyone in turn, for the largest exponent alone and for all of them."""
    modules, versions = load(["brax", "torch", "gymnasium", "mujoco"])
    result: dict[str, Any] = {"machine": machine(), "packages": versions, "settings": vars(sizes)}
    for count in sizes.exponents:
        result[f"exponents: {count}"] = compare_one(sizes, count, modules)
    return result


def compare_one(
    sizes: argparse.Namespace, count: int, modules: dict[str, ModuleType]
) -> dict[str, Any]:
    """Ratios are seconds per policy over those of the batch."""
    problem = Problem(sizes.policies, sizes.steps, count)
    few, fewer = range(sizes.looped), range(sizes.stepped)
    result: dict[str, Any] = {}
    begin = time.perf_counter()
    chunk_sizes = {}
    for chunk_size in sizes.chunks:  # the first call compiles
        problem.batched(chunk_size)
        again = time.perf_counter()
        values = problem.batched(chunk_size)
        chunk_sizes[chunk_size] = time.perf_counter() - again
    chunk_size = min(chunk_sizes, key=lambda size: chunk_sizes[size])
    result["seconds of a batch by chunk size"] = chunk_sizes
    result["choosing it with compilation, seconds"] = time.perf_counter() - begin
    arguments = (problem.member(0), problem.states, problem.key)
    single, seconds, _ = compiled(problem.exponents, *arguments)
    result["compiling the loop's program, seconds"] = seconds
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        "fracjax": (lambda: problem.batched(chunk_size), sizes.policies),
        "loop": (lambda: loop(problem, single, few), len(few)),
    }
    if {"torch", "gymnasium", "mujoco"} <= set(modules):
        peer = Peer(modules["torch"], modules["gymnasium"], problem)
        runs["torch, MuJoCo"] = (lambda: peer.exponents(fewer), len(fewer))
        result["exponents of the first policy, torch, MuJoCo"] = _row(runs["torch, MuJoCo"][0]()[0])
    looped = runs["loop"][0]()
    result["exponents of the first policy, fracjax"] = _row(values[0])
    result["largest exponent over policies, fracjax"] = {
        "mean": float(values[:, 0].mean()),
        "SD": positive_deviation(values[:, 0]),
    }
    gaps = np.abs(looped - values[: len(few)])
    result["largest difference of the loop's largest exponent"] = float(gaps[:, 0].max())

    seconds = interleaved({name: run for name, (run, _) in runs.items()}, sizes.repeats)
    each = {name: [s / runs[name][1] for s in times] for name, times in seconds.items()}
    cores = num_cores()
    result["rows"] = [
        {
            "way": name,
            "policies timed": runs[name][1],
            "ms per policy": spread([1e3 * s for s in times]),
            "thousand control steps of policies/s": spread([sizes.steps / s / 1e3 for s in times]),
            "times the cost of fracjax": ratios(times, each["fracjax"]),
            f"with {cores} processes at best": (
                None if name == "fracjax" else ratios([s / cores for s in times], each["fracjax"])
            ),
            f"{sizes.policies} policies, seconds": sizes.policies * spread(times)["median"],
        }
        for name, times in each.items()
    ]
    median = result["rows"][1]["times the cost of fracjax"]["median"]
    result[f"target: {TARGET:g} times the loop"] = "met" if median >= TARGET else "not met"
    return result


def _row(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def parse() -> argparse.Namespace:
    parser = options(__doc__, ROUNDS)
    parser.add_argument("--policies", type=int, help="policies in the batch (1024)")
    parser.add_argument("--steps", type=int, help="control steps of each (200)")
    parser.add_argument("--exponents", type=int, help="how many, instead of 1 and then all 12")
    given = with_rounds(parser.parse_args(), ROUNDS)
    sizes = argparse.Namespace(
        policies=given.policies or (32 if given.quick else 1024),
        steps=given.steps or (20 if given.quick else 200),
        repeats=given.repeats,
        looped=4 if given.quick else 32,
        stepped=1 if given.quick else 4,
        chunks=(8,) if given.quick else (64, 256, 512),
        exponents=(given.exponents or 1,) if given.exponents or given.quick else (1, COORDINATES),
    )
    if jax.default_backend() != "cpu" and not given.quick:
        sizes.chunks = (256, 1024)
    return argparse.Namespace(sizes=sizes, json=given.json)


def show(result: dict[str, Any]) -> None:
    """Print line by line, rows as a table."""
    for name, value in result.items():
        if name == "rows":
            print("", table(value), "", sep="\n")
        elif name.startswith("exponents: "):
            print("", f"## {name}", "", sep="\n")
            show(value)
        elif isinstance(value, dict):
            print(f"{name}: " + ", ".join(f"{key} {part}" for key, part in value.items()))
        else:
            print(f"{name}: {value}")


def main() -> None:
    devices.one_cpu_device_per_core()
    arguments = parse()
    result = compare(arguments.sizes)
    if arguments.json:
        write(result, arguments.json)
    show(result)


if __name__ == "__main__":
    main()
