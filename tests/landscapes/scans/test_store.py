"""Scans on disk: any interruption, then the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
import zarr

from fracjax import landscapes
from fracjax.landscapes.scans.evaluators import Evaluator
from fracjax.landscapes.scans.scan import scan
from fracjax.landscapes.scans.store import tile_shape

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
GRID = landscapes.plane(PARAMS, jax.random.key(0), span=0.5, num_points=21)  # 441 points
KEY = jax.random.key(1)
CHUNK = 64  # blocks of 3 rows, 63 points: 7 blocks


def objective(params, key):
    """Chaotic in its parameters, NaN and infinite somewhere, two outputs."""
    x = 0.3 + 0.1 * jnp.sum(params["w"]) / 6
    state = jax.lax.fori_loop(0, 60, lambda _, s: 3.99 * s * (1 - s), jnp.clip(x, 0.01, 0.99))
    second = jnp.where(params["b"][0] > 1.2, jnp.nan, jnp.sum(params["b"]))
    return jnp.stack([state, jnp.where(params["b"][1] > 1.3, jnp.inf, second)])


def run(folder, **settings):
    settings = {
        "chunk_size": CHUNK,
        "evaluator": "plain",
        "store": folder,
        "config": {"name": "toy"},
        **settings,
    }
    return scan(settings.pop("objective", objective), PARAMS, GRID, KEY, **settings)


def data_files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def counted(monkeypatch):
    """Points evaluated, call by call."""
    calls = []
    original = Evaluator.__call__

    def counting(self, objective, params, directions, points, *arguments, **settings):
        calls.append(len(points[0]))
        return original(self, objective, params, directions, points, *arguments, **settings)

    monkeypatch.setattr(Evaluator, "__call__", counting)
    return calls


def test_a_store_holds_what_a_scan_in_memory_gives(tmp_path, counted):
    plain = scan(objective, PARAMS, GRID, KEY, chunk_size=CHUNK, evaluator="plain")
    kept = run(tmp_path / "scan")
    assert not np.isfinite(plain["value"]).all()
    np.testing.assert_array_equal(plain["value"], kept["value"])
    assert kept["done"].all()
    assert counted == [441, 63, 63, 63, 63, 63, 63, 63]
    before = data_files(tmp_path / "scan")
    again = run(tmp_path / "scan")
    np.testing.assert_array_equal(plain["value"], again["value"])
    assert len(counted) == 8  # nothing evaluated
    assert data_files(tmp_path / "scan") == before


def test_other_programs_read_the_store(tmp_path):
    kept = run(tmp_path / "scan")
    with xarray.open_zarr(tmp_path / "scan", chunks=None) as data:
        np.testing.assert_array_equal(data["value"].sel(a=0.5), kept["value"].sel(a=0.5))
        np.testing.assert_array_equal(data["b"], GRID.axes[1])


def test_an_interrupted_scan_goes_on_with_the_same_bytes(tmp_path, counted):
    run(tmp_path / "whole")
    del counted[:]

    def stop(done):
        if done >= 189:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", on_progress=stop)
    half = landscapes.open_scan(tmp_path / "cut")
    assert half["done"].sum() == 126  # the third block was evaluated, but not written
    assert half["value"].where(~half["done"]).isnull().all()
    progress = []
    run(tmp_path / "cut", on_progress=progress.append)
    assert counted == [63] * 8
    assert progress[0] == 126
    assert progress[-1] == 441
    assert data_files(tmp_path / "cut") == data_files(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
@pytest.mark.parametrize("name", ["value", "done"])
def test_a_damaged_block_is_evaluated_again(tmp_path, counted, damage, name):
    run(tmp_path / "scan")
    whole = data_files(tmp_path / "scan")
    file = tmp_path / "scan" / name / "c" / "3" / "0"
    file = file / "0" if name == "value" else file
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes({"flip": content, "truncate": content[:30], "empty": b""}[damage])
    del counted[:]
    run(tmp_path / "scan")
    assert counted == [63]
    assert data_files(tmp_path / "scan") == whole


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"chunk_size": 4}, "chunk size: 64 there, 4 now"),
        ({"evaluator": "affine"}, "evaluator: plain there, affine now"),
        ({"num_replicates": 2}, "replicates: 1 there, 2 now"),
        ({"common_random_numbers": False}, "common random numbers"),
        ({"config": {"name": "other"}}, "config"),
        ({"objective": lambda p, k: objective(p, k)[0]}, "outputs"),
    ],
)
def test_another_scan_is_refused_and_nothing_changes(tmp_path, change, named):
    run(tmp_path / "scan")
    before = data_files(tmp_path / "scan")
    with pytest.raises(ValueError, match=named):
        run(tmp_path / "scan", **change)
    assert data_files(tmp_path / "scan") == before


def test_the_evaluator_that_a_store_began_with_goes_on(tmp_path):
    """Measured once: a resumed scan does not measure again, whatever it would find."""
    run(tmp_path / "scan", evaluator="affine", chunk_size=None)
    again = run(tmp_path / "scan", evaluator="auto", chunk_size=None)
    assert (again.attrs["evaluator"], again.attrs["chunk_size"]) == ("affine", 32)


def test_a_measured_choice_is_noted(tmp_path):
    data = run(tmp_path / "scan", evaluator="auto", chunk_size=None)
    notes = json.loads(data.attrs["manifest"])["notes"]
    assert notes["plain points per second"] > 0
    assert "evaluator" in notes


@pytest.mark.parametrize(
    ("shape", "points", "tile"),
    [
        ((301, 301), 2048, (6, 301)),
        ((301, 301), 100, (1, 100)),
        ((7,), 100, (7,)),
        ((31, 31, 31), 2000, (2, 31, 31)),
        ((31, 31, 31), 62, (1, 2, 31)),
    ],
)
def test_tiles(shape, points, tile):
    assert tile_shape(shape, points) == tile


def test_names_that_the_scan_uses_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'done'"):
        run(tmp_path / "scan", objective=lambda p, k: {"done": jnp.sum(p["b"])})


def test_what_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no scan"):
        run(tmp_path)
    with pytest.raises(ValueError, match="no scan"):
        run(tmp_path / "notes.txt")
    zarr.open_group(tmp_path / "other", mode="w", attributes={"format": 1})
    with pytest.raises(ValueError, match="no scan"):
        run(tmp_path / "other")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_full_disk_is_said_and_the_scan_goes_on_later(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    original, written = zarr.Array.__setitem__, []

    def fail(self, selection, values):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(selection)
        original(self, selection, values)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", fail)
        with pytest.raises(OSError, match="make room"):
            run(tmp_path / "full")
    np.testing.assert_array_equal(run(tmp_path / "full")["value"], whole["value"])


def test_killed_without_warning(tmp_path):
    """SIGKILL in the middle of a scan by another process, then resume here."""
    whole = run(tmp_path / "whole")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import time, test_store\n"
        "pause = lambda done: time.sleep(0.3 if done < 300 else 600)  # never finishes by itself\n"
        f"test_store.run({str(tmp_path / 'cut')!r}, on_progress=pause)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    block = tmp_path / "cut" / "done" / "c" / "1" / "0"
    deadline = time.monotonic() + 120
    while not block.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not landscapes.open_scan(tmp_path / "cut")["done"].all()
    (tmp_path / "cut" / "value" / "c" / "2.abc.partial").write_bytes(b"half")
    np.testing.assert_array_equal(run(tmp_path / "cut")["value"], whole["value"])
    assert data_files(tmp_path / "cut") == data_files(tmp_path / "whole")


def test_blocks_of_nothing_but_nan_are_done_once(tmp_path, counted):
    """Zarr leaves chunks of the fill value out unless told; the block would never count as done."""

    def hopeless(params, key):
        return jnp.stack([jnp.sum(params["b"]) * jnp.nan] * 2)

    found = run(tmp_path / "scan", objective=hopeless)
    assert np.isnan(found["value"]).all()
    assert counted
    counted.clear()
    run(tmp_path / "scan", objective=hopeless)
    assert not counted
