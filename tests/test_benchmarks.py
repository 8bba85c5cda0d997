"""The benchmarks run, and what they read off their measurements is right."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def work_precision(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("work_precision")


def curve(module: ModuleType, name: str, price: float, *, floor: float = 0.0, sees: str = "series"):
    """A method whose cost is `price` per sample and whose error is 1/√samples, or a floor."""
    budgets = [10, 1000, 100_000]
    rms = [max(budget**-0.5, floor) for budget in budgets]
    seconds = [[price * budget, 2 * price * budget] for budget in budgets]
    return module.Curve(name, sees, budgets, rms, rms, [0.0] * 3, 8, seconds, [0.0] * 3)


def test_cost_of_an_error_between_budgets(work_precision: ModuleType) -> None:
    method = curve(work_precision, "a", 1e-6)
    # 1 % takes 10⁴ samples, halfway between two budgets; the second round took twice as long.
    assert math.isclose(work_precision.cost(method, 0.01, 0), 1e-2, rel_tol=1e-12)
    assert math.isclose(work_precision.cost(method, 0.01, 1), 2e-2, rel_tol=1e-12)
    assert work_precision.cost(method, 0.5, 0) == pytest.approx(1e-5)  # the smallest budget
    assert work_precision.cost(method, 1e-3, 0) is None


def test_comparison_at_equal_error(work_precision: ModuleType) -> None:
    ours = curve(work_precision, "ours", 1e-6)
    dear, stuck = (
        curve(work_precision, "dear", 3e-5),
        curve(work_precision, "stuck", 1e-6, floor=0.25),
    )
    rows = work_precision.same_error([ours, dear, stuck], "ours", 0.05, str)
    ratio = [row["ratio (min / median / max)"] for row in rows]
    assert ratio[0] == pytest.approx({"min": 1, "median": 1, "max": 1})
    assert ratio[1]["median"] == pytest.approx(30)
    assert rows[2]["compared at"] == "0.25"  # its best


def test_whoever_has_the_equations_shares_our_error(work_precision: ModuleType) -> None:
    ours = curve(work_precision, "ours", 1e-6, sees="equations")
    lucky = curve(work_precision, "lucky", 2e-6, floor=0.9, sees="equations")
    rows = work_precision.same_error([ours, lucky], "ours", 0.05, str)
    assert rows[1]["ratio (min / median / max)"]["median"] == pytest.approx(2)


def test_the_loops_compute_what_fracjax_computes(
    work_precision: ModuleType, x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = importlib.import_module("work_precision_lyapunov")
    gaps = script.Problem("lorenz63", quick=True).agreement(None)
    # 20 steps of .01: rounding grows by e^{.2}; SciPy's flow differs from the steps by 1e-5.
    assert gaps.pop("SciPy") < 1e-3
    assert max(gaps.values()) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "part"),
    [("work_precision_lyapunov.py", "gradients"), ("work_precision_holder.py", "throughput")],
)
def test_a_script_runs_and_writes_its_numbers(script: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    command = [sys.executable, FOLDER / script, "--quick", "--only", part, "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert {"machine", "packages", part} <= set(result)
    times = [value for row in result[part]["rows"] for value in row.values()]
    spreads = [value for value in times if isinstance(value, dict)]
    assert spreads
    assert all(np.isfinite(list(value.values())).all() for value in spreads)
    # A peer is never left out in silence.
    assert all(isinstance(said, str) for said in result["packages"].values())
    if result["packages"]["torch"] == "not installed":
        assert "PyTorch: not installed" in done.stdout
