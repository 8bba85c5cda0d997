"""Dimensions of sets of points whose dimensions are known: values, coverage, refusals."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.dimensions import fractal_dimensions
from fracjax.estimators.dimensions.takens import takens_dimension
from fracjax.systems import fractals, maps

ASYMMETRIC = fractals.cantor((0.25, 0.5), (0.3, 0.7))
BINOMIAL = fractals.cantor((0.5, 0.5), (0.3, 0.7))
TRIANGLE = fractals.sierpinski_triangle()
HENON_D2 = (1.213, 0.02)  # measured in this project, see `correlation_dimension`


def henon(key, num_points):
    """An orbit; in float64, because in float32 some close to a cycle within 10^4 steps."""
    step = maps.henon()
    state = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)
    return jax.lax.scan(lambda s, _: (step(s), step(s)), state, length=num_points + 100)[1][100:]


SETS = {
    "cantor": (fractals.cantor().sample, fractals.cantor().dimension),
    "asymmetric": (ASYMMETRIC.sample, ASYMMETRIC.dimension),
    "binomial": (BINOMIAL.sample, BINOMIAL.dimension),
    "triangle": (TRIANGLE.sample, TRIANGLE.dimension),
    "circle": (fractals.uniform_circle, lambda order: 1.0),
    "square": (fractals.uniform_cube, lambda order: 2.0),
    "henon": (henon, lambda order: HENON_D2[0]),
}


def over_seeds(name, num_points, estimate, seeds=200):
    draw = SETS[name][0]
    keys = jax.random.split(jax.random.key(11), seeds)
    return jax.jit(
        lambda keys: jax.lax.map(lambda k: estimate(draw(k, num_points)), keys, batch_size=10)
    )(keys)


def assert_covers(estimate, truth, *, lowest=0.93, slack=0.0):
    """Null: the nominal 95 %, less 2 % for the search; misfit may make it up to all."""
    covered = (estimate.low - slack < truth) & (estimate.high + slack > truth)
    assert covered.sum() >= binom.ppf(1e-3, len(covered), lowest)


@functools.cache
def correlation(name, num_points):
    return over_seeds(name, num_points, fractal_dimensions.correlation_dimension)


# --- correlation ----------------------------------------------------------------------------

CELLS = {  # bias, standard deviation as the docstring has them
    ("cantor", 1000): (-0.001, 0.004),
    ("asymmetric", 1000): (0.004, 0.006),
    ("circle", 1000): (-0.002, 0.008),
    ("triangle", 1000): (0.006, 0.023),
    ("square", 1000): (0.001, 0.059),
}


@pytest.mark.parametrize(
    "cell",
    [
        cell if cell[0] == "asymmetric" else pytest.param(cell, marks=pytest.mark.slow)
        for cell in CELLS
    ],
)
def test_correlation_dimension_covers_the_truth(cell, optimised):
    """The stated bias within 4 of its errors, the stated scatter within a quarter."""
    estimate, (bias, scatter) = correlation(*cell), CELLS[cell]
    truth = SETS[cell[0]][1](2.0)
    assert_covers(estimate, truth)
    assert estimate.ok.mean() > 0.95
    assert abs(estimate.value.mean() - truth - bias) < 4 * scatter / 200**0.5 + 0.001
    assert abs(estimate.value.std() / scatter - 1) < 0.25
    assert np.median(estimate.stderr) < 2.5 * scatter


@pytest.mark.slow
def test_correlation_dimension_covers_that_of_an_orbit(x64):
    """Hénon: the truth is known to 0.01 only, which is added to the interval."""
    estimate = correlation("henon", 1000)
    assert_covers(estimate, HENON_D2[0], slack=HENON_D2[1])
    assert abs(estimate.value.mean() - HENON_D2[0]) < HENON_D2[1]


def test_references_stand_for_all(x64):
    points = SETS["asymmetric"][0](jax.random.key(0), 2000)
    whole = fractal_dimensions.correlation_dimension(points)
    part = fractal_dimensions.correlation_dimension(points, num_references=500)
    assert abs(part.value - whole.value) < 3 * part.stderr
    assert part.stderr > whole.stderr


def test_scales_may_come_in_any_order(x64):
    points = SETS["circle"][0](jax.random.key(1), 1000)
    scales = 2.0 ** -np.arange(10)
    falling = fractal_dimensions.correlation_dimension(points, scales=scales)
    rising = fractal_dimensions.correlation_dimension(points, scales=scales[::-1])
    assert falling.status == Status.OK
    assert abs(falling.value - 1) < 3 * falling.stderr
    chex.assert_trees_all_close(falling, rising)
    np.testing.assert_allclose(falling.details["scales"], scales)


def test_dimension_ignores_units_and_place(x64):
    points = SETS["asymmetric"][0](jax.random.key(2), 2000)
    one = fractal_dimensions.correlation_dimension(points)
    other = fractal_dimensions.correlation_dimension(1e3 * points - 7)
    np.testing.assert_allclose(other.value, one.value, atol=1e-6)
    np.testing.assert_allclose(other.details["scales"], 1e3 * one.details["scales"])


# --- boxes ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("order", [0.0, 1.0])
@pytest.mark.parametrize("name", ["cantor", "asymmetric", "binomial", "circle"])
def test_box_dimensions_cover_the_truth(name, order):
    estimate = over_seeds(
        name, 4000, lambda x: fractal_dimensions.generalized_dimension(x, order), seeds=200
    )
    assert_covers(estimate, SETS[name][1](order), lowest=0.92)
    assert estimate.ok.mean() > 0.95


def test_orders_of_a_multifractal_are_told_apart(x64):
    """D_0 = 1, D_1 = 0.881, D_2 = 0.786: each within 3 errors, in the right order."""
    points = BINOMIAL.sample(jax.random.key(3), 2000)
    found = [
        fractal_dimensions.box_counting_dimension(points),
        fractal_dimensions.information_dimension(points),
        fractal_dimensions.generalized_dimension(points, 2.0),
        fractal_dimensions.correlation_dimension(points),
    ]
    for estimate, order in zip(found, (0.0, 1.0, 2.0, 2.0), strict=True):
        assert estimate.status == Status.OK
        assert abs(estimate.value - BINOMIAL.dimension(order)) < 3 * estimate.stderr
    assert found[0].value > found[1].value > found[2].value
    assert found[0].low > found[2].high


@pytest.mark.slow
def test_higher_orders_agree_between_methods(x64):
    points = BINOMIAL.sample(jax.random.key(4), 4000)
    for method in ("boxes", "correlation"):
        estimate = fractal_dimensions.generalized_dimension(points, 3.0, method=method)
        assert estimate.status == Status.OK
        assert abs(estimate.value - BINOMIAL.dimension(3.0)) < 3 * estimate.stderr


# --- maximum likelihood ---------------------------------------------------------------------


def test_takens_covers_a_pure_power():
    """Chords of a circle below 0.1 are arcs to 0.1 %. Null: 95 %, 200 seeds."""
    estimate = over_seeds("circle", 500, lambda x: takens_dimension(x, 0.1))
    assert_covers(estimate, 1.0, lowest=0.95)
    covered = ((estimate.low < 1) & (estimate.high > 1)).sum()
    assert covered <= binom.ppf(1 - 1e-3, 200, 0.985)
    assert np.all(estimate.ok)


def test_takens_is_biased_where_the_power_bends(optimised):
    """Unit square below 0.1: 0.06 too low by the edge, as the docstring says."""
    estimate = over_seeds("square", 1000, lambda x: takens_dimension(x, 0.1), seeds=50)
    assert abs(estimate.value.mean() - 1.94) < 0.02


def test_takens_needs_pairs():
    estimate = takens_dimension(fractals.uniform_cube(jax.random.key(0), 300), 1e-4)
    assert estimate.status == Status.TOO_FEW_POINTS
    assert np.isnan(estimate.value)


def test_a_radius_must_be_positive():
    with pytest.raises(ValueError, match="Argument `radius` must be positive"):
        takens_dimension(jnp.zeros((300, 2)), -0.1)


# --- contracts ------------------------------------------------------------------------------

ESTIMATORS = {
    "boxes": fractal_dimensions.information_dimension,
    "correlation": fractal_dimensions.correlation_dimension,
    "takens": lambda points: takens_dimension(points, 0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_jit_vmap_dtype_and_bad_data(name):
    """jit is eager, a batch is a loop, float32 is float64 to a tenth of an error."""
    run = ESTIMATORS[name]
    points = jax.vmap(lambda k: BINOMIAL.sample(k, 2000))(jax.random.split(jax.random.key(5), 2))
    spoiled = points[0].at[3, 0].set(jnp.nan)
    batch = jnp.stack([*points, spoiled, jnp.ones_like(spoiled)])
    found = jax.jit(jax.vmap(run))(batch)
    assert found.value.dtype == jnp.float32
    assert found.status.tolist() == [0, 0, Status.DIVERGED, Status.AT_NOISE_FLOOR]
    for numbers in (found.value, found.stderr, found.low, found.high):
        assert np.array_equal(np.isnan(numbers), [False, False, True, True])
    eager = run(points[1])
    assert abs(eager.value - found.value[1]) < 0.02 * eager.stderr
    with jax.enable_x64(True):
        double = run(np.asarray(points[0], np.float64))
        assert double.value.dtype == jnp.float64
    assert abs(float(double.value) - float(found.value[0])) < 0.1 * float(double.stderr)


def test_many_dimensions_need_more_points():
    """500 points in five dimensions fill no decade of boxes, and no number is made up."""
    estimate = fractal_dimensions.box_counting_dimension(
        fractals.uniform_cube(jax.random.key(6), 500, dim=5)
    )
    assert estimate.status == Status.NO_SCALING_REGION
    assert np.isnan(estimate.value)


@pytest.mark.parametrize(
    ("arguments", "settings", "name"),
    [
        ((jnp.zeros(300), 2.0), {}, "points"),
        ((jnp.zeros((150, 2)), 2.0), {}, "points"),
        ((jnp.zeros((300, 2)), 2.0), {"num_blocks": 10}, "num_blocks"),
        ((jnp.zeros((300, 2)), -1.0), {}, "order"),
        ((jnp.zeros((300, 2)), math.inf), {}, "order"),
        ((jnp.zeros((300, 2)), 1.0), {"method": "correlation"}, "order"),
        ((jnp.zeros((300, 2)), 2.0), {"method": "fixed mass"}, "method"),
        ((jnp.zeros((300, 2)), 2.0), {"theiler_window": 3}, "method"),
        ((jnp.zeros((300, 2)), 2.0), {"method": "correlation", "scales": jnp.ones(3)}, "scales"),
        ((jnp.zeros((300, 2)), 2.0), {"method": "correlation", "scales": jnp.ones(5)}, "scales"),
    ],
)
def test_settings_out_of_range_are_named(arguments, settings, name):
    points, order = arguments
    if points.ndim == 1:  # what a user gets who does not check types
        with pytest.raises(Exception, match=name):
            fractal_dimensions.generalized_dimension(points, order, **settings)
        return
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        fractal_dimensions.generalized_dimension(points, order, **settings)
