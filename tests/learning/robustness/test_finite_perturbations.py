"""Finite perturbations: exact on linear maps, what they cannot see on others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning import perturbed_growth
from fracjax.rl import classic, rollouts
from fracjax.systems import maps

from references import value

KEY = jax.random.key(0)
# Eigenvalues .9, .7 and -.5, not orthogonal.
BASIS = np.array([[1.0, 0.3, 0.1], [0.2, 1.0, 0.4], [0.0, 0.5, 1.0]])
MATRIX = np.linalg.inv(BASIS) @ np.diag([0.9, 0.7, -0.5]) @ BASIS


def record(step, state, **settings):
    return jax.jit(lambda s: perturbed_growth(step, s, **settings))(state)


def test_a_linear_map_grows_by_its_eigenvalues(x64):
    """Exact: any distance is in the linear regime, here one of 1/2."""
    result = record(
        lambda x: jnp.asarray(MATRIX) @ x, jnp.ones(3), num_steps=200, num_transient=300, size=0.5
    )
    assert result.growth.shape == (20, 3)
    expected = np.log([0.9, 0.7, 0.5])
    np.testing.assert_allclose(result.growth / 10, np.tile(expected, (20, 1)), atol=1e-9)
    # The volume contracts by the determinant in every period, whatever the frame.
    early = record(lambda x: jnp.asarray(MATRIX) @ x, jnp.ones(3), num_steps=50)
    volume = np.log(abs(np.linalg.det(MATRIX)))
    np.testing.assert_allclose(early.growth.sum(axis=1) / 10, volume, atol=1e-9)
    np.testing.assert_allclose(early.separation, 1e-4 * np.exp(early.growth[:, 0]), rtol=1e-9)


@pytest.mark.parametrize("name", ["henon", "double_pendulum"])
def test_a_perturbation_of_nothing_stays_nothing(name):
    """Exactly zero, bit for bit, over 1000 chaotic steps, and so does the control of any run."""
    if name == "henon":
        step, state = maps.henon(), jnp.array([0.1, 0.1])
    else:
        environment = classic.double_pendulum(substeps=1)
        state = jnp.array([2.0, 1.0, 0.0, 0.0])
        step = rollouts.closed_loop(environment, _Still(), None)
    run = jax.jit(lambda s, size: perturbed_growth(step, s, size=size, observable=jnp.sum))
    nothing, something = run(state, 0.0), run(state, 1e-4)
    np.testing.assert_array_equal(nothing.separation, 0)
    np.testing.assert_array_equal(nothing.observable_gap, 0)
    assert np.all(np.isneginf(nothing.growth))
    np.testing.assert_array_equal(nothing.control, 0)
    np.testing.assert_array_equal(something.control, 0)
    assert np.all(something.separation > 0)
    assert np.isfinite(something.observable).all()


class _Still:
    def act(self, params, observation, key=None):
        return jnp.zeros(2, observation.dtype)


def henon_exponents(size, every):
    """Mean growth per step of four orbits, and its standard error."""
    starts = 0.1 + 0.01 * jax.random.uniform(KEY, (4, 2))
    settings = {"num_steps": 20_000, "num_transient": 200, "renormalize_every": every}
    run = jax.vmap(lambda s: perturbed_growth(maps.henon(), s, size=size, **settings))
    rates = np.asarray(jax.jit(run)(starts).growth.mean(axis=1)) / every
    return rates.mean(axis=0), rates.std(axis=0, ddof=1) / 2


def test_periods_of_one_step_give_the_whole_spectrum(x64):
    """The paper's distance; the sum is ln .3 up to curvature, of order 1e-7 here."""
    exponents, error = henon_exponents(1e-4, 1)
    expected = value("henon", "exponents")
    assert np.all(abs(exponents - expected) < 4 * error + 2e-4)
    assert abs(exponents.sum() - np.log(0.3)) < 1e-6


