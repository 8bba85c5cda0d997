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
# # Plasticity and curvature: can this network still learn?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/plasticity.ipynb)
#
# Does a network lose the ability to learn new things while it learns? This notebook lets two
# settings of Adam learn one random labelling after another, counts dead units, measures
# plasticity with the published probe, and follows the curvature of the loss beside a random
# displacement.

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere: pip install fracjax
    from IPython import get_ipython

    get_ipython().run_line_magic(
        "pip", "install -q 'fracjax @ git+https://github.com/fracjax/fracjax'"
    )

# %%
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from fracjax import curvature, learning, plotting

print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
IMAGES, SIDE, HIDDEN = (100, 8, (32, 32)) if QUICK else (400, 10, (128, 128))
TASKS, STEPS = (2, 100) if QUICK else (12, 1500)  # labellings, and updates on each
SEEDS = 2 if QUICK else 3
BUDGET = 50 if QUICK else 500  # updates of the probe
DESCENT = 100 if QUICK else 2000  # updates of gradient descent

# %% [markdown]
# ## Dead units
#
# Random labels are learned and drawn anew, again and again. Neither the network nor the optimiser
# is told. The settings of Adam that most people use (b2 = 0.999, ε tiny) take long steps when a
# gradient returns after silence. The tuned settings (b2 = 0.9, a constant under the root) cannot.
# Seeds, images and labels are the same in both conditions.

# %%
network = learning.ToyNetwork((SIDE, SIDE), HIDDEN)
drawn = jax.random.uniform(jax.random.key(0), (2, IMAGES, SIDE, SIDE))
images = drawn[0] * (drawn[1] < 0.2)  # a fifth of the pixels is not zero


def dead(params):
    layers = network.activations(params, images).values()
    return jnp.stack([learning.dead_units(layer) for layer in layers]).mean()


def over_seeds(values):
    """Plain means over seeds with Student's interval: three are too few for a bootstrap."""
    mean = functools.partial(learning.interquartile_mean, share=0.0, interval="student")
    return jax.vmap(mean, in_axes=1)(values)


@functools.partial(jax.jit, static_argnums=0)
def learn(optimizer, keys):
    def one(key):
        run = learning.train_on_relabelled(
            network, images, optimizer, key, num_tasks=TASKS, steps_per_task=STEPS
        )
        return run, jax.vmap(dead)(run.params)

    return jax.lax.map(one, keys)


keys = jax.random.split(jax.random.key(1), SEEDS)
optimizers = {
    "Adam, usual settings": learning.plain_adam(1e-3),
    "Adam, tuned": learning.tuned_adam(1e-3),
}
runs = {name: learn(optimizer, keys) for name, optimizer in optimizers.items()}
shares = {name: (np.arange(TASKS + 1), over_seeds(dead)) for name, (_, dead) in runs.items()}
accuracies = {
    name: (1 + np.arange(TASKS), over_seeds(run.accuracies)) for name, (run, _) in runs.items()
}
for name in runs:
    last, accuracy = shares[name][1], accuracies[name][1]
    print(
        f"{name:21} dead units after {TASKS} tasks {last.value[-1]:.3f}"
        f" [{last.low[-1]:.3f}, {last.high[-1]:.3f}], accuracy {accuracy.value[-1]:.2f}"
    )

usual, tuned = (dead[:, -1:] for _, dead in runs.values())
gap = over_seeds(usual - tuned)
print(f"more dead units, seed by seed: {gap.value[0]:.3f} [{gap.low[0]:.3f}, {gap.high[0]:.3f}]")

figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
plotting.estimates_along_runs(panels[0], shares, along="tasks learned", label="share of dead units")
_ = plotting.estimates_along_runs(
    panels[1], accuracies, along="tasks learned", label="accuracy on the task"
)

# %% [markdown]
# Units die task by task, with the tuned settings later. Accuracy does not tell: with the usual
# settings every task is learned, and the tuned ones begin slowly. Intervals are over seeds, and
# wide with so few of them; as seeds are the same, read the interval of the difference. One of no
# length says that the seeds agree, not that the next one must. One that reaches below zero is
# Student's, which does not know that a share cannot.
#
# ## The probe
#
# Dead units are a symptom. The probe measures the thing itself: fit new random targets from these
# parameters with a fixed budget, and look at the loss that is left. The control is a fresh
# network with the same targets and the same budget.
#
# Two signs are in use. `formula` is the definition in the text of Lyle et al. (2023): negative
# where plasticity was lost. `plotted` is what their figures show: positive where it was lost.

