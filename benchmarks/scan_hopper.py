"""Hopper: a scan in Brax beside gymnasium's MuJoCo with a pool of processes on the same cores.

Both take the same number of control steps of 8 ms at every point of a plane of 64-64 tanh
policies (the same weights), and both observe 11 numbers; but these are different simulators
(Brax's spring backend and MuJoCo's C code), so returns are not compared. fracjax goes on past
a fall, whose rewards it masks; gymnasium starts another episode.
"""

import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from interleaved import interleaved, num_cores, ratios, spread

from fracjax import landscapes, rl

__all__ = ["compare", "positive_deviation"]

_SCRIPT = Path(__file__).with_name("scan_pool.py")


class Pool:
    """The pool in its own process."""

    def __init__(self, weights: Path) -> None:
        command = [sys.executable, _SCRIPT, weights, str(num_cores())]
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()
        self.startup = time.perf_counter() - begin

    def ask(self, task: str) -> np.ndarray:
        """Have all points evaluated by one task."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        return np.array(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = f"The pool of MuJoCo ended with exit status {self._process.wait()}."
            raise RuntimeError(msg)
        return json.loads(line)

    def close(self) -> None:
        """End the pool and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(
    *, shape: tuple[int, int], horizon: int, repeats: int, pool: bool, evaluator: Any
) -> dict[str, Any]:
    """Control steps per second and seconds of everyone; ratios are to fracjax."""
    environment = rl.make("hopper", backend="spring")
    policy = rl.initialize(
        jax.random.key(0), 11, 3, hidden=(64, 64), activation="tanh", head="deterministic"
    )
    states = rl.initial_states(environment, jax.random.key(1), 1)
    objective = rl.expected_return(environment, policy, states, horizon=horizon, discount=1.0)
    grid = landscapes.plane(policy.params, jax.random.key(2), span=0.5, num_points=shape)
    steps = grid.size * horizon

    def ours(evaluator: Any) -> np.ndarray:
        found = landscapes.scan(
            objective, policy.params, grid, jax.random.key(3), evaluator=evaluator
        )
        attributes.update(found.attrs)
        return found["value"].values

    attributes: dict[str, Any] = {}
    begin = time.perf_counter()
    first_values = ours(evaluator)
    first = time.perf_counter() - begin
    runs: dict[str, Any] = {"fracjax": functools.partial(ours, attributes["evaluator"])}
    result: dict[str, Any] = {
        "points": grid.size,
        "control steps per point": horizon,
        "cores": num_cores(),
        "evaluator": attributes["evaluator"],
        "first run of fracjax with compilation, seconds": first,
        "spread of returns, fracjax": positive_deviation(first_values),
    }
    with tempfile.TemporaryDirectory() as folder:
        workers = None
        if pool:
            weights = Path(folder) / "weights.npz"
            _write(weights, policy.params, grid, horizon)
            workers = Pool(weights)
            result["start of the pool, seconds"] = workers.startup
            rewards = workers.ask("points")
            result["spread of mean rewards, MuJoCo"] = positive_deviation(rewards)
            runs["gymnasium, MuJoCo, pool"] = functools.partial(workers.ask, "points")
            runs["MuJoCo alone, pool"] = functools.partial(workers.ask, "physics")
        seconds = interleaved(runs, repeats)
        if workers is not None:
            workers.close()
    return result | {
        "seconds": {name: spread(times) for name, times in seconds.items()},
        "thousand control steps/s": {
            name: spread([steps / s / 1e3 for s in times]) for name, times in seconds.items()
        },
        "times the cost of fracjax": {
            name: ratios(times, seconds["fracjax"]) for name, times in seconds.items()
        },
    }


def _write(path: Path, params: Any, grid: landscapes.Grid, horizon: int) -> None:
    """Write centre and directions, layer by layer, and the coordinates of all points."""
    stacked = jax.tree.map(
        lambda leaf, along: np.concatenate([np.asarray(leaf)[None], np.asarray(along)]),
        params["params"],
        grid.directions["params"],
    )
    names = [f"hidden_{index}" for index in range(len(stacked))]
    both = np.meshgrid(*grid.axes, indexing="ij")
    np.savez(
        path,
        **{f"kernel{i}": stacked[name]["kernel"] for i, name in enumerate(names)},
        **{f"bias{i}": stacked[name]["bias"] for i, name in enumerate(names)},
        coordinates=np.stack([axis.ravel() for axis in both], axis=-1),
        horizon=horizon,
    )


def positive_deviation(values: np.ndarray) -> float:
    """Standard deviation over policies.

    Raises:
        ValueError: If it is not positive: results that do not depend on the policy may not
            have needed the physics.
    """
    found = float(np.std(values))
    if not found > 0:
        msg = f"The results of all policies have a standard deviation of {found}."
        raise ValueError(msg)
    return found
