"""Files written here are whole or not there, and what the dead leave aside does not stay."""

import io
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from fracjax import safe_files

WRITER = """
import sys
from fracjax import safe_files
with safe_files.written_whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    file.write(b" and half")
"""


def writer(path):
    """Start a process that has written half of a file and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "half\n"
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_next_write_removes_what_the_dead_left_and_nothing_else(tmp_path):
    others = [".notes.partial", ".a.npz.0a0b0c0d-999999999.partial", ".a.npz.7.partial"]
    for name in others:  # of a person, of another machine, of nobody known
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "old").write_bytes(b"as it was")
    dead, alive = writer(tmp_path / "old"), writer(tmp_path / "new")
    dead.kill()
    dead.communicate()
    hidden = set(names(tmp_path)) - {*others, "old"}
    assert {name.split(".")[1] for name in hidden} == {"old", "new"}
    assert (tmp_path / "old").read_bytes() == b"as it was"

    with safe_files.written_whole(tmp_path / "third") as file:
        file.write(b"whole")
    left = set(names(tmp_path)) - {*others, "old", "third"}
    assert {name.split(".")[1] for name in left} == {"new"}
    alive.communicate("go on\n")
    assert alive.returncode == 0
    assert (tmp_path / "new").read_bytes() == b"half and half"
    assert names(tmp_path) == sorted([*others, "new", "old", "third"])


def write_and_fail(path, error):
    with safe_files.written_whole(path) as file:
        file.write(b"new")
        raise error


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error):
        write_and_fail(path, error)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError):
        write_and_fail(tmp_path / "none" / "file", error)


def test_a_full_disk_names_the_file_that_has_no_room(tmp_path):
    path = tmp_path / "file"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(OSError, match=r"File too large: .*/file'$"):
            with safe_files.written_whole(path) as file:
                file.write(bytes(11))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)
    assert names(tmp_path) == []


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_are_written_as_numpy_writes_them(tmp_path, compress):
    def written(arrays):
        with (tmp_path / "ours.npz").open("wb") as file:
            safe_files.write_npz(file, arrays, compress=compress)
        return (tmp_path / "ours.npz").read_bytes()

    arrays = {"x": np.arange(6.0).reshape(2, 3).T, "y/z": np.array("text"), "n": np.zeros((0, 2))}
    theirs = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(theirs, **arrays)
    assert written(arrays) == theirs.getvalue()
    found = safe_files.read_npz(written({"file": np.ones(2)}))
    np.testing.assert_array_equal(found["file"], np.ones(2))
    with pytest.raises(ValueError, match="Object arrays"):
        written({"o": np.array([{}], object)})
