"""Training as a dynamical system: exponents that are known, data orders, sharpness."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax import Status
from fracjax.curvature import descent_sharpness
from fracjax.estimators import lyapunov_spectrum
from fracjax.learning.optimizer_maps import (
    optimizer_map,
    quadratic_exponents,
    stability_threshold,
    training_sharpness,
)
from fracjax.systems.training_maps import ellipse

CURVATURES = np.array([0.1, 1.0, 4.0, 9.0])
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
DATA = np.arange(12.0)


def two_factors(params):
    return (1 - params["u"] * params["v"]) ** 2 / 2


def quadratic(params):
    matrix = jnp.asarray(BASIS @ np.diag(CURVATURES) @ BASIS.T, params.dtype)
    return params @ matrix @ params / 2


def spectrum(training, params, **settings):
    settings = {"num_steps": 2000, "num_transient": 200, **settings}
    return lyapunov_spectrum(training.step, training.start(params), **settings)


def test_two_factors_at_the_largest_step_have_exponent_ln_3(x64):
    """Balanced at mu = 2: ln 3 along the slice and 0 across it, 5 standard errors of 2e-4."""
    training = optimizer_map(two_factors, optax.sgd(2.0))
    found = spectrum(training, {"u": 0.3, "v": 0.3}, num_steps=8000)
    gap = np.abs(found.value - np.array([math.log(3), 0.0]))
    assert np.all(gap < 5 * found.stderr + 1e-9)
    assert np.all(found.stderr < 5e-4)


def test_exponents_on_the_ellipse_add_up_to_ln_3_and_the_transverse_one(x64):
    """Averaged over its uniform density, from which a few steps do not depart."""
    size = 1.5
    training = optimizer_map(two_factors, optax.sgd(size))
    angles = 2 * np.pi * (np.arange(256) + 0.3) / 256
    u, v = ellipse.ellipse_point(jnp.asarray(angles), size)

    def total(u, v):
        start = training.start({"u": u, "v": v})
        return lyapunov_spectrum(training.step, start, num_steps=6).value.sum()

    mean = jax.jit(jax.vmap(total))(u, v).mean()
    law = math.log(3) + float(ellipse.ellipse_transverse_exponent(size))
    assert abs(mean - law) < 1e-11


@pytest.mark.parametrize(
    ("name", "optimizer", "law"),
    [
        pytest.param("descent", optax.sgd(0.1), (0.1, 0.0), marks=pytest.mark.slow),
        pytest.param("unstable", optax.sgd(0.3), (0.3, 0.0), marks=pytest.mark.slow),
        pytest.param(
            "heavy ball", optax.sgd(0.1, momentum=0.5), (0.1, 0.5), marks=pytest.mark.slow
        ),
        ("adam", optax.adam(0.05, b1=0.5, b2=0.8, eps=0.0, eps_root=0.01), (0.25, 0.5)),
    ],
)
def test_exponents_at_the_minimum_of_a_quadratic(name, optimizer, law, x64):
    """Real multipliers to 1e-9; complex ones turn their tangents, which ends within 2/T."""
    training = optimizer_map(quadratic, optimizer)
    found = spectrum(training, jnp.zeros(4))
    law = np.asarray(quadratic_exponents(CURVATURES, *law))
    if name == "adam":  # and its second moments
        law = np.sort([*law, *[math.log(0.8)] * 4])[::-1]
    tolerance = 1e-9 if name in {"descent", "unstable"} else 2e-3
    np.testing.assert_allclose(found.value, law, atol=tolerance)
    assert (found.value[0] > 0) == (name == "unstable")


def test_multipliers_are_those_of_the_companion_matrices():
    for momentum in (0.3, 0.9):
        expected = []
        for h in CURVATURES:
            matrix = [[1 - 0.4 * h, -0.4 * momentum], [h, momentum]]
            expected += list(np.log(np.abs(np.linalg.eigvals(matrix))))
        found = quadratic_exponents(CURVATURES, 0.4, momentum)
        np.testing.assert_allclose(found, np.sort(expected)[::-1], atol=1e-5)
    assert jnp.isneginf(quadratic_exponents(np.array([2.0]), 0.5)[0])


@pytest.mark.parametrize("momentum", [0.0, 0.4, 0.9])
def test_the_threshold_is_where_the_largest_exponent_changes_sign(momentum):
    edge = stability_threshold(0.1, momentum)
    below, above = (
        float(quadratic_exponents(np.array([edge * f]), 0.1, momentum)[0]) for f in (0.99, 1.01)
    )
    assert below < 0 < above


def network_loss(params, data):
    """Three tanh units on a few points, that can be fitted exactly."""
    x, y = data
    hidden = jnp.tanh(x[:, None] * params["in"] + params["shift"])
    return jnp.mean((hidden @ params["out"] - y) ** 2) / 2


NETWORK = {
    "in": np.array([0.5, -1.0, 2.0]),
    "shift": np.array([0.1, 0.4, -0.3]),
    "out": np.array([0.3, 0.8, -0.6]),
}
POINTS = np.array([-1.0, 0.2, 0.9]), np.array([0.3, -0.2, 0.5])


def test_a_heavy_ball_contracts_volume_by_its_momentum_at_every_step(x64):
    """n ln beta for any loss, exactly: the sum over all 18 exponents. Zero on the minima."""
    training = optimizer_map(network_loss, optax.sgd(0.3, momentum=0.8), POINTS)
    found = spectrum(training, NETWORK, num_steps=1000, num_transient=4000)
    assert abs(found.value.sum() - 9 * math.log(0.8)) < 1e-9
    # Six directions along the minima: nine parameters on three points.
    np.testing.assert_allclose(found.value[:6], 0, atol=1e-3)
    assert found.value[6] < -2e-3


def test_mini_batches_come_in_their_order():
    """A loss whose gradient is the batch's mean: parameters remember what came."""

    def loss(params, batch):
        return params * jnp.mean(batch)

    sums = {}
    for order in ("cyclic", "shuffled", "random"):
        training = optimizer_map(loss, optax.sgd(1.0), DATA, batch_size=3, order=order)
        state = training.start(jnp.zeros(()), jax.random.key(3))
        _, path = jax.lax.scan(
            lambda at, _, step=training.step: ((after := step(at)), after.params),
            state,
            length=8,
        )
        sums[order] = -np.diff(np.append(0, path))
    np.testing.assert_allclose(sums["cyclic"], np.tile([1, 4, 7, 10], 2))
    first, second = sums["shuffled"].reshape(2, 4)
    np.testing.assert_allclose([first.sum(), second.sum()], 22, rtol=1e-6)
    assert not np.allclose(np.sort(first), np.sort(second))
    assert not np.isclose(sums["random"][:4].sum(), 22)


