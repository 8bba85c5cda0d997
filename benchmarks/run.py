"""Run all benchmarks, one after the other, and put their ratios into one table.

    python benchmarks/run.py --quick --json quick.json             # does everything run?
    python benchmarks/run.py --json benchmarks.json                # hours; use an idle machine
    python benchmarks/run.py --full --json benchmarks.json --write # larger where a script can
    python benchmarks/run.py --json benchmarks.json --only none --write   # README from the record

Every script is a process of its own, on CPU or GPU, whichever JAX finds. A record is kept in the
file after each; run again, scripts that were done on the same source, machine, versions and size
are kept. What fails or takes too long is told at the end, with exit code 1. Peers that are not
installed are named and left out.

Before and after every script all cores are asked for half a second; who does not get them is told
that the machine is not idle, and the targets are then not judged. Other users of a GPU are not
seen. `--write` puts the tables into README.md beside this file, between its marks.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import provenance
import readme_blocks
from interleaved import table
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["SCRIPTS", "Script", "kept", "measure", "opened", "origin_of", "run_all"]

FOLDER = Path(__file__).parent
PACKAGES = ("jax", "jaxlib", "torch")
LIMITS = {"quick": 900, "default": 3600, "full": 4 * 3600}  # seconds for one script
_TAIL = 2000  # characters kept of what a script that fails has said


@dataclasses.dataclass(frozen=True)
class Script:
    """A benchmark.

    Attributes:
        name: Of the file, without its ending.
        peers: Packages it compares with; without one it leaves that part out, and says so.
        needs: Those without which it measures nothing.
        full: It has an option `--full`.
        folder: Where the file lies.
    """

    name: str
    peers: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    full: bool = False
    folder: Path = FOLDER

    def command(self, size: str, path: Path) -> list[str]:
        """Command line that measures and writes JSON into a file."""
        options = {"quick": ["--quick"], "full": ["--full"] if self.full else []}.get(size, [])
        return [sys.executable, str(self.folder / f"{self.name}.py"), *options, "--json", str(path)]


_SERIES = ("nolds", "neurokit2")
SCRIPTS = (
    Script("rollouts", needs=("torch",)),
    Script("scan", peers=("torch", "gymnasium", "mujoco")),
    Script("work_precision_lyapunov", peers=("torch", *_SERIES)),
    Script(
        "work_precision_holder", peers=("torch", *_SERIES, "antropy", "MFDFA", "pymultifracs")
    ),
    Script("hopper_exponents", peers=("torch", "gymnasium", "mujoco")),
    Script("path_analyses", peers=("torch",), full=True),
    Script("langevin", peers=("torch",)),
    Script("network_metrics", peers=("torch",)),
    Script("curvature", peers=("torch", "matfree", "pyhessian", "hessian_eigenthings")),
    Script("flossing", peers=("torch",)),
    Script("trainability", peers=("torch",), full=True),
    Script("decomposition", peers=("torch",)),
    Script("roofline"),
    Script("cold_starts"),
)  # fmt: skip


def main() -> None:
    arguments = parse()
    console = Console(stderr=True)
    # So that a script that is running ends, whoever ends this one.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        document = opened(arguments.json, arguments.size)
    except ValueError as error:
        print(f"benchmarks/run.py: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        failed = run_all(
            arguments.only,
            document,
            arguments.json,
            limit=arguments.limit or LIMITS[arguments.size],
            again=arguments.again,
            console=console,
        )
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from here")
        sys.exit(130)
    runs = document["runs"]
    rows = readme_blocks.ratio_rows(runs)
    print(table(rows) if rows else "No ratio has been measured.")
    for name in (name for name in readme_blocks.NAMES.values() if name):
        if runs.get(name, {}).get("result"):
            print(f"\n{name}\n\n{table(runs[name]['result']['rows'])}")
    for name, entry in runs.items():
        for why in readme_blocks.doubts(entry):
            console.print(f"[yellow]{name}: provisional: {why}", highlight=False)
    if arguments.write:
        readme = FOLDER / "README.md"
        text = readme_blocks.replaced(readme.read_text(), readme_blocks.blocks(runs))
        readme.write_text(text)
    for name in failed:
        said = runs[name].get("said", "").strip().splitlines() or ["it said nothing"]
        console.print(f"[red]{name} {runs[name]['status']}[/]: {escape(said[-1])}", highlight=False)
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    sizes.add_argument("--full", action="store_true", help="the largest sizes of every script")
    parser.add_argument(
        "--json", type=Path, metavar="PATH", required=True, help="the record, made or continued"
    )
    parser.add_argument(
        "--only", metavar="NAMES", help="scripts, separated by commas, or none; all by default"
    )
    parser.add_argument("--again", action="store_true", help="also what is already in the record")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="for one script")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    arguments = parser.parse_args()
    arguments.size = "quick" if arguments.quick else "full" if arguments.full else "default"
    known = {script.name: script for script in SCRIPTS}
    if arguments.only is None:
        arguments.only = list(SCRIPTS)
    else:
        names = [] if arguments.only == "none" else arguments.only.split(",")
        if unknown := set(names) - set(known):
            parser.error(f"--only knows {', '.join(known)}, not {', '.join(sorted(unknown))}")
        arguments.only = [known[name] for name in names]
    return arguments


def opened(path: Path, size: str) -> dict[str, Any]:
    """Read a record, or begin one.

    Raises:
        ValueError: If the file holds another size, or something else.
    """
    if not path.exists():
        return {"size": size, "runs": {}}
    try:
        document = json.loads(path.read_text())
    except ValueError:
        document = None
    if not isinstance(document, dict) or not {"size", "runs"} <= set(document):
        msg = f"{path} is not a record of this script."
        raise ValueError(msg)
    if document["size"] != size:
        msg = f"{path} holds {document['size']} sizes, not {size}; name another file."
        raise ValueError(msg)
    return document


def run_all(
    scripts: Sequence[Script],
    document: dict[str, Any],
    path: Path,
    *,
    limit: float,
    again: bool,
    console: Console,
) -> list[str]:
    """Run what is not in the record yet, and write it after each; return who failed."""
    for peer, names in missing(scripts).items():
        console.print(f"[yellow]{peer} is not installed; left out by {', '.join(names)}")
    runs, failed = document["runs"], []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        total = progress.add_task("all scripts")
        for number, script in enumerate(scripts, start=1):
            place = f"{number} of {len(scripts)}"
            origin = origin_of(script, document["size"])
            if not again and kept(runs.get(script.name), origin):
                console.print(f"{place}: {script.name} is in the record", highlight=False)
                continue
            following = scripts[number].name if number < len(scripts) else "the table"
            current = progress.add_task(f"{place}: {script.name}, next {following}", total=None)
            entry = {**origin, **measure(script, document["size"], limit)}
            entry["changed meanwhile"] = provenance.source() != origin["source"]
            progress.remove_task(current)
            runs[script.name] = entry
            _order(runs)
            _write(document, path)
            console.print(
                f"{place}: {script.name} {entry['status']}, {entry['seconds']:.0f} s",
                highlight=False,
            )
            for peer, why in readme_blocks.absent(entry).items():
                console.print(f"[yellow]  left out: {peer} ({escape(why)})", highlight=False)
            if entry["status"] != "ok":
                failed.append(script.name)
        progress.remove_task(total)
    return failed


def origin_of(script: Script, size: str) -> dict[str, Any]:
    """What the numbers of a script depend on, as far as a record can tell."""
    return {
        "size": size,
        "source": provenance.source(),
        "host": provenance.host(),
        "versions": provenance.versions(PACKAGES),
        "missing": dict.fromkeys(missing([script]), "not installed"),
    }


def kept(entry: Mapping[str, Any] | None, origin: Mapping[str, Any]) -> bool:
    """Whether a record can stand for a run of today."""
    return (
        entry is not None
        and entry["status"] == "ok"
        and not entry["changed meanwhile"]
        and all(entry[name] == value for name, value in origin.items())
    )


def missing(scripts: Sequence[Script]) -> dict[str, list[str]]:
    """Packages that are not installed, and who would have used them."""
    found: dict[str, list[str]] = {}
    for script in scripts:
        for peer in (*script.needs, *script.peers):
            if importlib.util.find_spec(peer) is None:
                found.setdefault(peer, []).append(script.name)
    return found


def measure(script: Script, size: str, limit: float) -> dict[str, Any]:
    """Run one script; what it measured, or how it failed, and how busy the machine was."""
    entry: dict[str, Any] = {
        "date": provenance.moment(),
        "load": {"before": provenance.load_averages()},
        "free cores": {"before": provenance.free_cores()},
        "result": None,
    }
    begin = time.perf_counter()
    if set(script.needs) & set(missing([script])):
        entry["status"] = "ok"  # what is missing is told
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.json"
            entry["status"], said = _finished(script.command(size, path), limit)
            entry["result"] = _read(path)
        if entry["status"] == "ok" and entry["result"] is None:
            entry["status"], said = "failed", said + "\nIt wrote no numbers."
        if entry["status"] != "ok":
            entry["said"] = said[-_TAIL:]
    entry["seconds"] = time.perf_counter() - begin
    entry["load"]["after"] = provenance.load_averages()
    entry["free cores"]["after"] = provenance.free_cores()
    return entry


def _finished(command: list[str], limit: float) -> tuple[str, str]:
    """Run a command with all it starts; how it ended, and what it said."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = "ok" if process.wait(timeout=limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = f"took more than {limit:.0f} s"
        finally:
            if process.poll() is None:  # also when this process is interrupted
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # not there, or cut off
        return None


def _order(runs: dict[str, Any]) -> None:
    """In the order of the scripts, whichever ran first."""
    for name in _ordered(runs):
        runs[name] = runs.pop(name)


def _ordered(runs: Mapping[str, Any]) -> Iterator[str]:
    names = [script.name for script in SCRIPTS]
    yield from sorted(runs, key=lambda name: names.index(name) if name in names else len(names))


def _write(document: Mapping[str, Any], path: Path) -> None:
    """Replace the file at once: an interruption leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(document, indent=1) + "\n")
    new.replace(path)


if __name__ == "__main__":
    main()
