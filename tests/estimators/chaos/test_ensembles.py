"""Finite-time growth and the exponents of ensembles, against exact laws of growth."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.chaos import ensembles
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.systems import maps, mdps

from references import value

KEY = jax.random.key(0)
MEAN, SPREAD = 0.3, 0.5


def gaussian_growth(seed, states, steps):
    """Independent N(MEAN, SPREAD²) growth: every exponent below has a closed form."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(MEAN, SPREAD, (states, steps)))


# --- recording ------------------------------------------------------------------------------


def record(step, states, **settings):
    return jax.jit(jax.vmap(lambda s: finite_time_growth(step, s, **settings)))(states)


def test_growth_of_the_tent_process_is_its_slope(x64):
    """The policy is switched off, so that every step stretches by 1.9 exactly."""
    step = mdps.chaotic_step(maps.tent(1.9), jnp.array(0.0))
    result = record(step, jnp.array([0.2, 0.6]), num_steps=50)
    assert result.growth.shape == (2, 50, 1)
    np.testing.assert_allclose(result.growth, value("tent 1.9", "exponent"), rtol=1e-12)
    assert result.observable is None
    assert result.log_projection is None
    assert np.all(result.alive)


def test_growth_is_that_of_the_product_of_jacobians(x64):
    step, states = maps.henon(), jnp.array([[0.1, 0.1], [0.2, 0.0]])
    result = record(step, states, num_steps=8, num_exponents=2)

    def product(state):
        def iterate(s):
            for _ in range(8):
                s = step(s)
            return s

        return jnp.log(jnp.abs(jnp.linalg.det(jax.jacfwd(iterate)(state))))

    np.testing.assert_allclose(
        result.growth.sum(axis=(1, 2)), jax.vmap(product)(states), rtol=1e-10
    )


def test_transient_steps_are_made_and_not_recorded(x64):
    step, state = maps.henon(), jnp.array([[0.1, 0.1]])
    long = record(step, state, num_steps=30, num_exponents=2)
    late = record(step, state, num_steps=20, num_transient=10, num_exponents=2)
    np.testing.assert_allclose(late.growth, long.growth[:, 10:], rtol=1e-9)


def test_observable_and_its_tangent(x64):
    """A linear expanding system: d(x²)/dx · δ is known in closed form."""

    def step(x):
        return 1.1 * x

    result = record(step, jnp.array([0.5]), num_steps=20, observable=lambda x: x**2)
    x = 0.5 * 1.1 ** np.arange(1, 21)
    np.testing.assert_allclose(result.observable[0], x**2, rtol=1e-12)
    np.testing.assert_allclose(result.log_projection[0], np.log(2 * x), rtol=1e-9)


def test_record_is_masked_after_termination():
    """The step that ends the episode counts; no later one does, whatever it does."""

    def step(x):
        return jnp.where(x > 0.9, jnp.nan, x + 0.25)

    result = record(step, jnp.array([0.0, 0.6]), num_steps=6, alive=lambda x: x < 0.9)
    assert result.alive.sum(axis=1).tolist() == [4, 2]
    assert np.array_equal(np.isfinite(result.growth[..., 0]), result.alive)
    estimate = jax.jit(lambda r: ensembles.ensemble_exponent(r.growth[..., 0], alive=r.alive))(
        result
    )
    assert estimate.status == Status.OK
    assert estimate.value == 0.0


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"num_steps": 0}, "num_steps"), ({"num_steps": 5, "num_exponents": 3}, "num_exponents")],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"`{name}`.* must"):
        finite_time_growth(maps.henon(), jnp.zeros(2), **settings)


# --- mean exponent --------------------------------------------------------------------------


@pytest.mark.parametrize("states", [1, 3, 20])
def test_ensemble_mean_covers_the_truth(states, x64):
    """Null: 95 % coverage, 300 seeds; for few states the interval may be wider, not narrower."""
    growths = jnp.stack([gaussian_growth(seed, states, 200) for seed in range(300)])
    estimate = jax.jit(jax.vmap(ensembles.ensemble_exponent))(growths)
    covered = int(np.sum((estimate.low < MEAN) & (estimate.high > MEAN)))
    assert covered >= binom.ppf(1e-3, 300, 0.95)
    assert covered <= binom.ppf(1 - 1e-3, 300, 0.95 if states == 20 else 0.985)
    assert np.all(estimate.status == Status.OK)


