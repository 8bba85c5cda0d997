"""Maps and flows: what they conserve and how they converge, without exponents."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import tangent
from fracjax.systems import flows, maps

POINT = jnp.array([0.3, 0.2])

AREA = [
    (maps.cat(), 1.0),
    (maps.baker(0.5), 1.0),
    (maps.baker(0.3), 1.0),
    (maps.standard(10.0), 1.0),
    (maps.henon(1.4, 0.3), 0.3),
    (maps.ikeda(0.9), 0.81),
    (maps.linear(jnp.array([[2.0, 1.0], [0.5, 3.0]])), 5.5),
]


@pytest.mark.parametrize(("step", "expected"), AREA)
def test_area_is_multiplied_by_the_known_factor(step, expected, x64):
    state = jnp.asarray(POINT, jnp.float64)
    for _ in range(3):
        determinant = jnp.linalg.det(jax.jacfwd(step)(state))
        chex.assert_trees_all_close(jnp.abs(determinant), expected, rtol=1e-6)
        state = step(state)


@pytest.mark.parametrize("step", [maps.logistic(4.0), maps.tent(1.9), maps.expanding(3.0)])
def test_interval_maps_stay_inside(step):
    orbit = jax.lax.scan(lambda x, _: (step(x), x), jnp.array(0.2345), length=1000)[1]
    assert 0 <= orbit.min() < 0.2
    assert 0.8 < orbit.max() <= 1


def test_tent_refuses_the_slope_that_collapses():
    with pytest.raises(ValueError, match="`slope` must lie inside"):
        maps.tent(2.0)


def test_gaussian_products_keep_the_vector_at_zero_and_change_the_key():
    key, vector = maps.gaussian_products()((jax.random.key(0), jnp.zeros(3)))
    assert jnp.all(vector == 0)
    assert key != jax.random.key(0)


def test_rk4_converges_with_order_four(x64):
    """Hypothesis: halving the step divides the error by 16."""
    start = jnp.array([1.0, 2.0, 20.0])

    def run(dt):
        step = flows.rk4(flows.lorenz63(), dt)
        return jax.lax.fori_loop(0, round(0.4 / dt), lambda _, s: step(s), start)

    exact = run(0.000625)
    errors = [float(jnp.linalg.norm(run(dt) - exact)) for dt in (0.02, 0.01, 0.005)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 4) < 0.3)


def test_rk4_takes_pytrees(x64):
    def oscillator(state):
        return {"q": state["p"], "p": -state["q"]}

    step = flows.rk4(oscillator, 0.01)
    state = jax.lax.fori_loop(
        0, 100, lambda _, s: step(s), {"q": jnp.array(1.0), "p": jnp.array(0.0)}
    )
    chex.assert_trees_all_close(state["q"], jnp.cos(1.0), atol=1e-9)


@pytest.mark.parametrize(
    ("field", "size", "divergence"),
    [
        (flows.lorenz63(), 3, -41 / 3),
        (flows.lorenz96(), 6, -6.0),
        (flows.damped_linear(0.9), 2, -1.8),
        (flows.rossler(), 3, 0.2 + 1.0 - 5.7),
    ],
)
def test_divergence_of_the_fields(field, size, divergence, x64):
    """Rössler's depends on x: a + x - c at x = 1."""
    state = jnp.ones(size)
    assert jnp.isclose(jnp.trace(jax.jacfwd(field)(state)), divergence, rtol=1e-6)
    assert tangent.jvp_error(field, state, jax.random.key(0)) < 1e-8
