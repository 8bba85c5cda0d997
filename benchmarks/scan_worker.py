"""One scan of the pendulum in a process of its own: seconds, memory, bytes on disk, a digest.

Settings are one JSON object as the only argument; the result is one line of JSON on stdout.
See `scan_scaling.py`, which starts it.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
from scan_pendulum import Problem

from fracjax import devices, landscapes, processes
from fracjax.landscapes import Grid


def main() -> None:
    settings = json.loads(sys.argv[1])
    jax.config.update("jax_default_matmul_precision", "highest")
    if settings["devices"] is None:
        devices.one_cpu_device_per_core()
    else:
        jax.config.update("jax_num_cpu_devices", settings["devices"])
    processes.join(*settings["join"])
    problem = Problem(settings["policy"], tuple(settings["shape"]), settings["horizon"])
    folder = Path(settings["folder"])
    begin = time.perf_counter()
    scan(problem, problem.plane((16, 64)), folder / "first", settings)
    first = time.perf_counter() - begin
    before = peak_memory()
    seconds, busy = [], []
    for repeat in range(settings["repeats"]):
        together(folder, f"repeat {repeat}")
        begin, used = time.perf_counter(), time.process_time()
        scan(problem, problem.grid, folder / str(repeat), settings)
        seconds.append(time.perf_counter() - begin)
        busy.append(time.process_time() - used)
    peak = peak_memory()
    together(folder, "done")
    last = folder / str(settings["repeats"] - 1)
    stored = landscapes.open_scan(last)
    print(
        json.dumps(
            {
                "first, seconds": first,
                "seconds": seconds,
                "processor seconds": busy,
                "peak before, MiB": before,
                "peak, MiB": peak,
                "MiB on disk": sum(f.stat().st_size for f in last.rglob("*") if f.is_file())
                / 2**20,
                "digest": hashlib.sha256(stored["value"].values.tobytes()).hexdigest(),
                "evaluator": stored.attrs["evaluator"],
                "chunk_size": stored.attrs["chunk_size"],
            }
        )
    )


def scan(problem: Problem, grid: Grid, store: Path, settings: dict[str, Any]) -> None:
    """Scan into a new store."""
    landscapes.scan(
        problem.objective,
        problem.params,
        grid,
        problem.key,
        evaluator=settings["evaluator"],
        chunk_size=settings["chunk_size"],
        memory=settings["memory"],
        store=store,
    )


def together(folder: Path, moment: str) -> None:
    """Wait until all processes are here."""
    (folder / f"{moment}, {processes.index()}").touch()
    others = [folder / f"{moment}, {index}" for index in range(processes.count())]
    processes.wait_until(lambda: all(map(Path.exists, others)), seconds_between=0.01)


def peak_memory() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where Linux is not there."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
