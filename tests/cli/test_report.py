"""`fracjax report` as a user meets it: finished, unfinished and foreign folders."""

import json
import os
import shlex
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import typer
from typer.testing import CliRunner

from fracjax import landscapes
from fracjax.cli import app
from fracjax.cli.policies import parse_bounds
from fracjax.cli.report import report
from fracjax.cli.scan_request import parse_grid, parse_point

REQUEST = {
    "environment": "pendulum",
    "policy": None,
    "policy_digest": None,
    "plane_digests": ["0", "1"],
    "plane": "random",
    "grid": [12, 9],
    "span": 0.1,
    "gamma": [0.99, 0.9],
    "stochastic": False,
    "seed": 0,
}
COMMAND = (
    "fracjax scan pendulum --plane random --grid 12x9 --span 0.1 --gamma 0.99 --gamma 0.9 --seed 0"
)


def run(*arguments):
    alone = typer.Typer()
    alone.command()(report)
    return CliRunner().invoke(alone, [*map(str, arguments), "--no-analysis"])


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "pendulum"
    folder.mkdir()
    (folder / "scan.json").write_text(json.dumps({"format": 1, "request": REQUEST}))
    params = {"w": jnp.ones((3, 2))}

    def objective(params, key):
        loss = (params["w"] ** 2).sum()
        return jnp.stack([loss, jnp.where(loss > 6.5, jnp.nan, loss)])

    grid = landscapes.plane(params, jax.random.key(0), span=0.1, num_points=(12, 9))
    data = landscapes.scan(
        objective, params, grid, jax.random.key(1), store=folder / "values", chunk_size=8
    )
    return folder, data.load()


@pytest.fixture
def copied(scanned, tmp_path):
    folder, data = scanned
    return shutil.copytree(folder, tmp_path / "copy"), data


def test_the_command_asks_for_the_same(copied):
    folder, _ = copied
    asked = {**REQUEST, "grid": [33, 33], "action_bounds": [-2.0, 2.0], "zoom_at": [-0.01, 0.02]}
    (folder / "scan.json").write_text(json.dumps({"format": 1, "request": asked}))
    _, name, *words = shlex.split(json.loads(run(folder, "--json").stdout)["command"])
    given = typer.main.get_command(app).commands[name].make_context(name, words).params
    assert parse_grid(given["grid"]) == tuple(asked["grid"])
    assert parse_bounds(given["action_bounds"]) == tuple(asked["action_bounds"])
    assert parse_point(given["zoom_at"]) == tuple(asked["zoom_at"])
    assert list(given["gamma"]) == asked["gamma"]


@pytest.mark.parametrize("zoom", [None, 3])
def test_a_film_is_named_where_there_is_one(copied, zoom):
    folder, _ = copied
    asked = {**REQUEST, "zoom": zoom, "film": "gif"}
    (folder / "scan.json").write_text(json.dumps({"format": 1, "request": asked}))
    summary = json.loads(run(folder, "--json").stdout)
    page = (folder / "report.html").read_text()
    assert ("--film gif" in summary["command"]) == ("film" in page) == (zoom is not None)
    shutil.rmtree(folder / "values")
    said = error_of(run(folder))
    assert ("zoom.json" in said) == (zoom is not None)
    assert ("--resume" in said) == (zoom is None)


def test_a_page_and_a_summary(copied):
    folder, data = copied
    result = run(folder, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["kind"] == "scan"
    assert summary["complete"]
    assert summary["command"] == COMMAND
    assert [output["gamma"] for output in summary["outputs"]] == [0.99, 0.9]
    assert summary["outputs"][1]["nan"] == int(np.isnan(data["value"].values[..., 1]).sum()) > 0
    assert summary["files"] == [str(folder / "report.html")]
    page = (folder / "report.html").read_text()
    assert COMMAND in page
    assert json.loads(data.attrs["manifest"])["params"] in page
    assert page.count("data:image/png;base64,") == 1


def test_every_export_on_request(copied):
    folder, data = copied
    options = "--html-surface --csv --npz --vtk --height value_0".split()
    result = run(folder, *options, "--json")
    assert result.exit_code == 0, result.output
    names = ["report.html", "surface.html", "scan.csv", "scan.npz", "scan.vts"]
    assert json.loads(result.stdout)["files"] == [str(folder / name) for name in names]
    table = pandas.read_csv(folder / "scan.csv")
    values = data["value"].values
    np.testing.assert_array_equal(
        table["value_1"].to_numpy().astype(values.dtype), values[..., 1].ravel()
    )
    page = (folder / "report.html").read_text()
    assert all(f'href="{name}"' in page for name in names[1:])


def test_an_unfinished_scan_says_how_much_is_there(copied):
    folder, _ = copied
    chunks = sorted((folder / "values" / "done" / "c").rglob("*"))
    lost = [chunk for chunk in chunks if chunk.is_file()][-2:]
    for chunk in lost:
        chunk.unlink()
    result = run(folder, "--json", "--csv")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert 0 < summary["done"] < summary["points"] == 108
    assert not summary["complete"]
    assert "Unfinished" in (folder / "report.html").read_text()
    assert pandas.read_csv(folder / "scan.csv")["done"].sum() == summary["done"]


def test_a_bare_store_is_reported_beside_itself(copied):
    folder, _ = copied
    store = folder / "values"
    before = sorted(store.rglob("*"))
    result = run(store)
    assert result.exit_code == 0, result.output
    assert sorted(store.rglob("*")) == before
    assert (folder / "values-report" / "report.html").exists()
    assert "108 of 108 points" in result.stdout


def test_another_folder_on_request_unless_a_foreign_page_is_there(copied, tmp_path):
    folder, _ = copied
    out = tmp_path / "out"
    assert run(folder, "--out", out).exit_code == 0
    assert run(folder, "--out", out).exit_code == 0
    assert not (folder / "report.html").exists()
    (out / "report.html").write_text("mine")
    result = run(folder, "--out", out)
    assert result.exit_code == 2
    assert "was not written by fracjax" in result.stderr
    assert (out / "report.html").read_text() == "mine"


def error_of(result):
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("fracjax: error:")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"request": 3}', '{"request": {"a": {}}}', "\x00", "[" * 100_000]
)
def test_a_request_that_is_none_is_one_line(copied, content):
    folder, _ = copied
    (folder / "scan.json").write_text(content)
    assert "scan.json" in error_of(run(folder))


