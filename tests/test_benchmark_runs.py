"""One command runs the benchmarks, goes on where it stopped, and makes one table of them."""

import argparse
import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

FOLDER = Path(__file__).parents[1] / "benchmarks"
CPU = {"machine": {"jax_devices": ["cpu", "cpu"]}}
# Writes the ratio of `rollouts`, counts how often it has run, and may fail.
SCRIPT = """
import json, pathlib, sys, time
counter = pathlib.Path(__file__).with_suffix(".count")
counter.write_text(counter.read_text() + "x" if counter.exists() else "x")
{before}
ratio = {{"min": 2.0, "median": 4.0, "max": 5.0}}
result = {{
    "machine": {{"jax_devices": ["cpu"]}}, "policies": 3, "steps": 4, "ratio": ratio,
    "said": sys.argv[1:],
}}
pathlib.Path(sys.argv[-1]).write_text(json.dumps(result))
{after}
"""


@pytest.fixture
def runner(bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    provenance = bench("provenance")
    monkeypatch.setattr(provenance, "free_cores", lambda: float(provenance.num_cores()))
    origin = {"commit": "abc1234", "uncommitted changes": None}
    monkeypatch.setattr(provenance, "source", lambda: origin)
    return bench("run")


def script(runner: ModuleType, folder: Path, name: str = "rollouts", **parts: str) -> Any:
    text = SCRIPT.format(**{"before": "", "after": "", **parts})
    (folder / f"{name}.py").write_text(text)
    return runner.Script(name, folder=folder)


def runs_of(folder: Path, name: str = "rollouts") -> int:
    return len((folder / f"{name}.count").read_text())


def run(
    runner: ModuleType, scripts: list, path: Path, size: str = "default", **options: Any
) -> tuple[list[str], dict[str, Any], str]:
    console = Console(file=io.StringIO(), width=200)
    settings = {"limit": 60.0, "again": False, **options}
    document = runner.opened(path, size)
    failed = runner.run_all(scripts, document, path, console=console, **settings)
    return failed, json.loads(path.read_text()), console.file.getvalue()


def ratio(median: float) -> dict[str, float]:
    return {"min": median / 2, "median": median, "max": median * 2}


def rows_of(bench: Callable[[str], ModuleType], name: str, record: dict) -> dict[tuple, float]:
    found = bench("comparisons").extract(name, {**CPU, **record})
    return {(each.problem, each.ours, each.peer, each.of): each.ratio["median"] for each in found}


def test_ratios_of_every_layout(bench: Callable[[str], ModuleType]) -> None:
    theirs, ours = "peer / ours", "ours / peer"
    pendulum = {
        "points": 9,
        "times the cost of fracjax": {"fracjax plain": ratio(1), "PyTorch": ratio(5)},
    }
    record = {"pendulum": {"64-64": pendulum}, "recipe": {"left out": "torch"}}
    expected = {("pendulum, 64-64, 9 points", "fracjax", "PyTorch", theirs): 5}
    assert rows_of(bench, "scan", record) == expected
    # A part that failed holds what it said.
    assert rows_of(bench, "scan", {"pendulum": {"failed": "no"}, "hopper": {"failed": "no"}}) == {}

    equal = [
        {"method": "fracjax, in pieces", "compared at": ".06", "ratio (min / median / max)": None},
        {"method": "nolds dfa", "compared at": ".06", "ratio (min / median / max)": ratio(30)},
    ]
    # Here the script divides rates the other way round.
    faster = {"2000 windows of 256": "PyTorch, whole, float32", "times fracjax in pieces": ratio(4)}
    record = {"equal error": equal, "throughput": {"rows": [faster]}}
    assert rows_of(bench, "work_precision_holder", record) == {
        ("at an RMS error of .06", "in pieces", "nolds dfa", theirs): 30,
        ("2000 windows of 256", "in pieces", "PyTorch, whole, float32", theirs): 0.25,
    }

    def gradient(name: str, forward: float, us: float | None) -> dict[str, Any]:
        times = {"times its forward pass": ratio(forward), "times fracjax": us and ratio(us)}
        return {"N=80, 40 steps": name, **times}

    rows = [
        gradient("k=16: fracjax, forward", 1, 1),
        gradient("k=16: fracjax, gradient", 2, 1),
        gradient("k=16: PyTorch (1 threads), gradient", 9, 3),
    ]
    problem = "spectrum, N=80, 40 steps, k=16"
    assert rows_of(bench, "work_precision_lyapunov", {"gradients": {"rows": rows}}) == {
        (problem, "gradient", "forward pass", ours): 2,
        (problem, "fracjax", "PyTorch (1 threads), gradient", theirs): 3,
    }

    overhead = {"title": "PPTB", "rows": [{"s": "overhead of an update", **ratio(0.01)}]}
    svd = {"title": "SVD", "rows": [{"way": "torch, 2 threads", "times ours": ratio(6)}]}
    assert rows_of(bench, "path_analyses", {"sections": [svd, overhead]}) == {
        ("SVD", "Gram matrix, float64", "torch, 2 threads", theirs): 6,
        ("PPTB", "recording and trimming", "an update by Adam", ours): 0.01,
    }


def test_a_changed_layout_is_an_error_and_a_missing_peer_is_not(
    bench: Callable[[str], ModuleType],
) -> None:
    row = {"method": "PyTorch", "renamed": ratio(2)}
    with pytest.raises(KeyError):
        rows_of(bench, "curvature", {"density": {"rows": [row]}})
    row = {"k": 1, "dtype": "float32", "method": "fracjax"}
    nobody = {"times faster than a batch in PyTorch": None, "times faster than its loop": None}
    assert rows_of(bench, "flossing", {"rows": [row | nobody]}) == {}


def test_targets(bench: Callable[[str], ModuleType]) -> None:
    module = bench("comparisons")

    def judged(benchmark: str, peer: str, of: str, least: float, median: float, **options: Any):
        found = {"min": least, "median": median, "max": 2 * median}
        one = module.Comparison(benchmark, "", "fracjax", peer, of, found)
        return module.verdict(one, [one], **{"cpu": True, "provisional": False, **options})

    above, below = module.THEIRS, module.OURS
    assert judged("rollouts", "PyTorch", above, 3, 4) == ("≥ 3", "met")
    assert judged("rollouts", "PyTorch", above, 2.9, 4) == ("≥ 3", "met by the median")
    assert judged("rollouts", "PyTorch", above, 2, 2.9) == ("≥ 3", "not met")
    assert judged("rollouts", "PyTorch", above, 3, 4, cpu=False) == ("≥ 10", "not met")
    assert judged("rollouts", "PyTorch", above, 3, 4, provisional=True) == ("≥ 3", "provisional")
    assert judged("curvature", "gradient", below, 1, 1.4) == ("≤ 3", "met")
    assert judged("curvature", "gradient", below, 1, 2.9) == ("≤ 3", "met by the median")
    assert judged("curvature", "gradient", below, 1, 3.1) == ("≤ 3", "not met")
    assert judged("langevin", "PyTorch SGD", above, 1, 3) == ("", "")
    slow, fast = (
        module.Comparison("flossing", "k = 16", f"fracjax {n}", "PyTorch, batched", above, ratio(n))
        for n in (3, 12)
    )
    both = [slow, fast]
    assert module.verdict(slow, both, cpu=True, provisional=False) == ("", "")
    assert module.verdict(fast, both, cpu=True, provisional=False) == ("≥ 5", "met")


def test_a_record_grows_and_is_kept(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    one = script(runner, tmp_path)
    failed, document, _ = run(runner, [one], path)
    assert failed == []
    entry = document["runs"]["rollouts"]
    assert entry["result"]["said"][:-1] == ["--json"]  # no size is asked for
    assert entry["source"]["commit"] == "abc1234"
    assert set(entry["load"]) == set(entry["free cores"]) == {"before", "after"}

    two = script(runner, tmp_path, "langevin")
    _, document, said = run(runner, [two, one], path)
    assert list(document["runs"]) == ["rollouts", "langevin"]
    assert document["runs"]["rollouts"] == entry
    assert "rollouts is in the record" in said
    assert (runs_of(tmp_path), runs_of(tmp_path, "langevin")) == (1, 1)
    run(runner, [one], path, again=True)
    assert runs_of(tmp_path) == 2
    with pytest.raises(ValueError, match="default sizes, not quick"):
        runner.opened(path, "quick")


def test_another_commit_is_measured_again(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, one = tmp_path / "record.json", script(runner, tmp_path)
    run(runner, [one], path, size="quick")
    changed = {"commit": "abc1234", "uncommitted changes": "5f"}
    monkeypatch.setattr(runner.provenance, "source", lambda: changed)
    _, document, _ = run(runner, [one], path, size="quick")
    assert runs_of(tmp_path) == 2
    doubts = importlib.import_module("readme_blocks").doubts(document["runs"]["rollouts"])
    assert doubts == ["quick sizes", "uncommitted changes"]
    assert "--quick" in document["runs"]["rollouts"]["result"]["said"]


def test_failures_are_collected(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    stuck = "import subprocess; subprocess.run(['sleep', '60'])"
    scripts = [
        script(runner, tmp_path, "scan", before=stuck),
        script(runner, tmp_path, "langevin", after="sys.exit('the peers disagree')"),
        script(runner, tmp_path, "curvature", before="sys.exit(0)"),
        script(runner, tmp_path),
    ]
    failed, document, _ = run(runner, scripts, path, limit=1.0)
    assert failed == ["scan", "langevin", "curvature"]
    runs = document["runs"]
    assert runs["scan"]["status"] == "took more than 1 s"
    assert runs["scan"]["seconds"] < 30
    assert "the peers disagree" in runs["langevin"]["said"]
    assert runs["langevin"]["result"]["steps"] == 4  # what it had measured
    assert "wrote no numbers" in runs["curvature"]["said"]
    assert runs["rollouts"]["status"] == "ok"
    run(runner, scripts[1:], path)
    assert (runs_of(tmp_path, "langevin"), runs_of(tmp_path)) == (2, 1)


def test_a_missing_peer_is_named(runner: ModuleType, tmp_path: Path) -> None:
    path, peer = tmp_path / "record.json", "no_such_package"
    script(runner, tmp_path)
    needs = runner.Script("rollouts", needs=(peer,), folder=tmp_path)
    failed, document, said = run(runner, [needs], path)
    assert failed == []
    assert f"{peer} is not installed; left out by rollouts" in said
    assert not (tmp_path / "rollouts.count").exists()
    blocks = importlib.import_module("readme_blocks").blocks(document["runs"])
    assert f"Left out, {peer} (not installed): rollouts." in blocks["all ratios"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise TypeError('is not\\na package')", "fails on import: TypeError: is not a package"),
        ("import no_such_package", "needs no_such_package"),
    ],
)
def test_a_peer_that_cannot_be_imported_is_left_out(
    bench: Callable[[str], ModuleType],
    source: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As nolds 0.6.3 on Python 3.11: it is installed, and fails only when it is imported.
    monkeypatch.delitem(sys.modules, "nolds", raising=False)
    (tmp_path / "nolds.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    modules, versions = bench("interleaved").load(("nolds", "numpy"))
    assert set(modules) == {"numpy"}
    assert bench("interleaved").left_out(versions) == {"nolds": reason}
    series = bench("data_peers").data_estimators("henon", modules)
    paths = bench("holder_peers").series_estimators(modules)
    assert not any("nolds" in name for name in (*series, *paths))
    # A part of a script that cannot be measured without it says why.
    assert bench("scan").missing(versions, "numpy", "nolds") == f"nolds ({reason})"
    assert bench("scan").missing(versions, "numpy") is None


def test_a_peer_that_nobody_installed_is_used_from_its_sources(
    bench: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peer_of_no_version.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    modules, versions = bench("interleaved").load(("peer_of_no_version",))
    assert set(modules) == {"peer_of_no_version"}
    assert bench("interleaved").left_out(versions) == {}


def test_options_take_some_of_what_is_known(bench: Callable[[str], ModuleType]) -> None:
    some_of = bench("command_line").some_of
    assert some_of({100: "small", 1000: "large"})("1000,100") == [1000, 100]
    with pytest.raises(argparse.ArgumentTypeError, match="some of a, b, but names c"):
        some_of("ab")("a,c")


def test_a_peer_that_fails_is_named(bench: Callable[[str], ModuleType]) -> None:
    packages = {"torch": "2.6.0", "nolds": "needs six", "jax": "0.10"}
    entry = {"missing": {"antropy": "not installed"}, "result": {"packages": packages}}
    expected = {"antropy": "not installed", "nolds": "needs six"}
    assert bench("readme_blocks").absent(entry) == expected


def test_blocks_of_the_readme(
    runner: ModuleType, bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module, path = bench("readme_blocks"), tmp_path / "record.json"
    _, document, _ = run(runner, [script(runner, tmp_path)], path)
    found = module.blocks(document["runs"])
    assert "| ≥ 3 | met by the median |" in found["all ratios"]
    assert "2 / 4 / 5" in found["all ratios"]
    assert "Not measured yet: `python benchmarks/run.py" in found["roofline"]
    assert "--only cold_starts" in found["cold starts"]

    text = (FOLDER / "README.md").read_text()
    once = module.replaced(text, found)
    assert module.replaced(once, module.blocks(json.loads(path.read_text())["runs"])) == once
    outside = [part.partition("<!-- end -->")[2] for part in text.split("<!-- benchmarks/run.py")]
    after = [part.partition("<!-- end -->")[2] for part in once.split("<!-- benchmarks/run.py")]
    assert outside[1:] == after[1:]
    assert once.startswith(text.split("<!-- benchmarks/run.py")[0])
    assert len(outside) == 1 + len(module.NAMES)
    with pytest.raises(ValueError, match="roofline"):
        module.replaced(text.replace("<!-- benchmarks/run.py: roofline -->", ""), found)
    with pytest.raises(ValueError, match="all ratios"):  # its end is missing
        module.replaced(text.replace("<!-- end -->", "", 1), found)


def test_busy_cores_are_seen(bench: Callable[[str], ModuleType]) -> None:
    provenance = bench("provenance")
    cores = provenance.num_cores()
    # Whoever else is at work, one gets something and never more than there is.
    assert 0 < provenance.free_cores(0.05) < 1.05 * cores
    assert provenance.is_idle(cores, cores)
    assert not provenance.is_idle(0.9 * cores, cores)


def test_where_the_seconds_of_a_start_go(bench: Callable[[str], ModuleType]) -> None:
    module = bench("cold_starts")
    said = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       200 |        200 |   inner\n"
        "a warning\n"
        "import time:      1000 |       1200 | outer\n"
    )
    assert module.import_seconds(said) == pytest.approx(1.2e-3)
    # One inside another, two that overlap, one apart.
    assert module.covered([(0, 4), (1, 2), (3, 6), (10, 11)]) == pytest.approx(7)
    names = {call.name for call in module.calls()}
    assert {"--help", "watch --help", "info envs", "scan pendulum --grid 8x8"} <= names
    assert "report FOLDER" in names


def test_every_script_is_run(runner: ModuleType) -> None:
    # What has a `main` and says how it is called, and is not started by another script.
    workers = {"run", "scan_point", "scan_pool", "scan_worker"}
    scripts = {
        path.stem
        for path in FOLDER.glob("*.py")
        if '__name__ == "__main__"' in path.read_text() and path.stem not in workers
    }
    assert scripts == {script.name for script in runner.SCRIPTS}


def is_alive(number: int) -> bool:
    """Whether a process runs: a zombie that nobody has waited for is dead all the same."""
    try:
        os.kill(number, 0)
        state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except ProcessLookupError:  # gone before it was asked, or while its state was read
        return False
    except FileNotFoundError:  # the same, or a system without /proc
        return not Path("/proc/self").exists()
    return state not in "ZX"


def test_what_a_script_has_started_ends_with_it(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "child"
    child = "import pathlib, subprocess, time\n" + (
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(path)!r}).write_text(str(child.pid)); time.sleep(60)"
    )
    for limit in (1.0, 4.0, 16.0):  # on a busy machine one second is not enough to start anything
        record = tmp_path / f"{limit:g}.json"
        run(runner, [script(runner, tmp_path, before=child)], record, limit=limit)
        if path.exists():
            break
    number = int(path.read_text())
    end = time.monotonic() + 30  # whoever is killed dies when the system comes to it
    while is_alive(number) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(number)
