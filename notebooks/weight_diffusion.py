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
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from fracjax import estimators, learning, plotting, systems

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
POINTS = 500 if QUICK else 2000  # of a known path
SEGMENTS, LENGTH = (1, 500) if QUICK else (4, 1000)
SEEDS = 1 if QUICK else 3
RATES = (0.01, 0.5) if QUICK else (0.001, 0.05, 0.5)
SURROGATES = 9 if QUICK else 19
HIDDEN, BATCH = (4 if QUICK else 16), 32
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
# Plain SGD, no momentum and no schedule, every parameter after every step: a path is a matrix
# with one row per step. Several rates and seeds run side by side; a seed has the same start and
# the same batches at every rate. Exponents over short and over long lags, segment by segment.

# %%
data = learning.load_digits()
images, labels = jnp.asarray(data.images.reshape(-1, 64)), jnp.asarray(data.labels)


def initial(key):
    """Weights N(0, 2/inputs) and no biases, of one hidden layer."""
    sizes = {"hidden": (64, HIDDEN), "out": (HIDDEN, 10)}
    return {
        name: {
            "kernel": jax.random.normal(own, size) * (2 / size[0]) ** 0.5,
            "bias": jnp.zeros(size[1]),
        }
        for own, (name, size) in zip(jax.random.split(key), sizes.items(), strict=True)
    }


unravel = ravel_pytree(initial(keys[2]))[1]


def loss(weights, images, labels):
    """Mean cross-entropy, of a vector of all weights."""
    params = unravel(weights)
    hidden = jax.nn.relu(learning.apply_dense(params["hidden"], images))
    logits = learning.apply_dense(params["out"], hidden)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def batch_gradient(weights, key):
    chosen = jax.random.randint(key, (BATCH,), 0, len(images))
    return jax.grad(loss)(weights, images[chosen], labels[chosen])


@jax.jit
@jax.vmap
def descend(weights, key, rate):
    """A segment of one run: the weights after it, and those before every step."""

    def step(weights, own):
        return weights - rate * batch_gradient(weights, own), weights

    return jax.lax.scan(step, weights, jax.random.split(key, LENGTH))


@jax.jit
def describe(paths):
    return jax.lax.map(learning.two_exponents, paths)


@jax.jit
def null(paths, keys):
    return jax.lax.map(
        lambda pair: tuple(
            learning.null_two_exponents(pair[1], pair[0], surrogate, num_surrogates=SURROGATES)
            for surrogate in (estimators.drift_noise_surrogate, estimators.relaxation_surrogate)
        ),
        (paths, keys),
    )


rates = np.repeat(RATES, SEEDS)  # run by run, seeds fastest
seeds = jax.vmap(jax.random.key)(jnp.tile(jnp.arange(SEEDS), len(RATES)))
fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
weights = jax.vmap(lambda key: ravel_pytree(initial(key))[0])(fold(seeds, 0))
found = []
for segment in range(SEGMENTS):
    weights, paths = descend(weights, fold(seeds, 1 + segment), jnp.asarray(rates))
    found.append(describe(paths))
drift, relaxation = null(paths, jax.random.split(keys[2], len(rates)))
for index in range(0, len(rates), SEEDS):
    left = loss(weights[index], images, labels)
    print(f"η = {rates[index]:g}, seed 0, last segment, loss {left:.3f}")
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
longest = 2 * LENGTH // 5
displacement = functools.partial(estimators.mean_squared_displacement, max_lag=longest)
curves = {
    f"η = {rates[index]:g}": jax.lax.map(displacement, paths[index : index + SEEDS])
    for index in range(0, len(rates), SEEDS)
}
plotting.mean_squared_displacements(panels[0], 1 + np.arange(longest), curves)
panels[0].set_title("last segment; bands hold all seeds")
waiting = LENGTH * np.arange(SEGMENTS)
short = {
    f"η = {rates[index]:g}": jax.tree.map(
        lambda *parts, i=index: jnp.stack([part[i] for part in parts]),
        *[each.short for each in found],
    )
    for index in range(0, len(rates), SEEDS)
}
plotting.diffusion_exponents(panels[1], waiting, short)
_ = panels[1].set_title("short lags, seed 0")

# %% [markdown]
# ## Is the noise heavy-tailed?
#
# Gradient noise: a mini-batch's gradient minus the full one at the same parameters. The stability
# index is 2 for Gaussian noise and below 2 for heavy tails. Published values string all
# coordinates into one sequence. Coordinates of unequal size then look like heavy tails: the
# control below is Gaussian noise with the same unequal sizes.

# %%
full = jax.grad(loss)(weights[0], images, labels)
draws = jax.jit(lambda keys: jax.lax.map(lambda key: batch_gradient(weights[0], key), keys))
noise = draws(jax.random.split(keys[3], DRAWS)) - full
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
# **How to read it.** Hollow points are curves that bend: no power law. An exponent says something
# beyond drift and relaxation only where it lies outside both of their bands. Strung together the
# Gaussian control reads far below 2: that is the trap of unequal scales, and its status says so. By
# coordinate, block sums below 2 beside a characteristic function of 2 are a finite variance that
# sums have not averaged yet, and no stable law.
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
