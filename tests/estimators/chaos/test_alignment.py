"""Alignment indices against their definition, exact decay rates and the laws of regular motion."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.alignment import Motion, alignment_index, smaller_alignment_index
from fracjax.systems import flows, maps
from fracjax.systems.integrators import yoshida4
from fracjax.tangent import random_frame

from references import value

KEY = jax.random.key(3)


def run(step, state, **settings):
    return jax.jit(lambda s: alignment_index(step, s, **settings))(state)


def test_index_is_the_product_of_singular_values_of_unit_vectors(x64):
    """The definition, for as long as unit vectors can be told apart; three of Lorenz-96."""
    step = flows.rk4(flows.lorenz96(), 0.05)
    state = 8 + jnp.sin(jnp.arange(5.0))
    result = run(step, state, num_steps=60, num_vectors=3, key=KEY)
    vectors = np.asarray(random_frame(KEY, state, 3))
    derivative = jax.jit(jax.jacfwd(step))
    expected = []
    for _ in range(60):
        vectors = vectors @ np.asarray(derivative(state)).T
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        state = step(state)
        expected.append(np.sum(np.log(np.linalg.svd(vectors, compute_uv=False))))
    np.testing.assert_allclose(result.log_index, expected, atol=1e-9)


@jax.jit
@jax.vmap
def standard(kick, state):
    """One program for all orbits of the standard map."""

    def step(state):
        return maps.standard(1.0)(state.at[1].add((kick - 1) * jnp.sin(state[0])))

    return alignment_index(step, state, num_steps=5000)


def test_chaotic_standard_map_is_told_within_twenty_steps(x64):
    """Decay at twice the exponent: 1e-12 is passed after 27.6/3.24 = 9 steps or so.

    At the end GALI_2 is e^-16000, far below underflow.
    """
    result = standard(jnp.full(3, 10.0), jnp.array([[0.3, 0.2], [1.0, 2.0], [4.0, 1.0]]))
    crossed = jnp.argmax(result.log_index < math.log(1e-12), axis=1)
    assert np.all((crossed > 4) & (crossed < 20))
    exact = 2 * value("standard K=10", "exponents")[0]
    rate = result.decay_rate
    assert np.all(np.abs(rate.value - exact) < 4 * rate.stderr)
    assert np.all(rate.stderr < 0.1)
    np.testing.assert_allclose(rate.value, result.predicted_rate, rtol=1e-2)
    assert np.all(rate.status == Status.OK)
    assert np.all(result.motion == Motion.CHAOTIC)


def test_regular_standard_map_decays_as_a_power_of_time(x64):
    """On an invariant circle GALI_2 falls as t⁻² and never as an exponential."""
    result = standard(jnp.full(3, 0.8), jnp.array([[4.14, 0.0], [3.6, 0.3], [2.9, 1.0]]))
    assert np.all((result.slope > -3) & (result.slope < -1))
    assert np.all(result.motion == Motion.REGULAR)
    assert result.log_index[:, :30].min() > math.log(1e-3)


@pytest.mark.parametrize(("vectors", "power", "ratio"), [(2, 0, 1), (4, 4, 4)])
def test_henon_heiles_on_a_torus_and_in_the_chaotic_sea(vectors, power, ratio, x64):
    """Two orbits of one energy and two degrees of freedom.

    On the torus GALI_2 stays and GALI_4 falls as t⁻⁴; in the sea, with exponents
    (λ, 0, 0, -λ), they fall at the rates λ and 4λ.
    """
    step = yoshida4(flows.henon_heiles_force(), 0.2)
    states = jnp.stack([henon_heiles_state(0.125, y) for y in (0.3, -0.25)])
    settings = {"num_steps": 15_000, "num_vectors": vectors, "dt": 0.2}
    result = jax.jit(jax.vmap(lambda s: alignment_index(step, s, **settings)))(states)
    assert abs(result.slope[0] + power) < 1
    assert result.motion.tolist() == [Motion.REGULAR, Motion.CHAOTIC]
    leading = result.leading_growth[1, -1] / (15_000 * 0.2)
    assert 0.01 < leading < 0.1
    assert abs(result.decay_rate.value[1] / leading - ratio) < 0.15 * ratio


def henon_heiles_state(energy, y):
    momentum = np.sqrt(2 * energy - y**2 + 2 * y**3 / 3)
    return jnp.array([0.0, y, momentum, 0.0])


def test_limit_cycle_is_not_called_chaotic(x64):
    """Vectors align at the rate 2 of the attraction, but nothing grows."""
    step = flows.rk4(flows.stuart_landau(), 0.05)
    result = run(step, jnp.array([1.0, 0.2]), num_steps=1000, dt=0.05)
    np.testing.assert_allclose(result.decay_rate.value, 2.0, atol=1e-6)
    np.testing.assert_allclose(result.predicted_rate, 2.0, atol=1e-6)
    assert result.motion == Motion.UNDECIDED


def test_smaller_alignment_index_of_an_angle(x64):
    angle = jnp.array([1e-12, 1e-3, 0.5, math.pi / 2])
    log_sali = smaller_alignment_index(jnp.log(jnp.sin(angle)))
    np.testing.assert_allclose(jnp.exp(log_sali), 2 * jnp.sin(angle / 2), rtol=1e-7)
    np.testing.assert_allclose(smaller_alignment_index(jnp.array(-2000.0)), -2000.0)


@pytest.mark.usefixtures("single_precision")
def test_a_diverging_member_does_not_spoil_its_batch():
    states = jnp.array([[0.1, 0.1], [5.0, 5.0]])
    result = jax.jit(jax.vmap(lambda s: alignment_index(maps.henon(), s, num_steps=300)))(states)
    assert result.decay_rate.status.tolist() == [Status.OK, Status.DIVERGED]
    assert result.motion.tolist() == [Motion.CHAOTIC, Motion.UNDECIDED]
    assert np.all(np.isfinite(result.log_index[0]))
    assert np.all(np.isnan(result.log_index[1]))
    assert result.log_index.dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_steps": 15}, "num_steps"),
        ({"num_steps": 20, "num_vectors": 1}, "num_vectors"),
        ({"num_steps": 20, "num_vectors": 3}, "num_vectors"),
        ({"num_steps": 20, "num_blocks": 1}, "num_blocks"),
        ({"num_steps": 20, "dt": 0.0}, "dt"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        alignment_index(maps.henon(), jnp.zeros(2), **settings)
