"""Classic systems: conserved energy, published equations, derivatives, dtypes."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.rl import classic

SYSTEMS = {
    "pendulum": classic.pendulum,
    "acrobot": classic.acrobot,
    "double_pendulum": classic.double_pendulum,
    "pendubot": lambda **options: classic.double_pendulum(actuated="first", **options),
    "cartpole_swingup": classic.cartpole_swingup,
}


@pytest.fixture(params=SYSTEMS)
def builder(request):
    return SYSTEMS[request.param]


def lively_states(environment, count=8):
    """States well away from rest."""
    rng = np.random.default_rng(0)
    rest = environment.reset(jax.random.key(0))
    return rest + rng.uniform(-2, 2, (count, environment.state_size))


def energy_drift(environment, steps=1000):
    def advance(state, _):
        idle = jnp.zeros(environment.action_size)
        return environment.step(state, idle).state, environment.energy(state)

    def energies(state):
        return jax.lax.scan(advance, state, length=steps)[1]

    found = np.asarray(jax.jit(jax.vmap(energies))(lively_states(environment)))
    return np.abs(found - found[:, :1]).max() / np.ptp(found[:, 0])


def test_energy_is_conserved_without_action_and_damping(x64, builder):
    """Hypothesis: over 50 s the drift is below 2e-3 of the spread between states."""
    assert energy_drift(builder()) < 2e-3


def test_energy_drift_has_the_order_of_the_integrator(x64):
    """Hypothesis: halving the step divides the secular drift by 2^5 (16 at least)."""
    coarse, fine = (energy_drift(classic.pendulum(substeps=n), 400) for n in (1, 2))
    assert 16 < coarse / fine < 64


LIMITS = {
    "pendulum": ((1,), 2.0),
    "acrobot": ((3,), 5.0),
    "double_pendulum": ((2, 3), 5.0),
    "pendubot": ((2,), 5.0),
    "cartpole_swingup": ((2,), 10.0),
}


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("name", LIMITS)
def test_power_is_torque_times_velocity(x64, name, damping):
    """Hypothesis: dE/dt = Σ u_i ω_i − b Σ ω_j², over driven velocities and over all."""
    driven, limit = LIMITS[name]
    dt = 1e-4
    environment = SYSTEMS[name](dt=dt, damping=damping)
    step = jax.jit(environment.step)
    for state in lively_states(environment):
        action = jnp.linspace(0.3, -0.8, environment.action_size)
        middle = step(state, action).state
        end = step(middle, action).state
        gained = (environment.energy(end) - environment.energy(state)) / (2 * dt)
        velocities = middle[environment.state_size // 2 :]
        power = limit * jnp.dot(action, middle[jnp.array(driven)])
        power -= damping * jnp.dot(velocities, velocities)
        assert np.isclose(gained, power, rtol=1e-5, atol=1e-5)


def acceleration(environment, state, action, dt=1e-6):
    """Second derivative of the positions, from one very short step."""
    size = environment.state_size // 2
    return (environment.step(state, action).state - state)[size:] / dt


def test_acrobot_is_the_book_s(x64):
    """Hypothesis: the angular accelerations are those of Sutton and Barto's listing."""
    environment = classic.acrobot(dt=1e-6)
    for state in lively_states(environment):
        t1, t2, w1, w2 = (float(x) for x in state)
        cos, sin, pi, g = np.cos, np.sin, np.pi, 9.8
        d1 = 0.25 + 1 + 0.25 + cos(t2) + 2
        d2 = 0.25 + 0.5 * cos(t2) + 1
        phi2 = 0.5 * g * cos(t1 + t2 - pi / 2)
        phi1 = -0.5 * w2**2 * sin(t2) - w2 * w1 * sin(t2) + 1.5 * g * cos(t1 - pi / 2) + phi2
        tau = 5.0 * 0.4
        a2 = (tau + d2 / d1 * phi1 - 0.5 * w1**2 * sin(t2) - phi2) / (0.25 + 1 - d2**2 / d1)
        a1 = -(d2 * a2 + phi1) / d1
        found = acceleration(environment, state, jnp.array([0.4]))
        np.testing.assert_allclose(found, [a1, a2], rtol=1e-4, atol=1e-4)


