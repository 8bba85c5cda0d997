"""Self-similar measures against their own symmetry: moments, cells, closed-form dimensions."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.systems import fractals

BINOMIAL = fractals.cantor((0.5, 0.5), (0.3, 0.7))
UNEQUAL = fractals.cantor((0.25, 0.5), (0.3, 0.7))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (fractals.cantor(), math.log(2) / math.log(3)),
        (fractals.sierpinski_triangle(), math.log(3) / math.log(2)),
        (fractals.sierpinski_carpet(), math.log(8) / math.log(3)),
        (fractals.koch_curve(), math.log(4) / math.log(3)),
    ],
)
@pytest.mark.parametrize("order", [0.0, 1.0, 2.0, 0.5])
def test_uniform_sets_have_one_dimension(measure, expected, order):
    assert measure.dimension(order) == pytest.approx(expected, abs=1e-12)


def test_binomial_measure_has_its_closed_form():
    for order in (0.0, 0.5, 2.0, 3.0):
        expected = math.log2(0.3**order + 0.7**order) / (1 - order)
        assert BINOMIAL.dimension(order) == pytest.approx(expected, abs=1e-12)
    entropy = -(0.3 * math.log2(0.3) + 0.7 * math.log2(0.7))
    assert BINOMIAL.dimension(1.0) == pytest.approx(entropy, abs=1e-12)
    assert BINOMIAL.dimension(math.inf) == pytest.approx(-math.log2(0.7), abs=1e-12)


def test_unequal_copies_solve_their_equation_and_fall_with_the_order():
    """Dimensions never rise with q, and q = 1 is the limit from both sides."""
    orders = [0.0, 0.5, 0.999999, 1.0, 1.000001, 2.0, 5.0]
    values = [UNEQUAL.dimension(order) for order in orders]
    assert all(left >= right - 1e-9 for left, right in itertools.pairwise(values))
    assert values[3] == pytest.approx((values[2] + values[4]) / 2, abs=1e-6)
    moran = 0.25 ** values[0] + 0.5 ** values[0]
    assert moran == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    "measure",
    [UNEQUAL, fractals.sierpinski_triangle(), fractals.sierpinski_carpet(), fractals.koch_curve()],
)
def test_samples_have_the_moments_that_self_similarity_dictates(measure, x64):
    """Means solve m = Σ w (r R m + t); the second moment likewise. Within 5 standard errors."""
    points = np.asarray(jax.jit(lambda k: measure.sample(k, 20_000))(jax.random.key(0)))
    dim = points.shape[1]
    angles = measure.angles or (0.0,) * len(measure.ratios)
    matrices = [
        r * (np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) if dim == 2 else 1)
        for r, a in zip(measure.ratios, angles, strict=True)
    ]
    matrices = [np.eye(dim) @ np.atleast_2d(m) for m in matrices]
    shifts = [np.asarray(t) for t in measure.translations]
    copies = list(zip(measure.weights, matrices, shifts, strict=True))
    linear = sum(w * m for w, m, _ in copies)
    mean = np.linalg.solve(np.eye(dim) - linear, sum(w * t for w, _, t in copies))
    errors = points.std(axis=0) / len(points) ** 0.5
    assert np.all(np.abs(points.mean(axis=0) - mean) < 5 * errors)

    second = np.zeros((dim, dim))
    for _ in range(200):
        second = sum(
            w * (m @ second @ m.T + m @ np.outer(mean, t) + np.outer(t, m @ mean) + np.outer(t, t))
            for w, m, t in copies
        )
    products = points[:, :, None] * points[:, None, :]
    errors = products.std(axis=0) / len(points) ** 0.5
    assert np.all(np.abs(products.mean(axis=0) - second) < 5 * errors + 1e-12)


def test_middle_third_samples_avoid_the_gaps_at_every_level(x64):
    x = np.asarray(fractals.cantor().sample(jax.random.key(1), 5000))[:, 0]
    for _ in range(20):
        assert np.all((x < 1 / 3 + 1e-6) | (x > 2 / 3 - 1e-6))
        x = np.where(x > 0.5, 3 * x - 2, 3 * x)


def test_weights_decide_how_often_a_copy_is_drawn(x64):
    """Null: binomial with probability .3 · .7 for the second-level cell, 5 standard errors."""
    x = BINOMIAL.sample(jax.random.key(2), 20_000)[:, 0]
    share = float(jnp.mean((x > 0.25) & (x < 0.5)))
    assert abs(share - 0.21) < 5 * (0.21 * 0.79 / 20_000) ** 0.5


@pytest.mark.usefixtures("single_precision")
def test_addresses_are_as_deep_as_the_dtype():
    """In float32 no two of 2000 points of the triangle coincide, and the dtype is the default."""
    points = fractals.sierpinski_triangle().sample(jax.random.key(3), 2000)
    assert points.dtype == jnp.float32
    assert len(np.unique(np.asarray(points), axis=0)) > 1990


def test_circle_and_cube():
    circle = fractals.uniform_circle(jax.random.key(4), 1000)
    np.testing.assert_allclose(jnp.linalg.norm(circle, axis=1), 1, atol=1e-6)
    assert float(jnp.abs(circle.mean(axis=0)).max()) < 5 * (0.5 / 1000) ** 0.5
    cube = fractals.uniform_cube(jax.random.key(5), 1000, dim=3)
    assert cube.shape == (1000, 3)
    assert float(jnp.abs(cube.mean(axis=0) - 0.5).max()) < 5 * (1 / 12 / 1000) ** 0.5


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: fractals.cantor((0.6, 0.6)), "ratios"),
        (lambda: fractals.cantor((0.3, 0.3), (0.5, 0.6)), "weights"),
        (lambda: fractals.SelfSimilarMeasure((1.5,), ((0.0,),), (1.0,)), "ratios"),
        (lambda: fractals.SelfSimilarMeasure((0.5,), ((0.0,), (0.5,)), (1.0,)), "weights"),
    ],
)
def test_settings_out_of_range_are_named(make, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        make()
