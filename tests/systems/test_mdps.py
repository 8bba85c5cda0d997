"""Decision processes against closed forms and against the roughness computed for them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.systems import maps, mdps

from references import REFERENCES

KEY = jax.random.key(0)


def test_chaotic_return_is_the_discounted_sum_along_the_closed_loop(x64):
    step = mdps.chaotic_step(maps.tent(1.9), jnp.array(0.5))
    x, total = jnp.array(0.2345), 0.0
    for time in range(mdps.discount_horizon(0.5)):
        total += 0.5**time * jnp.cos(2 * jnp.pi * x)
        x = step(x)
    assert jnp.isclose(mdps.chaotic_return(maps.tent(1.9), 0.5)(jnp.array(0.5), KEY), total)


@pytest.mark.parametrize(
    ("parameter", "discount"), [(2.0, 0.9), (1.5, 0.9), (2.0, 0.7), (2.0, 0.4), (1.05, 0.9)]
)
def test_clipped_cost_has_its_closed_form(parameter, discount, x64):
    starts = jnp.logspace(-9, -0.01, 50)
    objective = mdps.clipped_cost(parameter, discount, num_steps=2000)
    costs = jax.vmap(lambda start: objective(start, KEY))(starts)
    exact = mdps.clipped_value(starts, parameter, discount)
    np.testing.assert_allclose(costs, exact, rtol=1e-9)


def test_clipped_cost_has_the_predicted_exponent(x64):
    deltas = jnp.logspace(-10, -2, 400)
    costs = mdps.clipped_value(deltas, 2.0, 0.9)
    slope = np.polyfit(np.log(deltas), np.log(costs), 1)[0]
    reference = REFERENCES["clipped 2, discount 0.9", "hölder"].value
    assert abs(slope - reference) < 1e-3
    assert abs(mdps.predicted_exponent(math.log(2), 0.9) - reference) < 1e-4
    assert mdps.predicted_exponent(-0.1, 0.9) == 2.0


@pytest.mark.parametrize("discount", [0.5, 0.9])
def test_return_of_the_tent_process_is_as_rough_as_computed(discount, x64):
    """Second differences at lags 1…32 of 4096 points; mean of 8 centres.

    The law holds to .02 + 3 % in every cell of the reference page's table.
    """
    objective = mdps.chaotic_return(maps.tent(1.9), discount)
    landscape = jax.jit(jax.vmap(lambda parameter: objective(parameter, KEY)))
    lags = 2 ** np.arange(6)
    slopes = []
    for centre in np.linspace(0.2, 0.8, 8):
        v = np.asarray(landscape(centre + 2.5e-7 * jnp.arange(4096)))
        variances = [np.mean((v[2 * k :] - 2 * v[k:-k] + v[: -2 * k]) ** 2) for k in lags]
        slopes.append(np.polyfit(np.log(lags), np.log(variances), 1)[0] / 2)
    law = REFERENCES[f"tent 1.9, discount {discount}", "hölder"].value
    assert abs(np.mean(slopes) - law) < 0.02 + 0.03 * law


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_discount_must_be_proper(discount):
    with pytest.raises(ValueError, match="Argument `discount` must"):
        mdps.discount_horizon(discount)
