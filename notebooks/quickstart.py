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
# # Quickstart: is there a gradient to estimate?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/quickstart.ipynb)
#
# How fast does a closed loop forget its start, and how rough is the return over the parameters of
# its policy? This notebook measures both, first on systems whose answers are known, then on a
# trained acrobot. At a discount of 0.99 its return has no gradient to estimate; at 0.9 it has
# one.

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

from fracjax import diagnosis, estimators, plotting, rl, systems

jax.config.update("jax_enable_x64", True)  # roughness needs digits: see the last section
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
NUM_STEPS = 5_000 if QUICK else 200_000  # of an orbit
HORIZON = 300 if QUICK else 1000  # steps of a return
SETTINGS = (
    diagnosis.Settings(
        num_exponents=1,
        num_directions=12,
        points_per_line=34,
        num_samples=16,
        line_points=65,
        plane_points=9,
    )
    if QUICK
    else diagnosis.Settings(num_exponents=2)
)

# %% [markdown]
# ## Lyapunov exponents: how fast differences grow
#
# Any function `step(state) -> state` will do. The Hénon map is the first test: its two exponents
# add up to ln 0.3, exactly. The control is a rotation with damping, which cannot be chaotic: its
# exponents are equal and negative.
#
# Every number comes as an `Estimate`: a value, a standard error, a 95 % interval, and a status
# that is `ok` or says what went wrong.

# %%
henon = systems.catalogue.get("henon")
damped = systems.maps.linear(0.9 * jnp.array([[0.6, -0.8], [0.8, 0.6]]))

spectrum = estimators.lyapunov_spectrum(
    henon.step, henon.state, num_steps=NUM_STEPS, num_transient=1000
)
control = estimators.lyapunov_spectrum(damped, jnp.array([1.0, 0.0]), num_steps=1000)
for name, estimate in (("Hénon", spectrum), ("damped", control)):
    for value, low, high, ok in zip(
        estimate.value, estimate.low, estimate.high, estimate.ok, strict=True
    ):
        print(f"{name:7} {value:8.4f} [{low:.4f}, {high:.4f}]  {'ok' if ok else 'not ok'}")
print(f"sum of the exponents {spectrum.value.sum():.6f}, ln 0.3 = {jnp.log(0.3):.6f}")
print(f"both exponents of the control must be ln 0.9 = {jnp.log(0.9):.6f}")

# %% [markdown]
# ## Hölder exponents: how rough an objective is
#
# Any function `objective(params, key) -> number` will do. A step of size δ changes a function
# with Hölder exponent α by about δ^α. A smooth function has α = 1 in first differences; the
# estimator takes second and third differences, so that smooth functions read 2 or 3. Below 1 the
# difference quotient δ^(α-1) has no limit: there is no gradient.
#
# The Weierstrass function below was made with α = 0.4. The control is a cosine.


# %%
def weierstrass(params, key):
    return systems.signals.weierstrass(params["x"], 0.4).sum()


def cosine(params, key):
    return jnp.cos(2 * jnp.pi * params["x"]).sum()


place = {"x": jnp.array([0.3, 0.7])}
rough = estimators.holder_exponent(weierstrass, place, jax.random.key(0), largest_scale=0.1)
smooth = estimators.holder_exponent(cosine, place, jax.random.key(0), largest_scale=0.1)
print("Weierstrass, made with 0.4:", rough)
print("cosine:                    ", smooth)

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
plotting.variogram(axes, rough, color="#0072B2", label="Weierstrass")
plotting.variogram(axes, smooth, color="#D55E00", label="cosine")
_ = axes.legend(loc="lower right")

# %% [markdown]
# The slope of the curves is twice the exponent. The line is drawn over the window that the fit
# used, where points are full. An exponent belongs to that window: it is not a limit. Dotted lines
# are what rounding alone would give.
#
# ## One trained policy, two discounts
#
# `rl.shipped` loads a policy that comes with the package: an acrobot that PPO trained to swing.
# `diagnose` measures its closed loop and its return, and joins the two. Theory expects
# α = -ln γ / λ where the loop is chaotic enough.

# %%
environment = rl.make("acrobot", dtype="float64")
policy = rl.shipped("acrobot").astype("float64")
problem = diagnosis.problem_of_policy(
    environment, policy, jax.random.key(0), discounts=(0.99, 0.9), horizon=HORIZON
)
result = diagnosis.diagnose(problem, jax.random.key(1), SETTINGS)

leading = result.chaos.spectrum
print(
    f"largest Lyapunov exponent {leading.value[0]:.3f}"
    f" [{leading.low[0]:.3f}, {leading.high[0]:.3f}] nats per second"
)
for found in result.by_discount:
    mean = found.predictions["mean"]
    print(f"\nγ = {found.discount}: {found.verdict.value}")
    print(f"  measured  {found.holder}")
    print(f"  predicted {mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}] (2 stands for smooth)")
    print(f"  {found.reason}")

# %%
figures = plotting.diagnosis_figures(result, title="acrobot, trained policy", dt=environment.dt)
figures["roughness"]

# %%
figures["lines"]

# %% [markdown]
# **How to read it.** The same policy, the same initial states, the same lines: only the discount
# differs, so that γ = 0.9 is the control of γ = 0.99. At γ = 0.99 the zoom looks like the whole,
# and the variogram is flatter than a smooth function's. At γ = 0.9 the zoom is nearly a straight
# line. The second control, the same network before training, is smooth at every discount:
# `diagnosis.problem_of_policy(environment, rl.untrained(policy), …)`.
#
# `landscapes.scan` makes pictures like the next one of any size, see `large_scans`.

# %%
figures["planes"]

# %% [markdown]
# **Where it fails.** The exponent holds for the scales that are printed, for these initial
# states, near these parameters. Below e^(-λT) a return of T steps is smooth again, so a horizon
# that is too short hides the chaos (`undecided`). Below the rounding floor nobody can know: in
# float32 the landscape of a chaotic loop changes with the batch that XLA compiles for, which is
# why this notebook switches float64 on. A TPU emulates float64 and is slow at it.
#
# From a terminal the same is `fracjax diagnose acrobot`, with a page to read at the end.