def test_text_of_a_request_is_escaped(copied):
    folder, _ = copied
    evil = {"environment": "<script>", "policy": "\ud800 $\\frac", "gamma": ["<b>"], "<i>": "<u>"}
    (folder / "scan.json").write_text(json.dumps({"request": evil}))
    result = run(folder, "--html-surface")
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    assert not any(tag in page for tag in ("<script>", "<b>", "<i>", "<u>"))


@pytest.mark.parametrize("gamma", [[1e999, 0.5], [10**400, 1], [0.9], "0.9", None])
def test_discounts_that_cannot_be_are_left_out(copied, gamma):
    folder, _ = copied
    (folder / "scan.json").write_text(json.dumps({"request": {"gamma": gamma}}))
    result = run(folder, "--json")
    assert result.exit_code == 0, result.output
    assert [out["label"] for out in json.loads(result.stdout)["outputs"]] == ["value_0", "value_1"]


def test_damaged_values_are_one_line(copied):
    folder, _ = copied
    chunk = next(path for path in (folder / "values" / "value" / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[3] ^= 1
    chunk.write_bytes(content)
    assert "damaged" in error_of(run(folder))


def test_folders_that_hold_something_else(tmp_path, copied):
    folder, _ = copied
    assert "is no folder" in error_of(run(tmp_path / "nothing"))
    assert "neither a scan" in error_of(run(tmp_path))
    shutil.rmtree(folder / "values")
    assert "holds no values yet" in error_of(run(folder))
    assert "--height needs --vtk" in error_of(run(folder, "--height", "value"))


def test_a_height_that_is_not_there_is_named_and_nothing_is_left(copied):
    folder, _ = copied
    message = error_of(run(folder, "--vtk", "--height", "loss"))
    assert "must be one of done, value_0, value_1" in message
    assert not (folder / "scan.vts").exists()


def test_without_plotly_the_extra_is_named(copied, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert "fracjax[interactive]" in error_of(run(copied[0], "--html-surface"))


def test_a_diagnosis_is_rendered_again_and_has_no_exports(tmp_path):
    document = {
        "configuration": {"command": "diagnose", "environments": ["pendulum"], "seed": 3},
        "versions": {"jax": "0"},
        "cases": [],
    }
    (tmp_path / "results.json").write_text(json.dumps(document))
    result = run(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kind"] == "diagnosis"
    assert "fracjax diagnose pendulum --seed 3" in (tmp_path / "report.html").read_text()
    assert "--csv are for scans" in error_of(run(tmp_path, "--csv"))
    for odd in (3, "pendulum", [], [[]]):
        configuration = {"configuration": {"environments": odd}}
        (tmp_path / "results.json").write_text(json.dumps({**document, **configuration}))
        assert run(tmp_path).exit_code == 0
    (tmp_path / "results.json").write_text("{}")
    assert "is not a result of fracjax diagnose" in error_of(run(tmp_path))


def test_a_picture_with_its_path_is_kept(copied):
    folder, _ = copied
    (folder / "scan.png").write_bytes(b"with a path")
    request = {**REQUEST, "plane": "path:run.npz"}
    (folder / "scan.json").write_text(json.dumps({"request": request}))
    assert run(folder).exit_code == 0
    assert (folder / "report.html").read_text().count("data:image/png;base64,") == 2
    assert (folder / "scan.png").read_bytes() == b"with a path"


def test_maps_of_exponents_stand_side_by_side(tmp_path):
    params = {"w": jnp.ones(4)}

    def objective(params, key):
        total = params["w"].sum()
        return {
            "value": jnp.stack([total, -total]),
            "exponent": total - 4,
            "holder": jnp.stack([total, total]) / 4,
        }

    grid = landscapes.plane(params, jax.random.key(0), span=0.1, num_points=5)
    landscapes.scan(
        objective, params, grid, jax.random.key(1), store=tmp_path / "values", chunk_size=25
    )
    (tmp_path / "scan.json").write_text(json.dumps({"request": {"gamma": [0.9, 0.99]}}))
    result = run(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    labels = [output["label"] for output in json.loads(result.stdout)["outputs"]]
    assert sorted(labels) == [
        "exponent",
        "holder, γ = 0.9",
        "holder, γ = 0.99",
        "return, γ = 0.9",
        "return, γ = 0.99",
    ]
    assert "Hölder exponent; red is chaotic" in (tmp_path / "report.html").read_text()


def test_more_values_than_memory_are_refused(copied, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert "more than half of the memory here" in error_of(run(copied[0]))


@pytest.mark.parametrize(
    ("array", "field", "value"),
    [("value", "shape", [10**9, 10**9, 2]), ("a", "data_type", "string"), ("done", "shape", [0])],
)
def test_a_store_that_was_tampered_with_is_one_line(copied, array, field, value):
    folder, _ = copied
    path = folder / "values" / array / "zarr.json"
    document = json.loads(path.read_text())
    assert field in document
    path.write_text(json.dumps({**document, field: value}))
    error_of(run(folder))
