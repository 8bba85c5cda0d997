"""`fracjax scan` as a user meets it: files, resume, refusals."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

from fracjax import landscapes
from fracjax.cli import app
from fracjax.cli.scan_evaluation import ScanEvaluation, parse_memory
from fracjax.cli.scan_request import ScanRequest
from fracjax.landscapes.scans.store import existing_manifest
from fracjax.plotting import scan_figure
from fracjax.rl import initialize
from fracjax.rl.checkpoints import load_policy, save_policy

FOREIGN = Path(__file__).parents[1] / "rl" / "data" / "sequential.pt"
SMALL = "--grid 9x7 --horizon 30 --return-states 1 --gamma 0.99 --gamma 0.9".split()


@pytest.fixture(autouse=True)
def keep_jax_settings():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def run(*arguments):
    return CliRunner().invoke(app, ["scan", *map(str, arguments)])


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    before = jax.config.jax_enable_x64
    folder = tmp_path_factory.mktemp("scans") / "pendulum"
    result = run("pendulum", *SMALL, "--out", folder, "--json")
    jax.config.update("jax_enable_x64", before)
    return folder, result


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_scan_writes_values_request_and_picture(scanned):
    folder, result = scanned
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["points"] == 63
    assert summary["without_a_finite_value"] == 0
    assert [entry["gamma"] for entry in summary["returns"]] == [0.99, 0.9]
    assert all(entry["smallest"] < entry["largest"] for entry in summary["returns"])
    assert (folder / "scan.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "scan.json").read_text())["request"]["grid"] == [9, 7]


def test_resume_needs_the_folder_only_and_brings_back_what_was_lost(scanned, tmp_path):
    folder, result = scanned
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "values" / "value" / "c" / "0" / "0" / "0").unlink()
    (copy / "scan.png").unlink()
    resumed = run("--resume", copy, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert files(copy / "values") == files(folder / "values")
    assert (copy / "scan.png").exists()
    first, second = json.loads(result.stdout), json.loads(resumed.stdout)
    assert first["returns"] == second["returns"]
    before = files(folder / "values")
    assert run("pendulum", *SMALL, "--out", folder).exit_code == 0
    assert files(folder / "values") == before


def test_another_scan_is_refused(scanned):
    folder, _ = scanned
    before = files(folder)
    result = run("pendulum", *SMALL, "--span", "0.3", "--out", folder)
    assert result.exit_code == 2
    assert "span: 0.1 there, 0.3 now" in result.stderr
    assert files(folder) == before


def test_a_policy_that_changed_is_refused(tmp_path):
    policy = tmp_path / "policy.npz"
    save_policy(initialize(jax.random.key(0), 3, 1, environment="pendulum"), policy)
    arguments = ("pendulum", "--policy", policy, "--grid", "5", "--horizon", "20")
    assert run(*arguments, "--out", tmp_path / "scan").exit_code == 0
    save_policy(initialize(jax.random.key(1), 3, 1, environment="pendulum"), policy)
    result = run("--resume", tmp_path / "scan")
    assert result.exit_code == 2
    assert "is not the file" in result.stderr


@pytest.fixture(scope="module")
def files_of_directions(tmp_path_factory):
    """A policy, two more, snapshots of a path, and directions."""
    folder = tmp_path_factory.mktemp("files")
    for index in range(3):
        policy = initialize(jax.random.key(index), 3, 1, environment="pendulum")
        save_policy(policy, folder / f"{index}.npz")
    policy = load_policy(folder / "0.npz")
    (folder / "path").mkdir()
    for index in range(4):
        moved = jax.tree.map(lambda leaf, i=index: leaf + 0.01 * i**2 + 0.02 * i, policy.params)
        moved["params"]["hidden_0"]["bias"] += (0.1 * index) ** 3
        save_policy(policy.replace(params=moved), folder / "path" / f"{index:06d}.npz")
    grid = landscapes.plane(policy.params, jax.random.key(0))
    landscapes.save_directions(folder / "directions.npz", grid.directions)
    return folder


@pytest.mark.parametrize(
    ("plane", "grid"),
    [
        ("filter", "5"),
        ("orthonormal", "3x3x3"),
        ("gradient", "5x5"),
        ("hessian", "5x5"),
        ("through:{0}/1.npz,{0}/2.npz", "5x5"),
        ("through:{0}/1.npz", "5"),
        ("path:{0}/path", "5x5"),
        ("file:{0}/directions.npz", "5x5"),
    ],
)
def test_kinds_of_directions(files_of_directions, tmp_path, plane, grid):
    folder = files_of_directions
    arguments = ["pendulum", "--policy", folder / "0.npz", "--plane", plane.format(folder)]
    arguments += ["--grid", grid, "--horizon", "5", "--return-states", "1", "--json"]
    result = run(*arguments, "--out", tmp_path / "scan")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["returns"][0]["smallest"] < summary["returns"][0]["largest"]
    data = landscapes.open_scan(tmp_path / "scan" / "values")
    assert tuple(data["done"].shape) == tuple(map(int, grid.split("x")))
    again = run("--resume", tmp_path / "scan", "--json")
    assert json.loads(again.stdout) == summary


@pytest.mark.slow
def test_exponents_at_every_point(tmp_path):
    arguments = "pendulum --measure exponents --grid 2x2 --horizon 40 --return-states 1".split()
    result = run(*arguments, "--gamma", "0.9", "--out", tmp_path / "scan", "--json")
    assert result.exit_code == 0, result.output
    data = landscapes.open_scan(tmp_path / "scan" / "values").load()
    assert data["holder"].dims == ("a", "b", "output")
    assert np.isfinite(data["exponent"]).all()
    assert (data["exponent_low"] < data["exponent"]).all()
    assert (tmp_path / "scan" / "scan.png").exists()


@pytest.mark.slow
def test_a_zoom_and_its_film(tmp_path):
    arguments = "pendulum --zoom 3 --grid 33x33 --horizon 5 --return-states 1".split()
    result = run(*arguments, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    frames = json.loads(result.stdout)["frames"]
    assert [frame["zoom"] for frame in frames] == [1, 2, 4]
    assert all(frame["status"] == "ok" for frame in frames)
    assert (tmp_path / "zoom.gif").read_bytes()[:6] == b"GIF89a"
    before = files(tmp_path / "batches")
    (tmp_path / "zoom.gif").unlink()
    again = run("--resume", tmp_path, "--json")
    assert json.loads(again.stdout)["frames"] == frames
    assert (tmp_path / "zoom.gif").exists()
    assert files(tmp_path / "batches") == before


def test_an_adaptive_picture(tmp_path):
    arguments = "pendulum --adaptive 600 --grid 65x65 --horizon 5 --return-states 1".split()
    result = run(*arguments, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["num_evaluated"] <= 600 < 65**2
    assert 0 <= summary["interpolation_error"] < 0.1
    data = landscapes.open_scan(tmp_path / "values").load()
    assert int(data["evaluated"].sum()) == summary["num_evaluated"]
    assert data["value"].shape == (65, 65)
    assert (tmp_path / "scan.png").exists()
    assert json.loads(run("--resume", tmp_path, "--json").stdout) == summary
    count, error = summary["num_evaluated"], summary["interpolation_error"]
    assert f"{count} of 4,225 points evaluated, the others interpolated with an error of" in (
        run("--resume", tmp_path).stdout
    )

    # The page counts evaluated points, says what the others are, and reads no roughness from them.
    shown = CliRunner().invoke(app, ["report", str(tmp_path), "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["interpolation"]["evaluated"] == count
    assert found["interpolation"]["interpolation_error"] == error
    (output,) = found["outputs"]
    assert output["finite"] == count
    assert output["graph_dimension"]["value"] is output["cliffs"]["count"] is None
    page = (tmp_path / "report.html").read_text()
    assert "all others are interpolated" in page
    assert f"{error:.3g} ±" in page
    assert "nothing is filled in" not in page
    shown = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert f"{count} of 4,225 points evaluated" in shown.stdout


ADAPTIVE = "pendulum --adaptive 300 --grid 33x33 --horizon 5 --return-states 1".split()


@pytest.mark.parametrize("kind", ["adaptive", "whole"])
def test_a_scan_that_was_killed_before_its_first_block_goes_on_as_asked(tmp_path, kind):
    """Its folder says what for, and how; a store, once there, says it again."""
    asked = ADAPTIVE if kind == "adaptive" else ["pendulum", *SMALL, "--evaluator", "affine"]
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    result = run(*asked, "--chunk", 48, "--out", straight)
    assert result.exit_code == 0, result.output
    cut.mkdir()
    shutil.copy(straight / "scan.json", cut)
    # Before that another way may have been asked for: the last one holds.
    ScanRequest.read(cut).write(cut, **ScanEvaluation("plain", 5, 2**30).document())
    ScanRequest.read(cut).write(cut, **ScanEvaluation.read(straight / "scan.json").document())
    for _ in range(2):  # from nothing, and with all there
        result = run("--resume", cut)
        assert result.exit_code == 0, result.output
        assert {p.relative_to(cut) for p in cut.rglob("*")} == {
            p.relative_to(straight) for p in straight.rglob("*")
        }
        for name in ("values", "batches"):
            assert files(cut / name) == files(straight / name)


@pytest.mark.parametrize(
    "damaged",
    [{"chunk_size": "many"}, {"chunk_size": 0}, {"memory": 2.5}, {"evaluator": "x"}, {"a": 1}, 3],
)
def test_a_damaged_evaluation_is_named(scanned, tmp_path, damaged):
    document = json.loads((scanned[0] / "scan.json").read_text())
    (tmp_path / "scan.json").write_text(json.dumps({**document, "evaluation": damaged}))
    result = run("--resume", tmp_path)
    assert result.exit_code == 2, result.output
    assert "scan.json does not say how its scan is evaluated" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scan.json"]


def test_pictures_keep_to_the_memory(tmp_path):
    """Chunks are halved; one that values were made with is refused rather than halved."""
    little, free = tmp_path / "little", tmp_path / "free"
    result = run(*ADAPTIVE, "--memory", "2KB", "--out", little)
    assert result.exit_code == 2
    assert "One point needs" in result.stderr
    assert not (little / "batches").exists()
    result = run(*ADAPTIVE, "--memory", "2MB", "--out", little)
    assert result.exit_code == 0, result.output
    result = run(*ADAPTIVE, "--out", free)
    assert result.exit_code == 0, result.output
    chunks = [existing_manifest(each / "batches")["chunk size"] for each in (little, free)]
    assert chunks[0] < chunks[1]
    shutil.rmtree(free / "values")
    result = run("--resume", free, "--memory", "2MB")
    assert result.exit_code == 2
    assert "--memory must be at least" in result.stderr
    assert not (free / "values").exists()
    assert run("--resume", free).exit_code == 0


def test_two_processes_share_a_scan(scanned, tmp_path):
    """The same command on both; process 0 alone writes the request and draws."""
    folder, _ = scanned
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "fracjax", "scan", "pendulum", *SMALL]
    command += ["--evaluator", "plain", "--coordinator", address, "--num-processes", "2"]
    both = [
        subprocess.Popen(
            [*command, "--process", str(index), "--out", str(tmp_path / "scan")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    results = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert "63 points" in results[0][0]
    assert results[1] == ("", "")
    assert results[0][0].count("\n") == 1
    one = landscapes.open_scan(folder / "values")
    other = landscapes.open_scan(tmp_path / "scan" / "values")
    assert (one.attrs["evaluator"], one.attrs["chunk_size"]) == ("plain", other.attrs["chunk_size"])
    np.testing.assert_array_equal(one["value"], other["value"])


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512 * 10**6), ("2GiB", 2**31), ("1e6", 10**6), (None, None)]
)
def test_memory_sizes(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either an environment or --resume"),
        (("pendulum", "--resume", "x"), "either an environment or --resume"),
        (("--resume", "nowhere"), "no scan to resume"),
        (("--resume", Path(__file__)), "no scan to resume"),
        (("pendulum", "--grid", "3by3"), "--grid"),
        (("pendulum", "--grid", "2x2x2x2x2x2x2"), "at most 6 directions"),
        (("pendulum", "--plane", "path"), "path:FILE"),
        (("pendulum", "--plane", "filter:x"), "x"),
        (("pendulum", "--plane", "file:missing.npz"), "missing.npz"),
        (("pendulum", "--plane", "gradient", "--grid", "3x3x3"), "1 or 2 directions"),
        (("pendulum", "--measure", "beauty"), "--measure"),
        (("pendulum", "--measure", "exponents", "--gamma", "1"), "--gamma below 1"),
        (("pendulum", "--replicates", "3"), "--replicates needs --stochastic"),
        (("pendulum", "--evaluator", "fast"), "--evaluator"),
        (("pendulum", "--memory", "much"), "--memory"),
        (("pendulum", "--process", "1"), "need --coordinator"),
        (("pendulum", "--coordinator", "here"), "needs --num-processes"),
        (
            ("pendulum", "--coordinator", "127.0.0.1:9", "--num-processes", 0, "--process", 0),
            "--num-processes must be positive",
        ),
        (("pendulum", "--seed", "-1"), "--seed"),
        (("pendulum", "--zoom", "3", "--adaptive", "100"), "not both"),
        (("pendulum", "--zoom", "3", "--grid", "33x65"), "as many points along both"),
        (("pendulum", "--zoom", "0"), "--zoom"),
        (("pendulum", "--adaptive", "3"), "--adaptive"),
        (("pendulum", "--adaptive", "100", "--gamma", "0.9", "--gamma", "0.8"), "one --gamma"),
        (("pendulum", "--zoom-at", "0,0"), "--zoom-at needs"),
        (("pendulum", "--zoom", "3", "--zoom-at", "0"), "2 coordinates"),
        (("pendulum", "--zoom", "3", "--zoom-at", "here"), "--zoom-at"),
        (("pendulum", "--film", "avi"), "--film"),
        (("pendulum", "--grid", "1x5"), "--grid"),
        (("pendulum", "--grid", "100000x100000"), "--grid"),
        (("pendulum", "--span", "0"), "--span"),
        (("pendulum", "--gamma", "1.5"), "--gamma"),
        (("pendulum", "--horizon", "0"), "--horizon"),
        (("pendulum", "--plane", "square"), "--plane"),
        (("pendulum", "--dtype", "float16"), "--dtype"),
        (("nothing",), "nothing"),
        (("pendulum", "--policy", "missing.npz"), "missing.npz"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, arguments, words):
    out = tmp_path / "out"
    extra = () if "--resume" in arguments else ("--out", out)
    result = run(*arguments, *extra)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr  # and no line of progress
    assert not out.exists()


@pytest.mark.parametrize("name", ["scan.json", "else.txt"])
def test_the_folder_of_something_else_is_refused_before_a_line_of_progress(tmp_path, name):
    (tmp_path / name).write_text('{"format": 2, "request": {}}')
    result = run("pendulum", "--grid", "3", "--horizon", "20", "--out", tmp_path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("fracjax: error: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"format": 1, "request": {}}',
        b'{"format": 2, "request": {}}',
        b'{"format": 2, "request": 3}',
        "strange",
    ],
)
def test_a_damaged_request_is_named(scanned, tmp_path, content):
    folder, _ = scanned
    if content == "strange":
        document = json.loads((folder / "scan.json").read_text())
        document["request"]["horizon"] = "many"
        content = json.dumps(document).encode()
    (tmp_path / "scan.json").write_bytes(content)
    result = run("--resume", tmp_path)
    assert result.exit_code == 2, result.output
    assert "scan.json" in result.stderr


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = run("pendulum", *SMALL, "--out", tmp_path)
    assert result.exit_code == 2
    assert "no scan" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("axes", [("a",), ("a", "b")])
def test_a_picture_has_one_panel_per_discount(axes):
    shape = (4,) * len(axes)
    data = xarray.Dataset(
        {"value": ((*axes, "output"), np.random.default_rng(0).normal(size=(*shape, 2)))},
        coords={name: np.linspace(-1, 1, 4) for name in axes},
        attrs={"directions": "gaussian"},
    )
    figure = scan_figure(data, (0.99, 0.9), title="t")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title for title in titles if title] == ["γ = 0.99", "γ = 0.9"]
    assert any("per parameter" in ax.get_xlabel() for ax in figure.axes)


def test_help_shows_an_example():
    assert "Example" in run("--help").stdout


def test_what_describes_a_foreign_policy_is_part_of_the_request(scanned, tmp_path):
    """Resuming needs it, and another activation is another scan."""
    folder, _ = scanned
    request = ScanRequest.read(folder)
    told = dataclasses.replace(request, activation="relu", action_bounds=(-2.0, 1.5))
    told.write(tmp_path / "scan")
    assert ScanRequest.read(tmp_path / "scan") == told
    with pytest.raises(ValueError, match="activation: relu there, tanh now"):
        dataclasses.replace(told, activation="tanh").write(tmp_path / "scan")
    path = tmp_path / "scan" / "scan.json"
    document = json.loads(path.read_text())
    document["request"]["action_bounds"] = [1.0, 2.0, 3.0]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="does not describe a scan"):
        ScanRequest.read(tmp_path / "scan")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--activation", "relu"], "--activation"),
        (["--action-bounds", "2"], "--action-bounds must be two numbers"),
        (["--policy", FOREIGN], "give `activation`"),
    ],
)
def test_foreign_policies_are_refused_in_one_line(arguments, named, tmp_path):
    result = run("pendulum", *arguments, "--out", tmp_path / "scan")
    assert result.exit_code == 2
    assert named in result.output
    assert not (tmp_path / "scan").exists()
