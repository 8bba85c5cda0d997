"""gymnasium's Hopper (MuJoCo's C code) with a pool of processes, for a plane of policies.

A process of its own, free of JAX, so that the pool can fork. It is started with a file of
weights, says on stdout in one line of JSON when its workers are ready, and then answers every
line on stdin: `points` evaluates all points, `physics` steps MuJoCo alone with as many control
steps, without gymnasium or a policy.

    python scan_pool.py WEIGHTS.npz PROCESSES
"""

import json
import multiprocessing
import os
import sys
import time
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import gymnasium
import mujoco
import numpy as np

_WORKER: dict[str, Any] = {}


def prepare(weights: str) -> None:
    """Make a worker's environment and read the weights."""
    with np.load(weights) as stored:
        _WORKER.update({name: stored[name] for name in stored})
    _WORKER["environment"] = gymnasium.make("Hopper-v5")
    _WORKER["layers"] = sum(name.startswith("kernel") for name in _WORKER)


def evaluate(point: int) -> float:
    """Mean reward per step over the budget of steps; an episode that ends is followed by another.

    The policy is a tanh network in NumPy, without the overhead of a library of layers.
    """
    factors = np.concatenate([[1.0], _WORKER["coordinates"][point]]).astype(np.float32)
    layers = [
        (np.tensordot(factors, _WORKER[f"kernel{i}"], 1), factors @ _WORKER[f"bias{i}"])
        for i in range(_WORKER["layers"])
    ]
    environment, horizon = _WORKER["environment"], int(_WORKER["horizon"])
    seen, _ = environment.reset(seed=0)
    total = 0.0
    for _ in range(horizon):
        hidden = seen.astype(np.float32)
        for kernel, bias in layers:
            hidden = np.tanh(hidden @ kernel + bias)
        seen, reward, terminated, truncated, _ = environment.step(hidden)
        total += float(reward)
        if terminated or truncated:
            seen, _ = environment.reset()
    return total / horizon


def physics(point: int) -> float:
    """Take the same number of control steps in MuJoCo alone, with controls drawn in advance.

    The hopper starts again every 30 steps, about as often as under a poor policy.
    """
    environment = _WORKER["environment"].unwrapped
    environment.reset(seed=0)
    model, data, horizon = environment.model, environment.data, int(_WORKER["horizon"])
    controls = np.random.default_rng(point).uniform(-1, 1, (horizon, model.nu))
    start = data.qpos.copy()
    for step, control in enumerate(controls):
        if step % 30 == 0:
            mujoco.mj_resetData(model, data)
            data.qpos[:] = start
        data.ctrl[:] = control
        mujoco.mj_step(model, data, nstep=environment.frame_skip)
    return float(data.qpos[0])


def main() -> None:
    weights, processes = sys.argv[1:]
    begin = time.perf_counter()
    with np.load(weights) as stored:
        points = range(len(stored["coordinates"]))
    context = multiprocessing.get_context("fork")
    with context.Pool(int(processes), prepare, (weights,)) as pool:
        pool.map(physics, points[: 4 * int(processes)], chunksize=1)
        print(json.dumps({"startup": time.perf_counter() - begin}), flush=True)
        tasks = {"points": evaluate, "physics": physics}
        for line in sys.stdin:
            found = pool.map(tasks[line.strip()], points, chunksize=1)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
