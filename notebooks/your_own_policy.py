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
# # Your own policy in your own simulator
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks/your_own_policy.ipynb)
#
# How do you diagnose a policy that fracjax has never seen? This notebook writes a Flax network
# and a simulator from scratch and diagnoses them. Then it reads policies that other libraries
# wrote.

# %%
import sys

if "google.colab" in sys.modules:  # elsewhere: pip install fracjax
    from IPython import get_ipython

    get_ipython().run_line_magic(
        "pip", "install -q 'fracjax @ git+https://github.com/fracjax/fracjax'"
    )

# %%
import dataclasses
import importlib.util
import os
import tempfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from fracjax import diagnosis, landscapes, plotting, rl
from fracjax.rl import load_policy

jax.config.update("jax_enable_x64", True)
print(f"{jax.default_backend()}: {len(jax.devices())} x {jax.devices()[0].device_kind}")

QUICK = bool(os.environ.get("FRACJAX_QUICK"))  # the sizes that tests run
HORIZON = 300 if QUICK else 1000  # steps of a return
GRID = 21 if QUICK else 121  # points on each side of a picture
SETTINGS = diagnosis.Settings(
    num_exponents=1,
    num_directions=12 if QUICK else 32,
    points_per_line=34 if QUICK else 40,
    num_samples=16 if QUICK else 64,
    line_points=65 if QUICK else 257,
    plane_points=9 if QUICK else 61,
)

# %% [markdown]
# ## A simulator
#
# A ball rolls in a double well and is shaken periodically: the Duffing oscillator, x'' = x - x³ -
# 0.15 x' + 0.3 cos(t) + 0.1 a. Without control it is chaotic. The action pushes with at most a
# third of the shaking. The reward is high while the ball sits in the right-hand well.
#
# An environment is a handful of pure functions of one state. Nothing is batched, nothing resets
# by itself. `coordinates` says in which numbers distances are measured. `from_coordinates` is its
# inverse, so that tangents of initial states are physical.

# %%
DT = 0.2  # seconds per step


def acceleration(x, velocity, time, push):
    return x - x**3 - 0.15 * velocity + 0.3 * jnp.cos(time) + 0.1 * push


def step(state, action):
    """One step of Runge-Kutta of order four; the state is (x, velocity, time)."""

    def slope(state):
        x, velocity, time = state
        return jnp.array([velocity, acceleration(x, velocity, time, action[0]), 1.0])

    k1 = slope(state)
    k2 = slope(state + DT / 2 * k1)
    k3 = slope(state + DT / 2 * k2)
    k4 = slope(state + DT * k3)
    moved = state + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    reward = jnp.exp(-((moved[0] - 1) ** 2)) - 0.01 * action[0] ** 2
    return rl.Transition(moved, reward, jnp.array(False))


def observe(state):
    x, velocity, time = state
    return jnp.array([x, velocity, jnp.cos(time), jnp.sin(time)])


environment = rl.Environment(
    name="duffing",
    backend="own",
    dt=DT,
    observation_size=4,
    action_size=1,
    state_size=2,
    reset=lambda key: jnp.append(jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0), 0.0),
    observe=observe,
    step=step,
    coordinates=lambda state: state[:2],
    from_coordinates=lambda coordinates, template: jnp.append(coordinates, template[2]),
)

# %% [markdown]
# ## A network
#
# A policy is anything with `params` and `act(params, observation, key=None)`, which returns
# actions in [-1, 1]. Here it is a Flax network with layer normalisation, which no reader of files
# knows.


# %%
class Network(nn.Module):
    @nn.compact
    def __call__(self, observation):
        hidden = nn.LayerNorm()(nn.Dense(16)(observation))
        hidden = nn.swish(nn.Dense(16)(nn.swish(hidden)))
        return jnp.tanh(nn.Dense(1)(hidden))


@dataclasses.dataclass(frozen=True, eq=False)
class OwnPolicy:
    network: Network
    params: dict

    def act(self, params, observation, key=None):  # a key asks for a random action
        del key
        return self.network.apply(params, observation)


network = Network()
params = network.init(jax.random.key(0), jnp.zeros(4))
params = jax.tree.map(lambda leaf: leaf.astype("float64"), params)
policy = OwnPolicy(network, params)

# %% [markdown]
# ## The diagnosis
#
# The same call as for every other environment. The control is a second discount: the loop stays
# as it is, and the return forgets faster than the loop amplifies.

