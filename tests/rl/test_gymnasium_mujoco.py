"""gymnasium's MuJoCo environments on MJX, against MuJoCo and against gymnasium.

The slow tests need `pip install 'fracjax[gymnasium]'` and minutes of compiling.
"""

import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from fracjax.rl import gymnasium_mujoco, gymnasium_tasks, initialize
from fracjax.rl.dynamics_mismatch import dynamics_mismatch
from fracjax.rl.gymnasium_tasks import TASKS, Moment

KEY = jax.random.key(0)
# A cart on a damped rail with a pole and a motor, and a stop that it runs into.
CART = """
<mujoco>
  <option timestep="0.02"/>
  <worldbody>
    <body>
      <joint name="rail" type="slide" axis="1 0 0" damping="0.3" limited="true" range="-.1 .1"/>
      <geom type="sphere" size=".1" mass="1"/>
      <body>
        <joint name="hinge" type="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 .6" size=".03" mass=".2"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="rail" gear="5" ctrllimited="true" ctrlrange="-2 3"/></actuator>
</mujoco>
"""
POLE = {"reset_noise_scale": 0.1}


def test_a_missing_gymnasium_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"pip install 'fracjax\[gymnasium\]'"):
        gymnasium_mujoco.create("Hopper-v5")
    with pytest.raises(ValueError, match=r"must be one of HalfCheetah-v5, Hopper-v5"):
        gymnasium_mujoco.create("hopper")
    with pytest.raises(ValueError, match=r"'Ant-v5': it turns freely"):
        gymnasium_mujoco.create("Ant-v5")


# --- tasks --------------------------------------------------------------------------------


def moment(**parts):
    blank = {
        "before": jnp.zeros(6),
        "position": jnp.zeros(6),
        "velocity": jnp.zeros(6),
        "action": jnp.zeros(3),
        "points": jnp.zeros((3, 3)),
        "forces": jnp.zeros(6),
        "dt": 0.008,
    }
    return Moment(**blank | {k: jnp.asarray(v) if k != "dt" else v for k, v in parts.items()})


HOPPER = {
    "forward_reward_weight": 1.0,
    "ctrl_cost_weight": 1e-3,
    "healthy_reward": 1.0,
    "terminate_when_unhealthy": True,
    "healthy_state_range": (-100.0, 100.0),
    "healthy_z_range": (0.7, float("inf")),
    "healthy_angle_range": (-0.2, 0.2),
    "exclude_current_positions_from_observation": True,
}


def test_a_hopper_is_paid_for_speed_and_health_and_charged_for_control():
    task = TASKS["Hopper-v5"]
    standing = moment(
        before=[1.0, 0, 0, 0, 0, 0],
        position=[1.004, 1.2, 0.1, 0, 0, 0],
        velocity=[0, 12.0, -12.0, 3.0, 0, 0],
        action=[1.0, -1.0, 0.5],
    )
    np.testing.assert_allclose(task.reward(standing, HOPPER), 0.5 + 1 - 2.25e-3, rtol=1e-5)
    assert not task.terminated(standing, HOPPER)
    expected = [1.2, 0.1, 0, 0, 0, 0, 10, -10, 3, 0, 0]
    np.testing.assert_allclose(task.observe(standing, HOPPER), expected)
    everything = HOPPER | {"exclude_current_positions_from_observation": False}
    assert task.observe(standing, everything).shape == (12,)
    for change in (
        {"position": [0, 0.69, 0, 0, 0, 0]},
        {"position": [0, 1.2, -0.21, 0, 0, 0]},
        {"position": [0, 1.2, 0, 101.0, 0, 0]},
        {"position": [0, 1.2, 0, 0, 0, 0], "velocity": [0, -101.0, 0, 0, 0, 0]},
    ):
        fallen = moment(**change)
        assert task.terminated(fallen, HOPPER)
        assert not task.terminated(fallen, HOPPER | {"terminate_when_unhealthy": False})
        np.testing.assert_allclose(task.reward(fallen, HOPPER), 0)


def test_poles_end_by_angle_and_by_height():
    single, double = TASKS["InvertedPendulum-v5"], TASKS["InvertedDoublePendulum-v5"]
    for angle, done in ((0.19, False), (-0.21, True), (float("nan"), True)):
        now = moment(position=[0.0, angle], velocity=[0.0, 0.0])
        assert bool(single.terminated(now, {})) == done
        assert single.reward(now, {}) == 1 - done
    settings = {"healthy_reward": 10.0}
    for height, bonus in ((1.01, 10.0), (0.99, 0.0)):
        now = moment(
            position=[0.1, 0.2, 0.3], velocity=[20.0, 2.0, -3.0], points=[[0.5, 0, height]] * 3
        )
        cost = 0.01 * 0.25 + (height - 2) ** 2 + 1e-3 * 4 + 5e-3 * 9
        np.testing.assert_allclose(double.reward(now, settings), bonus - cost, rtol=1e-5)
        assert bool(double.terminated(now, settings)) == (bonus == 0)
    seen = double.observe(now, settings)
    assert seen.shape == (9,)
    assert seen[5] == 10