def test_states_of_different_nature_widen_the_interval(x64):
    """Half of the states chaotic, half regular: blocks in time alone would not see it."""
    growth = gaussian_growth(0, 20, 500).at[:10].add(-0.3)
    estimate = jax.jit(ensembles.ensemble_exponent)(growth)
    assert estimate.details["between"] > 5 * estimate.details["within"]
    assert estimate.stderr == estimate.details["between"]
    few = jax.jit(ensembles.ensemble_exponent)(growth[8:12])
    assert few.stderr == few.details["between"]


def test_terminated_steps_do_not_count(x64):
    growth = gaussian_growth(1, 30, 100)
    lengths = 10 + 3 * jnp.arange(30)
    alive = jnp.arange(100) < lengths[:, None]
    poisoned = jnp.where(alive, growth, jnp.nan)
    estimate = jax.jit(lambda g, a: ensembles.ensemble_exponent(g, alive=a, dt=0.1))(
        poisoned, alive
    )
    expected = float(growth[alive].mean()) / 0.1
    np.testing.assert_allclose(estimate.value, expected, rtol=1e-10)
    np.testing.assert_allclose(estimate.details["trace"][-1], expected, rtol=1e-10)
    assert estimate.details["trace_steps"][-1] == 100


def test_failed_states_are_left_out_and_counted(x64):
    growth = gaussian_growth(2, 40, 50)
    clean = jax.jit(ensembles.ensemble_exponent)(growth[3:])
    few = jax.jit(ensembles.ensemble_exponent)(growth.at[:3, 20].set(jnp.nan))
    np.testing.assert_allclose(few.value, clean.value, rtol=1e-12)
    np.testing.assert_allclose(few.stderr, clean.stderr, rtol=1e-12)
    assert few.details["num_failed"] == 3
    assert few.status == Status.OK
    many = jax.jit(ensembles.ensemble_exponent)(growth.at[:10, 20].set(-jnp.inf))
    assert many.status == Status.NONFINITE_TANGENT
    every = jax.jit(ensembles.ensemble_exponent)(jnp.full((5, 20), -jnp.inf))
    assert every.value == -jnp.inf
    assert every.status == Status.NONFINITE_TANGENT


# --- second moment and worst case -----------------------------------------------------------


