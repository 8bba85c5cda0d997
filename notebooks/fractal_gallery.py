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
# # Fractal gallery
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/fractal_gallery.ipynb)
#
# Where do fractals come from when a machine learns or acts? Five pictures, each made from a few
# lines: basins of Newton's method, gradient descent on two factors, a plane of learning rates,
# the return of an acrobot, and the cascade into chaos. Beside each stands a number, and a smooth
# counterpart.

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

from fracjax import estimators, landscapes, learning, plotting, rl
from fracjax.systems.training_maps import balanced_map
from fracjax.systems.training_maps.bifurcations import period_doublings

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
PIXELS = 65 if QUICK else 385  # of cheap pictures; whole periods of 16, plus 1, for the counts
RATES = 33 if QUICK else 193  # of planes of training runs
POLICIES = 33 if QUICK else 151  # of planes of policies
HORIZON = 60 if QUICK else 600  # steps of a return
ORBITS, STEPS = (300, 100) if QUICK else (3000, 500)
directions = {"x": jnp.array([1.0, 0.0]), "y": jnp.array([0.0, 1.0])}


def dimension(inside):
    """Of the boundary between True and False, by counts at resolutions from 16 pixels up."""
    num_doublings = int(np.log2((len(inside) - 1) / 16))
    return landscapes.refined_boundary_dimension(inside, num_doublings=num_doublings)


def show(axes, picture, title):
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


# %% [markdown]
# ## Newton's method on z³ = 1
#
# Which root does a start find? Colour is the root, brightness the number of steps. Any function
# of parameters is an objective; this one has two parameters. The smooth counterpart is descent by
# the gradient flow of |z³ - 1|², whose basins meet in smooth curves.

# %%
ROOTS = jnp.exp(2j * jnp.pi * jnp.arange(3) / 3)


def newton(params, key):
    def move(z, _):
        z = z - (z**3 - 1) / (3 * z**2)
        return z, jnp.abs(z[None] - ROOTS).min() > 1e-6

    z, moving = jax.lax.scan(move, params["x"] + 1j * params["y"], length=40)
    return {"root": jnp.argmin(jnp.abs(z - ROOTS)), "steps": moving.sum()}


def flow(params, key):
    def move(z, _):
        return z - 0.01 * 3 * (z**3 - 1) * jnp.conj(z) ** 2 / (1 + jnp.abs(z) ** 4), None

    z, _ = jax.lax.scan(move, params["x"] + 1j * params["y"], length=400)
    return {"root": jnp.argmin(jnp.abs(z - ROOTS)), "steps": jnp.log(jnp.abs(z - ROOTS).min())}


centre = {"x": jnp.array(0.0013), "y": jnp.array(0.0007)}  # off the symmetries
grid = landscapes.along(directions, span=1.6, num_points=PIXELS)
figure, panels = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for axes, (name, objective) in zip(panels, (("Newton", newton), ("flow", flow)), strict=True):
    data = landscapes.scan(objective, centre, grid, jax.random.key(0), chunk_size=1024)
    root, steps = (data[each].values.T[::-1] for each in ("root", "steps"))
    shade = 1 - 0.75 * np.searchsorted(np.sort(steps, axis=None), steps) / steps.size
    colours = np.array([[0.0, 0.45, 0.7], [0.84, 0.37, 0.0], [0.0, 0.62, 0.45]])[root]
    found = dimension(data["root"].values == 0)
    print(f"{name}: dimension of the boundary of one basin {found}")
    show(axes, colours * shade[..., None], f"{name}: boundaries of dimension {found.value:.2f}")

# %% [markdown]
# ## Gradient descent on two factors
#
# Starts (z, w) of descent on ½ (uv - y)² + ½ λ (u² + v²), with z = uv and w = u² + v². Starts
# with w < 2|z| belong to no (u, v). With a penalty the boundary of divergence is self-similar;
# its published dimension is 1.249. Without, it is an ellipse in (u, v), and made of straight
# lines here.

# %%
names = {"product": jnp.array([1.0, 0.0]), "squares": jnp.array([0.0, 1.0])}
place = {"product": jnp.array(1.0), "squares": jnp.array(8.0)}
grid = landscapes.along(names, span=(5.0, 8.0), num_points=PIXELS)
figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for axes, (name, penalty) in zip(panels, (("penalty", 0.2), ("no penalty", 0.0)), strict=True):
    objective = learning.factorization_objective("quotient", penalty=penalty)
    data = landscapes.scan(objective, place, grid, jax.random.key(0), chunk_size=1024)
    found = dimension(data["value"].values <= 0)
    print(f"{name}: dimension of the boundary {found}")
    coordinates = [1.0 + data["a"].values, 8.0 + data["b"].values]
    plotting.trainability_plane(
        axes, data["value"].values, coordinates, labels=("z = uv", "w = u² + v²")
    )
    axes.set_title(f"{name}: boundary of dimension {found.value:.2f}")