def test_a_target_is_uniform_in_its_disc():
    """Null: the squared radius over .04 is uniform; its mean within 4 standard errors."""
    draw = jax.vmap(lambda k: TASKS["Reacher-v5"].noise(k, 4, {}, jnp.float32))
    position, velocity = draw(jax.random.split(KEY, 4000))
    squares = (position[:, 2:] ** 2).sum(1) / 0.04
    assert squares.max() <= 1
    assert abs(squares.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 4000)
    assert abs(position[:, :2]).max() <= 0.1
    assert (velocity[:, 2:] == 0).all()


# --- simulation ---------------------------------------------------------------------------


class Simulated:
    """MuJoCo itself, stepping the same model."""

    def __init__(self, model, skip):
        self.model, self.data, self.skip = model, mujoco.MjData(model), skip

    @property
    def coordinates(self):
        return np.concatenate([self.data.qpos, self.data.qvel])

    def place(self, coordinates):
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = np.split(coordinates, 2)
        mujoco.mj_forward(self.model, self.data)
        return self.coordinates

    def step(self, action):
        self.data.ctrl[:] = -2 + 5 * (action + 1) / 2
        mujoco.mj_step(self.model, self.data, self.skip)
        done = abs(self.data.qpos[1]) > 0.2
        return self.coordinates, self.coordinates, float(not done), done


@pytest.mark.slow
def test_a_cart_that_runs_into_a_stop_is_mujocos(x64):
    """Measured: 2e-15 of a step, and 1e-8 at the stop, where MuJoCo's solver starts warm."""
    model = mujoco.MjModel.from_xml_string(CART)
    environment = gymnasium_mujoco.from_model(
        model,
        "cart",
        TASKS["InvertedPendulum-v5"],
        settings=POLE,
        frame_skip=2,
        action_bounds=([-2.0], [3.0]),
        dtype="float64",
    )
    assert (environment.observation_size, environment.action_size) == (4, 1)
    assert environment.state_size == 4
    assert environment.dt == 0.04
    assert environment.action_bounds == ((-2.0,), (3.0,))
    policy = initialize(KEY, 4, 1, hidden=(4,)).astype("float64")
    found = dynamics_mismatch(
        environment,
        Simulated(model, 2),
        policy,
        policy.params,
        KEY,
        num_states=4,
        num_steps=10,
    )
    assert found.one_step.value < 1e-7
    assert found.observation_error == 0
    assert found.reward_error == 0
    assert found.diverged == 0
    assert found.length_difference.value == 0


def test_models_that_turn_freely_are_refused():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
    )
    with pytest.raises(ValueError, match="as many velocities as positions"):
        gymnasium_mujoco.from_model(
            model,
            "ball",
            TASKS["InvertedPendulum-v5"],
            settings=POLE,
            frame_skip=1,
            action_bounds=([], []),
        )


# --- gymnasium ----------------------------------------------------------------------------

# Most that a step, an observation and a reward may be wrong by in float64. The reacher sees its
# fingertip where MuJoCo left it, 2.4 mm away at most (measured); the double pendulum its tip.
TOLERANCES = {
    "HalfCheetah-v5": (1e-7, 1e-12, 1e-6),
    "Hopper-v5": (1e-7, 1e-12, 1e-6),
    "InvertedDoublePendulum-v5": (1e-7, 1e-3, 1e-1),
    "InvertedPendulum-v5": (1e-12, 1e-12, 1e-12),
    "Reacher-v5": (1e-12, 1e-2, 1e-2),
    "Swimmer-v5": (1e-12, 1e-12, 1e-12),
    "Walker2d-v5": (1e-7, 1e-12, 1e-6),
}


@pytest.mark.slow
@pytest.mark.brax
@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_gymnasiums(x64, name):
    environment = gymnasium_mujoco.create(name, dtype="float64")
    reference = gymnasium_mujoco.GymnasiumReference(name)
    policy = initialize(KEY, environment.observation_size, environment.action_size)
    found = dynamics_mismatch(
        environment,
        reference,
        policy.astype("float64"),
        policy.astype("float64").params,
        KEY,
        num_states=2,
        num_steps=40,
    )
    step, observation, reward = TOLERANCES[name]
    assert found.one_step.value < step
    assert found.observation_error < observation
    assert found.reward_error < reward
    assert found.length_difference.value == 0
    assert gymnasium_tasks.TASKS.keys() == TOLERANCES.keys()


@pytest.mark.slow
@pytest.mark.brax
def test_hopper_tangents_equal_finite_differences(x64):
    """In contact, over five steps."""
    environment = gymnasium_mujoco.create("Hopper-v5", dtype="float64")
    template = jax.jit(environment.reset)(KEY)
    start = environment.coordinates(template)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=start.shape))

    def end(coordinates):
        def advance(state, time):
            action = jnp.full(3, 0.3) * jnp.cos(time)
            return environment.step(state, action).state, None

        state = environment.from_coordinates(coordinates, template)
        state, _ = jax.lax.scan(advance, state, jnp.arange(5.0))
        return jnp.concatenate([environment.coordinates(state), environment.observe(state)])

    run = jax.jit(lambda coordinates: jax.jvp(end, (coordinates,), (direction,)))
    h = 1e-6
    (plus, _), (minus, _) = run(start + h * direction), run(start - h * direction)
    found, expected = run(start)[1], (plus - minus) / (2 * h)
    assert jnp.linalg.norm(found) > 0.1
    assert jnp.linalg.norm(found - expected) < 1e-5 * jnp.linalg.norm(found)
