"""The laws of roughness against closed forms, and returns against the laws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.systems import maps, mdps
from fracjax.systems.roughness_laws import (
    exponents_from_growth,
    moment_exponent,
    predicted_exponent,
    skew_tent_rates,
)

ORDERS = np.linspace(0, 6, 601)
CUT = 0.35
MEAN = -CUT * math.log(CUT) - (1 - CUT) * math.log(1 - CUT)


def test_uniform_growth_gives_the_mean_law_for_every_moment():
    for moment in (1.0, 2.0):
        alpha = moment_exponent(ORDERS, 0.6 * ORDERS, 0.8, moment=moment)
        assert float(alpha) == pytest.approx(predicted_exponent(0.6, 0.8), rel=1e-4)


def test_rates_of_the_skew_tent():
    """Λ(0) = 0, Λ(1) = ln 2, the slope at 0 is the mean exponent."""
    rates = skew_tent_rates(np.array([0.0, 1e-6, 1.0, 2.0]), CUT)
    assert rates[0] == pytest.approx(0.0, abs=1e-15)
    assert rates[1] / 1e-6 == pytest.approx(MEAN, rel=1e-5)
    assert rates[2] == pytest.approx(math.log(2))
    assert rates[3] == pytest.approx(math.log(1 / CUT + 1 / (1 - CUT)))


def test_mean_square_exponent_of_the_skew_tent_at_half_is_exact():
    """Λ(1) = ln 2 = -2 ln 2^-½ at any cut, while the mean law gives .535, .693."""
    for cut in (0.35, 0.2, 0.1):
        alpha = moment_exponent(ORDERS, skew_tent_rates(ORDERS, cut), 0.5**0.5)
        assert float(alpha) == pytest.approx(0.5, abs=1e-4)


def test_mean_squares_are_rougher_than_what_is_typical_and_meet_it_as_the_discount_goes_to_one():
    rates = skew_tent_rates(ORDERS, CUT)
    alphas = np.array([float(moment_exponent(ORDERS, rates, g)) for g in (0.5, 0.9, 0.99, 0.999)])
    typical = np.array([predicted_exponent(MEAN, g) for g in (0.5, 0.9, 0.99, 0.999)])
    gap = 1 - alphas / typical
    assert (np.diff(gap) < 0).all()
    assert 0 < gap[-1] < 1e-3


def test_a_dip_of_the_rates_below_zero_takes_the_root_beyond_it():
    """A loop that is stable on average: Λ(q) = q² - q, whose root of 2 is q = 2."""
    alpha = moment_exponent(ORDERS, ORDERS**2 - ORDERS, math.exp(-1.0))
    assert float(alpha) == pytest.approx(1.0, abs=1e-3)


def independent_growth(seed, states, steps):
    left = np.random.default_rng(seed).uniform(size=(states, steps)) < CUT
    return jnp.asarray(np.where(left, -math.log(CUT), -math.log(1 - CUT)))


def test_exponents_from_growth_are_those_of_the_rates(x64):
    """Independent growth, 40 seeds: bias below a standard error of the mean by four."""
    discounts = (0.5**0.5, 0.9)
    exact = [float(moment_exponent(ORDERS, skew_tent_rates(ORDERS, CUT), g)) for g in discounts]

    @jax.jit
    def estimate(growth):
        return exponents_from_growth(growth, discounts, window=5)

    growth = np.stack([independent_growth(seed, 32, 400) for seed in range(40)])
    found = jax.lax.map(estimate, jnp.asarray(growth))
    assert (found.status == Status.OK).all()
    spread = np.std(found.value, axis=0)
    assert (abs(np.mean(found.value, axis=0) - np.array(exact)) < 4 * spread / 40**0.5 + 1e-3).all()
    np.testing.assert_allclose(np.mean(found.stderr, axis=0), spread, rtol=0.5)
    mean = found.details["mean_exponent"]
    assert abs(np.mean(mean) - MEAN) < 4 * np.std(mean) / 40**0.5
    second = float(skew_tent_rates(np.array(2.0), CUT)) / 2
    assert np.mean(found.details["second_moment_exponent"]) == pytest.approx(second, abs=0.01)


def test_exponents_from_growth_keep_float32_and_refuse_short_records():
    growth = independent_growth(0, 8, 40).astype(jnp.float32)
    found = exponents_from_growth(growth, (0.9,), window=5)
    assert found.value.dtype == jnp.float32
    assert found.value.shape == (1,)
    bad = exponents_from_growth(growth.at[0, 0].set(jnp.nan), (0.9,), window=5)
    assert int(bad.status[0]) == Status.NONFINITE_TANGENT
    with pytest.raises(ValueError, match="Argument `growth` must"):
        exponents_from_growth(growth, (0.9,), window=21)


def second_differences(objective, scales, num_points):
    """Mean logarithm and logarithm of the mean of squares, (scales, outputs) each."""

    @jax.jit
    def squares(points, scale):
        values = [
            jax.vmap(lambda p: objective(p, jax.random.key(0)))(points + k * scale)
            for k in range(3)
        ]
        return (values[0] - 2 * values[1] + values[2]) ** 2

    rng = np.random.default_rng(3)
    found = [squares(jnp.asarray(rng.uniform(size=num_points)), scale) for scale in scales]
    typical = [np.log(np.asarray(each) + 1e-300).mean(axis=0) for each in found]
    mean = [np.log(np.asarray(each).mean(axis=0)) for each in found]
    return np.array(typical), np.array(mean)


def test_typical_increments_follow_the_mean_and_mean_squares_the_moments(x64):
    """Skew tent, cut at .35: .535 and .500, .345 and .330.

    20 000 points at five scales: standard errors .002 and .004 (16 groups of an equal run).
    """
    discounts = (0.5**0.5, 0.8)
    objective = mdps.chaotic_returns(
        mdps.skew_tent(CUT), discounts, num_steps=120, feedback="constant", gain=1.0
    )
    scales = np.geomspace(1e-3, 1e-9, 5)
    curves = second_differences(objective, scales, 20_000)
    typical, mean = (np.polyfit(np.log(scales), curve, 1)[0] / 2 for curve in curves)
    rates = skew_tent_rates(ORDERS, CUT)
    for index, gamma in enumerate(discounts):
        law, moments = predicted_exponent(MEAN, gamma), float(moment_exponent(ORDERS, rates, gamma))
        assert abs(typical[index] - law) < 0.01
        assert abs(mean[index] - moments) < 0.015
    assert typical[0] - mean[0] > 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "bare"), [(4.0, math.log(2)), (3.8, 0.4317)])
def test_logistic_returns_follow_the_moments_of_their_closed_loop(rate, bare, x64):
    """Within 4 %, where the bare map's exponent errs by up to 12 % and the loop's by 20 %."""
    discounts = (0.7, 0.8, 0.9)
    step = maps.logistic(rate)

    @jax.jit
    @jax.vmap
    def record(parameter):
        loop = mdps.chaotic_step(step, parameter)
        start = jnp.asarray(mdps.START)
        return finite_time_growth(loop, start, num_steps=2000, num_transient=100).growth[:, 0]

    growth = record(jnp.linspace(0.2, 0.8, 256))
    law = exponents_from_growth(growth, discounts)
    objective = mdps.chaotic_returns(step, discounts, num_steps=150)
    scales = np.geomspace(1e-4, 1e-9, 8)

    def inside(unit, key):
        return objective(0.2 + 0.6 * unit, key)

    _, mean = second_differences(inside, scales / 0.6, 20_000)
    measured = np.polyfit(np.log(scales), mean, 1)[0] / 2
    np.testing.assert_allclose(measured, law.value, rtol=0.04)
    closed = -np.log(discounts) / float(law.details["mean_exponent"])
    assert (closed / measured > 1.08).all()
    assert abs(closed[0] / measured[0] - 1) > 3 * abs(float(law.value[0]) / measured[0] - 1)
    assert bare > float(law.details["mean_exponent"])
