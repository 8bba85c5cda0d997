"""The product map, what it is reduced from, and its invariant ellipse."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.systems.training_maps import ellipse, product_map
from fracjax.systems.training_maps.product_map import Reduction

POINTS = np.random.default_rng(0).uniform(-2, 2, (256, 2))
SIZES = np.random.default_rng(1).uniform(0.05, 1.95, 256)


@jax.jit
def after_a_step(points, sizes):
    """All identities of one step at once: left and right sides, by name."""

    def one(state, size):
        step = product_map.product_map(size)
        moved = step(state)
        p, s = product_map.products(state)
        g = size * (1 - p)
        value = ellipse.ellipse_value(state, size)
        products = product_map.products_map(size)(jnp.stack([p, s]))
        hessian = jax.hessian(product_map.normalized_loss)(state)
        gram = product_map.products(product_map.from_products(jnp.stack([p, s])))
        turned = product_map.vector_product_map(size)(state[:, None])[:, 0]
        return {
            "E' is E (1 - mu^2 p (1 - p))": (
                ellipse.ellipse_value(moved, size),
                value * (1 - size**2 * p * (1 - p)),
            ),
            "the factor in g": (ellipse.ellipse_factor(state, size), 1 - size * g + g**2),
            "q and d": (
                jnp.stack([moved.sum(), moved[0] - moved[1]]),
                jnp.stack([state.sum() * (1 + g), (state[0] - state[1]) * (1 - g)]),
            ),
            "p and s are closed": (product_map.products(moved), products),
            "p and s and back": (gram, jnp.stack([p, s])),
            "vectors of one entry": (turned, moved),
            "volume": (
                product_map.log_volume_growth(state, size),
                jnp.linalg.slogdet(jax.jacfwd(step)(state))[1],
            ),
            "sharpness": (
                product_map.normalized_sharpness(state),
                jnp.linalg.eigvalsh(hessian)[-1],
            ),
            "the gradient": (
                moved,
                state - size * jax.grad(product_map.normalized_loss)(state),
            ),
        }

    return jax.vmap(one)(points, sizes)


def test_identities_of_a_step_at_random_points(x64):
    """To 1e-12, T1; the logarithm of a volume that may be small to 1e-9."""
    for name, (left, right) in after_a_step(POINTS, SIZES).items():
        tolerance = 1e-9 if name == "volume" else 1e-12
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance, err_msg=name)


def test_identities_in_single_precision():
    points, sizes = POINTS.astype(np.float32), SIZES.astype(np.float32)
    for name, (left, right) in after_a_step(points, sizes).items():
        assert left.dtype == jnp.float32, name
        # Both roots of p and s lose half the digits where |x| = |y|.
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=3e-3, err_msg=name)


def test_minima_have_multipliers_one_and_one_minus_mu_s(x64):
    factors = np.array([0.4, 1.0, 3.0])
    points = np.concatenate([np.stack([factors, 1 / factors], axis=1), np.zeros((1, 2))])
    jacobian = jax.jit(jax.vmap(jax.jacfwd(product_map.product_map(0.7))))
    found = np.sort(np.linalg.eigvals(np.asarray(jacobian(points))).real, axis=1)
    s = np.sum(points[:3] ** 2, axis=1)
    expected = [*np.sort(np.stack([np.ones(3), 1 - 0.7 * s], axis=1), axis=1), [0.3, 1.7]]
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_gradient_descent_is_the_product_map(size, x64):
    """Step for step, for scalars and vectors and all signs of a and b."""
    start = jnp.asarray(np.random.default_rng(2).normal(size=(2, size)) * 0.4)

    def paths(slope, target):
        reduction = Reduction(slope, target)
        rate = 0.9 / jnp.abs(slope * target)
        step_size = product_map.effective_step_size(reduction, rate)
        step = product_map.vector_product_map(step_size)

        def loss(factors):
            return (slope * jnp.sum(factors[0] * factors[1]) - target) ** 2 / 2

        def both(carry, _):
            factors, reduced = carry
            seen = loss(factors) / target**2, product_map.normalized_loss(reduced)
            moved = factors - rate * jax.grad(loss)(factors), step(reduced)
            back = product_map.original_factors(moved[1], reduction)
            return moved, ((moved[0], back), seen)

        reduced = product_map.reduced_factors(start, reduction)
        return step_size, jax.lax.scan(both, (start, reduced), length=30)[1]

    signs = np.array([[1.7, 0.6], [-0.8, 2.0], [-1.1, -0.4]])
    sizes, ((path, back), (loss, reduced_loss)) = jax.jit(jax.vmap(paths))(*signs.T)
    np.testing.assert_allclose(sizes, 0.9, atol=1e-14)
    np.testing.assert_allclose(path, back, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(loss, reduced_loss, atol=1e-12)


def test_a_problem_without_a_target_has_no_units():
    found = product_map.reduced_factors(jnp.ones(2), Reduction(1.0, 0.0))
    assert jnp.all(jnp.isnan(found))


@jax.jit
def around_the_ellipse(angles, size):
    """E, p, the map and the map of angles, at angles."""
    points = ellipse.ellipse_point(angles, size)
    moved = jax.vmap(product_map.product_map(size), 1, 1)(points)
    values = jax.vmap(lambda xy: ellipse.ellipse_value(xy, size), 1)(points)
    back = jax.vmap(lambda xy: ellipse.ellipse_angle(xy, size), 1)(points)
    expected = ellipse.ellipse_point(ellipse.angle_map()(angles), size)
    return values, points[0] * points[1], back, moved, expected


def test_angles_triple_on_the_ellipse(x64):
    """T1: theta -> pi - 3 theta, E = 0, p = 1 + (2/mu) cos 2 theta, to 1e-12."""
    angles = np.linspace(-3.0, 3.0, 101)
    for size in (0.2, 1.0, 1.5, 1.9):
        values, product, back, moved, expected = around_the_ellipse(angles, size)
        scale = 4 / size**2
        np.testing.assert_allclose(values, 0, atol=1e-13 * scale)
        np.testing.assert_allclose(moved, expected, atol=1e-12 * scale)
        np.testing.assert_allclose(back, angles, atol=1e-13)
        law = 1 + 2 / size * np.cos(2 * angles)
        np.testing.assert_allclose(product, law, atol=1e-13 * scale)


@pytest.mark.parametrize(
    "size",
    [*[pytest.param(each, marks=pytest.mark.slow) for each in (0.3, 1.0, 1.5)], 1.9],
)
def test_transverse_exponent_and_volume_are_averages_over_the_ellipse(size, x64):
    """T1: against a quadrature of 2e6 points, which for a periodic function is exact."""
    angles = (jnp.arange(2_000_000) + 0.5) * (2 * jnp.pi / 2_000_000)

    @jax.jit
    def averages(angles):
        states = ellipse.ellipse_point(angles, size)
        p, s = states[0] * states[1], states[0] ** 2 + states[1] ** 2
        g = size * (1 - p)
        determinant = 1 - g**2 - size * s + 2 * size * g * p
        across = jnp.mean(jnp.log(1 - size**2 * p * (1 - p)))
        return across, jnp.mean(jnp.log(jnp.abs(determinant))), jnp.mean((1 - p) ** 2) / 2

    across, volume, loss = map(float, averages(angles))
    closed = float(ellipse.ellipse_transverse_exponent(size))
    assert abs(across - closed) < 1e-12
    assert abs(volume - math.log(3) - closed) < 1e-12
    assert abs(loss * size**2 - 1) < 1e-12
    assert abs(ellipse.ellipse_mean_loss(size) - loss) < 1e-12 * loss


def test_transverse_exponents_that_are_known(x64):
    """Three that were computed for this project, and three closed forms."""
    sizes = np.array([0.3, 1.0, 1.9, 1.5, 0.0, 2.0, 2.1])
    found = np.asarray(ellipse.ellipse_transverse_exponent(sizes))
    np.testing.assert_allclose(found[:3], [0.954300, 0.862555, 0.351469], atol=5e-7)
    golden = (1 + math.sqrt(5)) / 2
    np.testing.assert_allclose(found[3:5], [math.log(2), 2 * math.log(golden)], rtol=1e-14)
    assert abs(found[5]) < 1e-7
    assert np.isnan(found[6])


def test_the_ellipse_map_stays_on_its_ellipse_with_the_map_s_derivative(x64):
    kept, free = ellipse.ellipse_map(1.5), product_map.product_map(1.5)

    @jax.jit
    def run(start):
        def both(carry, _):
            values = [ellipse.ellipse_value(state, 1.5) for state in carry]
            return (kept(carry[0]), free(carry[1])), jnp.stack(values)

        values = jax.lax.scan(both, (start, start), length=200)[1]
        return values, jax.jacfwd(kept)(start), jax.jacfwd(free)(start)

    values, own, map_s = run(ellipse.ellipse_point(jnp.array(0.3), 1.5))
    assert np.max(np.abs(values[:, 0])) < 1e-13
    assert not np.abs(values[-1, 1]) < 0.01  # rounding has left the ellipse
    np.testing.assert_allclose(own, map_s, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_critical_step_size_is_where_the_ellipse_is_crossed(size, x64):
    """T2: eta < eta* if and only if E < 0 and mu < 1; likewise 2/|y| and mu < 2."""
    draws = np.random.default_rng(3)
    u, v = draws.normal(size=(2, 4000, size)) * draws.uniform(0, 3, (4000, 1))
    target = draws.choice([-1, 1], 4000) * draws.uniform(0.2, 2, 4000)
    rate = draws.uniform(0, 3, 4000) / np.abs(target)

    def one(u, v, target, rate):
        reduction = Reduction(1.0, target)
        state = product_map.reduced_factors(jnp.stack([u, v]), reduction)
        step_size = product_map.effective_step_size(reduction, rate)
        value = ellipse.ellipse_value(state, step_size)
        critical = ellipse.critical_step_size(u, v, target)
        bounded = ellipse.largest_bounded_step_size(u, v, target)
        return step_size, value, rate < critical, rate < bounded

    step_size, value, converges, bounded = map(
        np.asarray, jax.jit(jax.vmap(one))(u, v, target, rate)
    )
    clear = np.abs(value) > 1e-9
    np.testing.assert_array_equal(converges[clear], ((value < 0) & (step_size < 1))[clear])
    np.testing.assert_array_equal(bounded[clear], ((value < 0) & (step_size < 2))[clear])
    assert 0.02 < converges.mean() < bounded.mean() < 0.9


def test_without_a_target_the_critical_step_size_is_four_over_the_squares():
    u, v = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
    chex.assert_trees_all_close(ellipse.critical_step_size(u, v, 0.0), 4 / 6.25, rtol=1e-6)
