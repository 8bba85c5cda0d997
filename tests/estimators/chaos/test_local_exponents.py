"""Local exponents: constant fields, exact stretching, a ridge, and means over an attractor."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.local_exponents import local_exponents
from fracjax.systems import flows, maps

from references import value


def field(step, states, **settings):
    return jax.jit(lambda s: local_exponents(step, s, **settings))(states)


# --- exact fields ---------------------------------------------------------------------------


def test_cat_map_stretches_alike_everywhere(x64):
    """Symmetric matrix: exact after any time, both exponents, e^962 apart after 500 steps."""
    states = jnp.asarray(np.random.default_rng(0).uniform(size=(50, 2)))
    result = field(maps.cat(), states, num_steps=500, num_exponents=2, chunk_size=16)
    exact = np.broadcast_to(value("cat", "exponents"), (50, 2))
    np.testing.assert_allclose(result.value, exact, atol=1e-12)
    golden = (1 + 5**0.5) / 2
    unstable = np.array([golden, 1.0]) / np.hypot(golden, 1.0)
    np.testing.assert_allclose(np.abs(result.directions[:, 0] @ unstable), 1, atol=1e-12)
    np.testing.assert_allclose(result.states, states)
    assert np.all(result.mean.stderr < 1e-12)


@pytest.mark.parametrize(("every", "num_steps"), [(1, 1), (4, 8)])
def test_stretching_is_that_of_the_derivative_of_the_orbit(every, num_steps, x64):
    """A matrix far from normal: transient growth beyond its eigenvalues."""
    matrix = np.array([[0.5, 8.0, 1.0], [0.0, 0.7, 3.0], [0.1, 0.0, 1.1]])
    result = field(
        maps.linear(jnp.asarray(matrix)),
        jnp.zeros((1, 3)),
        num_steps=num_steps,
        num_exponents=3,
        qr_every=every,
    )
    _, stretch, right = np.linalg.svd(np.linalg.matrix_power(matrix, num_steps))
    np.testing.assert_allclose(result.value[0], np.log(stretch) / num_steps, atol=1e-11)
    np.testing.assert_allclose(np.abs(np.sum(result.directions[0] * right, axis=1)), 1, atol=1e-8)


def test_no_tangent_grows_more_than_the_stretching(x64):
    states = jnp.asarray(np.random.default_rng(1).uniform(-0.1, 0.1, size=(200, 2)))
    settings = {"num_steps": 12, "num_exponents": 2}
    most = field(maps.henon(), states, **settings)
    some = field(maps.henon(), states, method="tangent", **settings)
    assert np.all(most.value[:, 0] >= some.value[:, 0] - 1e-12)
    assert np.max(most.value[:, 0] - some.value[:, 0]) > 0.05
    np.testing.assert_allclose(most.value.sum(axis=1), value("henon", "sum"), atol=1e-10)
    np.testing.assert_allclose(some.value.sum(axis=1), value("henon", "sum"), atol=1e-10)


# --- fields of flows ------------------------------------------------------------------------


def test_pendulum_has_its_ridge_on_the_separatrix(x64):
    """At angle 0 the separatrix is at speed 2; a grid of step .01 finds it to .02."""

    def pendulum(state):
        return jnp.stack([state[1], -jnp.sin(state[0])])

    speeds = jnp.linspace(1.0, 3.0, 201)
    states = jnp.stack([jnp.zeros_like(speeds), speeds], axis=1)
    settings = {"num_steps": 200, "dt": 0.05, "qr_every": 5, "chunk_size": 64}
    result = field(flows.rk4(pendulum, 0.05), states, **settings)
    ridge = result.value[:, 0]
    assert abs(speeds[jnp.argmax(ridge)] - 2.0) < 0.025
    assert ridge.max() > 2 * jnp.median(ridge)
    assert 0.5 < ridge.max() < 1.0  # the saddle's rate is 1


@pytest.mark.slow
def test_mean_over_the_attractor_is_the_exponent(x64):
    """400 states, 4 units of time each: within 4 standard errors of the Lorenz exponents.

    The stretching exceeds them; the excess falls with the time, and the sum is exact.
    """
    step = flows.rk4(flows.lorenz63(), 0.01)
    states = jnp.array([1.0, 1.0, 20.0]) + jax.random.normal(jax.random.key(0), (400, 3))
    run = functools.partial(
        field, step, states, num_exponents=3, num_transient=1600, dt=0.01, qr_every=4
    )
    tangent, stretching = run(num_steps=400, method="tangent"), run(num_steps=400)
    exact = np.array(value("lorenz63", "exponents"))
    assert np.all(np.abs(tangent.mean.value - exact) < 4 * tangent.mean.stderr + 5e-4)
    assert np.all(tangent.mean.stderr < 0.03)
    assert np.all(tangent.mean.status == Status.OK)
    excess = stretching.mean.value[0] - exact[0]
    assert 0.1 < excess < 0.4
    np.testing.assert_allclose(stretching.value.sum(axis=1), -41 / 3, atol=2e-3)
    assert tangent.mean.details["num_points"] == 400


# --- failure, settings, transformations -----------------------------------------------------


def test_a_failed_state_does_not_spoil_the_others():
    states = jnp.array([[0.1, 0.1]] * 30 + [[5.0, 5.0]] + [[jnp.nan, 0.0]])
    run = jax.jit(lambda s: local_exponents(maps.henon(), s, num_steps=50))
    result = run(states)
    assert result.status.tolist() == [Status.OK] * 30 + [Status.DIVERGED] * 2
    assert np.all(np.isnan(result.value[30:]))
    assert np.all(np.isfinite(result.mean.value))
    assert result.mean.details["num_failed"] == 2
    assert np.all(result.mean.status == Status.OK)
    mostly = run(jnp.roll(states, 10, axis=0).at[:10].set(5.0))
    assert mostly.mean.status[0] == Status.DIVERGED


def test_a_vanished_tangent():
    def step(state):
        return jnp.stack([-0.5 * state[0], jnp.clip(3 * state[1], -1, 1)])

    result = field(step, jnp.full((1, 2), 0.5), num_steps=20, num_exponents=2)
    np.testing.assert_allclose(result.value[:, 0], np.log(0.5), rtol=1e-5)
    assert np.all(result.value[:, 1] == -np.inf)
    assert np.all(result.status == Status.NONFINITE_TANGENT)
    assert result.mean.status[0] == Status.NONFINITE_TANGENT


def test_chunks_change_nothing_and_redundant_states_need_coordinates(x64):
    henon = maps.henon()

    def step(state):
        moved = henon(state["s"])
        return {"s": moved, "copy": 1e3 * moved, "count": state["count"] + 1}

    def lift(vector, state):
        return {**state, "s": vector, "copy": 1e3 * vector}

    points = jnp.asarray(np.random.default_rng(3).uniform(-0.1, 0.1, size=(10, 2)))
    states = {"s": points, "copy": points, "count": jnp.zeros(10, jnp.int32)}
    settings = {"num_steps": 6, "num_exponents": 2}
    redundant = field(
        step, states, coordinates=lambda s: s["s"], lift=lift, chunk_size=4, **settings
    )

    def orbit(point):
        for _ in range(6):
            point = henon(point)
        return point

    matrices = jax.jit(jax.vmap(jax.jacfwd(orbit)))(points)
    exact = np.log(np.linalg.svd(matrices, compute_uv=False)) / 6
    np.testing.assert_allclose(redundant.value, exact, atol=1e-9)


def test_float32_stays_float32():
    result = field(maps.cat(), jnp.full((3, 2), 0.3, jnp.float32), num_steps=200, num_exponents=2)
    assert result.value.dtype == result.mean.low.dtype == jnp.float32
    np.testing.assert_allclose(result.value[0], value("cat", "exponents"), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 5, "qr_every": 2}, "num_steps"),
        ({"num_steps": 5, "num_exponents": 3}, "num_exponents"),
        ({"num_steps": 5, "num_transient": -1}, "num_transient"),
        ({"num_steps": 5, "chunk_size": 0}, "chunk_size"),
        ({"num_steps": 5, "dt": -1.0}, "dt"),
        ({"num_steps": 5, "method": "other"}, "method"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        local_exponents(maps.henon(), jnp.zeros((2, 2)), **settings)
