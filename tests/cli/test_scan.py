"""`fracjax scan` as a user meets it: files, resume, refusals."""

import json
import shutil

import jax
import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

from fracjax.cli import app
from fracjax.plotting import scan_figure
from fracjax.rl import initialize
from fracjax.rl.checkpoints import save

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
    assert summary["without_a_finite_return"] == 0
    assert [entry["gamma"] for entry in summary["returns"]] == [0.99, 0.9]
    assert all(entry["smallest"] < entry["largest"] for entry in summary["returns"])
    assert (folder / "scan.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "scan.json").read_text())["request"]["grid"] == [9, 7]


def test_resume_needs_the_folder_only_and_brings_back_what_was_lost(scanned, tmp_path):
    folder, result = scanned
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "values" / "value" / "c" / "0" / "0").unlink()
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
    save(initialize(jax.random.key(0), 3, 1, environment="pendulum"), policy)
    arguments = ("pendulum", "--policy", policy, "--grid", "5", "--horizon", "20")
    assert run(*arguments, "--out", tmp_path / "scan").exit_code == 0
    save(initialize(jax.random.key(1), 3, 1, environment="pendulum"), policy)
    result = run("--resume", tmp_path / "scan")
    assert result.exit_code == 2
    assert "is not the file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either an environment or --resume"),
        (("pendulum", "--resume", "x"), "either an environment or --resume"),
        (("--resume", "nowhere"), "no scan to resume"),
        (("pendulum", "--grid", "3by3"), "--grid"),
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
    assert result.stderr.strip().count("\n") == 0
    assert not out.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"format": 2, "request": {}}',
        b'{"format": 1, "request": {}}',
        b'{"format": 1, "request": 3}',
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
