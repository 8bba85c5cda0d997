"""One process per point, as reward-surfaces evaluates a plane, beside a scan of the same plane.

As many processes run at once as there are cores, each on one thread. A few points are timed,
and a plane is extrapolated from them. A point costs a start (Python, imports, weights) and a
price per step, so two budgets are timed: one episode per point, and many.
"""

import concurrent.futures
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import interleaved, num_cores, ratios, spread
from scan_pendulum import DISCOUNT, Problem, difference

__all__ = ["compare"]

_SCRIPT = Path(__file__).with_name("scan_point.py")
_PLANE = 31 * 31  # points of a plane of reward-surfaces


def compare(
    name: str, *, shape: tuple[int, int], horizon: int, episodes: int, points: int, repeats: int
) -> dict[str, Any]:
    """Seconds per point of both; the returns must agree."""
    begin = time.perf_counter()
    problem = Problem(name, shape, horizon, num_states=episodes)
    evaluator = problem.scan("auto").attrs["evaluator"]
    first = time.perf_counter() - begin
    values = problem.run(evaluator)
    which = np.linspace(0, len(values) - 1, points).astype(int)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        layers = problem.layers()
        np.savez(
            weights,
            **{f"kernel{index}": kernel for index, (kernel, _) in enumerate(layers)},
            **{f"bias{index}": bias for index, (_, bias) in enumerate(layers)},
            **dict(zip(("mean", "std"), problem.normalizer(), strict=True)),
            coordinates=problem.coordinates(),
            states=np.asarray(problem.states),
            horizon=horizon,
            discount=DISCOUNT,
        )
        run = functools.partial(in_processes, Path(folder), weights, which, episodes)
        gap = difference(values, run(), which)
        turns = {"fracjax": functools.partial(problem.run, evaluator), "one process per point": run}
        seconds = interleaved(turns, repeats)
    ours = [s / len(values) for s in seconds["fracjax"]]
    theirs = [s / points for s in seconds["one process per point"]]
    return {
        "steps per point": horizon * episodes,
        "points of fracjax": len(values),
        "points of the recipe, timed": points,
        "processes at once": num_cores(),
        "evaluator": evaluator,
        "first run of fracjax with compilation, seconds": first,
        "largest difference, of the spread": gap,
        "fracjax, seconds per point": spread(ours),
        "one process per point, seconds per point": spread(theirs),
        "ratio": ratios(theirs, ours),
        f"extrapolated to {_PLANE} points, seconds": {
            "fracjax": _PLANE * spread(ours)["median"],
            "one process per point": _PLANE * spread(theirs)["median"],
        },
    }


def in_processes(folder: Path, weights: Path, which: np.ndarray, episodes: int) -> np.ndarray:
    """Returns of some points, each from a process of its own.

    Raises:
        RuntimeError: If a process fails.
    """
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def one(point: int) -> float:
        output = folder / f"{point}.json"
        command = [sys.executable, _SCRIPT, weights, str(point), str(episodes), output]
        done = subprocess.run(
            command, env=surroundings, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            msg = f"A point's process failed: {done.stderr[-500:]}"
            raise RuntimeError(msg)
        return json.loads(output.read_text())["return"]

    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        return np.array(list(pool.map(one, which)))