def test_long_periods_hide_the_trailing_exponent(x64):
    """The paper's settings: λ_1 is right, λ_2 reads far too high, by 1/10 of ln 10 per decade.

    That is curvature: a displacement that ought to be e^{-20} of the leading one keeps a share
    of the order of the distance.
    """
    truth = value("henon", "exponents")
    coarse, error = henon_exponents(1e-4, 10)
    fine, _ = henon_exponents(1e-6, 10)
    assert abs(coarse[0] - truth[0]) < 4 * error[0] + 2e-4
    assert coarse[1] - truth[1] > 1.2
    assert coarse.sum() > 0 > sum(truth)
    np.testing.assert_allclose(coarse[1] - fine[1], 0.2 * np.log(10), atol=0.02)


def test_the_first_frame_does_not_matter_for_long(x64):
    """Orthant or Gaussian, one key or another: the same growth after a transient."""
    step, state = maps.linear(jnp.asarray(MATRIX)), jnp.ones(3)
    orthant = record(step, state, num_steps=200).growth
    gaussian = record(step, state, num_steps=200, initial="gaussian", key=jax.random.key(1)).growth
    np.testing.assert_allclose(orthant[10:], gaussian[10:], atol=1e-4)
    assert not np.allclose(orthant[0], gaussian[0], atol=1e-3)


def test_a_record_ends_with_the_episode(x64):
    """The 23rd step terminates: periods that begin a step after it do not count."""

    def step(state):
        return {"time": state["time"] + 1, "x": 1.1 * state["x"]}

    result = record(
        step,
        {"time": jnp.zeros((), int), "x": jnp.ones(2)},
        num_steps=50,
        alive=lambda state: state["time"] < 23,
        observable=lambda state: jnp.sum(state["x"]),
    )
    np.testing.assert_array_equal(result.alive, [True, True, False, False, False])
    np.testing.assert_allclose(result.growth[:2], 10 * np.log(1.1), rtol=1e-6)
    assert result.observable.shape == (5, 10)
    ratio = result.observable_gap[:, -1] / result.observable_gap[:, 0]
    np.testing.assert_allclose(ratio, 1.1**9, rtol=1e-6)


def test_batches_equal_single_orbits(x64):
    states = 0.1 + 0.05 * jax.random.uniform(KEY, (3, 2))
    run = jax.jit(lambda s: perturbed_growth(maps.henon(), s, num_steps=20).growth)
    together = jax.jit(jax.vmap(run))(states)
    np.testing.assert_allclose(together, jnp.stack([run(state) for state in states]), rtol=1e-9)


@pytest.mark.usefixtures("single_precision")
def test_in_float32_rounding_hides_what_shrinks():
    """About a fixed point at 1: a displacement of 1e-4 has 1e3 roundings, e^{-6.9} of it none."""
    matrix = jnp.asarray(MATRIX, jnp.float32)
    settings = {"num_steps": 400, "num_transient": 200}
    result = record(lambda x: 1 + matrix @ (x - 1), jnp.ones(3), **settings)
    assert result.growth.dtype == jnp.float32
    found = result.growth.mean(axis=0) / 10
    np.testing.assert_allclose(found[:2], np.log([0.9, 0.7]), atol=0.02)
    assert not abs(found[2] - np.log(0.5)) < 0.02


def test_a_diverged_orbit_says_so():
    result = record(lambda x: x**2, jnp.full(2, 1e10), num_steps=20, size=1.0)
    assert np.isnan(result.growth).any()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_steps": 9}, "num_steps"),
        ({"renormalize_every": 0}, "renormalize_every"),
        ({"size": -1.0}, "size"),
        ({"num_perturbations": 3}, "num_perturbations"),
        ({"coordinates": lambda s: s}, "coordinates"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"`{name}`.* must"):
        perturbed_growth(maps.henon(), jnp.zeros(2), **settings)
