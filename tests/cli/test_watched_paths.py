"""`fracjax watch` on the path of a run, and the path that a training leaves."""

import io
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded_walks import ROWS, SPACING, in_memory, record, recorder
from rich.console import Console
from typer.testing import CliRunner

from fracjax.cli import app
from fracjax.cli.recorded_paths import TrainingPath
from fracjax.cli.watched_paths import find_path, path_panel
from fracjax.diagnosis.path_views.summaries import summarise_path
from fracjax.diagnosis.path_views.views import view_path
from fracjax.estimators.diffusion.displacements import displacement_at_lags
from fracjax.estimators.diffusion.exponents import diffusion_exponent
from fracjax.learning.paths.reading import load_path
from fracjax.learning.policy_paths.changes import path_changes
from fracjax.learning.policy_paths.temporal_svd import temporal_svd
from fracjax.plotting.path_views import path_figure
from fracjax.rl import classic, training
from fracjax.rl.networks import PolicyNetwork
from fracjax.rl.policies import Policy, PolicyInfo


@pytest.fixture(autouse=True)
def keep_jax_settings():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def run(*arguments):
    return CliRunner().invoke(app, ["watch", *map(str, arguments)])


@pytest.fixture
def recorded(tmp_path):
    with recorder(tmp_path / "run" / "path.zarr") as writer:
        record(writer, range(ROWS))
    return tmp_path / "run"


def test_a_seed_that_is_not_in_the_path_is_named(recorded):
    result = run(recorded, "--member", 3)
    assert result.exit_code == 2
    assert "error: --member must be one of 1 seeds, but is 3" in result.output
    assert not (recorded / "path.html").exists()


@pytest.mark.parametrize("target", ["run", "run/path.zarr"])
def test_the_page_of_a_path_is_called_as_its_run(recorded, target):
    result = run(recorded.parent / target, "--json")
    assert result.exit_code == 0, result.output
    page = Path(json.loads(result.stdout)["files"][0])
    assert "<h1>path of run</h1>" in page.read_text()


