"""Memory does not grow with the grid: measured on processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

SCAN = """
import sys
import jax
import jax.numpy as jnp
from fracjax import landscapes
jax.config.update("jax_num_cpu_devices", 2)
params = {"w": jnp.linspace(0.0, 1.0, 16).reshape(4, 4)}
def objective(params, key):
    return jnp.tanh(params["w"] @ jnp.ones(4)).repeat(4)
rows = int(sys.argv[2])
grid = landscapes.box(params, jax.random.key(0), num_axes=2, num_points=(rows, 2000))
data = landscapes.scan(
    objective, params, grid, jax.random.key(1),
    evaluator="affine", store=sys.argv[1], memory=int(sys.argv[3]),
)
assert bool(data["done"][-1].all()) and int(data.attrs["chunk_size"]) >= 64
"""
BOUND = 32 * 2**20


def peak_memory(folder: Path, rows: int) -> int:
    """Most memory that a scan of rows × 2000 points held, in bytes."""
    command = [sys.executable, "-c", SCAN, str(folder), str(rows), str(BOUND)]
    child = subprocess.Popen(command)
    _, child.returncode, usage = os.wait4(child.pid, 0)
    assert child.returncode == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_a_hundred_times_more_points_take_no_more_memory(tmp_path):
    """10 000 and 1 000 000 points of 16 numbers: 64 MB of values, in 32 MiB."""
    small, large = (peak_memory(tmp_path / str(rows), rows) for rows in (5, 500))
    assert sum(path.stat().st_size for path in (tmp_path / "500").rglob("*")) > 60e6
    assert large - small < BOUND
