"""A plane of pendulum policies: evaluated by a scan, by a naive `vmap`, and in PyTorch.

All sides take the same steps (fourth-order Runge-Kutta, float32 without TF32) from the same
initial state under the same policies, and must return the same discounted returns. PyTorch is
written in two ways: batched, a matrix of its own for every point (`baddbmm`), and with shared
weights, which is what fracjax's affine evaluator does; each eagerly and, where a compiler is
installed, through `torch.compile`. Every way is given the batch that is fastest in a trial.
"""

import functools
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from interleaved import best_threads, interleaved, ratios, spread, timed

from fracjax import landscapes, rl
from fracjax.landscapes.scans.evaluators import choose_evaluator
from fracjax.landscapes.scans.outputs import named_outputs

__all__ = ["DISCOUNT", "POLICIES", "InTorch", "Problem", "compare", "difference"]

DISCOUNT = 0.99
SPAN = 0.3  # of each filter's length
POLICIES = ("shipped 32-32", "64-64")
NAIVE_BATCH = 8192
LARGE = 1_000_000  # points of the plane for which an evaluator is chosen


class Problem:
    """A plane through one policy.

    Attributes:
        objective: Discounted return, the mean over the initial states.
        params: Centre of the plane.
        grid: The plane.
        sizes: Widths of all layers, the observation first.
        steps: Policy steps of the whole plane.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        horizon: int,
        *,
        num_states: int = 1,
        dtype: str = "float32",
    ) -> None:
        environment = rl.make("pendulum", dtype=dtype)
        self.policy = (rl.shipped("pendulum") if name == POLICIES[0] else wide()).astype(dtype)
        self.states = rl.initial_states(environment, jax.random.key(0), num_states)
        self.horizon = horizon
        self.key = jax.random.key(1)
        self.params = self.policy.params
        self.objective = rl.expected_return(
            environment, self.policy, self.states, horizon=horizon, discount=DISCOUNT
        )
        self.grid = self.plane(shape)
        self.sizes = (self.policy.observation_size, *self.policy.network.layer_sizes)
        self.steps = self.grid.size * horizon * num_states

    def plane(self, shape: tuple[int, int]) -> landscapes.Grid:
        """The same plane with any number of points."""
        key = jax.random.key(2)
        return landscapes.plane(self.params, key, span=SPAN, num_points=shape, kind="filter")

    def scan(self, evaluator: Any = "auto") -> xarray.Dataset:
        """Scan the plane, in memory."""
        return landscapes.scan(
            self.objective, self.params, self.grid, self.key, evaluator=evaluator
        )

    def run(self, evaluator: str) -> np.ndarray:
        """Values of a scan, flat."""
        return self.scan(evaluator)["value"].values.ravel()

    def choice(self, num_points: int) -> tuple[str, dict[str, Any]]:
        """Evaluator that a scan of so many points chooses, and the rates it measured."""
        points = self.coordinates()[:1024]
        evaluator, notes = choose_evaluator(
            named_outputs(self.objective),
            self.params,
            self.grid.directions,
            (points, np.arange(len(points))),
            self.key,
            num_points=num_points,
        )
        return evaluator.name, notes

    def coordinates(self) -> np.ndarray:
        """Coordinates of all points, (points, 2), in the order of the values."""
        both = np.meshgrid(*self.grid.axes, indexing="ij")
        return np.stack([axis.ravel() for axis in both], axis=-1).astype(np.float32)

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Kernels (3, inputs, outputs) and biases (3, outputs): centre and directions.

        Of the last layer only what the action is made of: a scale of noise is not needed.
        """
        stacked = jax.tree.map(
            lambda leaf, along: np.concatenate([np.asarray(leaf)[None], np.asarray(along)]),
            self.params["params"],
            self.grid.directions["params"],
        )
        found = [(stacked[f"hidden_{i}"]["kernel"], stacked[f"hidden_{i}"]["bias"]) for i in (0, 1)]
        last = stacked["hidden_2"]
        return [*found, (last["kernel"][..., :1], last["bias"][..., :1])]

    def normalizer(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation by which observations are normalised."""
        if self.policy.normalizer is None:
            return np.zeros(3, np.float32), np.ones(3, np.float32)
        return np.asarray(self.policy.normalizer.mean), np.asarray(self.policy.normalizer.std)


def wide() -> rl.Policy:
    """An untrained 64-64 policy with weights doubled, so that it moves the pendulum."""
    policy = rl.initialize(
        jax.random.key(3), 3, 1, hidden=(64, 64), activation="tanh", head="deterministic"
    )
    return policy.replace(params=jax.tree.map(lambda leaf: 2 * leaf, policy.params))


def naive(problem: Problem) -> Callable[[], np.ndarray]:
    """What one writes first: a full copy of the parameters for every point, and one `vmap`."""
    rows = jnp.asarray(problem.coordinates())
    form = jax.jit(
        jax.vmap(
            lambda row: jax.tree.map(
                lambda leaf, along: leaf + row[0] * along[0] + row[1] * along[1],
                problem.params,
                problem.grid.directions,
            )
        )
    )
    evaluate = jax.jit(jax.vmap(problem.objective, in_axes=(0, None)))

    def run() -> np.ndarray:
        pieces = [rows[at : at + NAIVE_BATCH] for at in range(0, len(rows), NAIVE_BATCH)]
        return np.concatenate([np.asarray(evaluate(form(part), problem.key)) for part in pieces])

    return run


class InTorch:
    """The same rollouts in PyTorch, `batch` points at a time; `way` says how it multiplies."""

    def __init__(
        self, torch: ModuleType, problem: Problem, way: str, batch: int, *, compiled: bool = False
    ) -> None:
        self._torch, self._way, self._batch = torch, way, batch
        # Sizes and ways are many, and PyTorch compiles a program for each.
        torch._dynamo.config.recompile_limit = 256
        device = "cuda" if torch.cuda.is_available() else "cpu"
        place = functools.partial(torch.tensor, device=device)
        self._layers = [(place(kernel), place(bias)) for kernel, bias in problem.layers()]
        self._mean, self._std = (place(part) for part in problem.normalizer())
        points = place(problem.coordinates())
        self._points = torch.cat([torch.ones_like(points[:, :1]), points], dim=1)
        self._start = place(np.asarray(problem.states[0]))
        self._weights = place((DISCOUNT ** np.arange(problem.horizon)).astype(np.float32))
        self._advance = torch.compile(self._step, dynamic=False) if compiled else self._step

    def __call__(self, steps: int | None = None) -> np.ndarray:
        """Returns at all points, over the horizon or fewer steps."""
        torch = self._torch
        with torch.no_grad():
            parts = [self._roll(part, steps) for part in self._points.split(self._batch)]
            return torch.cat(parts).cpu().numpy()

    def _roll(self, points: Any, steps: int | None) -> Any:
        policy = self._prepared(points)
        state = [part.repeat(len(points)) for part in (*self._start, 0 * self._start[0])]
        for weight in self._weights[:steps]:
            state = self._advance(policy, *state, weight)
        return state[2]

    def _prepared(self, points: Any) -> list:
        """What the steps of a batch need: kernels, biases, and coordinates with a leading 1."""
        torch, layers = self._torch, self._layers
        biases = [points @ bias for _, bias in layers]
        if self._way == "own":
            kernels = [torch.einsum("nk,kio->nio", points, kernel) for kernel, _ in layers]
        elif self._way == "wide":
            kernels = [kernel.permute(1, 0, 2).flatten(1).contiguous() for kernel, _ in layers]
        else:
            kernels = [kernel.flatten(0, 1) for kernel, _ in layers]
        return [kernels, biases, points]

    def _act(self, policy: list, hidden: Any) -> Any:
        torch = self._torch
        kernels, biases, points = policy
        for kernel, bias in zip(kernels, biases, strict=True):
            if self._way == "own":
                total = torch.baddbmm(bias[:, None], hidden[:, None], kernel)[:, 0]
            elif self._way == "wide":  # x [W0 | D1 | D2], and the sum afterwards
                parts = (hidden @ kernel).unflatten(1, (3, -1))
                total = torch.addcmul(parts[:, 0] + bias, points[:, 1:2], parts[:, 1])
                total = torch.addcmul(total, points[:, 2:3], parts[:, 2])
            else:  # [x, a x, b x] [W0; D1; D2]: the product sums
                total = torch.addmm(bias, (points[:, :, None] * hidden[:, None]).flatten(1), kernel)
            hidden = total.tanh()
        return 2 * hidden[:, 0]

    def _step(self, policy: list, theta: Any, omega: Any, total: Any, weight: Any) -> tuple:
        seen = self._torch.stack([theta.cos(), theta.sin(), omega], dim=-1)
        u = self._act(policy, (seen - self._mean) / self._std)
        total = total - weight * (2 * (1 - theta.cos()) + 0.1 * omega**2 + 0.001 * u**2)
        dt = 0.05

        def slope(theta: Any, omega: Any) -> tuple:
            return omega, 15 * theta.sin() + 3 * u

        a, b = slope(theta, omega)
        c, d = slope(theta + dt / 2 * a, omega + dt / 2 * b)
        e, f = slope(theta + dt / 2 * c, omega + dt / 2 * d)
        g, h = slope(theta + dt * e, omega + dt * f)
        theta = theta + dt / 6 * (a + 2 * (c + e) + g)
        omega = omega + dt / 6 * (b + 2 * (d + f) + h)
        return theta, omega, total


_WAYS = {
    "PyTorch": (("own",), False),
    "PyTorch, shared weights": (("wide", "tall"), False),
    "PyTorch compiled": (("own",), True),
    "PyTorch compiled, shared weights": (("wide", "tall"), True),
}


def in_torch(
    torch: ModuleType, problem: Problem, name: str, batches: Sequence[int]
) -> tuple[Callable[[], np.ndarray], dict[str, Any]]:
    """The fastest of several batches, ways to write it and numbers of threads, in a trial.

    A trial takes a fifth of the steps.
    """
    ways, compiled = _WAYS[name]
    steps = max(problem.horizon // 5, 1)
    begin = time.perf_counter()
    trials, runs = {}, {}
    for way in ways:
        for batch in sorted({min(batch, problem.grid.size) for batch in batches}):
            label = f"{way}, {batch} points"
            runs[label] = InTorch(torch, problem, way, batch, compiled=compiled)
            trial = functools.partial(runs[label], steps)
            trial()
            trials[label] = min(timed(trial, 2))
    chosen = min(trials, key=lambda label: trials[label])
    threads = best_threads(torch, functools.partial(runs[chosen], steps))

    def run() -> np.ndarray:
        torch.set_num_threads(threads)
        return runs[chosen]()

    return run, {
        "chosen": chosen,
        "threads": threads,
        "trials, million steps/s": {
            label: problem.grid.size * steps / 1e6 / seconds for label, seconds in trials.items()
        },
        "seconds of the search": time.perf_counter() - begin,
    }


def compare(
    name: str,
    *,
    shape: tuple[int, int],
    horizon: int,
    repeats: int,
    torch: ModuleType | None,
    batches: Sequence[int],
    with_compiled: bool,
    with_naive: bool,
) -> dict[str, Any]:
    """Run everyone in turn on one plane.

    Ratios are to the evaluator that `scan` chooses, by its probe, for a plane of a million
    points; for a plane as small as this it does not probe, and takes the plain one.
    """
    problem = Problem(name, shape, horizon)
    begin = time.perf_counter()
    chosen, notes_of_choice = problem.choice(LARGE)
    choosing = time.perf_counter() - begin
    jax.clear_caches()  # so that every way's first run compiles
    problem = Problem(name, shape, horizon)
    runs: dict[str, Callable[[], np.ndarray]] = {
        f"fracjax {way}": functools.partial(problem.run, way) for way in ("plain", "affine")
    }
    notes: dict[str, Any] = {}
    if with_naive:
        runs["naive vmap"] = naive(problem)
    for peer in _WAYS if torch is not None else ():
        if _WAYS[peer][1] and not with_compiled:
            notes[peer] = "left out: these sizes are for a quick run"
            continue
        try:
            runs[peer], notes[peer] = in_torch(torch, problem, peer, batches)
        except Exception as error:  # no C++ compiler, no Triton: that is for PyTorch to say
            notes[peer] = {"failed": f"{type(error).__name__}: {error}"[:300]}
            print(f"{peer}: {notes[peer]['failed']}", file=sys.stderr)
    values, first = {}, {}
    for label, run in runs.items():
        begin = time.perf_counter()
        values[label] = run()
        first[label] = time.perf_counter() - begin
    ours = f"fracjax {chosen}"
    differences = {label: difference(values[ours], value) for label, value in values.items()}
    seconds = interleaved(runs, repeats)
    return {
        "points": problem.grid.size,
        "horizon": horizon,
        "layers": list(problem.sizes),
        "chosen": chosen,
        "probe": notes_of_choice,
        "chunk sizes": {way: problem.scan(way).attrs["chunk_size"] for way in ("plain", "affine")},
        "probe of both evaluators with compilation, seconds": choosing,
        "first run, seconds": first,
        "largest difference, of the spread": differences,
        "peers": notes,
        "million steps/s": {
            label: spread([problem.steps / 1e6 / s for s in times])
            for label, times in seconds.items()
        },
        "times the cost of fracjax": {
            label: ratios(times, seconds[ours]) for label, times in seconds.items()
        },
    }


def difference(
    ours: np.ndarray, theirs: np.ndarray, which: np.ndarray | slice = slice(None)
) -> float:
    """Largest difference in units of the standard deviation over the plane.

    Args:
        ours: Returns at all points.
        theirs: Returns at the points `which`.
        which: Indices of points; all if not given.

    Raises:
        ValueError: If the sides disagree, or the returns hardly depend on the policy: then
            someone's rollouts may be dead code.
    """
    scale = float(np.std(ours))
    if not scale > 5e-3 * np.abs(ours).mean():
        msg = f"The returns hardly depend on the point: their standard deviation is {scale:.3g}."
        raise ValueError(msg)
    found = float(np.abs(ours[which] - theirs).max() / scale)
    if not found < 1e-2:
        msg = f"The sides' returns are not the same: they differ by {found:.3g} of the spread."
        raise ValueError(msg)
    return found
