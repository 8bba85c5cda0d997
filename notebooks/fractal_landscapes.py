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
# # Fractal landscapes in policy optimisation
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/fractal_landscapes.ipynb)
#
# When does a return have no gradient? A loop that expands at the rate λ, with a return discounted
# by γ, has Hölder exponent α = -ln γ / λ (Wang, Herbert and Gao 2023). This notebook measures
# that law where λ is known, shows what it does to gradient estimates, and looks at a trained
# acrobot.

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

from fracjax import estimators, landscapes, learning, plotting, rl, systems

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
DISCOUNTS = (0.95, 0.8, 0.4) if QUICK else (0.97, 0.95, 0.9, 0.8, 0.7, 0.6, 0.4, 0.3)
LINES = 8 if QUICK else 32  # of a Hölder exponent
SAMPLES = 2**9 if QUICK else 2**14  # of a gradient
HORIZON = 200 if QUICK else 1000  # steps of an acrobot's return
POINTS = 65 if QUICK else 513  # on a line

# %% [markdown]
# ## The law, where the answer is known
#
# A tent map of slope s expands by ln s at every step, everywhere. Its action shifts the state,
# and the parameter is the action. Small discounts are the null: where -ln γ > λ the law promises
# α = 1, and second differences may read up to 2.
#
# The paper's estimator is kept as `method="paper"`: the log-variance of the return under Gaussian
# perturbations of one centre. Its value depends on the centre, and its interval does not say so.

# %%
SLOPE = 1.9
rate = np.log(SLOPE)
tent_return = systems.mdps.chaotic_returns(
    systems.maps.tent(SLOPE), DISCOUNTS, num_steps=60, feedback="constant"
)
scales = {"largest_scale": 1e-2, "smallest_scale": 1e-8}
measured = estimators.holder_exponent(
    tent_return, jnp.array(0.5), jax.random.key(0), num_directions=LINES, **scales
)
paper = estimators.holder_exponent(
    tent_return, jnp.array(0.5), jax.random.key(0), method="paper", **scales
)
law = -np.log(np.array(DISCOUNTS)) / rate
print("   γ   law   measured               by perturbations")
for place, discount in enumerate(DISCOUNTS):
    print(
        f"{discount:5} {law[place]:5.2f}   {measured.value[place]:.3f}"
        f" [{measured.low[place]:.3f}, {measured.high[place]:.3f}]"
        f"   {paper.value[place]:.3f} [{paper.low[place]:.3f}, {paper.high[place]:.3f}]"
    )

# %%
figure, axes = plt.subplots(figsize=(5.4, 4), layout="constrained")
axes.plot([0, 2, 2.2], [0, 2, 2], color="0.6", label="law, capped at 2")
axes.axhline(1, color="0.8", lw=0.8)
for name, estimate in (("second differences", measured), ("perturbations", paper)):
    value, low, high = (np.asarray(part) for part in (estimate.value, estimate.low, estimate.high))
    axes.errorbar(law, value, yerr=[value - low, high - value], fmt="o", ms=4, label=name)
axes.set_xlabel("-ln γ / λ")
axes.set_ylabel("measured exponent")
_ = axes.legend()

# %% [markdown]
# Perturbations see at most 1, second differences at most 2. Below the horizontal line at 1 there
# is no gradient.
#
# ## What it does to a gradient estimate
#
# Evolution strategies estimate the gradient of the smoothed return, and always can. Of a smooth
# function the variance of one sample does not depend on the smoothing σ. Of a function with
# exponent α < 1 it grows like σ^(2α - 2) as σ falls, and so does the gradient itself: making σ
# smaller does not come closer to anything.


# %%
def rough(params, key):
    return systems.signals.weierstrass(params, 0.4)


def smooth(params, key):
    return jnp.cos(2 * jnp.pi * params)


sigmas = 2.0 ** -np.arange(6.0, 15.0, 2.0 if QUICK else 1.0)


def quality(objective):
    def at(sigma):
        sampler = learning.smoothed_gradient(objective, sigma)
        return learning.gradient_quality(
            sampler, jnp.array(0.37), jax.random.key(1), num_samples=SAMPLES, batch_size=16
        )

    return jax.jit(functools.partial(jax.lax.map, at))(jnp.asarray(sigmas))


qualities = {"Weierstrass, α = 0.4": quality(rough), "cosine": quality(smooth)}
for name, each in qualities.items():
    powers = [
        np.polyfit(np.log(sigmas), np.log(np.asarray(quantity.value)), 1)[0]
        for quantity in (each.variance, each.norm)
    ]
    print(f"{name}: power of σ in the variance {powers[0]:+.2f}, in the gradient {powers[1]:+.2f}")
print(f"expected {2 * 0.4 - 2:+.2f} and {0.4 - 1:+.2f}, and zero")

figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axes, quantity in zip(panels, ("variance", "norm"), strict=True):
    plotting.against_smoothing(axes, qualities, quantity, sigmas)

# %% [markdown]
# Left is the scatter of one sample, right the length of the gradient of the smoothed function. Of
# the rough function both grow without end as σ falls. At a single place the powers are not exact:
# the law holds for the mean over places. In many dimensions the scatter grows faster than the
# gradient, and estimates drown in it.
#
# ## A trained acrobot
#
# A line through the parameters of a trained policy, and the same line 16 and 256 times closer.
# The control is the same network before training.

# %%
environment = rl.make("acrobot", dtype="float64")
trained = rl.shipped("acrobot").astype("float64")
fresh = rl.untrained(trained)
states = rl.initial_states(environment, jax.random.key(0), 1)
discounts = (0.99, 0.9)
returns = rl.discounted_returns(environment, trained, horizon=HORIZON, discounts=discounts)


def acrobot_return(params, key):
    return returns(params, states, key)


figure, panels = plt.subplots(2, 3, figsize=(11, 5), layout="constrained")
for row, (name, policy) in zip(panels, (("trained", trained), ("untrained", fresh)), strict=True):
    for axes, span in zip(row, (0.2, 0.2 / 16, 0.2 / 256), strict=True):
        line = landscapes.line(policy.params, jax.random.key(3), span=span, num_points=POINTS)
        data = landscapes.scan(
            acrobot_return, policy.params, line, jax.random.key(4), chunk_size=32
        )
        for output, color in enumerate(("#0072B2", "#D55E00")):
            values = data["value"].values[:, output]
            scaled = (values - values.mean()) / np.ptp(values)
            axes.plot(line.axes[0] / span, scaled, color=color, lw=0.8)
        axes.set_title(f"{name}, ±{span:.2g}")
panels[1, 1].set_xlabel("along the line, in units of the window")
panels[0, 0].set_ylabel("return, scaled to its range")
_ = panels[0, 0].legend([f"γ = {discount}" for discount in discounts])

# %% [markdown]
# **How to read it.** Trained, at γ = 0.99 (blue), every zoom shows new structure, while the same
# policy at γ = 0.9 (orange) becomes a line. Untrained, both become lines. Training makes the loop
# fast enough to be chaotic: it is not the network that is rough.
#
# **What came out at size** (`fracjax reproduce fractal`): all 306 compared numbers agree with
# their references. The law with the *mean* exponent is exact only where the expansion is uniform.
# Where it is not, second moments and the worst stretch decide, by up to 25 %. The paper's
# estimator scatters from centre to centre by 0.05 to 0.14, which its regression error does not
# show.
#
# **Where it fails.** A return that jumps (contacts, termination) is not fractal, but it has no
# gradient either: `diagnosis.diagnose` looks for jumps and calls it `discontinuous`. A horizon T
# that is too short smooths everything below e^(-λT).