SLOPES = np.array([0.6, 0.9, 1.1, 1.4])


def shared(params, batch):
    """A loss that every sample has a minimum of at u v = 1."""
    return jnp.mean((batch * (params["u"] * params["v"] - 1)) ** 2) / 2


def test_shuffled_batches_at_a_shared_minimum_have_the_mean_logarithm(x64):
    """0 along the minima, mean ln|1 - eta m S| across: over a shuffled epoch exactly."""
    rate, u, slopes = 0.3, 1.6, SLOPES
    total = u**2 + u**-2
    law = np.mean(np.log(np.abs(1 - rate * slopes**2 * total)))
    training = optimizer_map(shared, optax.sgd(rate), slopes, batch_size=1, order="shuffled")
    found = spectrum(training, {"u": u, "v": 1 / u}, num_steps=400, qr_every=4, num_transient=40)
    np.testing.assert_allclose(found.value, [0, law], atol=1e-6)


@pytest.mark.slow
def test_random_batches_have_it_within_their_error(x64):
    rate, u, slopes = 0.3, 1.6, SLOPES
    law = np.mean(np.log(np.abs(1 - rate * slopes**2 * (u**2 + u**-2))))
    training = optimizer_map(shared, optax.sgd(rate), slopes, batch_size=1, order="random")
    found = spectrum(training, {"u": u, "v": 1 / u}, num_steps=4000, num_transient=40)
    assert abs(found.value[1] - law) < 5 * found.stderr[1]
    assert found.stderr[1] < 0.02


def test_a_state_that_is_not_finite_gives_its_status_within_a_batch():
    training = optimizer_map(two_factors, optax.adam(0.1))

    def run(u):
        start = {"u": u, "v": jnp.ones(())}
        return spectrum(training, start, num_steps=100, num_exponents=1)

    found = jax.jit(jax.vmap(run))(jnp.array([0.4, jnp.nan]))
    assert found.status[1].tolist() == [Status.DIVERGED]
    assert jnp.isfinite(found.value[0, 0])


@pytest.mark.slow
def test_adam_has_no_derivative_where_a_gradient_has_always_been_zero(x64):
    """That of the root of the second moment is infinite; `eps_root` bounds it."""
    for optimizer, bad in ((optax.adam(0.1), True), (optax.adam(0.1, eps_root=1e-8), False)):
        training = optimizer_map(lambda p: p[0] ** 2, optimizer)
        found = spectrum(training, jnp.ones(2), num_steps=100, num_transient=0)
        assert (Status.NONFINITE_TANGENT in found.status.tolist()) == bad


def test_states_keep_their_dtypes():
    training = optimizer_map(two_factors, optax.adam(0.1))
    state = training.start({"u": jnp.float32(0.4), "v": jnp.float32(0.5)})
    after = training.step(state)
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(
        lambda leaf: leaf.dtype, state
    )
    assert int(after.position) == 1


def test_sharpness_along_descent_is_the_tracker_s():
    """For plain descent as `descent_sharpness`; with momentum another path."""
    key = jax.random.key(0)
    params = jax.tree.map(jnp.float32, NETWORK)
    data = jax.tree.map(jnp.float32, POINTS)
    settings = {"num_steps": 40, "record_every": 20, "num_iterations": 9}
    known = descent_sharpness(network_loss, params, data, key, learning_rate=0.3, **settings)
    training = optimizer_map(network_loss, optax.sgd(0.3), data)
    found, last = training_sharpness(
        network_loss, training, training.start(params), data, key, threshold=2 / 0.3, **settings
    )
    np.testing.assert_allclose(found.sharpness.value, known.sharpness.value, rtol=1e-4)
    np.testing.assert_allclose(found.losses, known.losses, rtol=1e-5)
    assert found.steps.tolist() == [0, 20, 40]
    assert int(last.position) == 40
    np.testing.assert_allclose(found.params["out"], known.params["out"], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: optimizer_map(two_factors, optax.sgd(1.0), DATA, batch_size=5), "batch_size"),
        (
            lambda: optimizer_map(two_factors, optax.sgd(1.0), (DATA, DATA[1:]), batch_size=2),
            "data",
        ),
        (lambda: quadratic_exponents(CURVATURES, 0.1, 1.0), "momentum"),
        (lambda: stability_threshold(0.1, -0.1), "momentum"),
    ],
)
def test_bad_settings_are_named(call, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        call()
