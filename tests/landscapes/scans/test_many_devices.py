"""One scan by several devices, by several processes, and by what is left of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fracjax import landscapes

SCAN = f"""
import sys, time
import jax
from fracjax import processes
devices, folder, address, number, process, pause = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", int(devices))
if address != "alone":
    processes.join(address, int(number), int(process))
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_store
test_store.run(
    folder, evaluator="affine", chunk_size=16, on_progress=lambda done: time.sleep(float(pause))
)
print("finished", jax.process_index(), jax.local_device_count())
"""


def start(folder, *, devices=1, address="alone", number=1, process=0, pause=0.0):
    arguments = [devices, folder, address, number, process, pause]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("XLA_FLAGS", "JAX_PLATFORMS")
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCAN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "JAX_PLATFORMS": "cpu"},
    )


def finish(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "finished" in output


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The scan by one device of one process."""
    folder = tmp_path_factory.mktemp("one") / "scan"
    finish(start(folder))
    return folder


def test_the_number_of_devices_changes_no_bit(whole, tmp_path):
    for devices in (2, 4):
        finish(start(tmp_path / str(devices), devices=devices))
        assert files(tmp_path / str(devices)) == files(whole)


def test_two_processes_write_the_same_bytes(whole, tmp_path):
    address = free_address()
    both = [
        start(tmp_path / "scan", devices=index + 1, address=address, number=2, process=index)
        for index in range(2)
    ]
    for process in both:
        finish(process)
    assert files(tmp_path / "scan") == files(whole)


@pytest.mark.slow
def test_a_killed_worker_leaves_a_scan_to_go_on_with(whole, tmp_path):
    """SIGKILL to one of two, then to the other; one process does the rest."""
    folder, address = tmp_path / "scan", free_address()
    both = [
        start(folder, address=address, number=2, process=index, pause=0.4) for index in range(2)
    ]
    deadline = time.monotonic() + 120
    while len(list(folder.glob("done/c/*/0"))) < 3 and time.monotonic() < deadline:
        assert all(process.poll() is None for process in both)
        time.sleep(0.02)
    for process in reversed(both):
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = landscapes.open_scan(folder)["done"].values
    assert 0 < done.sum() < done.size
    before = {path: path.stat().st_mtime_ns for path in folder.glob("done/c/*/0")}
    finish(start(folder))
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in before.items())
    values = [landscapes.open_scan(one)["value"].values for one in (folder, whole)]
    np.testing.assert_array_equal(*values)
