"""Time several ways to do the same work in turn, and say on what machine, next to which peers.

Runs alternate, A B C A B C …, so that a change of the machine's load hits all of them, and a
ratio is taken within each round.
"""

import importlib
import importlib.metadata
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
from provenance import commit, num_cores, processor

__all__ = [
    "SHORTEST",
    "best_threads",
    "compiled",
    "finished",
    "interleaved",
    "left_out",
    "load",
    "machine",
    "num_cores",
    "ratios",
    "spread",
    "table",
    "timed",
]

SHORTEST = 0.05  # seconds of one turn
_REASONS = ("not installed", "needs ", "fails ")  # how what stands for a version begins


def timed(run: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds


def interleaved(
    runs: Mapping[str, Callable[[], object]], repeats: int, *, shortest: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of every run in every round; warm them up before.

    In its turn a run is repeated until `shortest` seconds have passed, and the mean taken: the
    first call after someone else's pays for waking its threads and filling the cache.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            calls, begin, elapsed = 0, time.perf_counter(), 0.0
            while calls == 0 or elapsed < shortest:
                run()
                calls, elapsed = calls + 1, time.perf_counter() - begin
            seconds[name].append(elapsed / calls)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """How many times `below` fits into `above`, round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def compiled(function: Callable, *arguments: object) -> tuple[Callable, float, int | None]:
    """Compile for these arguments; return the program, seconds, and bytes of scratch memory."""
    begin = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - begin
    memory = program.memory_analysis()
    return program, seconds, None if memory is None else int(memory.temp_size_in_bytes)


def finished(program: Callable, *arguments: object) -> Any:
    """What a program returns, once all of it is there."""
    return jax.block_until_ready(program(*arguments))


def best_threads(torch: ModuleType, run: Callable[[], object]) -> int:
    """Give PyTorch the number of threads that is fastest on a trial, and keep it."""
    trials = {}
    for threads in sorted({1, num_cores()}):
        torch.set_num_threads(threads)
        run()
        trials[threads] = min(timed(run, 2))
    threads = min(trials, key=lambda number: trials[number])
    torch.set_num_threads(threads)
    return threads


def load(names: Sequence[str]) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Import what is there; say of every package its version, or why it is left out."""
    modules, versions = {}, {}
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = "not installed" if error.name == name else f"needs {error.name}"
            versions[name] = missing
        except Exception as error:  # a package may fail in any way while it is imported
            said = " ".join(str(error).split())  # on one line
            versions[name] = f"fails on import: {type(error).__name__}: {said}"
        else:
            modules[name], versions[name] = module, _version(name)
    return modules, versions


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # a folder of sources
        return "version not known"


def left_out(versions: Mapping[str, str]) -> dict[str, str]:
    """Those of the versions of `load` that are reasons why a package is left out."""
    return {name: said for name, said in versions.items() if said.startswith(_REASONS)}


def machine() -> dict[str, object]:
    return {
        "processor": processor(),
        "cores": num_cores(),
        "jax_devices": [str(device.device_kind) for device in jax.local_devices()],
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "openblas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
    }


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Lay out rows with the same keys in Markdown; a spread becomes min / median / max."""

    def cell(value: object) -> str:
        if isinstance(value, Mapping):
            return " / ".join(cell(part) for part in value.values())
        if isinstance(value, float):
            return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
        return "" if value is None else str(value)

    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([row.get(key) for key in header] for row in rows)]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)
