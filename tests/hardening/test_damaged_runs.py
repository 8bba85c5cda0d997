"""What commands keep as JSON, damaged: records, requests, rows and results."""

import sys

import jax
import pytest
from hardening.commands import contents, one_line, run
from hardening.damage import damages, fuzz, place
from hypothesis import given
from watched_runs import COST, FRACTAL, JUMPY, SMOOTH, UNDECIDED, record

from fracjax.cli.scan_request import ScanRequest
from fracjax.diagnosis.watching import Journal, Watch
from fracjax.rl import gallery
from fracjax.rl.checkpoints import save_policy


class Reached(Exception):
    """All files were read; what would be computed or drawn is no matter here."""


def stop(*_, **__):
    raise Reached


def files_of(folder):
    return {n: c for n, c in contents(folder).items() if isinstance(c, bytes)}


def damaged(files, folders, count, command, *, allowed=(), name="run"):
    """Damage one file of a folder and run a command; how often it went through."""
    through = []

    @fuzz(count)
    @given(damages(files))
    def one(damage):
        folder = folders.mktemp("one") / name
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        place(folder / damage[0], damage[1])
        before = contents(folder.parent)
        result = run(*command(folder))
        if isinstance(result.exception, Reached) or result.exit_code == 0:
            through.append(True)
            return
        one_line(result)
        after = contents(folder.parent)
        for file in allowed:
            before.pop(file, None)
            after.pop(file, None)
        assert after == before
        through.append(False)

    one()
    return through


# --- watched runs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_loop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    journal = Journal(folder, {"budget": 0.2, "maximize": True})
    both = [(SMOOTH, FRACTAL), (FRACTAL, FRACTAL), (FRACTAL, JUMPY), (UNDECIDED, JUMPY)]
    for step, found in enumerate(both):
        journal.append(record(1000 * step, *found, cost=COST, rate=0.3))
    journal.note("finished")
    return files_of(folder)


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr("fracjax.reports.watching.watch_figure", lambda *_, **__: None)
    monkeypatch.setattr("fracjax.reports.watching.page.png", lambda *_: b"")


def watch(folder):
    return "watch", folder, "--no-follow", "--json"


@pytest.mark.usefixtures("no_pictures")
def test_records_of_a_watched_run(own_loop, tmp_path_factory):
    through = damaged(own_loop, tmp_path_factory, 40, watch)
    assert 0 < sum(through) < len(through)


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_records_of_a_watched_run_thoroughly(own_loop, tmp_path_factory):
    damaged(own_loop, tmp_path_factory, 3000, watch)


@pytest.mark.slow
def test_records_of_a_watched_run_drawn(own_loop, tmp_path_factory):
    damaged(own_loop, tmp_path_factory, 100, watch)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """The folder of a training run that was watched, and of which a snapshot is left to look at."""
    folder = tmp_path_factory.mktemp("snapshots") / "run"
    folder.mkdir()
    policy = gallery.shipped("pendulum")
    for step in (0, 1000):
        training = {
            "steps": step,
            "algorithm": "ppo",
            "settings": {"num_timesteps": 2000, "discount": 0.99, "episode_length": 100},
        }
        info = policy.info.__class__("pendulum", None, "npz", training)
        save_policy(policy.replace(info=info), folder / f"{step:06d}.npz")
    before = jax.config.jax_enable_x64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", stop)
        assert isinstance(run(*watch(folder)).exception, Reached)
    jax.config.update("jax_enable_x64", before)
    assert (folder / "watch.json").exists()
    return files_of(folder)


@pytest.fixture
def no_looks(monkeypatch):
    before = jax.config.jax_enable_x64
    monkeypatch.setattr(Watch, "look", stop)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.usefixtures("no_looks")
def test_snapshots_of_a_run(snapshots, tmp_path_factory):
    through = damaged(snapshots, tmp_path_factory, 20, watch)
    assert not all(through)


@pytest.mark.slow
@pytest.mark.usefixtures("no_looks")
def test_snapshots_of_a_run_thoroughly(snapshots, tmp_path_factory):
    damaged(snapshots, tmp_path_factory, 600, watch)


# --- requests of scans -----------------------------------------------------------------------


def request_of_pendulum():
    fields = dict.fromkeys(ScanRequest.__dataclass_fields__)
    fields |= {"environment": "pendulum", "policy": "trained", "plane": "random", "grid": (9, 7)}
    fields |= {"plane_digests": (), "measure": "returns", "span": 0.1, "gamma": (0.99, 0.9)}
    fields |= {"horizon": 30, "return_states": 1, "replicates": 1, "stochastic": False, "seed": 0}
    fields |= {"dtype": "float64", "film": "gif"}
    return ScanRequest(**fields)


@pytest.fixture(scope="module")
def request_of_a_scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests") / "run"
    request_of_pendulum().write(folder)
    return files_of(folder)


@pytest.fixture
def no_scan(monkeypatch):
    """Stop where the points would be evaluated."""
    before = jax.config.jax_enable_x64
    scan = sys.modules["fracjax.cli.scan"]
    monkeypatch.setattr("fracjax.diagnosis.problem_of_policy", stop)
    assert hasattr(scan, "_run")
    yield
    jax.config.update("jax_enable_x64", before)


def resume(folder):
    return "scan", "--resume", folder


@pytest.mark.usefixtures("no_scan")
def test_requests_of_scans(request_of_a_scan, tmp_path_factory):
    through = damaged(request_of_a_scan, tmp_path_factory, 40, resume)
    assert 0 < sum(through) < len(through)


@pytest.mark.slow
@pytest.mark.usefixtures("no_scan")
def test_requests_of_scans_thoroughly(request_of_a_scan, tmp_path_factory):
    damaged(request_of_a_scan, tmp_path_factory, 3000, resume)


# --- rows of experiments ---------------------------------------------------------------------


def reproduce(folder):
    return "reproduce", "references", "--only", "cat", "--quick", "--json", "--out", folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows") / "run"
    assert run(*reproduce(folder)).exit_code == 0
    return files_of(folder)


@pytest.fixture
def nothing_computed(monkeypatch, rows):
    monkeypatch.setattr(jax.random, "fold_in", stop)


@pytest.mark.usefixtures("nothing_computed")
def test_rows_of_an_experiment(rows, tmp_path_factory):
    through = damaged(rows, tmp_path_factory, 25, reproduce)
    assert 0 < sum(through) < len(through)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_computed")
def test_rows_of_an_experiment_thoroughly(rows, tmp_path_factory):
    damaged(rows, tmp_path_factory, 3000, reproduce)
