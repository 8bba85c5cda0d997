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
# # Anomalous diffusion of stochastic gradient descent
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/weight_diffusion.ipynb)
#
# How do weights move under SGD: as a random walk, faster, or slower? This notebook measures the
# exponent of their mean squared displacement, on processes whose exponent is known and on a
# network that learns digits, beside drift with noise and relaxation, and asks for heavy tails of
# the noise.

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere: pip install 'fracjax[digits]'
    from IPython import get_ipython

    get_ipython().run_line_magic(
        "pip", "install -q 'fracjax[digits] @ git+https://github.com/fracjax/fracjax'"
    )

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from fracjax import estimators, learning, systems
from fracjax.estimators.diffusion.displacements import displacement_at_lags, logarithmic_lags
from fracjax.estimators.diffusion.nulls import drift_noise_surrogate, relaxation_surrogate
from fracjax.learning import load_digits
from fracjax.learning.weight_diffusion.descent_runs import descend, grid_of_runs, minibatch_noise
from fracjax.learning.weight_diffusion.networks import multilayer_perceptron
from fracjax.plotting.diffusion import displacements, exponents

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
POINTS = 500 if QUICK else 2000  # of a known path
SEGMENTS, LENGTH = (1, 500) if QUICK else (4, 1000)
SEEDS = 1 if QUICK else 3
RATES = (0.01, 0.5) if QUICK else (0.001, 0.05, 0.5)
SURROGATES = 9 if QUICK else 19
HIDDEN = 4 if QUICK else 16
DRAWS = 200 if QUICK else 1000  # of gradient noise

# %% [markdown]
# ## Paths whose exponent is known
#
# D(τ) = A τ^α: 1 for a random walk, 2H for fractional Brownian motion, 2 for a straight line.
# Values of D at neighbouring lags are nearly the same number, so that a line through them as if
# they were independent has an error several times too small. The estimator knows their
# covariance.

# %%
keys = jax.random.split(jax.random.key(0), 4)
walk = jax.random.normal(keys[0], (POINTS, 5)).cumsum(axis=0)
paths = {
    "random walk": (walk, 1.0),
    "fractional Brownian, H = 0.3": (
        jax.vmap(lambda key: systems.signals.fractional_brownian_motion(key, 0.3, POINTS))(
            jax.random.split(keys[1], 5)
        ).T,
        0.6,
    ),
    "drift and noise": (walk + 0.2 * jnp.arange(POINTS)[:, None], None),
}
for name, (path, truth) in paths.items():
    found = estimators.diffusion_exponent(path)
    known = "no power law" if truth is None else f"exact {truth}"
    print(f"{name:29} {found} ({known}), bend {found.details['bend']:+.2f}")

# %% [markdown]
# The third is the trap. Drift plus noise has an exponent above 1 without any memory, as every
# descent has. And relaxation in a bowl has one below 1 without any trap. So every exponent of
# weights below stands beside two simpler processes that are fitted to the same path.
#
# ## Weights of a network that learns digits
#
# Plain SGD, no momentum and no schedule, every parameter after every step. Exponents over short
# and over long lags, segment by segment.

# %%
data = load_digits()
network = multilayer_perceptron((HIDDEN,))
runs = grid_of_runs(tuple(range(SEEDS)), RATES, (32,))


@jax.jit
def describe(paths):
    return jax.lax.map(learning.two_exponents, paths)


@jax.jit
def null(paths, keys):
    return jax.lax.map(
        lambda pair: tuple(
            learning.null_two_exponents(pair[1], pair[0], surrogate, num_surrogates=SURROGATES)
            for surrogate in (drift_noise_surrogate, relaxation_surrogate)
        ),
        (paths, keys),
    )


found = []
lags = logarithmic_lags(2 * LENGTH // 5)
for segment in descend(
    network,
    data.images,
    data.labels,
    runs,
    num_segments=SEGMENTS,
    segment_length=LENGTH,
    loss_stride=50,
):
    found.append(describe(segment.paths))
    last = segment
drift, relaxation = null(last.paths, jax.random.split(keys[2], len(runs.seed)))
for index in range(0, len(runs.seed), SEEDS):
    rate = float(runs.learning_rate[index])
    print(f"η = {rate:g}, seed 0, last segment, loss {last.full_losses[index, -1]:.3f}")
    for place, lag in enumerate(("short", "long")):
        ours = getattr(found[-1], lag)
        row = [
            f"  {lag:5} lags {ours.value[index]:.2f} [{ours.low[index]:.2f},"
            f" {ours.high[index]:.2f}]"
        ]
        for name, (short, long) in (("drift + noise", drift), ("relaxation", relaxation)):
            each = (short, long)[place]
            row.append(f"{name} [{each.low[index]:.2f}, {each.high[index]:.2f}]")
        print("; ".join(row))

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
curves = {}
for index in range(0, len(runs.seed), SEEDS):
    rate = float(runs.learning_rate[index])
    members = last.paths[index : index + SEEDS]
    curves[f"η = {rate:g}"] = np.asarray(
        jax.vmap(lambda path: displacement_at_lags(path, lags))(members)
    )
displacements(panels[0], np.asarray(lags), curves)
waiting = LENGTH * np.arange(SEGMENTS)
short = {
    f"η = {float(runs.learning_rate[index]):g}": jax.tree.map(
        lambda *parts, i=index: jnp.stack([part[i] for part in parts]),
        *[each.short for each in found],
    )
    for index in range(0, len(runs.seed), SEEDS)
}
_ = exponents(panels[1], waiting, short)

# %% [markdown]
# ## Is the noise heavy-tailed?
#
# Gradient noise: a mini-batch's gradient minus the full one at the same parameters. The stability
# index is 2 for Gaussian noise and below 2 for heavy tails. Published values string all
# coordinates into one sequence. Coordinates of unequal size then look like heavy tails: the
# control below is Gaussian noise with the same unequal sizes.

# %%
noise = minibatch_noise(
    network, last.paths[0, -1], data.images, data.labels, keys[3], num_draws=DRAWS
)
sizes = noise.std(axis=0)
moving = np.asarray(sizes > 1e-6 * sizes.max())  # weights of pixels that are always black rest
noise, sizes = noise[:, moving], sizes[moving]
gaussian = sizes * jax.random.normal(jax.random.key(5), noise.shape)
for name, each in (("gradient noise", noise), ("control: Gaussian, same sizes", gaussian)):
    tails = learning.gradient_noise_tails(each)
    print(
        f"{name}: by coordinate {tails.by_coordinate}, strung together {tails.flattened},"
        f" characteristic function {np.nanmedian(tails.characteristic.value):.2f} (median)"
    )

# %% [markdown]
# **How to read it.** An exponent says something beyond drift and relaxation only where it lies
# outside both of their bands. Strung together the Gaussian control reads far below 2: that is the
# trap of unequal scales, and its status says so. By coordinate, block sums below 2 beside a
# characteristic function of 2 are a finite variance that sums have not averaged yet, and no
# stable law.
#
# **What came out at size** (`fracjax reproduce diffusion`): digits are learned ballistically at a
# small rate (1.9 at 0.001) and subdiffusively at short lags at a large one (0.61 at 0.5).
# Published for residual networks (Chen, Qu and Gong 2022) is the opposite order, fast first and
# slow at long lags. Here long lags are always faster than short ones, in a perceptron and a
# convolutional network.
#
# **Where it fails.** A path of which a few steps hold the mean square has none (`not_converged`):
# use `estimators.typical_displacement_exponent`. Long lags hold few independent stretches: at a
# tenth of the path one coordinate scatters by 0.38.
