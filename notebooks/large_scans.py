# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Large scans: millions of policies, killed and resumed
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/large_scans.ipynb)
#
# How do you evaluate a million policies when the machine may be taken away at any moment? This
# notebook kills a scan with `kill -9`, goes on with it, and compares bytes. Then it does the same
# on several devices and under a bound on memory, and measures what evaluating a point costs.

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere: pip install fracjax
    from IPython import get_ipython

    get_ipython().run_line_magic(
        "pip", "install -q 'fracjax @ git+https://github.com/fracjax/fracjax'"
    )

# %%
import os
import subprocess
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt

from fracjax import landscapes, plotting

print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
GRID = 64 if QUICK else 256  # points on each side
STEPS = 200 if QUICK else 1000  # of one return
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The job
#
# A job is a script that is run again until it is done. `landscapes.scan` with a `store` writes
# every block of points as soon as it is evaluated. Called again with the same folder it keeps the
# blocks whose checksums are right, and evaluates the others.
#
# The objective is a discounted return along a chaotic orbit, in two parameters of the logistic
# map. `config` says what the objective is: a store cannot tell from the function, and refuses a
# scan of another configuration. With the third argument the script kills itself once so many
# points are on disk. It is a real `kill -9`: nothing is cleaned up.

# %%
JOB = """
import json, os, resource, signal, sys
import jax, jax.numpy as jnp
from fracjax import landscapes, systems

store, size, kill_after, steps = sys.argv[1], *map(int, sys.argv[2:5])
memory = int(sys.argv[5]) if len(sys.argv) > 5 else None
jax.config.update("jax_enable_x64", True)


def objective(params, key):
    step = systems.maps.logistic(params["rate"])

    def add(state, time):
        return step(state), 0.9**time * state

    return jax.lax.scan(add, params["start"], jnp.arange(steps))[1].sum()


def progress(points):
    if kill_after and points >= kill_after:
        os.kill(os.getpid(), signal.SIGKILL)


centre = {"rate": jnp.array(3.8), "start": jnp.array(0.4)}
directions = {"rate": jnp.array([1.0, 0.0]), "start": jnp.array([0.0, 1.0])}
grid = landscapes.along(directions, span=0.05, num_points=size)
landscapes.scan(
    objective, centre, grid, jax.random.key(0), store=store, chunk_size=64, memory=memory,
    on_progress=progress, config={"map": "logistic", "discount": 0.9, "steps": steps},
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{size * size} points on {jax.device_count()} device(s), at most {peak:.0f} MB")
"""
script = folder / "job.py"
script.write_text(JOB)


def run(name, size=GRID, kill_after=0, devices=None, memory=None):
    """Run the job in its own process; `devices` fakes so many on a CPU."""
    environment = dict(os.environ)
    if devices is not None:
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        environment["JAX_PLATFORMS"] = "cpu"
    command = [sys.executable, script, folder / name, size, kill_after, STEPS]
    command += [memory] if memory else []
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True
    )
    print(f"{name}: exit status {done.returncode}. {done.stdout.strip()}")
    if done.returncode not in (0, -9):
        raise RuntimeError(done.stderr)
    return landscapes.open_scan(folder / name)


# %% [markdown]
# ## Killed and resumed
#
# The control is a run that nobody disturbs.

# %%
control = run("undisturbed")
killed = run("killed", kill_after=GRID**2 // 3)
print(f"on disk after the kill: {float(killed['done'].mean()):.0%} of the points")
resumed = run("killed")
same = control["value"].values.tobytes() == resumed["value"].values.tobytes()
print("resumed and undisturbed have the same bytes:", same)

# %% [markdown]
# ## Several devices
#
# All local devices are used without asking. Here a CPU is made to look like four. How many points
# a device evaluates together (`chunk_size`) is part of the result of a chaotic objective, because
# XLA compiles another program for another batch. How many devices there are is not: it changes no
# bit. Several machines run the same command with the same folder, see the last section.

# %%
spread = run("four-devices", devices=4)
alone = run("one-device", devices=1)
same = spread["value"].values.tobytes() == alone["value"].values.tobytes()
print("four devices and one have the same bytes:", same)

# %% [markdown]
# ## Bounded memory
#
# `memory` bounds what evaluating takes, whatever the grid: four times the points, the same peak.
# The result is not held in memory either. It is read from disk where it is used, and
# `xarray.open_zarr` or any other reader of Zarr opens it too.

# %%
bound = 256 * 2**20
small = run("small", size=GRID, memory=bound)
large = run("large", size=2 * GRID, memory=bound)
sizes = [f"{each['value'].nbytes / 1e3:.0f} kB" for each in (small, large)]
print("values on disk:", " and ".join(sizes))

# %%
figure, axes = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
plotting.plane_slice(axes, large.load(), label="return")
axes.set_xlabel("rate - 3.8")
_ = axes.set_ylabel("start - 0.4")

# %% [markdown]
# **How to read it.** Points that are not done are grey in a picture and NaN in the data, with
# `done` beside them. A return that is NaN or infinite stays what it is: nothing is filled in.
#
# ## A folder of another scan
#
# is refused, with what differs. That is the second control: resuming must not mix two scans.

# %%
try:
    run("killed", size=GRID // 2)
except RuntimeError as error:
    print(str(error).strip().splitlines()[-1])

# %% [markdown]
# ## What a GPU changes
#
# - Nothing in the code. The chunk is chosen for the device; `chunk_size=` fixes it.
# - The bits: another platform rounds differently, so a store notes the platform and is not
#   continued on another one. On a chaotic objective expect other values, with the same exponents.
# - Along a line or plane all points share their matrices, W(a, b) x = W₀x + a D₁x + b D₂x. The
#   evaluator that uses this does three shared products instead of one matrix per point. With
#   `evaluator="auto"` it is timed against the plain one before the scan, and the faster is used.
# - float64 is slow on consumer GPUs and emulated on TPUs. A float32 landscape of a chaotic loop has
#   a visible noise floor: measure it with `estimators.holder_exponent` before you read a picture.
#
# **Where it fails.** A file system that reorders writes without `fsync` can lose the last blocks;
# they fail their checksum and are evaluated again. Changing the version of JAX or the chunk
# changes the program, and the store refuses to go on.
#
# ## A million policies
#
# From a terminal, with progress and an estimate of the time left:
#
# ```sh
# fracjax scan acrobot --grid 1024x1024 --span 0.05 --gamma 0.99 --gamma 0.9 \
#     --memory 2GB --out scans/million
# fracjax scan --resume scans/million        # after any interruption
# fracjax report scans/million --csv --vtk
# ```
#
# Two machines that share a file system, or a job of `srun` (which needs no addresses):
#
# ```sh
# fracjax scan acrobot --grid 1024x1024 --out /shared/million \
#     --coordinator host0:9000 --num-processes 2 --process 0   # and --process 1 on the other
# srun -N 4 fracjax scan acrobot --grid 1024x1024 --out /shared/million
# ```