# %% [markdown]
# ## A plane of learning rates
#
# Every pixel trains a network, with one rate for the hidden layer and one for the readout. Blue
# runs converge, red ones diverge, the slower the darker. The smooth counterpart is linear
# regression. In this window the network's interval is wide and reaches down to 1; zooms into its
# boundary are rougher (`fracjax reproduce trainability`).

# %%
problem = learning.regression_problem(jax.random.key(3), width=4 if QUICK else 8)
centre, rates = learning.hyperparameter_plane("rates")
grid = landscapes.along(rates, span=4.5, num_points=RATES)
figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for axes, (name, objective) in zip(
    panels,
    (
        ("tanh network", learning.trainability_objective(problem, num_steps=50 if QUICK else 300)),
        (
            "linear regression",
            learning.linear_regression_objective(problem, num_steps=50 if QUICK else 300),
        ),
    ),
    strict=True,
):
    data = landscapes.scan(
        objective, centre, grid, jax.random.key(0), chunk_size=512, evaluator="plain"
    )
    found = dimension(data["value"].values <= 0)
    print(f"{name}: dimension of the boundary {found}")
    coordinates = [1.5 + data[each].values for each in "ab"]
    plotting.trainability_plane(axes, data["value"].values, coordinates)
    axes.set_title(f"{name}: boundary of dimension {found.value:.2f}")

# %% [markdown]
# ## One acrobot, two discounts
#
# Returns over a plane of policies around one that PPO trained. Only the discount differs. The
# graph of a smooth function of two parameters has dimension 2, the roughest 3.

# %%
environment = rl.make("acrobot", dtype="float64")
policy = rl.shipped("acrobot").astype("float64")
states = rl.initial_states(environment, jax.random.key(0), 1)
returns = rl.discounted_returns(environment, policy, horizon=HORIZON, discounts=(0.99, 0.9))
grid = landscapes.plane(policy.params, jax.random.key(5), span=0.02, num_points=POLICIES)
data = landscapes.scan(
    lambda params, key: returns(params, states, key), policy.params, grid, jax.random.key(0)
)
figure, panels = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for axes, output, discount in zip(panels, (0, 1), (0.99, 0.9), strict=True):
    values = data["value"].values[..., output]
    found = estimators.graph_dimension(values)
    print(f"γ = {discount}: dimension of the graph of the return {found}")
    picture = plotting.colour_picture(values)
    show(axes, picture, f"γ = {discount}: graph of dimension {found.value:.2f}")

# %% [markdown]
# ## The cascade into chaos
#
# Gradient descent on ½ (xy - 1)² from equal factors x = y, with ever larger steps. Periods double
# at steps whose distances shrink by Feigenbaum's 4.669, and between the bands of chaos lie
# windows of order. The smooth counterpart is on the left: below μ = 1 descent converges.

# %%
step_sizes = np.linspace(0.9, 2.0, ORBITS)


@jax.jit
@jax.vmap
def orbit(step_size):
    move = balanced_map.balanced_map(step_size)
    settled = jax.lax.fori_loop(0, 2000, lambda _, x: move(x), jnp.array(0.7))
    return jax.lax.scan(lambda x, _: (move(x), x), settled, length=STEPS)[1]


orbits = np.asarray(orbit(jnp.asarray(step_sizes)))
cascade = period_doublings()
print("ratios of the distances between doublings:", np.round(cascade.ratios, 3))
figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
counts, x_edges, y_edges = np.histogram2d(
    np.repeat(step_sizes, STEPS), orbits.ravel(), bins=(ORBITS // 3, 400)
)
extent = (x_edges[0], x_edges[-1], y_edges[0], y_edges[-1])
# Smoothed where the screen has fewer pixels than there are bins: else thin branches break.
axes.imshow(np.log1p(counts).T, origin="lower", extent=extent, aspect="auto", cmap="magma")
axes.set_xlabel("step size μ")
axes.set_ylabel("x")
_ = axes.set_title("gradient descent on two equal factors")

# %% [markdown]
# **How to read it.** Dimensions belong to the window and the resolutions that are printed. 1 is a
# smooth curve. A picture that looks rough is not yet a fractal: check that the structure changes
# neither with the dtype nor with the number of steps, and zoom.
#
# `fracjax scan acrobot --zoom 20` makes a film of zooms, and marks the frames that show rounding
# instead of structure.
