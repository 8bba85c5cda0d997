"""How a scan scales: with devices, with processes, and with the number of points.

Every measurement is a process of its own that scans into a new store on disk. Devices are CPU
devices, several of which may share a core: then they cannot be faster, and the processor
seconds say how much work there was. Values must be the same bytes however they were shared.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import num_cores, spread

__all__ = ["linear", "log_slope", "scaling"]

_SCRIPT = Path(__file__).with_name("scan_worker.py")
_SETUPS = {"1 device": (1, 1), "2 devices": (2, 1), "4 devices": (4, 1), "2 processes": (1, 2)}
_DEFAULTS = {"evaluator": "auto", "chunk_size": None, "memory": None, "repeats": 1}
_MEMORY = 256 * 2**20


def scaling(
    kind: str, *, points: int, horizon: int, rounds: int, repeats: int, policy: str
) -> list[dict[str, Any]]:
    """Scan with 1, 2 and 4 devices and 2 processes, in turn.

    Args:
        kind: `"strong"`: as many points in all; `"weak"`: as many per device.
        points: How many.
        horizon: Steps per point.
        rounds: How often each is started.
        repeats: Scans of one process; their mean counts.
        policy: Name of the policy.

    Raises:
        RuntimeError: If a process fails, or values differ by how they were shared.
    """
    settings = {"horizon": horizon, "policy": policy, "repeats": repeats, "evaluator": "plain"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _SETUPS}
    digests: dict[int, set[str]] = {}
    for _ in range(rounds):
        for name, (devices, count) in _SETUPS.items():
            total = points * devices * count if kind == "weak" else points
            several = run(count, devices=devices, shape=plane(total), **settings)
            used = sum(np.mean(each["processor seconds"]) for each in several)
            seconds = float(np.mean(several[0]["seconds"]))
            found[name].append({"points": total, "seconds": seconds, "used": used})
            # The first process is the last to leave: it sees what all have written.
            digests.setdefault(total, set()).add(several[0]["digest"])
    if any(len(each) > 1 for each in digests.values()):
        msg = "Values depend on the number of devices or processes."
        raise RuntimeError(msg)
    one = [each["points"] / each["seconds"] for each in found["1 device"]]
    rows = []
    for name, (devices, count) in _SETUPS.items():
        rates = [each["points"] / each["seconds"] for each in found[name]]
        gains = [rate / first for rate, first in zip(rates, one, strict=True)]
        workers = min(devices * count, num_cores())
        rows.append(
            {
                kind: name,
                "points": found[name][0]["points"],
                "seconds": spread([each["seconds"] for each in found[name]]),
                "times the rate of 1 device": spread(gains),
                "efficiency on the cores it can use": float(np.median(gains)) / workers,
                "cores busy": spread([each["used"] / each["seconds"] for each in found[name]]),
            }
        )
    return rows


def linear(
    sizes: Sequence[int], *, horizon: int, policy: str, devices: int | None
) -> dict[str, Any]:
    """Cost and memory against the number of points, under a bound of memory.

    The evaluator and its chunk are what `scan` chooses for the last size but one, and the
    same for all sizes.
    """
    settings = {"horizon": horizon, "policy": policy, "devices": devices, "memory": _MEMORY}
    (choice,) = run(1, shape=plane(sizes[-2]), **settings)
    settings |= {name: choice[name] for name in ("evaluator", "chunk_size")}
    rows = []
    for size in sizes:
        (each,) = run(1, shape=plane(size), **settings)
        peak, before = each["peak, MiB"], each["peak before, MiB"]
        rows.append(
            {
                "points": size,
                "seconds": each["seconds"][0],
                "µs per point": each["seconds"][0] / size * 1e6,
                "MiB on disk": each["MiB on disk"],
                "bytes per point": each["MiB on disk"] * 2**20 / size,
                "peak memory, MiB": peak,
                "of which this scan": None if peak is None else peak - before,
                "first scan with compilation, seconds": each["first, seconds"],
            }
        )
    seconds = [row["seconds"] for row in rows]
    return {
        "rows": rows,
        "steps per point": horizon,
        "policy": policy,
        "evaluator": choice["evaluator"],
        "chunk size": choice["chunk_size"],
        "bound of memory, MiB": _MEMORY / 2**20,
        "exponent of seconds in points, last two sizes": log_slope(sizes[-2:], seconds[-2:]),
    }


def log_slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Exponent p of cost ∝ size^p, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def plane(points: int) -> tuple[int, int]:
    """Shape of a plane of so many points: the divisor next to a square."""
    rows = next(n for n in range(int(points**0.5), 0, -1) if points % n == 0)
    return rows, points // rows


def run(count: int, **settings: Any) -> list[dict[str, Any]]:
    """Start one scan in `count` processes and wait for it; settings are `scan_worker`'s.

    Raises:
        RuntimeError: If a process fails.
    """
    settings = {**_DEFAULTS, **settings}
    surroundings = dict(os.environ)
    if settings["devices"] is not None:
        surroundings["JAX_PLATFORMS"] = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        address = f"127.0.0.1:{free_port()}" if count > 1 else None
        started = []
        for index in range(count):
            join = (address, count, index) if count > 1 else (None, None, None)
            document = json.dumps({**settings, "folder": folder, "join": join})
            started.append(
                subprocess.Popen(
                    [sys.executable, _SCRIPT, document],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=surroundings,
                )
            )
        said = [process.communicate() for process in started]
    if any(process.returncode for process in started):
        msg = "A scan's process failed: " + " ".join(error[-500:] for _, error in said)
        raise RuntimeError(msg)
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
