"""DM Control tasks of MuJoCo Playground through the environment protocol.

All but the first test need `pip install 'fracjax[playground]'` and minutes of compiling.
"""

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning import Regime, closed_loop_exponents
from fracjax.rl import envs, playground, rollouts

KEY = jax.random.PRNGKey(0)


def test_a_missing_playground_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    with pytest.raises(ValueError, match=r"pip install 'fracjax\[playground\]'"):
        playground.create("dmc_cartpole_balance")
    with pytest.raises(ValueError, match="`name` must be one of dmc_cartpole_balance"):
        playground.create("CartpoleBalance")


def test_the_registry_lists_every_task():
    listed = {entry.name for entry in envs.entries() if entry.source == "playground"}
    assert listed == set(playground.TASKS)


class Still:
    """The paper's baseline: no action."""

    def __init__(self, environment):
        self.size = environment.action_size

    def act(self, params, observation, key=None):
        return jnp.zeros(self.size, observation.dtype) + 0 * params


def check_tangents(name, tolerance):
    """Tangents through `from_coordinates` equal finite differences over five steps."""
    environment = playground.create(name, dtype="float64")
    template = jax.jit(environment.reset)(KEY)
    start = environment.coordinates(template)
    assert start.shape == (environment.state_size,)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=start.shape))

    def end(coordinates):
        def advance(state, time):
            action = jnp.full(environment.action_size, 0.3) * jnp.cos(time)
            return environment.step(state, action).state, None

        state = environment.from_coordinates(coordinates, template)
        state, _ = jax.lax.scan(advance, state, jnp.arange(5.0))
        return jnp.concatenate([environment.coordinates(state), environment.observe(state)])

    run = jax.jit(lambda coordinates: jax.jvp(end, (coordinates,), (direction,)))
    h = 1e-6
    (plus, _), (minus, _) = run(start + h * direction), run(start - h * direction)
    found, expected = run(start)[1], (plus - minus) / (2 * h)
    assert jnp.linalg.norm(found) > 0.1
    assert jnp.linalg.norm(found - expected) < tolerance * jnp.linalg.norm(found)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(template)}
    assert not dtypes & {"float32", "float16"}
    return environment, template


@pytest.mark.slow
@pytest.mark.brax
def test_cartpole_tangents_equal_finite_differences(x64):
    """Measured: 1e-10; a state set to its own coordinates after a reset is the same state."""
    environment, template = check_tangents("dmc_cartpole_balance", 1e-8)
    assert (environment.observation_size, environment.action_size) == (5, 1)
    assert environment.dt == 0.01
    rebuilt = jax.jit(
        lambda state: environment.from_coordinates(environment.coordinates(state), state)
    )(template)
    np.testing.assert_allclose(rebuilt.obs, template.obs, atol=1e-14)
    np.testing.assert_allclose(rebuilt.data.qacc, template.data.qacc, atol=1e-12)
    typed = jax.eval_shape(environment.reset, jax.random.key(0))
    assert jax.tree.structure(typed) == jax.tree.structure(template)


@pytest.mark.slow
@pytest.mark.brax
@pytest.mark.parametrize("name", sorted(playground.TASKS))
def test_every_task_is_differentiable(x64, name):
    """Measured: 2e-9 for the walker and 3.5e-7, of curvature, for the cheetah in contact."""
    if name in {"dmc_point_mass", "dmc_walker_stand", "dmc_cheetah_run"}:  # others share physics
        check_tangents(name, 1e-5)
    environment = envs.make(name)
    (entry,) = (entry for entry in envs.entries() if entry.name == name)
    for field in ("name", "observation_size", "action_size", "state_size"):
        assert getattr(environment, field) == getattr(entry, field)
    assert (environment.backend, environment.dt) == (entry.default_backend, entry.dt)
    shape = jax.eval_shape(
        lambda key: environment.step(environment.reset(key), jnp.zeros(environment.action_size)),
        KEY,
    )
    assert shape.reward.shape == shape.done.shape == ()
    assert shape.reward.dtype == jnp.float32
    assert shape.state.obs.shape == (environment.observation_size,)


@pytest.mark.slow
@pytest.mark.brax
def test_a_point_mass_loses_volume_by_its_damping(x64):
    """Exact: with damping 1 of .3 kg and explicit steps of .02 s, twice ln(1 - 1/15) per step.

    `dm_control` steps implicitly: -2 ln(1 + 1/15) = -.129, the anchor measured on the CPU.
    """
    environment = playground.create("dmc_point_mass", dtype="float64")
    states = jax.jit(lambda key: rollouts.initial_states(environment, key, 4))(KEY)
    find = closed_loop_exponents(
        environment, Still(environment), method="perturbations", num_steps=300
    )
    found = jax.jit(find)(jnp.zeros(()), states, KEY)
    np.testing.assert_allclose(found.total.value, 2 * math.log(1 - 1 / 15), atol=1e-9)
    assert abs(found.largest.value) < 0.005
    assert found.regime == Regime.STABLE


@pytest.mark.slow
@pytest.mark.brax
def test_without_action_a_cartpole_is_neutral(x64):
    """Anchors measured with dm_control: .0047 (SD .0009) and a sum of zero, 1000 steps."""
    environment = playground.create("dmc_cartpole_balance", dtype="float64")
    states = jax.jit(lambda key: rollouts.initial_states(environment, key, 20))(KEY)
    find = closed_loop_exponents(environment, Still(environment), method="perturbations")
    found = jax.jit(find)(jnp.zeros(()), states, KEY)
    assert abs(found.largest.value - 0.0047) < 4 * 0.0009
    assert abs(found.total.value) < 1e-3
    assert found.regime == Regime.STABLE
    assert found.control == 0