@pytest.mark.parametrize("states", [2, 50])
def test_second_moment_of_gaussian_growth(states, x64):
    """L(2) = mean + spread² for independent Gaussian growth, whatever the window."""
    truth = MEAN + SPREAD**2
    growths = jnp.stack([gaussian_growth(seed, states, 4000 // states) for seed in range(200)])
    estimate = jax.jit(jax.vmap(lambda g: ensembles.second_moment_exponent(g, 4)))(growths)
    covered = np.mean((estimate.low < truth) & (truth < estimate.high))
    assert covered > 0.85  # a jackknife of a heavy-tailed mean falls short of 95 %
    assert abs(estimate.value.mean() - truth) < 0.02
    assert np.mean(estimate.status == Status.OK) > 0.98


def test_second_moment_says_when_few_windows_carry_it(x64):
    growth = gaussian_growth(0, 10, 200) * 4
    estimate = jax.jit(lambda g: ensembles.second_moment_exponent(g, 50))(growth)
    assert estimate.details["effective_windows"] < 5
    assert estimate.status == Status.NOT_CONVERGED


def test_worst_exponent_is_the_quantile_of_window_means(x64):
    """Means over 10 independent Gaussian steps: quantile known, coverage of its interval."""
    truth = MEAN + 1.2815516 * SPREAD / 10**0.5
    growths = jnp.stack([gaussian_growth(seed, 30, 300) for seed in range(100)])
    worst = functools.partial(ensembles.worst_finite_time_exponent, window=10, quantile=0.9)
    estimate = jax.jit(jax.vmap(worst))(growths)
    covered = int(np.sum((estimate.low < truth) & (truth < estimate.high)))
    assert covered >= binom.ppf(1e-3, 100, 0.95)
    assert abs(estimate.value.mean() - truth) < 0.01
    assert np.all(estimate.details["maximum"] > estimate.value)
    assert np.all(estimate.status == Status.OK)


def test_windows_across_termination_do_not_count(x64):
    alive = jnp.arange(20) < jnp.array([5, 12, 20] * 4)[:, None]
    growth = jnp.where(alive, 0.2, 100.0)
    for exponent in (ensembles.second_moment_exponent, ensembles.worst_finite_time_exponent):
        estimate = jax.jit(lambda g, a, e=exponent: e(g, 8, alive=a, dt=0.5))(growth, alive)
        np.testing.assert_allclose(estimate.value, 0.4, rtol=1e-9)
        assert estimate.details["num_windows"] == 4 * (0 + 5 + 13)


def test_no_window_at_all_is_too_few_points():
    alive = jnp.zeros((4, 20), bool)
    for exponent in (ensembles.second_moment_exponent, ensembles.worst_finite_time_exponent):
        estimate = jax.jit(lambda a, e=exponent: e(jnp.zeros((4, 20)), 8, alive=a))(alive)
        assert estimate.status == Status.TOO_FEW_POINTS
        assert np.isnan(estimate.value)


def test_windows_and_quantiles_out_of_range_are_named():
    growth = jnp.zeros((4, 20))
    with pytest.raises(ValueError, match="Argument `window` must be between 1 and 20"):
        ensembles.second_moment_exponent(growth, 21)
    with pytest.raises(ValueError, match="Argument `quantile` must"):
        ensembles.worst_finite_time_exponent(growth, 5, quantile=1.0)


# --- reward ---------------------------------------------------------------------------------


def reward_of(step, states, observable, num_steps=400):
    result = record(step, states, num_steps=num_steps, num_transient=40, observable=observable)
    return jax.jit(ensembles.reward_exponent)(result.growth[..., 0], result.log_projection)


def test_reward_exponent_equals_the_exponent_of_the_tent_process(x64):
    """The slope of the reward's tangent is the growth rate of the state's, here ln 1.9."""
    step = mdps.chaotic_step(maps.tent(1.9), jnp.array(0.0))
    states = jnp.linspace(0.1, 0.9, 30)
    estimate = reward_of(step, states, lambda x: jnp.cos(2 * jnp.pi * x))
    assert abs(estimate.value - math.log(1.9)) < 4 * estimate.stderr
    assert 0 < estimate.stderr < 2e-3
    assert estimate.status == Status.OK


def test_reward_that_sees_only_the_decaying_direction_grows_less(x64):
    step = maps.linear(jnp.diag(jnp.array([1.5, 0.6])))
    states = jax.random.normal(KEY, (10, 2))
    whole = reward_of(step, states, jnp.sum, num_steps=40)
    np.testing.assert_allclose(whole.value, math.log(1.5), atol=1e-6)
    blind = reward_of(step, states, lambda s: s[1], num_steps=20)
    np.testing.assert_allclose(blind.value, math.log(0.6), atol=1e-6)


def test_constant_reward_has_no_exponent():
    estimate = reward_of(maps.henon(), jnp.full((4, 2), 0.1), lambda s: 0 * s[0] + 1.0)
    assert estimate.status == Status.TOO_FEW_POINTS
    assert np.isnan(estimate.value)
    assert estimate.details["num_states"] == 0


def test_a_whole_ensemble_is_traced_once():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(states):
        result = jax.vmap(lambda s: finite_time_growth(maps.henon(), s, num_steps=50))(states)
        return ensembles.ensemble_exponent(result.growth[..., 0])

    assert run(jnp.full((8, 2), 0.1)).value != run(jnp.full((8, 2), 0.2)).value
