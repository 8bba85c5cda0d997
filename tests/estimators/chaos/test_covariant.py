"""Covariant vectors against eigenvectors, the flow direction and their own definition."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.angles import subspace_angles
from fracjax.estimators.chaos.covariant import covariant_vectors
from fracjax.systems import flows, maps

from references import REFERENCES, value

RATES = np.array([1.3, 0.4, -0.2, -1.0])
BASIS = np.random.default_rng(0).normal(size=(4, 4))
EIGENVECTORS = BASIS / np.linalg.norm(BASIS, axis=0)


def matrix():
    return jnp.asarray(BASIS @ np.diag(np.exp(RATES)) @ np.linalg.inv(BASIS))


def run(step, state, **settings):
    return jax.jit(lambda s: covariant_vectors(step, s, **settings))(state)


def residual(step, result):
    """Largest distance between a pushed unit vector and the next one of the record."""
    jacobians = jax.vmap(jax.jacfwd(step))(result.states)
    pushed = jnp.einsum("tij,tkj->tki", jacobians, result.vectors)
    pushed = pushed / jnp.linalg.norm(pushed, axis=-1, keepdims=True)
    return float(jnp.abs(pushed[:-1] - result.vectors[1:]).max())


@functools.cache
def henon_record():
    """20 000 steps of the Hénon map in float64, which several tests look at."""
    settings = {"num_steps": 20_000, "num_transient": 100, "num_backward_transient": 100}
    return run(maps.henon(), jnp.zeros(2), **settings)


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "count"), [(1, 4), (4, 2)])
def test_constant_matrix_gives_its_eigenvectors(every, count, x64):
    settings = {"num_steps": 80, "num_transient": 80, "num_backward_transient": 80}
    result = run(
        maps.linear(matrix()), jnp.zeros(4), qr_every=every, num_exponents=count, **settings
    )
    cosines = np.einsum("tkn,nk->tk", result.vectors, EIGENVECTORS[:, :count])
    aligned = np.sign(cosines)[..., None] * result.vectors
    exact = np.broadcast_to(EIGENVECTORS.T[:count], aligned.shape)
    np.testing.assert_allclose(aligned, exact, atol=1e-8)
    np.testing.assert_allclose(result.exponents.value, RATES[:count], atol=1e-10)
    assert np.all(result.exponents.status == Status.OK)


def test_henon_vectors_are_covariant(x64):
    assert residual(maps.henon(), henon_record()) < 1e-12
    assert np.all(henon_record().backward_error < 1e-12)


def test_henon_vectors_grow_with_the_exponents(x64):
    """And they carry the area: growth of both and of the sine of their angle add up to ln b."""
    record = henon_record()
    truth = np.array(value("henon", "exponents"))
    assert np.all(np.abs(record.exponents.value - truth) < 4 * record.exponents.stderr)
    assert np.all(record.exponents.stderr < 0.01)
    assert np.all(record.exponents.status == Status.OK)
    first, second = record.vectors[:, 0], record.vectors[:, 1]
    sine = jnp.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    area = record.growth[:-1].sum(axis=1) + jnp.diff(jnp.log(sine))
    np.testing.assert_allclose(area, value("henon", "sum"), atol=1e-8)


def test_leading_vector_is_the_leading_backward_vector(x64):
    """And no other is: the basis comes from the past alone."""
    record = henon_record()
    np.testing.assert_allclose(record.vectors[:, 0], record.basis[:, 0], atol=1e-14)
    assert jnp.abs(record.vectors[:, 1] - record.basis[:, 1]).max() > 0.1


def angle(_, vectors):
    return subspace_angles(vectors, 1)


def test_henon_is_not_hyperbolic_and_the_cat_map_is(x64):
    """Vectors of Hénon come close to tangency, those of a symmetric matrix are orthogonal."""
    angles = jax.jit(lambda v: subspace_angles(v, 1))(henon_record().vectors)
    assert 0 < angles.min() < 1e-3
    assert angles.max() > 1
    settings = {"num_steps": 100, "num_transient": 40, "num_backward_transient": 40}
    cat = run(maps.cat(), jnp.array([0.3, 0.2]), measure=angle, **settings)
    assert cat.measured.shape == (100, 1)
    np.testing.assert_allclose(cat.measured, math.pi / 2, atol=1e-10)
    np.testing.assert_allclose(cat.exponents.value, value("cat", "exponents"), atol=1e-12)
    assert cat.vectors is cat.states is cat.basis is None


def test_lorenz_neutral_vector_is_the_direction_of_the_flow(x64):
    """Up to the error of the integrator: 5e-6 at dt = .01, of fourth order (measured)."""
    field = flows.lorenz63()
    settings = {"num_steps": 10_000, "num_transient": 4000, "num_backward_transient": 6000}
    result = run(flows.rk4(field, 0.005), jnp.array([1.0, 1.0, 20.0]), dt=0.005, **settings)
    flow = jax.vmap(field)(result.states)
    flow = flow / jnp.linalg.norm(flow, axis=1, keepdims=True)
    cosine = jnp.sum(flow * result.vectors[:, 1], axis=1, keepdims=True)
    assert jnp.abs(flow - jnp.sign(cosine) * result.vectors[:, 1]).max() < 1e-6
    expected, _, _ = REFERENCES["lorenz63", "exponents"]
    assert np.all(np.abs(result.exponents.value - np.array(expected)) < 0.2)
    assert jnp.abs(result.growth[:, 1].sum()) < 4  # a bounded ratio of speeds


def test_rare_orthonormalisation_and_segments_give_the_same(x64):
    """40 pieces of 500 steps: a replay that is not exact would have forgotten the orbit."""
    settings = {"num_steps": 20_000, "num_transient": 100, "num_backward_transient": 100}
    result = run(maps.henon(), jnp.zeros(2), qr_every=5, num_segments=40, **settings)
    record = henon_record()
    assert result.replay_error == 0
    np.testing.assert_allclose(result.states[:8], record.states[:40:5], atol=1e-8)
    assert residual_of_five(maps.henon(), result) < 1e-8
    error = np.hypot(result.exponents.stderr, record.exponents.stderr)
    assert np.all(np.abs(result.exponents.value - record.exponents.value) < 4 * error)


def test_an_orbit_at_rest_in_the_origin_is_replayed_exactly(x64):
    """Its size is zero: a distance over that must not be 0/0."""
    result = run(maps.linear(matrix()), jnp.zeros(4), num_steps=80, num_segments=4)
    assert result.replay_error == 0


def residual_of_five(step, result):
    def five(state):
        for _ in range(5):
            state = step(state)
        return state

    return residual(five, result)


def test_coordinates_choose_what_is_measured(x64):
    henon = maps.henon()

    def step(state):
        moved = henon(state["s"])
        return {"s": moved, "copy": 1e3 * moved, "count": state["count"] + 1}

    state = {"s": jnp.zeros(2), "copy": jnp.zeros(2), "count": jnp.array(0)}
    settings = {"num_steps": 300, "num_transient": 100, "num_backward_transient": 100}
    result = run(step, state, coordinates=lambda s: s["s"], **settings)
    assert result.vectors.shape == (300, 2, 2)
    assert residual(henon, result) < 1e-12


# --- failure --------------------------------------------------------------------------------


def test_without_backward_transient_the_last_vectors_are_said_to_be_off(x64):
    result = run(maps.henon(), jnp.zeros(2), num_steps=100, num_transient=50)
    assert result.backward_error[0] == 0
    assert result.backward_error[1] > 0.1
    np.testing.assert_allclose(result.vectors[-1, 1] @ result.vectors[-1, 1], 1.0)


@pytest.mark.usefixtures("single_precision")
def test_a_diverging_member_does_not_spoil_its_batch():
    states = jnp.array([[0.1, 0.1], [jnp.nan, 0.0], [5.0, 5.0]])
    settings = {"num_steps": 200, "num_backward_transient": 20}
    result = jax.jit(jax.vmap(lambda s: covariant_vectors(maps.henon(), s, **settings)))(states)
    assert result.exponents.status[:, 0].tolist() == [
        Status.OK,
        Status.DIVERGED,
        Status.DIVERGED,
    ]
    assert np.all(np.isfinite(result.vectors[0]))
    assert np.all(np.isnan(result.exponents.value[1:]))
    assert result.vectors.dtype == result.exponents.low.dtype == jnp.float32
    assert abs(result.exponents.value[0].sum() - value("henon", "sum")) < 0.1


def test_a_vanished_tangent_is_nonfinite():
    def step(state):
        return jnp.stack([-0.5 * state[0], jnp.clip(3 * state[1], -1, 1)])

    result = run(step, jnp.array([0.5, 0.5]), num_steps=100, num_transient=10)
    assert abs(result.exponents.value[0] - math.log(0.5)) < 1e-5
    assert result.exponents.status.tolist() == [Status.OK, Status.NONFINITE_TANGENT]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 5, "qr_every": 2}, "num_steps"),
        ({"num_steps": 10, "num_exponents": 3}, "num_exponents"),
        ({"num_steps": 10, "num_transient": -1}, "num_transient"),
        ({"num_steps": 10, "num_backward_transient": -1}, "num_backward_transient"),
        ({"num_steps": 10, "num_segments": 3}, "num_segments"),
        ({"num_steps": 10, "num_blocks": 1}, "num_blocks"),
        ({"num_steps": 10, "qr_every": 0}, "qr_every"),
        ({"num_steps": 10, "dt": 0.0}, "dt"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        covariant_vectors(maps.henon(), jnp.zeros(2), **settings)


# --- transformations ------------------------------------------------------------------------


def test_a_batch_agrees_with_its_members(x64):
    measured = functools.partial(
        covariant_vectors, maps.henon(), num_steps=30, num_transient=5, num_backward_transient=5
    )
    states = jnp.array([[0.1, 0.1], [0.2, 0.0]])
    batched = jax.jit(jax.vmap(measured))(states)
    member = jax.tree.map(lambda leaf: leaf[1], batched)
    chex.assert_trees_all_close(member, jax.jit(measured)(states[1]), atol=1e-8)
