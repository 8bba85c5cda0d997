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
# # Gravity wells of softmax policies
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/gravity_wells.ipynb)
#
# Did this run converge, or does it sit in a flat region that it will leave in a thousand updates?
# Softmax policy gradients have such regions: the gradient is of the order of the probability of
# the best action. This notebook measures escape times against closed forms and diagnoses runs.

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

from fracjax import learning, plotting

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
SMALLEST = 3 if QUICK else 5  # decades of the best arm's probability
STARTS = 50 if QUICK else 500  # random starts of a spread
MAX_STEPS = 2_000 if QUICK else 20_000  # updates after which a start is censored
ARMS, GAP = 6, 0.2
rewards = jnp.ones(ARMS).at[1:].set(1.0 - GAP)

# %% [markdown]
# ## The law
#
# A bandit with six arms, one of them better by Δ, trained by exact gradient ascent. Nothing is
# sampled, so that noise cannot be blamed. From a corner, where one wrong arm has all but the
# probability x, gradient flow leaves after a time that is known in closed form, and that is
# about 1/(2 η Δ x) for small x. From an even rest it takes longer, 5/(6 η Δ x) with six arms.
# The paper (Mei et al. 2020) has the same powers, with a constant that it leaves open.
#
# The null is the natural gradient, whose logits move by their advantages: it has no well, and
# its time grows with ln(1/x) only.


# %%
def corner(x):
    """Logits that give the best arm x and one wrong arm nearly all the rest."""
    rest = jnp.full(ARMS - 2, x * 1e-3)
    return jnp.log(jnp.concatenate([jnp.array([x, 1 - x - rest.sum()]), rest]))


def even(x):
    """Logits that give the best arm x and the others equal shares of the rest."""
    return jnp.log(jnp.full(ARMS, (1 - x) / (ARMS - 1)).at[0].set(x))


x = 10.0 ** -np.arange(2, SMALLEST + 1)
limit = int(2 / (GAP * x.min()))
found = {}
for name, start in (("corner", corner), ("even rest", even)):
    starts = jax.vmap(start)(x)
    run = functools.partial(learning.escape_time, rewards=rewards, max_steps=limit)
    found[name] = jax.jit(jax.vmap(run))(starts)
natural = jax.jit(
    jax.vmap(lambda start: learning.escape_time(start, rewards, rule="natural", max_steps=limit))
)(jax.vmap(even)(x))

flow = learning.corner_escape_time(x, GAP)
bound = learning.escape_lower_bound(x, GAP)
print("     x   corner  closed form   even rest   lower bound   natural gradient")
for place, one in enumerate(x):
    print(
        f"{one:6.0e} {int(found['corner'].probability_time[place]):8}"
        f" {flow[place]:12.1f} {int(found['even rest'].probability_time[place]):11}"
        f" {bound[place]:13.1f} {int(natural.probability_time[place]):18}"
    )

figure, axes = plt.subplots(figsize=(5.4, 4), layout="constrained")
points = {
    name: (1 / (GAP * x), np.asarray(escape.probability_time)) for name, escape in found.items()
}
_ = plotting.escape_times(axes, points, laws={"1/2": 0.5, "5/6": 5 / 6})

# %% [markdown]
# The closed form is exact for flow. Steps of size 1 are not a flow and take a percent longer at
# x = 0.01, less below. The lower bound holds from any start, and is a theorem about flow.
#
# ## Random starts: who has not escaped yet?
#
# Logits drawn from N(0, σ²). A large spread makes wells. Some runs have not left when we stop:
# their times are censored, and a mean would depend on when we stopped. The survival curve
# (Kaplan-Meier) and its quantiles do not. A quantile that has not been reached is NaN, with a
# bound.

