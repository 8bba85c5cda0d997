"""Maps: what they conserve, without exponents."""

import chex
import jax
import jax.numpy as jnp
import pytest

from fracjax.systems import maps

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


def test_quadratic_is_the_logistic_map_on_another_interval(x64):
    """x = 2 y - 1 conjugates them."""
    y = jnp.linspace(0.0, 1.0, 11)
    moved = maps.quadratic()(2 * y - 1)
    chex.assert_trees_all_close(moved, 2 * maps.logistic()(y) - 1, atol=1e-14)


def test_folded_towel_by_hand_and_bounded(x64):
    """At x = 1/2, y = 0.15, z = 1/4: u = 1/4."""
    step = maps.folded_towel()
    moved = step(jnp.array([0.5, 0.15, 0.25]))
    by_hand = jnp.array([0.95 - 0.0125, -0.075 * 0.05, 0.70875 + 0.03])
    chex.assert_trees_all_close(moved, by_hand, atol=1e-14)
    start = jnp.array([0.085, -0.121, 0.075])
    orbit = jax.lax.scan(lambda s, _: (step(s), s), start, length=1000)[1]
    assert jnp.all((orbit > jnp.array([0.0, -0.2, 0.0])) & (orbit < jnp.array([1.0, 0.2, 1.0])))


def test_tent_refuses_the_slope_that_collapses():
    with pytest.raises(ValueError, match="`slope` must lie inside"):
        maps.tent(2.0)


def test_gaussian_products_keep_the_vector_at_zero_and_change_the_key():
    key, vector = maps.gaussian_products()((jax.random.key(0), jnp.zeros(3)))
    assert jnp.all(vector == 0)
    assert key != jax.random.key(0)
