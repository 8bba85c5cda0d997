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
# # Gradient flossing: gradients through a hundred steps
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/gradient_flossing.ipynb)
#
# Can a recurrent network learn to remember over many steps? Its gradients grow or vanish with its
# Lyapunov exponents. Gradient flossing (Engelken 2023) pushes the exponents to zero before
# training. This notebook measures what that does to the long-term Jacobian and to learning.

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere: pip install fracjax
    from IPython import get_ipython

    get_ipython().run_line_magic(
        "pip", "install -q 'fracjax @ git+https://github.com/fracjax/fracjax'"
    )

# %%
import dataclasses
import os

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

from fracjax import learning, plotting

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
UNITS, FLOSSED = (12, 6) if QUICK else (32, 16)  # of them exponents that are flossed
FLOSSING_UPDATES = 60 if QUICK else 300
TASK_UPDATES = 100 if QUICK else 1000
DELAYS = (3, 8) if QUICK else (10, 20)  # steps
NUM_SEEDS = 2 if QUICK else 6

# %% [markdown]
# ## One network
#
# The network is x' = J tanh(x) + W s + b, driven by random bits s. `flossing_loss` measures the
# leading exponents along a window of 55 steps and returns the mean of their squares,
#
# $$L = \frac{1}{k}\sum_{i=1}^k \lambda_i^2, \qquad
#   \lambda_i = \frac{1}{T}\sum_t \ln R_{t,ii},$$
#
# where R comes from the QR factorisation that keeps the tangents apart. `flossing_block` makes
# updates by its gradient alone. Any `step(params, state, input)` can be flossed the same way, Flax
# cells by `cell_step`.

# %%
keys = jax.random.split(jax.random.key(0), 4)
params = learning.initial_tanh_network(keys[0], UNITS, 1)
state = jax.random.normal(keys[1], (UNITS,))


def loss(params, key):
    bits = learning.random_bits(key, 55)[:, None]
    return learning.flossing_loss(
        learning.driven_tanh_step, params, state, bits, num_exponents=FLOSSED, key=keys[2]
    )


block = learning.flossing_block(loss, optax.adam(1e-3), mask=("recurrent", "input", "bias"))
flossed, _, log = block.run(params, block.init(params), keys[3], num_updates=FLOSSING_UPDATES)
print(f"loss {log.value[0]:.4f} -> {log.value[-1]:.2e} in {FLOSSING_UPDATES} updates")

# %% [markdown]
# ## What it does to the Jacobian
#
# The condition number κ of the Jacobian over many steps says how unequally directions are
# stretched. It should grow like exp((λ₁ - λ_m) · steps). We check that on inputs that were not
# used for flossing, before and after, over several windows.


# %%
def measure(params, key):
    """Exponents over a long window, and log10 κ of the Jacobian over 30 steps."""
    bits = learning.random_bits(key, 300)[:, None]
    found = learning.flossing_loss(
        learning.driven_tanh_step,
        params,
        state,
        bits,
        num_exponents=UNITS,
        window=300,
        discard=100,
        key=key,
    )
    jacobian = learning.long_term_jacobian(
        learning.driven_tanh_step, params, state, bits[:30], FLOSSED
    )
    return found.exponents, jacobian.log10_condition


windows = jax.random.split(jax.random.key(7), 8)
measured = jax.jit(jax.vmap(measure, in_axes=(None, 0)))
before, condition_before = measured(params, windows)
after, condition_after = measured(flossed, windows)
for name, values in (("before", condition_before), ("after", condition_after)):
    error = values.std(ddof=1) / len(values) ** 0.5
    print(f"log10 κ over 30 steps {name}: {values.mean():.2f} ± {1.96 * error:.2f}")

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
spectra = {"as drawn": np.asarray(before), "flossed": np.asarray(after)}
_ = plotting.spectra_of_networks(axes, spectra, num_flossed=FLOSSED)

# %% [markdown]
# Exponents to the left of the dotted line were flossed. Those to the right were left alone and
# stay far below zero: a network that is flossed with k = 1 keeps one direction only.
#
# ## What it does to learning
#
# Delayed copy: repeat the bit that came d steps ago. The same seeds, the same first networks and
# the same batches in all conditions, so that the difference is paired. The control is flossed and
# trains the readout alone: no gradient has to travel through time, and it shows what flossed
# networks remember without having learned to.

# %%
network = learning.tanh_classifier(UNITS)
lags = np.array([learning.parity_lags(delay) for delay in DELAYS])
settings = learning.TrainingSettings(
    num_steps=2 * DELAYS[-1] + 8,
    num_exponents=FLOSSED,
    window=40,
    discard=10,
    jacobian_steps=DELAYS[-1],
)
key, seeds = jax.random.key(1), range(NUM_SEEDS)


def train(flossing_updates, settings):
    learners = learning.floss_runs(
        network, key, seeds=seeds, num_updates=flossing_updates, settings=settings
    ).learners
    return learning.train_runs(
        network,
        lags,
        key,
        seeds=seeds,
        num_updates=TASK_UPDATES,
        look_every=TASK_UPDATES // 4,
        settings=settings,
        learners=learners,
    ).looks


looks = {
    "not flossed": train(0, settings),
    "flossed": train(FLOSSING_UPDATES, settings),
    "readout alone": train(FLOSSING_UPDATES, dataclasses.replace(settings, train_network=False)),
}
solved = {name: learning.succeeded(look.accuracy[..., -1]) for name, look in looks.items()}
rates = {name: learning.success_rate(each) for name, each in solved.items()}
gap = learning.paired_success(solved["not flossed"], solved["flossed"])
for place, delay in enumerate(DELAYS):
    for name, rate in rates.items():
        print(
            f"delay {delay}, {name}: share of {NUM_SEEDS} seeds that learn {rate.value[place]:.2f}"
            f" [{rate.low[place]:.2f}, {rate.high[place]:.2f}]"
        )
    print(
        f"delay {delay}, flossed minus not flossed {gap.value[place]:+.2f}"
        f" [{gap.low[place]:+.2f}, {gap.high[place]:+.2f}],"
        f" McNemar p = {gap.details['p_value'][place]:.2g}"
    )

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
updates = np.asarray(looks["flossed"].updates[-1, 0])
for axes, field, label, reference in (
    (panels[0], "accuracy", "bit accuracy", ("chance", 0.5)),
    (panels[1], "log10_condition", "log10 condition number", None),
):
    tables = {name: np.asarray(getattr(look, field)[-1]) for name, look in looks.items()}
    plotting.runs_along_training(axes, updates, tables, label=label, reference=reference)
_ = panels[0].set_title(f"delayed copy over {DELAYS[-1]} steps")

# %% [markdown]
# **How to read it.** Thin lines are seeds, thick ones medians. Flossed networks do not remember by
# themselves: with the readout alone none learns. The interval of a share of few seeds is wide:
# six of six seeds are compatible with a rate of 0.54. So judge by the paired difference, and run
# more seeds before you believe a small one.
#
# **What came out at size** (`fracjax reproduce flossing`, 32 units, 8 seeds): over 20 steps 8 of
# 8 flossed networks learn and 2 of 8 others, over 25 steps 6 and none. The paper also claims that
# flossing again *during* training lengthens the horizon further. At that size we could not tell:
# the difference was within its interval.
#
# **Where it fails.** Exponents are averages over a window of one orbit. Under other inputs they can
# leave their target again, and training moves them too, as the right panel shows. The
# gradient of an exponent along a chaotic orbit grows with the window: keep windows short.
