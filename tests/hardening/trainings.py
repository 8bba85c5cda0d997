"""Real trainings that go on from their folder to the same bits, as jobs of `mortal.py`.

Programs are kept beside the folders of all lives of a job, so that lives end in training and
not in compiling.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fracjax.learning import open_recorder
from fracjax.learning.exponent_regularization import runs, short_horizon
from fracjax.rl import classic, many_seeds, policies

__all__ = ["descent", "penalised", "seeds"]


def _keep_programs(folder):
    jax.config.update("jax_compilation_cache_dir", str(folder.parents[1] / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _write(folder, tree):
    with (folder / "result.npy").open("wb") as file:
        for leaf in jax.tree.leaves(tree):
            np.save(file, np.asarray(leaf))


def descent(folder):
    """A regression by Adam, begun anew in every life: its recorded path is compared and gone on."""
    _keep_programs(folder)
    keys = jax.random.split(jax.random.key(0), 4)
    inputs = jax.random.normal(keys[0], (256, 20))
    targets = jnp.sin(inputs @ jax.random.normal(keys[1], (20, 3)))
    params = {
        "first": jax.random.normal(keys[2], (20, 64)),
        "last": 0.1 * jax.random.normal(keys[3], (64, 3)),
    }
    optimizer = optax.adam(1e-2)

    def loss(params):
        return jnp.mean((jnp.tanh(inputs @ params["first"]) @ params["last"] - targets) ** 2)

    @jax.jit
    def update(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, change), state, value

    state = optimizer.init(params)
    with open_recorder(folder / "path.zarr", params, metrics=("loss",)) as recorder:
        for step in range(150):
            params, state, value = update(params, state)
            recorder.record(step, params, loss=float(value))


def penalised(folder):
    """Pendulum policies by short horizons, with and without the penalty of exponents."""
    _keep_programs(folder)
    key = jax.random.key(0)
    environment = classic.pendulum()
    size = environment.observation_size
    policy = policies.initialize(key, size, 1, hidden=(16,), head="deterministic")
    params = jax.vmap(policy.network.init)(jax.random.split(key, 2))
    settings = short_horizon.TrainingSettings(
        num_updates=60,
        num_environments=32,
        horizon=16,
        episode_length=64,
        penalty_steps=16,
        penalty_transient=0,
        penalty_states=8,
        hidden=(16,),
        critic_updates=4,
    )
    found = runs.train_policies(
        environment,
        policy,
        params,
        key,
        weights=(0.0, 1.0),
        settings=settings,
        updates_per_call=5,
        file=folder / "run.npz",
    )
    _write(folder, (found.params, found.log))


def seeds(folder):
    """Pendulum policies by rejax's PPO, two seeds side by side."""
    _keep_programs(folder)
    found = many_seeds.train_seeds(
        classic.pendulum(dtype="float32"),
        num_seeds=2,
        num_timesteps=200_000,
        num_snapshots=10,
        episode_length=100,
        hidden=(16, 16),
        settings={"num_envs": 16, "num_steps": 32, "num_minibatches": 4},
        folder=folder / "run",
    )
    _write(folder, (found.params, found.normalizer, found.state_returns, found.state_discounted))
