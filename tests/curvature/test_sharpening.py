"""Sharpness along runs, and the edge of stability."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.curvature import (
    descent_sharpness,
    hessian,
    in_batches,
    sharpness,
    sharpness_along,
    sharpness_tracker,
    symmetric_operator,
)

KEY = jax.random.key(0)


def times(vector, spectrum):
    return spectrum * vector


def diagonal(spectrum):
    return symmetric_operator(times, jnp.zeros_like(spectrum), spectrum)


@pytest.mark.slow
def test_the_largest_eigenvalue_by_sign_and_its_vector(x64):
    spectrum = jnp.linspace(-50.0, 10.0, 60).at[7].set(12.0)
    found = sharpness(diagonal(spectrum), KEY, num_iterations=40)
    assert found.status == Status.OK
    assert abs(found.value - 12) <= found.residual
    assert found.residual < 1e-2
    product = spectrum * found.vector
    assert jnp.linalg.norm(product - found.value * found.vector) == pytest.approx(
        float(found.residual), rel=1e-3
    )
    short = sharpness(diagonal(spectrum), KEY, num_iterations=3)
    assert short.status == Status.NOT_CONVERGED
    again = sharpness(diagonal(spectrum), KEY, num_iterations=3, start=found.vector)
    assert abs(again.value - 12) < 0.05 * abs(short.value - 12)


def test_an_eigenvector_that_overtakes_is_seen(x64):
    """Two orthogonal eigenvectors whose eigenvalues cross: a warm start has no part of one."""
    path = jnp.linspace(0, 1, 21)
    bulk = jnp.linspace(0, 1, 40)

    def operator_at(point):
        return diagonal(bulk.at[3].set(5 - point).at[30].set(4 + point))

    found = sharpness_along(operator_at, path, KEY, num_iterations=10)
    expected = np.maximum(5 - path, 4 + path)
    np.testing.assert_allclose(found.value, expected, rtol=1e-2)
    np.testing.assert_array_equal(found.status, Status.OK)
    assert found.vector is None


@pytest.mark.slow
def test_a_point_that_is_not_finite_is_forgotten(x64):
    spectra = jnp.stack([jnp.linspace(0, 3, 9), jnp.full(9, jnp.nan), jnp.linspace(0, 4, 9)])
    found = sharpness_along(diagonal, spectra, KEY, num_iterations=9)
    np.testing.assert_allclose(found.value, [3, np.nan, 4], rtol=1e-8)
    expected = [Status.OK, Status.NONFINITE_TANGENT, Status.OK]
    np.testing.assert_array_equal(found.status, expected)


def bowl(params, batch):
    """A quadratic of largest eigenvalue 4."""
    return jnp.mean(batch * 0) + 0.5 * jnp.sum(jnp.array([4.0, 1.0, 0.5]) * params**2)


@pytest.mark.parametrize(
    ("factor", "grows"), [pytest.param(0.98, False, marks=pytest.mark.slow), (1.02, True)]
)
def test_a_quadratic_diverges_beyond_two_over_the_sharpness(factor, grows, x64):
    found = descent_sharpness(
        bowl,
        jnp.ones(3),
        jnp.ones(4),
        KEY,
        learning_rate=factor * 2 / 4,
        num_steps=100,
        record_every=20,
    )
    np.testing.assert_array_equal(found.steps, np.arange(0, 101, 20))
    np.testing.assert_allclose(found.sharpness.value, 4, rtol=1e-9)
    assert (found.sharpness.value[0] > found.threshold) == grows
    # Along the first axis the factor per step is 1 - 4 η, of magnitude |1 - 2 factor|.
    size = abs(1 - 2 * factor) ** 100
    assert abs(found.params[0]) == pytest.approx(size, rel=1e-9)
    assert found.losses[-1] == pytest.approx(2 * size**2, rel=1e-3 if grows else 1)


def regression(params, batch):
    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["first"])
    hidden = jnp.tanh(hidden @ params["second"])
    return jnp.mean((hidden @ params["last"] - targets) ** 2)


def problem(key):
    """Forty points on a circle and a function of them that takes a network some effort."""
    first, second, last = jax.random.split(key, 3)
    angles = jnp.linspace(0, 2 * jnp.pi, 40, endpoint=False)
    inputs = jnp.stack([jnp.cos(angles), jnp.sin(angles), jnp.ones(40)], axis=1)
    params = {
        "first": 0.7 * jax.random.normal(first, (3, 30)) / 3**0.5,
        "second": 0.7 * jax.random.normal(second, (30, 30)) / 30**0.5,
        "last": 0.7 * jax.random.normal(last, (30,)) / 30**0.5,
    }
    return params, (inputs, jnp.sin(3 * angles))


def test_sharpness_rises_to_the_edge_of_stability_and_hovers_there():
    """A tanh network, gradient descent on all data, three seeds: within 20 % of 2/η."""

    def run(key):
        params, data = problem(key)
        return descent_sharpness(
            regression, params, data, KEY, learning_rate=0.12, num_steps=4000, record_every=50
        )

    found = jax.jit(jax.vmap(run))(jax.random.split(KEY, 3))
    ratio = np.asarray(found.sharpness.value / found.threshold[:, None])
    assert np.all(ratio[:, 0] < 0.5)
    late = ratio[:, -30:]
    assert np.all(np.abs(late.mean(axis=1) - 1) < 0.2)
    assert np.all(np.abs(np.median(late, axis=1) - 1) < 0.2)
    assert np.all(found.losses[:, -1] < 0.2 * found.losses[:, 0])
    assert np.all(found.sharpness.status[:, -30:] == Status.OK)


@pytest.mark.slow
def test_batches_make_the_same_run(x64):
    params, data = problem(KEY)
    settings = {"learning_rate": 0.1, "num_steps": 40, "record_every": 20}
    whole = descent_sharpness(regression, params, data, KEY, **settings)
    parts = descent_sharpness(regression, params, in_batches(data, 15), KEY, **settings)
    np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-10)
    np.testing.assert_allclose(parts.sharpness.value, whole.sharpness.value, rtol=1e-6)


@pytest.mark.slow
def test_a_tracker_in_a_loop_of_ones_own(x64):
    params, data = problem(KEY)
    block = {"first": True, "second": False, "last": False}
    operator = hessian(regression, params, data, mask=block)
    tracker = sharpness_tracker(num_iterations=15)
    state = tracker.init(operator.params, KEY)
    for _ in range(4):
        found, state = jax.jit(tracker.update)(operator, state)
    assert state.step == 4
    assert found.status == Status.OK
    assert found.vector["second"] is None
    alone = sharpness(operator, KEY, num_iterations=90)
    assert found.value == pytest.approx(float(alone.value), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_steps": 5}, "num_steps"), ({"num_iterations": 0}, "num_iterations")],
)
def test_bad_settings_are_named(settings, message):
    settings = {"num_steps": 50, "learning_rate": 0.1, **settings}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(descent_sharpness)(bowl, jnp.ones(3), jnp.ones(4), KEY, **settings)