# %%
at = np.unique(np.geomspace(1, MAX_STEPS * 0.99, 60).astype(int))
curves = {}
for spread in (1.0, 3.0):
    starts = spread * jax.random.normal(jax.random.key(0), (STARTS, ARMS))
    run = functools.partial(learning.escape_time, rewards=rewards, max_steps=MAX_STEPS)
    escape = jax.jit(lambda starts, run=run: jax.lax.map(run, starts, batch_size=50))(starts)
    times, seen = escape.probability_time, escape.probability_observed
    curves[f"σ = {spread:g}"] = learning.survival_curve(times, seen, at)
    quantiles = [learning.survival_quantile(times, seen, share) for share in (0.5, 0.9)]
    texts = [f"{each.value:.0f} [{each.low:.0f}, {each.high:.0f}]" for each in quantiles]
    print(
        f"σ = {spread:g}: half are out by {texts[0]}, 90 % by {texts[1]} updates;"
        f" censored {int((~seen).sum())} of {STARTS}"
    )

figure, axes = plt.subplots(figsize=(5.4, 4), layout="constrained")
_ = plotting.survival_by_spread(axes, at, curves, limit=MAX_STEPS)

# %% [markdown]
# ## Diagnosing a run
#
# `diagnose_well` sees what a log has: steps, gradient norms, and how far the return is from the
# best. It says whether the run was in a well and when it was to be expected to leave. Below, the
# same well is cut off before its end and seen to its end, and three controls: a run from the
# middle, which never was in a well, a run that had converged, and one that bounces at a long
# gradient, which is stalled and not in a well.

# %%
RECORDS = 200


def expected_reward(logits):
    return jax.nn.softmax(logits) @ rewards


def record(start, every, step_size=1.0):
    """Gradient norms and gaps of exact ascent, every so many updates."""
    gradient = jax.grad(expected_reward)

    def move(logits, _):
        norm = jnp.linalg.norm(gradient(logits))
        gap = rewards[0] - expected_reward(logits)
        logits = jax.lax.fori_loop(0, every, lambda _, at: at + step_size * gradient(at), logits)
        return logits, (norm, gap)

    norms, gaps = jax.lax.scan(move, start, length=RECORDS)[1]
    return every * jnp.arange(RECORDS), norms, gaps


deep = corner(1e-3)
noise = 0.05 * jax.random.normal(jax.random.key(2), (RECORDS,))
runs = {
    "well, cut off at 1990 updates": record(deep, 10),
    "well, to its end": record(deep, 40),
    "control: from the middle": record(jnp.zeros(ARMS), 10),
    "control: from the optimum": record(jnp.zeros(ARMS).at[0].set(5.0), 10),
    "control: bouncing": (
        jnp.arange(RECORDS),
        0.3 + noise,
        jnp.full(RECORDS, GAP) + 0.04 * noise,
    ),
}
truth = learning.escape_time(deep, rewards)
print(f"the well is left after {int(truth.probability_time)} updates")
for name, (steps, norms, gaps) in runs.items():
    diagnosis = learning.diagnose_well(
        steps, norms, gaps, step_size=1.0, reference_gap=GAP, smoothing=5
    )
    forecast = diagnosis.forecast
    when = f"expected to leave at {forecast.value:.0f}" if forecast.ok else "nothing to forecast"
    print(f"{name:30} {learning.Well(int(diagnosis.verdict)).label:10} {when}")

figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for name in ("well, to its end", "control: from the middle"):
    steps, norms, gaps = runs[name]
    panels[0].plot(steps, gaps, label=name)
    panels[1].semilogy(steps, norms)
panels[0].set_ylabel("gap to the best return")
panels[1].set_ylabel("norm of the gradient")
for axes in panels:
    axes.set_xlabel("updates")
_ = panels[0].legend()

# %% [markdown]
# **How to read it.** In a well the gap is large and the gradient small *for this run*: small
# gradients alone do not make one, since they are small at the optimum too. The forecast comes
# from 1/‖g‖, which falls along a straight line that reaches zero where the well ends.
#
# **What came out at size** (`fracjax reproduce gravity`): every escape count agrees with the
# closed forms and the notes. In thousands of random starts no run left before the lower bound.
# For Markov decision processes whose rewards change, the published inequality compares the gap
# with 0.9 Δ. It can cease to hold while the policy is still deep in its well.
#
# **Where it fails.** The law is about exact gradients of softmax logits, equal rewards of the
# other arms, and a state whose visits do not change. Adam divides by the size of the gradient and
# leaves flat regions sooner: do not give its step size to `diagnose_well`.