def test_double_pendulum_is_the_textbook_s(x64):
    """Hypothesis: in absolute angles the motion is that of the usual two equations."""
    environment = classic.double_pendulum(dt=1e-6)
    for state in lively_states(environment):
        a, relative, wa, relative_velocity = (float(x) for x in state)
        b, wb, g = a + relative, wa + relative_velocity, 9.81
        matrix = np.array([[2.0, np.cos(a - b)], [np.cos(a - b), 1.0]])
        force = [
            -np.sin(a - b) * wb**2 - 2 * g * np.sin(a),
            np.sin(a - b) * wa**2 - g * np.sin(b),
        ]
        first, second = np.linalg.solve(matrix, force)
        found = acceleration(environment, state, jnp.zeros(2))
        np.testing.assert_allclose(found, [first, second - first], rtol=1e-4, atol=1e-4)


def test_pendulum_is_gymnasium_s(x64):
    environment = classic.pendulum(dt=1e-6)
    for theta, omega in lively_states(environment):
        found = acceleration(environment, jnp.array([theta, omega]), jnp.array([0.5]))
        np.testing.assert_allclose(found, [15 * np.sin(theta) + 3 * 1.0], rtol=1e-4)


def test_jvp_equals_finite_differences(x64, builder):
    """Hypothesis: of 20 steps and their rewards, to 1e-6, along state and action."""
    environment = builder()
    state = lively_states(environment)[0]
    action = jnp.full(environment.action_size, 0.3)

    def rollout(state, action):
        def advance(state, _):
            transition = environment.step(state, action)
            return transition.state, transition.reward

        state, rewards = jax.lax.scan(advance, state, length=20)
        return jnp.concatenate([state, rewards, environment.observe(state)])

    tangents = jnp.linspace(1, -0.5, state.size), jnp.ones(action.size)
    _, found = jax.jit(lambda *x: jax.jvp(rollout, x, tangents))(state, action)
    h = 1e-6
    run = jax.jit(rollout)
    plus, minus = (run(state + s * h * tangents[0], action + s * h * tangents[1]) for s in (1, -1))
    np.testing.assert_allclose(found, (plus - minus) / (2 * h), rtol=1e-6, atol=1e-6)
    assert jnp.abs(found[environment.state_size :][:20]).max() > 1e-3  # rewards depend on both


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_follows_the_state(x64, builder, dtype):
    environment = builder(dtype=dtype)
    state = environment.reset(jax.random.key(0))
    transition = environment.step(state, jnp.ones(environment.action_size, "float64"))
    arrays = state, transition.state, transition.reward, environment.observe(state)
    assert {str(array.dtype) for array in arrays} == {dtype}
    assert transition.done.dtype == bool


def test_sizes_and_coordinates(builder):
    environment = builder()
    state = environment.reset(jax.random.key(0))
    assert environment.observe(state).shape == (environment.observation_size,)
    assert state.shape == (environment.state_size,)
    assert jnp.array_equal(environment.coordinates(state), state)
    moved = environment.from_coordinates(state + 1, state)
    assert jnp.array_equal(moved, state + 1)


def test_a_key_gives_one_state_and_steps_repeat(builder):
    environment = builder()
    state = environment.reset(jax.random.key(3))
    assert jnp.array_equal(state, environment.reset(jax.random.key(3)))
    assert not jnp.array_equal(state, environment.reset(jax.random.key(4)))
    step = jax.jit(environment.step)
    action = jnp.ones(environment.action_size)
    assert jnp.array_equal(step(state, action).state, step(state, action).state)


def test_angles_are_not_wrapped():
    environment = classic.pendulum()
    state = jnp.array([0.0, 20.0])
    angles = []
    for _ in range(20):
        state = jax.jit(environment.step)(state, jnp.ones(1)).state
        angles.append(float(state[0]))
    assert angles[-1] > 4 * np.pi
    assert np.all(np.diff(angles) > 0)


def test_leaving_the_track_terminates():
    inside, outside = jnp.array([2.3, 3.0, 0.0, 0.0]), jnp.array([2.3, 3.0, 5.0, 0.0])
    environment = classic.cartpole_swingup()
    assert not environment.step(inside, jnp.zeros(1)).done
    assert environment.step(outside, jnp.zeros(1)).done
    assert environment.step(-outside, jnp.zeros(1)).done
    endless = classic.cartpole_swingup(track_limit=float("inf"))
    assert not endless.step(outside, jnp.zeros(1)).done


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="actuated"):
        classic.double_pendulum(actuated="second")
    with pytest.raises(ValueError, match="substeps"):
        classic.pendulum(substeps=0)


def test_equations_need_no_simulator():
    """Hypothesis: analytic environments work where Brax and MuJoCo are not installed."""
    code = (
        "import sys\n"
        "for name in ('brax', 'mujoco', 'jaxopt'): sys.modules[name] = None\n"
        "from fracjax.rl import classic, envs, rollouts\n"
        "assert envs.make('acrobot').state_size == 4\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
