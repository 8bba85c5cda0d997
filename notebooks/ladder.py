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
# # The ladder: how a policy moves while it learns
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/ladder.ipynb)
#
# Does learning move a policy along a few directions only, and does trimming its path to these
# help? Tang et al. (2024) say both. This notebook measures the first beside random walks that are
# matched to the path, and tests the second (PPTB) on the same seeds with and without it.

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere: pip install fracjax
    from IPython import get_ipython

    get_ipython().run_line_magic(
        "pip", "install -q 'fracjax @ git+https://github.com/fracjax/fracjax'"
    )

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from fracjax import learning, plotting, rl

print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
UPDATES, SEEDS = (80, 2) if QUICK else (1000, 6)
HORIZON, STATES = (20, 4) if QUICK else (40, 32)
SNAPSHOT_EVERY = 2 if QUICK else 5  # updates
NULL_DRAWS = 19 if QUICK else 39

# %% [markdown]
# ## Learning runs
#
# A policy balances a pendulum from random angles: it learns by the exact gradient of its return
# through the simulator, over windows of starts that are drawn afresh. No critic and no
# exploration: what the path shows comes from the policy alone. The runs are short, and their cost
# falls by a third only; the question here is how they move. Any loop will do;
# `learning.open_recorder` records a path to disk and survives a `kill -9`.

# %%
environment = rl.make("pendulum")
key = jax.random.key(0)


def draw(key):
    policy = rl.initialize(
        key, environment.observation_size, environment.action_size, head="deterministic"
    )
    return policy.params


network = rl.initialize(
    key, environment.observation_size, environment.action_size, head="deterministic"
)
returns = rl.discounted_returns(environment, network, horizon=HORIZON, discounts=(0.99,))


def draw_states(key):
    """Any angle, slow: `reset` would hang near rest."""
    coordinates = jax.random.uniform(key, (STATES, 2), minval=-1.0) * jnp.array([jnp.pi, 1.0])
    template = environment.reset(key)
    return jax.vmap(lambda one: environment.from_coordinates(one, template))(coordinates)


def loss(params, key):
    return -returns(params, draw_states(key), key)[0]


def train(optimizer, seed_key):
    """Returns along training, and snapshots of the parameters."""
    params = draw(seed_key)

    def update(carry, number):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, jax.random.fold_in(seed_key, number))
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    def block(carry, numbers):
        before = carry[0]
        carry, values = jax.lax.scan(update, carry, numbers)
        return carry, (before, -values.mean())

    numbers = jnp.arange(UPDATES).reshape(-1, SNAPSHOT_EVERY)
    _, (snapshots, values) = jax.lax.scan(block, (params, optimizer.init(params)), numbers)
    return values, snapshots


adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
keys = jax.random.split(jax.random.key(1), SEEDS)
values, snapshots = jax.jit(jax.vmap(lambda key: train(adam, key)))(keys)
for seed in range(SEEDS):
    print(f"seed {seed}: return {values[seed, 0]:.1f} -> {values[seed, -1]:.1f}")

# %% [markdown]
# ## Temporal SVD, beside a random walk
#
# The path is a matrix, one row per snapshot. D(β) is the number of directions that hold a share β
# of its singular values. Two facts hold for *any* walk: its first direction is monotone, and its
# time courses are harmonics. So every number stands beside a walk that keeps the start, the drift
# and the lengths of the steps.

