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
# # Large steps: the edge of stability, chaos and fractal boundaries
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/large_steps.ipynb)
#
# What does gradient descent do when its step is too large for theory? It oscillates, doubles its
# period, becomes chaotic, and then diverges across a boundary that can be fractal. This notebook
# follows the smallest model that does all of it, and then measures the boundary of a network.

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

from fracjax import estimators, landscapes, learning, plotting
from fracjax.systems.training_maps import balanced_map, ellipse
from fracjax.systems.training_maps.bifurcations import period_doublings
from fracjax.systems.training_maps.phases import Phase, orbit_phase

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
STEP_SIZES, ORBIT = (200, 500) if QUICK else (1500, 10_000)
BASIN = 65 if QUICK else 257  # points on each side
PLANE, DOUBLINGS = (16, 2) if QUICK else (32, 3)  # coarsest plane, and how often it is refined
WIDTH, TRAINING = (4, 50) if QUICK else (8, 300)  # of the network, and steps of its training

# %% [markdown]
# ## Two factors
#
# The loss is ½ (xy - 1)², descent with step size μ. On the balanced line x = y it is a map of one
# variable whose whole story is known: x = 1 is stable up to μ = 1, periods double until 1.302,
# bands merge, and at μ = 2 the orbit fills an interval with exponent ln 3.
#
# Two controls: below μ = 1 the exponent must be ln|1 - 2μ|, and at μ = 2 it must be ln 3.

# %%
step_sizes = np.linspace(0.6, 2.0, STEP_SIZES)
start = 0.7
exponents = jax.jit(
    jax.vmap(
        lambda mu: estimators.lyapunov_spectrum(
            balanced_map.balanced_map(mu),
            jnp.array([start]),
            num_steps=ORBIT,
            num_transient=500,
        )
    )
)(jnp.asarray(step_sizes))
exponents = jax.tree.map(lambda leaf: leaf[..., 0] if leaf.ndim == 2 else leaf, exponents)


@jax.jit
@jax.vmap
def orbit(mu):
    move = balanced_map.balanced_map(mu)
    settled = jax.lax.fori_loop(0, 1000, lambda _, x: move(x), jnp.array(start))
    return jax.lax.scan(lambda x, _: (move(x), x), settled, length=100)[1]


orbits = np.asarray(orbit(jnp.asarray(step_sizes)))
stable = step_sizes < 0.99
gap = np.abs(np.asarray(exponents.value) - np.log(np.abs(1 - 2 * step_sizes)))[stable].max()
print(f"largest difference from ln|1 - 2μ| below μ = .99: {gap:.1e}")
print(
    f"at μ = 2: {exponents.value[-1]:.4f} [{exponents.low[-1]:.4f}, {exponents.high[-1]:.4f}],"
    f" ln 3 = {np.log(3):.4f}"
)
cascade = period_doublings()
print(
    "periods double at",
    np.round(cascade.doublings[:4], 4),
    "and accumulate at",
    round(cascade.accumulation, 4),
)

figure, panels = plt.subplots(
    2, 1, figsize=(8, 6.4), sharex=True, height_ratios=(3, 2), layout="constrained"
)
thresholds = {"1": 1.0, "√5 - 1": 5**0.5 - 1, "accumulation": cascade.accumulation}
plotting.bifurcation_diagram(panels[0], step_sizes, orbits, thresholds=thresholds)
plotting.exponents_over_step_size(
    panels[1], step_sizes, {"balanced map": exponents}, thresholds=thresholds
)
_ = panels[0].set_xlabel("")

# %% [markdown]
# ## Who stays bounded
#
# Off the balanced line orbits stay bounded exactly inside an ellipse. Its equation is known, so
# that every start of a grid is a test. In the picture starts that diverge are pink, and the line
# is the ellipse. Red and blue are the two ends of a bounded orbit.

# %%
MU = 1.1


def outcome(state, key):
    found = orbit_phase(jnp.asarray(MU), state, num_steps=512, num_transient=512)
    return {"phase": found.phase, "end": jnp.sign(found.end.sum())}


middle = np.array([0.0031, 0.0027])  # off the symmetries, on which orbits are special
grid = landscapes.along(np.eye(2), span=3.0, num_points=BASIN)
basins = landscapes.scan(outcome, middle, grid, jax.random.key(0), chunk_size=1024)
x, y = (middle[axis] + basins[name].values for axis, name in enumerate("ab"))
bounded = basins["phase"].values != Phase.DIVERGENT
inside = np.asarray(
    jax.vmap(jax.vmap(lambda x, y: ellipse.ellipse_value(jnp.stack([x, y]), MU)))(
        *(jnp.asarray(each) for each in np.meshgrid(x, y, indexing="ij"))
    )
)
clear = np.abs(inside) > 1e-3
print(
    f"starts that are not where theory says: {int((bounded != (inside < 0))[clear].sum())}"
    f" of {int(clear.sum())}"
)

figure, axes = plt.subplots(figsize=(5, 4.4), layout="constrained")
ends = np.where(bounded, basins["end"].values, np.nan)
plotting.basin_picture(axes, x, y, ends, step_size=MU, label="sign of x + y at the end", centre=0.0)

