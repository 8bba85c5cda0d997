"""How long does a command take from the prompt, with nothing compiled yet and with everything?

Every command's `--help`, and the smallest real call of those that need no training: each in a
process of its own, once with an empty compilation cache ("cold"), then with what that left
("warm"). Calls take turns, round by round. Python's own `.pyc` files, Matplotlib's list of fonts
and the operating system's file cache are warm in both.

Where the time goes is taken from two more processes per call, with `python -X importtime`, which
slows imports a little: the sum over all modules of what each took itself, wherever it was
imported; and JAX's monitoring events, as the time during which at least one was under way: tracing
and lowering, and compiling, which includes reading a compiled program from the cache.

    python benchmarks/cold_starts.py
    python benchmarks/cold_starts.py --quick --only scan --json PATH
"""

import argparse
import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from command_line import options, show, with_rounds, write
from interleaved import spread

__all__ = ["Call", "calls", "covered", "import_seconds"]

ROUNDS = (3, 1)  # usually, and when quick
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|", re.MULTILINE)
_EVENTS = {
    "tracing": ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration"),
    "compiling": ("backend_compile_duration",),
}
# In a process of its own: JAX takes most of a GPU's memory where it starts.
_MACHINE = "import interleaved, json; print(json.dumps(interleaved.machine()))"
# Runs the command line that follows; leaves the end and the length of every event in a file.
_LISTEN = """
import json, runpy, sys, time
import jax
path, events = sys.argv[1], []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: events.append((name.rsplit("/", 1)[-1], time.time(), seconds))
)
sys.argv = ["fracjax", *sys.argv[2:]]
try:
    runpy.run_module("fracjax", run_name="__main__", alter_sys=True)
finally:
    with open(path, "w") as file:
        json.dump(events, file)
"""


@dataclasses.dataclass(frozen=True)
class Call:
    """A command line.

    Attributes:
        arguments: What follows `fracjax`; `{out}` is an empty folder, `{scan}` that of a scan.
        computes: It compiles something; JAX is then imported first, to listen to it.
    """

    arguments: tuple[str, ...]
    computes: bool = False

    @property
    def name(self) -> str:
        """As one types it, without folders."""
        pairs = zip((*self.arguments, ""), ("", *self.arguments), strict=True)
        kept = [one for one, before in pairs if one and "--out" not in (one, before)]
        return " ".join(one.format(scan="FOLDER") for one in kept)


_SCAN = ("scan", "pendulum", "--grid", "8x8", "--out", "{out}/scan")
_REAL = (
    Call(("info", "envs")),
    Call(("diagnose", "pendulum", "--quick", "--out", "{out}/diagnosis"), computes=True),
    Call(_SCAN, computes=True),
    Call(("report", "{scan}", "--out", "{out}/report")),
    Call(("reproduce", "references", "--quick", "--only", "cat"), computes=True),
)


def main() -> None:
    arguments = parse()
    told = subprocess.run(
        [sys.executable, "-c", _MACHINE],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    host = json.loads(told.stdout)
    for name, value in host.items():
        print(f"{name}: {value}")
    chosen = [call for call in calls() if any(text in call.name for text in arguments.only)]
    if not chosen:
        sys.exit(f"--only must be part of one of: {', '.join(call.name for call in calls())}")
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(chosen, Path(folder), arguments.repeats)
    show("Seconds from the prompt", rows)
    if arguments.json:
        write({"machine": host, "rows": rows}, arguments.json)


def parse() -> argparse.Namespace:
    parser = options(__doc__, ROUNDS)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), help="calls that contain one of these texts"
    )
    arguments = with_rounds(parser.parse_args(), ROUNDS)
    if arguments.only is None:
        arguments.only = ["info", "scan pendulum"] if arguments.quick else [""]
    return arguments


def calls() -> list[Call]:
    """`--help` of every command there is, and the real calls."""
    app = importlib.import_module("fracjax.cli").app
    names = sorted(typer.main.get_command(app).commands)
    return [Call(("--help",)), *(Call((name, "--help")) for name in names), *_REAL]


def measured(chosen: Sequence[Call], folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Rounds of all calls, then one look into each."""
    scan = folder / "example"
    # Also writes .pyc files and the list of fonts.
    _run(folder / "caches", folder, [*_module(), *(one.format(out=scan) for one in _SCAN)])
    seconds: dict[tuple[str, str], list[float]] = {}
    inside: dict[tuple[str, str], Mapping[str, float]] = {}
    for turn in range(repeats + 1):
        for call in chosen:
            place = folder / f"{turn}, {call.name}".replace("/", "-")
            for state in ("cold", "warm"):
                out = place / state
                filled = [one.format(out=out, scan=scan / "scan") for one in call.arguments]
                if turn < repeats:
                    taken, _ = _run(place / "cache", folder, [*_module(), *filled])
                    seconds.setdefault((call.name, state), []).append(taken)
                else:
                    key = call.name, state
                    inside[key] = _look(call, filled, place / "cache", folder)
    return [_row(call, seconds, inside) for call in chosen]


def _row(
    call: Call,
    seconds: Mapping[tuple[str, str], list[float]],
    inside: Mapping[tuple[str, str], Mapping[str, float]],
) -> dict[str, Any]:
    cold, warm = (inside[call.name, state] for state in ("cold", "warm"))
    return {
        "fracjax …": call.name,
        "cold, s": spread(seconds[call.name, "cold"]),
        "warm, s": spread(seconds[call.name, "warm"]),
        "importing, s": warm["importing"],
        "tracing, s": warm.get("tracing"),
        "compiling, s": cold.get("compiling"),
        "the same from the cache, s": warm.get("compiling"),
    }


def _module() -> list[str]:
    return [sys.executable, "-m", "fracjax"]


def _run(cache: Path, folder: Path, command: Sequence[str]) -> tuple[float, str]:
    """Seconds of a command with a compilation cache of its own, and what it wrote on stderr.

    Raises:
        SystemExit: If it fails.
    """
    surroundings = {
        **os.environ,
        "XDG_CACHE_HOME": str(cache),  # where fracjax keeps what it has compiled
        "MPLCONFIGDIR": str(folder / "fonts"),
    }
    surroundings.pop("JAX_COMPILATION_CACHE_DIR", None)
    cache.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return seconds, done.stderr


def _look(call: Call, filled: list[str], cache: Path, folder: Path) -> dict[str, float]:
    """Seconds of importing, tracing and compiling in a run of its own."""
    path = folder / "events.json"
    start = [sys.executable, "-X", "importtime"]
    way = ["-c", _LISTEN, str(path)] if call.computes else ["-m", "fracjax"]
    _, said = _run(cache, folder, [*start, *way, *filled])
    found = {"importing": import_seconds(said)}
    if call.computes:
        events = json.loads(path.read_text())
        for name, kinds in _EVENTS.items():
            found[name] = covered(
                (end - length, end) for kind, end, length in events if kind in kinds
            )
    return found


def import_seconds(said: str) -> float:
    """Total of what `-X importtime` wrote: every module's own time."""
    return sum(map(int, _IMPORT.findall(said))) / 1e6


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: events may contain each other."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


if __name__ == "__main__":
    main()