# %%
analyse = jax.jit(
    jax.vmap(
        lambda snapshots, key: learning.policy_path(
            snapshots, key, group="network", stride=SNAPSHOT_EVERY, num_draws=NULL_DRAWS
        )["network"]
    )
)
paths = analyse(snapshots, keys)
share = 0.8 if 0.8 in paths.svd.shares else paths.svd.shares[len(paths.svd.shares) // 2]
place = paths.svd.shares.index(share)
dimensionality = np.asarray(paths.svd.dimensionality)[:, place]
band = paths.null.dimensionality
print(f"directions that hold {share:.0%} of the singular values")
for seed in range(SEEDS):
    print(
        f"  seed {seed}: {dimensionality[seed]}, a walk {int(band.median[seed, place])}"
        f" [{int(band.low[seed, place])}, {int(band.high[seed, place])}]"
    )
print("median detour of a parameter, per seed:", np.asarray(paths.changes.detour_median).round(1))

first = jax.tree.map(lambda leaf: leaf[0], paths)
figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
plotting.dimensionality_curve(panels[0], first.svd, first.null)
plotting.detours_by_direction(panels[1], first.svd, first.null)
_ = plotting.time_courses(panels[2], first.svd, first.null, count=3)

# %% [markdown]
# A second null keeps the steps themselves and shuffles their order. What it shares with the path
# is in the steps, not in their order.

# %%
flat = np.asarray(
    jnp.concatenate(
        [leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(snapshots)], axis=2
    )
)
random = np.random.default_rng(0)
shuffled = []
for path in flat:
    steps = random.permutation(np.diff(path, axis=0))
    again = np.concatenate([path[:1], path[0] + steps.cumsum(axis=0)])
    found = learning.temporal_svd(jnp.asarray(again))
    shuffled.append(int(found.dimensionality[place]))
print(f"path {dimensionality.tolist()}, steps in random order {shuffled}")

# %% [markdown]
# ## Does trimming help?
#
# PPTB replaces the parameters from time to time by their projection on the leading directions of
# the path so far, and boosts the first two. It is an Optax transformation, last in the chain.
# Seeds, starts and networks are the same, so that differences are paired. The control of the
# boost is trimming alone, at a boost of almost nothing. Intervals are Student's, of the plain mean
# over seeds: a bootstrap of six is too narrow.

# %%
settings = {
    "num_kept": 8,
    "num_boosted": 2,
    "sample_every": SNAPSHOT_EVERY,
    "trim_every": 10 * SNAPSHOT_EVERY,
    "window": UPDATES // 2 // SNAPSHOT_EVERY,
}


@jax.jit
def train_trimmed(keys, boost):
    optimizer = optax.chain(adam, learning.pptb(boost=boost, **settings))
    return jax.vmap(lambda key: train(optimizer, key)[0])(keys)


curves = {"Adam": values}
for name, boost in (("trimmed", 1e-6), ("PPTB, boost 0.5", 0.5)):
    curves[name] = train_trimmed(keys, boost)
    gain = learning.interquartile_mean(
        curves[name].mean(axis=1) - values.mean(axis=1), share=0.0, interval="student"
    )
    print(
        f"{name}: mean return along training minus Adam's {gain.value:+.2f}"
        f" [{gain.low:+.2f}, {gain.high:+.2f}], of {values.mean():.1f}"
    )

figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
steps = SNAPSHOT_EVERY * np.arange(values.shape[1])
returns = {"Adam": np.asarray(values)}
plotting.runs_along_training(panels[0], steps, returns, label="return")
differences = {name: np.asarray(curves[name] - values) for name in list(curves)[1:]}
plotting.runs_along_training(
    panels[1], steps, differences, label="return minus Adam's, same seed", reference=("Adam", 0)
)
for axes in panels:
    axes.set_xlabel("updates of the policy")

# %% [markdown]
# **How to read it.** A path below the band needs fewer directions than a walk with the same drift
# and step lengths. How much of that is left when the steps are shuffled says whether it is the
# order of learning or the shape of the steps. Here nothing is left: shuffled steps need as few.
# Thin lines of the last figure are seeds, thick ones medians. Trimming alone changes next to
# nothing, so that what the boost costs is the boost's.
#
# **What came out at size** (`fracjax reproduce ladder`): paths of policies need far fewer
# directions than a walk (80 %: 6 to 19 against 28 to 39), and most of that is in the steps
# themselves (7 to 21 in random order). PPTB helped nowhere. At r_t = 16, p_b = 0.5, fixed
# beforehand, the mean return fell in all six tasks, surely in three. At p_b = 1 every PPO run
# ended in NaN. The paper reports gains.
#
# **Where it fails.** D(β) depends on the number of snapshots: compare with a null of as many.
# With snapshots far apart every path looks like a walk.