# %% [markdown]
# ## Any optimiser as a map
#
# `optimizer_map` makes a step of any Optax optimiser on any loss, so that the same estimator
# serves. On a quadratic with momentum the exponents are known. On a small tanh network with
# weight decay they are known at the minimum as well, ln|1 - η h| over the eigenvalues h of the
# Hessian, as long as the rate stays below the edge of stability, 2 over the largest of them.
# Beyond the edge that exponent is positive: descent leaves this minimum, and only a measurement
# tells where it goes. At the smallest rate the measurement is a few percent low, more than its
# interval says: the two slowest directions are nearly alike, and the tangent needs very many
# updates to find the slower one.

# %%
curvatures = jnp.array([2.0, 0.5, 0.1])
begin, move = learning.optimizer_map(
    lambda params: 0.5 * (curvatures * params**2).sum(), optax.sgd(0.3, momentum=0.9)
)
spectrum = estimators.lyapunov_spectrum(move, begin(jnp.ones(3)), num_steps=500)
exact = learning.quadratic_exponents(curvatures, 0.3, 0.9)
print("momentum on a quadratic:", np.asarray(spectrum.value).round(4))
print("exact:                  ", np.asarray(exact).round(4))

# %%
inputs = jax.random.normal(jax.random.key(1), (20, 4))
targets = jnp.sin(inputs.sum(axis=1))


def network_loss(params):
    first, last = params[:32].reshape(4, 8), params[32:]
    error = jnp.tanh(inputs @ first) @ last - targets
    return (error**2).mean() + 0.01 * (params**2).sum()


descend = jax.jit(
    lambda params: jax.lax.fori_loop(
        0, 50_000, lambda _, params: params - 0.2 * jax.grad(network_loss)(params), params
    )
)
minimum = descend(0.5 * jax.random.normal(jax.random.key(2), (40,)))
eigenvalues = jnp.linalg.eigvalsh(jax.hessian(network_loss)(minimum))
edge = 2 / eigenvalues.max()
left = jnp.linalg.norm(jax.grad(network_loss)(minimum))
print(f"edge of stability at a rate of {edge:.3f}; gradient at the minimum {left:.0e}")
for share in (0.3, 0.9, 1.2):
    rate = float(share * edge)
    begin, move = learning.optimizer_map(network_loss, optax.sgd(rate))
    spectrum = estimators.lyapunov_spectrum(
        move, begin(minimum + 1e-3), num_steps=ORBIT, num_transient=20_000, num_exponents=1
    )
    exact = learning.quadratic_exponents(eigenvalues, rate)[0]
    print(
        f"{share} of the edge: {spectrum.value[0]:+.5f} [{spectrum.low[0]:+.5f},"
        f" {spectrum.high[0]:+.5f}] nats per update, at the minimum {exact:+.5f}"
    )

# %% [markdown]
# ## The boundary between training and divergence
#
# A plane of two learning rates, one for each layer (Sohl-Dickstein 2024). Every point is a
# training run. The dimension of the boundary is measured by resimulation: the plane is evaluated
# at ever higher resolution, and boundary pixels are counted. 1 is a smooth curve.
#
# A positive control, whose published dimension is 1.25: two factors (u, v) with a penalty, in the
# coordinates uv and u² + v². A null: the same without, whose boundary is an ellipse in (u, v) and
# made of straight lines here.


# %%
def dimension(objective, centre, directions, span):
    grid = landscapes.along(directions, span=span, num_points=PLANE + 1)
    return landscapes.boundary_refinement(
        objective, centre, grid, jax.random.key(0), num_doublings=DOUBLINGS, chunk_size=512
    )


axes_of = {
    "product": jnp.array([1.0, 0.0]),
    "squares": jnp.array([0.0, 1.0]),
}
place = {"product": jnp.array(1.0), "squares": jnp.array(8.0)}
for name, penalty in (("positive control", 0.2), ("null, no penalty", 0.0)):
    objective = learning.factorization_objective("quotient", penalty=penalty)
    found = dimension(objective, place, axes_of, (5.0, 8.0))
    print(f"{name:17} dimension {found}")

problem = learning.regression_problem(jax.random.key(3), width=WIDTH)
train = learning.trainability_objective(problem, num_steps=TRAINING)
centre, directions = learning.hyperparameter_plane("rates")
print(f"network           dimension {dimension(train, centre, directions, 4.5)}")

# %%
grid = landscapes.along(directions, span=4.5, num_points=2 * PLANE + 1 if QUICK else 129)
plane = landscapes.scan(train, centre, grid, jax.random.key(0), chunk_size=512, evaluator="plain")
figure, axes = plt.subplots(figsize=(5, 4.4), layout="constrained")
coordinates = [1.5 + plane[name].values for name in "ab"]
_ = plotting.trainability_plane(axes, plane["value"].values, coordinates)

# %% [markdown]
# **How to read it.** Blue runs converged, red ones diverged, the darker the slower. A dimension
# is a slope over the resolutions that were evaluated, and belongs to the window: along the
# straight part of the boundary it is 1, at a spike more.
#
# **What came out at size** (`fracjax reproduce twofactor`, `trainability`): the positive control
# gives 1.24 where 1.25 is published, the ellipse and linear regression 1.00. The dimension of a
# network's boundary depends on where one looks, from 1.2 in the whole plane to 2.0 at a zoom of
# 32. The published figures have one number per picture, from box counts in one image; those move
# with the resolution.
#
# **Where it fails.** With few doublings and a small window intervals are wide, and a coarse plane
# reads too low. Training longer moves the boundary. In float32 the finest structure is rounding.