# %%
inputs = images[:64]
sines = learning.probe_sines(
    network.apply, network.init, inputs, jax.random.key(2), num_targets=4 if QUICK else 10
)
optimizer = optax.adam(1e-3)
budget = (0, BUDGET // 5, BUDGET)
fresh = jax.jit(
    lambda key: learning.fresh_probe(
        network.apply, network.init, inputs, sines, optimizer, key, iterations=budget
    )
)(jax.random.key(3))
probe = jax.jit(
    lambda params: learning.plasticity_probe(
        network.apply, params, inputs, sines, optimizer, iterations=budget
    )
)
curves = {"fresh": (np.asarray(budget), fresh.curve)}
print(
    f"loss left by a fresh network {fresh.final_loss}, before the first step {fresh.initial_loss}"
)
for name, (run, _) in runs.items():
    found = probe(jax.tree.map(lambda leaf: leaf[0, -1], run.params))
    lost = learning.loss_of_plasticity(found, fresh)
    curves[name] = (np.asarray(budget), found.curve)
    print(f"{name}: left {found.final_loss}, plasticity lost {lost.plotted}")

figure, axes = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
_ = plotting.estimates_along_runs(
    axes,
    curves,
    along="updates of the probe",
    label="loss on new targets",
    logarithmic=(False, True),
)

# %% [markdown]
# Neither trained network comes down to where the fresh one does, and the one with the usual
# settings stays far above the other. Always look at the initial loss. A trained network has large
# outputs and begins far off; a difference of final losses then says how long it takes to come
# back. The budget decides as well: after few updates the probe measures how fast a network
# starts, after many how much it can hold.
#
# ## Curvature along descent, beside a random displacement
#
# Gradient descent raises the largest eigenvalue of the Hessian, at most to about 2/η, where a
# quadratic would diverge. Under cross-entropy it falls again once every label is fitted, so look
# along the run and not at its end. The control moves the start at random exactly as far as
# descent got in the end.

# %%
labels = jax.random.randint(jax.random.key(4), (64,), 0, 10)


def loss(params, batch):
    logits = network.apply(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


rate, batch = 0.3, (inputs, labels)
start = network.init(jax.random.key(5))
descent = jax.jit(
    lambda start: curvature.descent_sharpness(
        loss,
        start,
        batch,
        jax.random.key(6),
        learning_rate=rate,
        num_steps=DESCENT,
        record_every=DESCENT // 20,
        num_iterations=10,
    )
)(start)


@jax.jit
@jax.vmap
def sharpness_after_displacement(key):
    moved = learning.displacement_matched(start, descent.params, key, matching="leaf")
    operator = curvature.hessian(loss, moved, batch)
    return curvature.sharpness(operator, jax.random.key(8), num_iterations=10).value


control = learning.interquartile_mean(
    sharpness_after_displacement(jax.random.split(jax.random.key(7), 4)),
    share=0.0,
    interval="student",
)
print(f"largest eigenvalue at the start {descent.sharpness.value[0]:.2f}, 2/η = {2 / rate:.2f}")
print(f"highest along descent {descent.sharpness.value.max():.2f}")
print(f"at its end {descent.sharpness.value[-1]:.2f}, loss {descent.losses[-1]:.3f}")
print(f"after a displacement of the same length, layer by layer: {control}")

figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
plotting.sharpness_and_threshold(
    panels[0], descent.steps, {"descent": descent.sharpness}, learning_rate=rate
)
density = curvature.spectral_density(
    curvature.hessian(loss, descent.params, batch),
    jax.random.key(9),
    num_draws=4 if QUICK else 10,
    num_iterations=20 if QUICK else 60,
)
_ = plotting.spectral_densities(panels[1], {"Hessian after descent": density})

# %% [markdown]
# **What came out at size** (`fracjax reproduce plasticity`): the usual settings of Adam leave 24
# % of units dead after six tasks, tuned ones 1.5 %. Descent raises the largest eigenvalue by 3.7
# in ln, a random displacement of every layer by 0.5. The paper's order of remedies did not come
# out. Layer normalisation keeps most; ReDo, decay and continual backprop change little there;
# resets and shrink and perturb, with our constants, do worse than nothing.
#
# **Where it fails.** Dead units, ranks and norms move with plasticity in some networks and
# against it in others. Counts of units depend on the number of samples. Derivatives of a ReLU
# network do not see its kinks.
#
# Remedies go into any optimiser: `learning.intervene(optimizer, learning.redo(…), every=1000,
# key=…)`. `learning.open_monitor` watches a run while it goes on.
