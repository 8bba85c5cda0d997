"""Exponents at every point of a grid: known where the loop is a map of known slope."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes
from fracjax._types import Status
from fracjax.diagnosis import Problem, fractality

HORIZON = 400
DISCOUNTS = (0.9, 0.7)
SETTINGS = {"num_directions": 8, "num_levels": 4, "largest_scale": 1e-3}


def slope(params):
    """Two to the first parameter, which the map is stretched by in every step."""
    return 2.0 ** params["log2_slope"]


def advance(x, params):
    """A sawtooth of known slope, so that every orbit has the same exponent."""
    lifted = slope(params) * x
    folded = jnp.abs(jnp.mod(lifted + 1, 2) - 1)  # continuous: a tent of many teeth
    return jnp.clip(folded, 0.0, 1.0)


def problem_at(log2_slope):
    params = {"start": jnp.full(4, 0.1), "log2_slope": jnp.asarray(log2_slope, float)}

    def objective(params, key):
        start = jnp.mean(params["start"]) * 3 % 1.0
        factors = jnp.asarray(DISCOUNTS)

        def body(carry, _):
            x, weights, totals = carry
            x = advance(x, params)
            return (x, weights * factors, totals + weights * x), None

        carry = (start, jnp.ones(2), jnp.zeros(2))
        return jax.lax.scan(body, carry, length=HORIZON)[0][2]

    return Problem(
        step=lambda x: advance(x, params),
        states=jnp.linspace(0.11, 0.87, 8),
        objective=objective,
        params=params,
        discounts=DISCOUNTS,
        dt=0.5,
        horizon=HORIZON,
        step_at=lambda params: lambda x: advance(x, params),
    )


@pytest.fixture(scope="module")
def mapped():
    """A line along the slope: λ grows along it, α falls."""
    with jax.enable_x64(True):
        problem = problem_at(2.0)
        direction = {"start": jnp.zeros((1, 4)), "log2_slope": jnp.ones(1)}
        axis = np.array([-0.6, -0.1, 0.4, 0.9])  # no powers of two: binary orbits end at 0
        grid = landscapes.Grid(direction, (axis,), "given")
        objective = fractality(problem, jax.random.key(0), **SETTINGS)
        yield landscapes.scan(
            objective, problem.params, grid, jax.random.key(1), chunk_size=1, evaluator="plain"
        )


def test_lyapunov_exponents_are_those_of_the_slope(mapped):
    """ln(slope) per step of half a second, exactly: every orbit grows by the slope."""
    expected = (2.0 + mapped["a"].values) * math.log(2) / 0.5
    np.testing.assert_allclose(mapped["exponent"], expected, rtol=1e-9)
    assert (mapped["exponent_status"] == Status.OK).all()


def test_predictions_follow(mapped):
    rates = (2.0 + mapped["a"].values)[:, None] * math.log(2)
    np.testing.assert_allclose(
        mapped["predicted"], np.minimum(-np.log(DISCOUNTS) / rates, 2), rtol=1e-9
    )


def test_measured_exponents_follow_the_law(mapped):
    """α = -ln γ / λ, from no more than 8 lines of 4 levels: within 4 standard errors."""
    assert (mapped["holder_status"] == Status.OK).all()
    gap = np.abs(mapped["holder"] - mapped["predicted"])
    assert (gap < 4 * mapped["holder_stderr"]).all()
    assert (mapped["holder_stderr"] < 0.1).all()
    assert not mapped["jump_alarm"].any()


@pytest.mark.slow
def test_noise_is_that_of_the_reference_where_there_is_one():
    """A reference that is off by a known number: its square is the noise at the centre."""
    key, off = jax.random.key(0), np.array([0.1, 0.3])
    settings = {**SETTINGS, "num_levels": 3}
    with jax.enable_x64(False):
        problem = problem_at(0.5)
        assert jax.tree.leaves(problem.params)[0].dtype == np.float32
        with jax.enable_x64(True):
            wide = problem_at(0.5)
            reference = (lambda params, key: wide.objective(params, key) + off), wide.params
        with_reference = dataclasses.replace(problem, reference=reference)
        plain, told = (
            jax.jit(fractality(posed, key, **settings))(problem.params, key)
            for posed in (problem, with_reference)
        )
    assert (np.asarray(plain["holder_noise"]) < 1e-6).all()
    np.testing.assert_allclose(told["holder_noise"], off**2, rtol=0.05)
    np.testing.assert_allclose(told["value"], plain["value"])


def test_returns_that_are_always_zero_have_no_noise_and_do_not_divide_by_it():
    key = jax.random.key(0)
    settings = {**SETTINGS, "num_levels": 3}
    with jax.enable_x64(False):
        problem = problem_at(0.5)
        with jax.enable_x64(True):
            wide = problem_at(0.5).params

        def nothing(params, key):
            return 0.0 * jnp.stack([params["log2_slope"], params["log2_slope"]])

        constant = dataclasses.replace(problem, objective=nothing, reference=(nothing, wide))
        found = jax.jit(fractality(constant, key, **settings))(problem.params, key)
    np.testing.assert_array_equal(found["holder_noise"], [0, 0])


def test_a_problem_without_other_parameters_is_refused():
    problem = dataclasses.replace(problem_at(2.0), step_at=None)
    with pytest.raises(ValueError, match="step_at"):
        fractality(problem, jax.random.key(0))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_levels": 2}, "num_levels"),
        ({"smallest_scale": 1.0}, "smallest_scale"),
    ],
)
def test_bad_settings(settings, named):
    with pytest.raises(ValueError, match=named):
        fractality(problem_at(2.0), jax.random.key(0), **settings)
