"""Stores of scans and paths, damaged: a reader says so, a writer repairs or says so."""

import sys

import jax
import numpy as np
import pytest
import recorded_walks
from hardening.commands import contents, guarded, one_line, run, said
from hardening.damage import damages, fuzz, place
from hypothesis import given

from fracjax import landscapes
from fracjax.landscapes.scans.store import open_store
from fracjax.learning.paths.reading import load_path

SHAPE, BLOCK = (7, 5), (3, 5)
AXES = {"a": np.linspace(-1, 1, 7), "b": np.linspace(0, 2, 5)}
OUTPUTS = {
    "value": jax.ShapeDtypeStruct((2,), np.float32),
    "status": jax.ShapeDtypeStruct((), np.int32),
}
MANIFEST = {"kind": "gaussian", "chunk size": 4, "evaluator": "plain", "config": {"gamma": [0.9]}}
VALUES = {
    "value": np.random.default_rng(0).normal(size=(*SHAPE, 2)).astype(np.float32),
    "status": np.arange(35, dtype=np.int32).reshape(SHAPE),
}
VALUES["value"][2, 3] = np.nan, np.inf


class Read(Exception):
    """Everything was read; what would be drawn is no matter here."""


def store(folder):
    """Open a store, and write the blocks that are not done, as `scan` does."""
    kept = open_store(folder, MANIFEST, axes=AXES, outputs=OUTPUTS, block_shape=BLOCK)
    for block in range(kept.num_blocks):
        if not kept.is_done(block):
            where = kept.bounds(block)
            kept.write(block, {name: array[where] for name, array in VALUES.items()})
    return kept


def is_right(dataset, *, whole=True):
    done = dataset["done"].values
    assert done.all() or not whole
    for name, array in VALUES.items():
        np.testing.assert_array_equal(dataset[name].values[done], array[done])
    for name, axis in AXES.items():
        np.testing.assert_array_equal(dataset[name].values, axis)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "s"
    store(folder)
    return {name: content for name, content in contents(folder).items() if content != "folder"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paths") / "path.zarr"
    with recorded_walks.recorder(folder) as recorder:
        recorded_walks.record(recorder, range(24))
    return {name: content for name, content in contents(folder).items() if content != "folder"}


def laid_out(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def only_reading():
    patch = pytest.MonkeyPatch()
    report = sys.modules["fracjax.cli.report"]

    def read(dataset, *_):
        is_right(dataset, whole=False)
        raise Read

    patch.setattr(report, "_figures", read)

    def read_path(path, **_):
        path.path = load_path(path.store)
        is_right_path(path.path)
        raise Read

    patch.setattr("fracjax.cli.watched_paths.FollowedPath.update", read_path)
    yield
    patch.undo()


def is_right_path(path):
    rows = np.concatenate(
        [leaf.reshape(24, -1) for leaf in jax.tree.leaves(recorded_walks.walk())], 1
    )
    np.testing.assert_array_equal(path.steps, 10 * np.arange(24))
    np.testing.assert_array_equal(path.values, rows)
    for name, values in recorded_walks.metrics().items():
        np.testing.assert_array_equal(path.metrics[name], values)


def one_line_or_read(result, folder, before):
    if isinstance(result.exception, Read):
        return True
    one_line(result)
    assert contents(folder) == before
    return False


def read_damaged(files, folders, count, *command):
    """Damage one file and run a reading command; returns how often it could be read."""
    read = []

    @fuzz(count)
    @given(damages(files))
    def one(damage):
        folder = laid_out(folders.mktemp("one") / "path.zarr", files)
        place(folder / damage[0], damage[1])
        before = contents(folder.parent)
        read.append(one_line_or_read(run(*command, folder), folder.parent, before))

    one()
    return read


def rewritten(files, folders, count, write, right):
    """Damage one file and go on writing; returns how often that was possible."""
    done = []

    @fuzz(count)
    @given(damages(files))
    def one(damage):
        folder = laid_out(folders.mktemp("one") / "path.zarr", files)
        place(folder / damage[0], damage[1])
        before = contents(folder.parent)
        try:
            with guarded():
                write(folder)
        except (ValueError, OSError) as error:
            said(error)
            unchanged(before, contents(folder.parent))
            done.append(False)
        else:
            right(folder)
            done.append(True)

    one()
    return done


def unchanged(before, after):
    """A writer that gives up may have repaired chunks, but lost none and made nothing else."""
    assert before.keys() <= after.keys() | {name for name in before if name.endswith(".partial")}
    kept = [name for name in before if not name.endswith((".lock", "state.json"))]
    different = [name for name in kept if before[name] != after[name]]
    assert all("/c/" in name for name in different), different


def check_scan(folder):
    is_right(landscapes.open_scan(folder))


def record(folder):
    with recorded_walks.recorder(folder) as recorder:
        recorded_walks.record(recorder, range(24))


def check_path(folder):
    is_right_path(load_path(folder))


@pytest.mark.usefixtures("only_reading")
def test_a_report_of_a_damaged_scan(scanned, tmp_path_factory):
    read = read_damaged(scanned, tmp_path_factory, 40, "report", "--no-analysis")
    assert 0 < sum(read) < len(read)


@pytest.mark.slow
@pytest.mark.usefixtures("only_reading")
def test_a_report_of_a_damaged_scan_thoroughly(scanned, tmp_path_factory):
    read_damaged(scanned, tmp_path_factory, 2000, "report", "--no-analysis")


def test_a_damaged_scan_goes_on(scanned, tmp_path_factory):
    done = rewritten(scanned, tmp_path_factory, 25, store, check_scan)
    assert 0 < sum(done) < len(done)


@pytest.mark.slow
def test_a_damaged_scan_goes_on_thoroughly(scanned, tmp_path_factory):
    rewritten(scanned, tmp_path_factory, 2000, store, check_scan)


@pytest.mark.usefixtures("only_reading")
def test_watching_a_damaged_path(recorded, tmp_path_factory):
    command = ("watch", "--no-follow")
    read = read_damaged(recorded, tmp_path_factory, 25, *command)
    assert 0 < sum(read) < len(read)


@pytest.mark.slow
@pytest.mark.usefixtures("only_reading")
def test_watching_a_damaged_path_thoroughly(recorded, tmp_path_factory):
    read_damaged(recorded, tmp_path_factory, 2000, "watch", "--no-follow")


def test_a_damaged_path_goes_on(recorded, tmp_path_factory):
    done = rewritten(recorded, tmp_path_factory, 25, record, check_path)
    assert 0 < sum(done) < len(done)


@pytest.mark.slow
def test_a_damaged_path_goes_on_thoroughly(recorded, tmp_path_factory):
    rewritten(recorded, tmp_path_factory, 2000, record, check_path)