# %%
discounts = (0.99, 0.8)
problem = diagnosis.problem_of_policy(
    environment, policy, jax.random.key(1), discounts=discounts, horizon=HORIZON
)
result = diagnosis.diagnose(problem, jax.random.key(2), SETTINGS)
leading = result.chaos.spectrum
print(
    f"largest Lyapunov exponent {leading.value[0]:.3f}"
    f" [{leading.low[0]:.3f}, {leading.high[0]:.3f}] nats per second"
)
for found in result.by_discount:
    print(f"γ = {found.discount}: {found.verdict.value}, α = {found.holder}. {found.reason}")

# %%
figure, panels = plt.subplots(2, 2, figsize=(10, 5), layout="constrained")
for output, (row, found) in enumerate(zip(panels, result.by_discount, strict=True)):
    color = ("#0072B2", "#D55E00")[output]
    for axes, line in zip(row, result.slices.lines, strict=True):
        plotting.line_slice(axes, line, output=output, color=color, label="return")
    row[0].set_title(f"γ = {found.discount}: {found.verdict.value}")
    row[1].set_title("sixteen times closer")

# %% [markdown]
# **How to read it.** At γ = 0.99 the zoom is as rough as the whole. At γ = 0.8 the same loop
# gives a smooth return. Periodic shaking is an input, not a coordinate: leave the clock out of
# `coordinates`, or its neutral direction is counted as an exponent of zero.
#
# ## Any objective
#
# Nothing above needed reinforcement learning. `landscapes.scan` and `estimators.holder_exponent`
# take any `objective(params, key)`. Here: how much of an episode the ball spends on the right.


# %%
def time_on_the_right(params, key):
    """Share of the episode that the ball spends at x > 0: a count, so it can only jump."""
    start = jnp.array([0.1, 0.0, 0.0])

    def move(state, _):
        moved = step(state, policy.act(params, observe(state))).state
        return moved, moved[0] > 0

    return jax.lax.scan(move, start, length=HORIZON)[1].mean()


grid = landscapes.plane(params, jax.random.key(3), span=0.2, num_points=GRID)
picture = landscapes.scan(time_on_the_right, params, grid, jax.random.key(4))
figure, axes = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
_ = plotting.plane_slice(axes, picture, label="share of the time")

# %% [markdown]
# ## Files of other libraries
#
# Dense layers from anywhere go into an `.npz`: kernels and biases in order, `(inputs, outputs)`,
# or names that end in `weight` for `(outputs, inputs)`. We write one with NumPy and check that
# the policy that is read acts as the layers say.

# %%
folder = Path(tempfile.mkdtemp())
random = np.random.default_rng(0)
layers = {
    "first.weight": random.normal(size=(8, 4)),
    "first.bias": random.normal(size=8),
    "last.weight": random.normal(size=(1, 8)),
    "last.bias": random.normal(size=1),
}
np.savez(folder / "layers.npz", **layers)
loaded = load_policy(folder / "layers.npz", environment=environment, activation="tanh")
loaded = loaded.astype("float64")

seen = random.normal(size=(100, 4))
hidden = np.tanh(seen @ layers["first.weight"].T + layers["first.bias"])
expected = np.tanh(hidden @ layers["last.weight"].T + layers["last.bias"])
actions = jax.vmap(lambda one: loaded.act(loaded.params, one))(seen)
print("largest difference of an action:", np.abs(actions - expected).max())

# %% [markdown]
# `load` also reads Stable-Baselines3's `.zip` and the `state_dict` of torch, in CleanRL's layouts
# or as a plain stack. Torch is not needed for reading and no pickle is unpickled. Where torch is
# installed (it is on Colab), the next cell writes such a file with it and compares actions.

# %%
if importlib.util.find_spec("torch") is None:
    print("torch is not installed: nothing to compare with")
else:
    import torch

    torch.manual_seed(0)
    agent = torch.nn.Module()
    agent.actor_mean = torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
    )
    agent.actor_logstd = torch.nn.Parameter(torch.zeros(1, 1))
    torch.save(agent.state_dict(), folder / "cleanrl.pt")
    foreign = load_policy(folder / "cleanrl.pt", environment=environment, action_bounds=(-1, 1))
    inputs = torch.tensor(seen, dtype=torch.float32)
    theirs = agent.actor_mean(inputs).clip(-1, 1).detach().numpy()
    ours = jax.vmap(lambda one: foreign.act(foreign.params, one))(seen.astype("float32"))
    print("largest difference of an action:", np.abs(ours - theirs).max())

# %% [markdown]
# **Where it fails.** A file says nothing about what happened outside the network: statistics of
# observations (`statistics=`), and the box of actions (`action_bounds=`) must be given where the
# file does not hold them. A policy read without its statistics acts, but it is another policy.
# Recurrent networks and images are not read from files; write an `act` as above.
#
# From a terminal: `fracjax diagnose acrobot --policy layers.npz --activation tanh`.