def test_a_recorded_path_is_shown_in_terminal_page_and_json(recorded):
    result = run(recorded, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["state"], document["path"]["snapshots"]) == ("finished", ROWS)
    assert [file.rpartition("/")[2] for file in document["files"]] == ["path.html", "path.png"]
    assert f"path: {ROWS} snapshots, loss 0.0417, score –" in result.stderr
    assert re.search(r"path, params/dense: D\(0\.5\) \d+ \(\d+\.\.\d+\)", result.stderr)
    page = (recorded / "path.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}
    assert "http-equiv" not in page
    for words in ("D(0.95)", "of a random walk", "whole path", "rate", "the run is finished"):
        assert words in page
    assert (recorded / "path.png").read_bytes().startswith(b"\x89PNG")
    # The path itself as the run, once more: it can still be read.
    again = run(recorded / "path.zarr", "--json")
    assert json.loads(again.stdout)["path"]["layers"] == document["path"]["layers"]
    assert (recorded / "path.zarr" / "path.html").exists()
    assert len(load_path(recorded / "path.zarr")) == ROWS


def test_a_growing_path_is_followed_until_its_writer_is_done(tmp_path, monkeypatch):
    from fracjax.diagnosis.path_views import views

    original, seen = views.view_path, []

    def view(path, key, member):
        """Three snapshots of what is there in between: no new size to compile."""
        seen.append(len(path))
        return original(path if len(path) in (2, ROWS) else path.last(3), key, member=member)

    monkeypatch.setattr(views, "view_path", view)
    folder = tmp_path / "run"
    writer = recorder(folder / "path.zarr")
    record(writer, range(2))
    before = json.loads(run(folder, "--no-follow", "--json").stdout)
    assert (before["path"]["snapshots"], before["state"]) == (2, "running")
    assert 'http-equiv="refresh"' in (folder / "path.html").read_text()

    def finish():
        record(writer, range(2, ROWS))
        writer.close()

    later = threading.Timer(1.5, finish)
    later.start()
    result = run(folder, "--json")
    later.join()
    document = json.loads(result.stdout)
    assert (document["path"]["snapshots"], document["state"]) == (ROWS, "finished")
    assert seen[0] == 2
    assert seen[-1] == ROWS
    assert "path: 2 snapshots" in result.stderr
    assert f"path: {ROWS} snapshots" in result.stderr
    assert "http-equiv" not in (folder / "path.html").read_text()


def test_it_is_analysed_again_only_when_it_has_grown_by_a_quarter(tmp_path, monkeypatch):
    from fracjax.diagnosis.path_views import views
    from fracjax.reports import paths

    seen = []
    original = views.view_path
    monkeypatch.setattr(
        views, "view_path", lambda path, key, **_: seen.append(len(path)) or original(path, key)
    )
    monkeypatch.setattr(paths, "write_path", lambda *_, **__: [])
    with recorder(tmp_path / "path.zarr") as writer:
        followed = find_path(tmp_path, 0)
        for row in range(3):
            record(writer, [row])
            followed.update()
        followed.update()
        followed.update(final=True)
    assert seen == [1, 2, 3]
    seen[:] = []
    monkeypatch.setattr(
        views, "view_path", lambda path, *_, **__: seen.append(len(path)) or in_view(path)
    )
    with recorder(tmp_path / "path.zarr") as writer:
        for row in range(3, ROWS):
            record(writer, [row])
            followed.update()
    followed.update(final=True)
    assert seen == [4, 5, 7, 9, 12, 15, 19, 24]


def in_view(path):
    return SimpleNamespace(path=path)


def test_a_damaged_path_is_one_line_and_exit_code_2(recorded):
    chunk = recorded / "path.zarr" / "parameters" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-10])
    for spoil, words in (
        (lambda: None, "cannot be read"),
        (chunk.unlink, "is missing"),
        (lambda: (recorded / "path.zarr/zarr.json").write_text("{fracjax"), "is damaged"),
    ):
        spoil()
        result = run(recorded)
        assert result.exit_code == 2
        lines = [line for line in result.stderr.strip().splitlines() if "error" in line]
        assert len(lines) == 1
        assert words in lines[0]
        assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_view_holds_what_the_analyses_give(x64):
    path = in_memory()
    view = view_path(path, jax.random.key(0))
    assert (view.num_decomposed, view.seeds, list(view.layers)) == (16, 1, ["params/dense"])
    assert view.notes == ("changes and directions: of 16 snapshots, spread evenly",)
    assert view.spacing == pytest.approx(SPACING * (ROWS - 1) / 15)
    found = view.layers["params/dense"]
    rows = jnp.asarray(path.values[np.rint(np.linspace(0, ROWS - 1, 16)).astype(int)])
    svd, changes = temporal_svd(rows), path_changes(rows)
    np.testing.assert_array_equal(found.svd.dimensionality, svd.dimensionality)
    np.testing.assert_allclose(found.svd.detour, svd.detour, rtol=1e-4)
    np.testing.assert_allclose(found.changes.accumulated, changes.accumulated, rtol=1e-5)
    assert found.changes.stride == pytest.approx(view.spacing)
    low, high = found.null.dimensionality.low, found.null.dimensionality.high
    assert (low <= high).all()
    # A walk is inside of its own band, up to the one number in twenty that falls outside.
    assert np.mean((svd.dimensionality < low) | (svd.dimensionality > high)) <= 0.25

    whole = jnp.asarray(path.values)
    lags = tuple(int(lag) // SPACING for lag in view.diffusion.lags)
    assert (lags[0], lags[-1]) == (1, ROWS - 1)
    exact = displacement_at_lags(whole, lags)
    np.testing.assert_allclose(view.diffusion.displacement, exact, rtol=1e-3)
    direct = diffusion_exponent(whole)
    assert float(view.diffusion.exponent.value) == pytest.approx(float(direct.value), rel=1e-4)
    assert view.diffusion.segment_exponents is None

    document = json.loads(json.dumps(summarise_path(view), allow_nan=False))
    assert document["steps"] == [0, SPACING * (ROWS - 1)]
    assert document["metrics"] == {"loss": pytest.approx(1 / ROWS), "score": None}
    layer = document["layers"]["params/dense"]
    assert layer["parameters"] == 30
    assert layer["changes"]["accumulated"] == pytest.approx(float(changes.accumulated.mean()))
    assert [one["share"] for one in layer["dimensionality"]] == list(svd.shares)
    assert document["diffusion"]["exponent"]["status"] == "ok"
    assert document["diffusion"]["by_waiting_time"] == []


def test_the_panel_and_the_figure_of_a_view(x64):
    view = view_path(in_memory(), jax.random.key(0))
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(path_panel(view, line="run: 24 snapshots"))
    text = console.export_text()
    assert "█" in text
    assert "params/dense" in text
    assert "median detour (walk)" in text
    figure = path_figure(view, title="run")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == [
        "Metrics along the path",
        "Mean squared displacement",
        "Diffusion exponent",
    ]
    loss = figure.axes[0].lines[0]
    np.testing.assert_array_equal(loss.get_xdata(), SPACING * np.arange(ROWS))
    np.testing.assert_allclose(loss.get_ydata()[-1], 1 / ROWS)
    curve = figure.axes[3].lines[-1]
    np.testing.assert_array_equal(curve.get_ydata(), view.layers["params/dense"].svd.dimensionality)
    empty = path_figure(view_path(in_memory().last(2), jax.random.key(0)))
    assert len(empty.axes) == 3


# --- what a training leaves -------------------------------------------------------------------


def test_a_training_is_recorded_with_its_returns_and_gone_on_with(tmp_path):
    """Brax evaluates before it hands out parameters at step 0, and after it at all others."""
    settings = training.TrainingSettings(num_timesteps=300)
    weights = {"params": {"hidden_0": {"kernel": jnp.ones((3, 2))}}}
    options = {"algorithm": "ppo", "seed": 3, "path_every": 2}

    def params(steps):
        return (None, jax.tree.map(lambda leaf: leaf + steps, weights), None)

    def report(steps):
        return training.TrainingProgress(steps, 300, -float(steps), 1.0)

    def begin(**changes):
        return TrainingPath(tmp_path, classic.pendulum(), settings, **{**options, **changes})

    with begin() as path:
        path.on_progress(report(0))
        path.on_params(0, None, params(0))
        path.on_params(100, None, params(100))
        path.on_progress(report(100))
        path.on_params(200, None, params(200))  # and the process ends
    with begin() as path:  # again at the last state that was written, 200
        path.on_progress(report(200))
        path.on_params(200, None, params(200))
        path.on_params(300, None, params(300))
        path.on_progress(report(300))
    found = load_path(tmp_path / "path.zarr")
    np.testing.assert_array_equal(found.steps, [0, 100, 200, 300])
    np.testing.assert_array_equal(found.metrics["episode_return"], [0, -100, -200, -300])
    np.testing.assert_array_equal(found.values[:, 0], [1, 101, 201, 301])
    assert found.settings["environment"] == "pendulum"
    with pytest.raises(ValueError, match="seed: 3 there, 4 now"), begin(seed=4) as path:
        path.on_params(0, None, params(0))
    with TrainingPath(None, classic.pendulum(), settings, **options) as path:
        path.on_progress(report(0))
        path.on_params(0, None, params(0))


def test_the_last_snapshot_is_kept_where_the_process_was_killed_before_it_was(tmp_path):
    """Nothing is left to train then, and nothing reported: the policy is all there is."""
    settings = training.TrainingSettings(num_timesteps=300)
    network = PolicyNetwork(2, 1, (3,))

    def policy(steps, found):
        params = jax.tree.map(lambda leaf: leaf + steps, network.init(jax.random.key(0)))
        info = PolicyInfo("pendulum", training={"steps": steps, "return": found})
        return Policy(network, params, None, info)

    def begin():
        options = {"algorithm": "ppo", "seed": 3, "path_every": 2}
        return TrainingPath(tmp_path, classic.pendulum(), settings, **options)

    with begin() as path:
        path.finish(policy(100, -1.0))  # a training of before paths were recorded
    assert not (tmp_path / "path.zarr").exists()
    with begin() as path:
        path.on_progress(training.TrainingProgress(0, 300, -2.0, 1.0))
        path.on_params(0, None, (None, policy(0, None).params, None))
    for steps, found in ((300, -1.0), (300, -1.0), (400, None)):
        with begin() as path:
            path.finish(policy(steps, found))
    found = load_path(tmp_path / "path.zarr")
    np.testing.assert_array_equal(found.steps, [0, 300, 400])
    np.testing.assert_array_equal(found.metrics["episode_return"], [-2.0, -1.0, np.nan])
    jax.tree.map(np.testing.assert_array_equal, found.unravel(1), policy(300, None).params)


@pytest.mark.slow
@pytest.mark.brax
def test_fracjax_train_leaves_a_path_that_fracjax_watch_reads(tmp_path):
    folder = tmp_path / "run"
    common = ("train", "pendulum", "--path", folder, "--path-every", 1, "--json", "--seed", 1)
    sizes = ("--hidden", "5", "--episode-length", 20, "--out", tmp_path / "policy.npz")
    result = CliRunner().invoke(app, [*map(str, (*common, *sizes, "--steps", 30_000))])
    assert result.exit_code == 0, result.output
    steps, params = training.read_path(folder)
    path = load_path(folder / "path.zarr")
    np.testing.assert_array_equal(path.steps, steps)
    jax.tree.map(
        lambda leaf, whole: np.testing.assert_array_equal(leaf, whole[-1]),
        path.unravel(-1),
        params,
    )
    returns = [report["return"] for report in json.loads(result.stdout)["returns"]]
    np.testing.assert_array_equal(path.metrics["episode_return"], returns)
    more = [*map(str, (*common, *sizes, "--steps", 60_000, "--resume", "--overwrite"))]
    result = CliRunner().invoke(app, more)
    assert result.exit_code == 0, result.output
    longer = load_path(folder / "path.zarr")
    assert len(longer) > len(path)
    np.testing.assert_array_equal(longer.values[: len(path)], path.values)
    np.testing.assert_array_equal(longer.steps, training.read_path(folder)[0])
