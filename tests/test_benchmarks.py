"""The benchmarks run, and what they read off their measurements is right."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def work_precision(bench: Callable[[str], ModuleType]) -> ModuleType:
    return bench("work_precision")


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
    bench: Callable[[str], ModuleType], x64: None
) -> None:
    script = bench("work_precision_lyapunov")
    gaps = script.Problem("lorenz63", quick=True).agreement(None)
    # 20 steps of .01: rounding grows by e^{.2}; SciPy's flow differs from the steps by 1e-5.
    assert gaps.pop("SciPy") < 1e-3
    assert max(gaps.values()) < 1e-12


def test_operations_are_counted(bench: Callable[[str], ModuleType]) -> None:
    def layers(x: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
        def layer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.where(x > 0, jnp.tanh(x @ weights + bias), x), None

        return jax.lax.scan(layer, x, length=7)[0]

    square = jnp.zeros((5, 5)), jnp.zeros(5)
    total, functions = bench("scan_roofline").operations(layers, jnp.zeros(5), *square)
    assert (total, functions) == (7 * (2 * 25 + 5 + 5), 7 * 5)
    with pytest.raises(ValueError, match="while"):
        bench("scan_roofline").operations(
            lambda x: jax.lax.while_loop(lambda x: x < 9, lambda x: x + 1, x), 1.0
        )


def test_work_of_a_step_of_lorenz(bench: Callable[[str], ModuleType]) -> None:
    """As its equations say, by hand: 8 operations, 12 of a tangent, and seven sums of rk4."""
    case = bench("roofline").spectrum("float32", quick=True)
    size = 3
    sums = 7 * 2 * size
    state, tangent = 4 * 8 + sums, 4 * 12 + sums
    gram_schmidt, logarithms = 2 * size**3, size
    assert case.work.operations == state + size * tangent + gram_schmidt + logarithms == 401
    assert case.work.functions == logarithms
    assert case.work.bytes == 2 * (size + size**2) * 4


def test_work_of_both_evaluators(bench: Callable[[str], ModuleType]) -> None:
    problem = bench("scan_pendulum").Problem("64-64", (2, 2), 1000)
    plain, affine = (bench("scan_roofline").work(problem, way, 16) for way in ("plain", "affine"))
    weights, biases = 3 * 64 + 64 * 64 + 64, 64 + 64 + 1
    # Two more products with every matrix, and their weighted sum.
    more = 2 * 2 * weights + 2 * 2 * biases
    assert affine.operations - plain.operations == pytest.approx(more, abs=1)
    # Cosine and sine of the observation, a cosine of the reward, a sine of each of four stages.
    assert plain.functions == affine.functions == biases + 2 + 1 + 4
    assert plain.bytes == 4 * (weights + 3 * biases) + 16
    assert affine.bytes == 4 * (3 * weights / 16 + 9 * biases) + 16


def test_share_of_a_roofline(bench: Callable[[str], ModuleType]) -> None:
    work = bench("scan_roofline").Work(operations=100, functions=10, bytes=50, chunk_bytes=2048)
    peaks = {"operations/s": 1e9, "functions/s": 1e8}
    # 100 ns for operations, 200 ns for bytes at 0.25 GB/s; 400 ns were taken.
    found = bench("scan_roofline").roofline(work, 2.5e6, peaks, 0.25e9)
    assert found["bound by"] == "bytes"
    assert found["fraction of the roofline"] == pytest.approx(0.5)
    assert found["fraction of the peak of operations"] == pytest.approx(0.25)
    assert found["roofline, million steps/s"] == pytest.approx(5)


def test_the_peers_layers_are_those_of_the_plane(bench: Callable[[str], ModuleType]) -> None:
    problem = bench("scan_pendulum").Problem("shipped 32-32", (3, 4), 5)
    point = 7  # of 12, row by row
    factors = np.concatenate([[1.0], problem.coordinates()[point]])
    hidden = np.array([0.3, -0.2, 1.5])
    observation = (hidden - problem.normalizer()[0]) / problem.normalizer()[1]
    for kernel, bias in problem.layers():
        observation = np.tanh(observation @ np.tensordot(factors, kernel, 1) + factors @ bias)
    a, b = problem.grid.axes[0][1], problem.grid.axes[1][3]
    params = jax.tree.map(
        lambda leaf, along: leaf + a * along[0] + b * along[1],
        problem.params,
        problem.grid.directions,
    )
    action = problem.policy.act(params, jnp.asarray(hidden, jnp.float32))
    np.testing.assert_allclose(action, observation, atol=1e-5)
    values = problem.run("plain")
    np.testing.assert_allclose(values, bench("scan_pendulum").naive(problem)(), rtol=1e-4)


def test_sides_must_agree_and_be_alive(bench: Callable[[str], ModuleType]) -> None:
    difference = bench("scan_pendulum").difference
    values = np.array([-10.0, -12.0, -14.0])
    assert difference(values, values[[0, 2]] + 0.01, np.array([0, 2])) == pytest.approx(
        0.01 / values.std()
    )
    with pytest.raises(ValueError, match="not the same"):
        difference(values, values + 1)
    with pytest.raises(ValueError, match="hardly depend"):
        difference(np.full(3, 5.0), np.full(3, 5.0))


def test_cost_in_the_number_of_points(bench: Callable[[str], ModuleType]) -> None:
    scaling = bench("scan_scaling")
    assert scaling.log_slope([1e3, 1e4, 1e5], [0.1, 1.0, 10.0]) == pytest.approx(1)
    assert [scaling.plane(n) for n in (1000, 8192, 7)] == [(25, 40), (64, 128), (1, 7)]


def test_targets_are_read_off_the_ratios(bench: Callable[[str], ModuleType]) -> None:
    costs = {
        "PyTorch": {"min": 3.0, "median": 4.5, "max": 5.0},
        "naive vmap": {"min": 3.0, "median": 3.9, "max": 4.5},
        "PyTorch compiled": {"min": 1.0, "median": 1.0, "max": 1.0},  # it has no target
    }
    result = {
        "machine": {"jax_devices": ["cpu", "cpu"]},
        "pendulum": {"64-64": {"points": 9, "times the cost of fracjax": costs}},
        "recipe": {"left out": "torch (not installed)"},
    }
    met = {row["times the cost of fracjax"]: row["met"] for row in bench("scan").targets(result)}
    assert met == {
        "pendulum, 64-64, 9 points: PyTorch": "met by the median",
        "pendulum, 64-64, 9 points: naive vmap": "not met",
    }


def measured(script: str, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Run a script at its quick size: the numbers it wrote, and what it said.

    A script fails where its sides disagree.
    """
    path = folder / "result.json"
    command = [sys.executable, FOLDER / f"{script}.py", "--quick", *options, "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text()), done.stdout


def with_torch(result: dict[str, Any], said: str) -> bool:
    """Whether PyTorch took part; its version, or why it did not, is said."""
    version = result["packages"]["torch"]
    assert f"torch: {version}" in said
    return version[0].isdigit()


@pytest.fixture
def peers_of(bench: Callable[[str], ModuleType]) -> Callable[[str, dict], set[str]]:
    """Who stands in the table of all ratios."""
    extract = bench("comparisons").extract
    return lambda script, record: {each.peer for each in extract(script, record)}


@pytest.mark.slow
def test_the_scan_benchmark_runs_and_names_what_is_missing(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("scan", tmp_path, "--only", "a,b,d,roofline,scaling")
    (compared,) = result["pendulum"].values()
    # All ways to evaluate give the same returns, to rounding.
    assert max(compared["largest difference, of the spread"].values()) < 1e-2
    assert all(0 < row["fraction of the roofline"] < 2 for row in compared["roofline"])
    assert {row["strong"] for row in result["scaling"]["strong"]} >= {"4 devices", "2 processes"}
    for name in ("torch", "gymnasium"):
        if result["packages"][name] == "not installed":
            assert f"{name}: not installed" in said
            assert f"{name} (not installed)" in result["recipe"]["left out"]
    assert "naive vmap" in peers_of("scan", result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "part"),
    [("work_precision_lyapunov", "gradients"), ("work_precision_holder", "throughput")],
)
def test_a_script_runs_and_writes_its_numbers(
    script: str, part: str, tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured(script, tmp_path, "--only", part)
    assert {"machine", "packages", part} <= set(result)
    times = [value for row in result[part]["rows"] for value in row.values()]
    spreads = [value for value in times if isinstance(value, dict)]
    assert spreads
    assert all(np.isfinite(list(value.values())).all() for value in spreads)
    # A peer is never left out in silence.
    assert all(isinstance(told, str) for told in result["packages"].values())
    peers = peers_of(script, result)
    assert ("forward pass" in peers) == (part == "gradients")
    assert any("PyTorch" in peer for peer in peers) == with_torch(result, said)


@pytest.mark.slow
def test_the_ways_to_measure_checkpoints_agree(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("network_metrics", tmp_path)
    (section,) = result["sections"]
    # Differences of shares and of ranks: all ways compute the same numbers.
    assert max(section["largest relative difference"].values()) < 1e-3
    ways = {row["way"] for row in section["rows"]}
    assert {"vmapped", "compiled loop", "uncompiled loop"} <= ways
    assert ("PyTorch loop" in ways) == with_torch(result, said)
    assert {"compiled loop", "uncompiled loop"} <= peers_of("network_metrics", result)


@pytest.mark.slow
def test_the_benchmark_of_paths_runs(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("path_analyses", tmp_path)
    routes, overhead = result["sections"]
    errors = {row["way"]: row["worst relative error of σ"] for row in routes["rows"]}
    assert errors["fracjax, Gram route, float64"] < 1e-5
    assert any("torch" in way for way in errors) == with_torch(result, said)
    assert overhead["rows"][-1]["s"] == "overhead of an update"
    assert {"jnp.linalg.svd, float32", "an update by Adam"} <= peers_of("path_analyses", result)


@pytest.mark.slow
def test_the_curvature_benchmark_runs_and_its_sides_agree(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("curvature", tmp_path)
    methods = {row["method"]: row for row in result["lanczos"]["rows"]}
    assert {"fracjax", "fracjax, no basis"} <= set(methods)
    assert methods["fracjax"]["copies of the largest"] == 1
    assert result["density"]["rows"][0]["method"] == "fracjax"
    works = {row["work"] for row in result["product"]["rows"]}
    assert {"one product", "product in a loop"} <= works
    assert ("PyTorch product" in works) == with_torch(result, said)
    assert {"gradient", "gradient in a loop"} <= peers_of("curvature", result)


@pytest.mark.slow
def test_the_trainability_benchmark_runs_and_its_sides_agree(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("trainability", tmp_path)
    ways = {row["way"]: row for row in result["plane"]["rows"]}
    assert all(row["other labels"] <= 0.01 for row in ways.values())
    assert 0 < result["plane"]["share converged"] < 1
    assert {row["way"] for row in result["sizes"]["rows"]} >= {"fracjax, 16²", "fracjax, 24²"}
    there = with_torch(result, said)
    assert ({"PyTorch, our layout by hand", "PyTorch, func.vmap"} <= set(ways)) == there
    assert ("PyTorch, func.vmap" in peers_of("trainability", result)) == there


@pytest.mark.slow
def test_the_flossing_benchmark_runs_and_its_sides_agree(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("flossing", tmp_path)
    methods = {row["method"] for row in result["rows"]}
    assert {"fracjax", "fracjax, automatic derivative"} <= methods
    assert {row["dtype"] for row in result["rows"]} == {"float32", "float64"}
    assert all(floor["flops"] == 116640 for floor in result["floors"])
    there = with_torch(result, said)
    assert ({"PyTorch, batched", "PyTorch, in a loop"} <= methods) == there
    assert ("PyTorch, batched" in peers_of("flossing", result)) == there


@pytest.mark.slow
def test_the_decomposition_benchmark_runs_and_its_curves_agree(
    tmp_path: Path, peers_of: Callable[[str, dict], set[str]]
) -> None:
    result, said = measured("decomposition", tmp_path)
    rows = {row["way"]: row for row in result["fit"]["rows"]}
    assert {"fracjax, 8 seeds", "fracjax, one seed"} <= set(rows)
    assert all(row["times the floor"] > 1 for row in rows.values())
    assert any("PyTorch" in way for way in rows) == with_torch(result, said)
    assert "fracjax, one seed" in peers_of("decomposition", result)
