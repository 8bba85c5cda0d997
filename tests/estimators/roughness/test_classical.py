"""Classical numbers: exact on lines, biased on Brownian motions as documented, and they say so."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.roughness import classical
from fracjax.systems.signals import fractional_brownian_motion

FUNCTIONS = {
    "katz": classical.katz_fractal_dimension,
    "higuchi": classical.higuchi_fractal_dimension,
    "boxes": classical.graph_box_dimension,
}
# Bias and standard deviation with 256 samples, as in the docstrings.
BIASES = {
    ("katz", 0.1): (1.74, 0.51),
    ("katz", 0.5): (0.32, 0.26),
    ("higuchi", 0.1): (0.0, 0.029),
    ("higuchi", 0.9): (0.016, 0.065),
    ("boxes", 0.1): (-0.33, 0.025),
    ("boxes", 0.5): (-0.19, 0.044),
}


def quietly(function):
    def run(*arguments, **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **settings)

    return run


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_warns_and_names_what_to_use(name):
    with pytest.warns(UserWarning, match="Use graph_dimension"):
        FUNCTIONS[name](jnp.arange(64.0))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("num_points", [64, 257])
def test_a_straight_line_has_dimension_one(name, num_points, x64):
    """Higuchi's steps that do not divide the series, and columns left over, do not matter."""
    ramp = 3.0 - 0.7 * jnp.arange(float(num_points))
    found = quietly(FUNCTIONS[name])(ramp)
    assert abs(found - 1) < (0.05 if name == "boxes" else 1e-9)


@pytest.mark.parametrize(("name", "hurst"), BIASES)
def test_biases_are_those_that_the_docstrings_give(name, hurst):
    """Mean over 200 fractional Brownian motions, within 4 of its errors and the last digit."""
    bias, scatter = BIASES[name, hurst]
    run = quietly(FUNCTIONS[name])
    keys = jax.random.split(jax.random.key(3), 200)
    found = jax.jit(jax.vmap(lambda k: run(fractional_brownian_motion(k, hurst, 256))))(keys)
    assert abs(found.mean() - (2 - hurst) - bias) < 4 * scatter / 200**0.5 + 0.005
    assert abs(found.std() / scatter - 1) < 0.25


def test_katz_depends_on_the_number_of_samples():
    """The same motion at H = 0.3 seen at four times as many samples: no dimension does that."""
    run = quietly(classical.katz_fractal_dimension)
    keys = jax.random.split(jax.random.key(4), 200)
    means = [
        jax.jit(jax.vmap(lambda k, n=n: run(fractional_brownian_motion(k, 0.3, n))))(keys).mean()
        for n in (256, 4096)
    ]
    assert means[1] - means[0] > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_jit_vmap_dtype_and_bad_data(name):
    run = quietly(FUNCTIONS[name])
    series = fractional_brownian_motion(jax.random.key(5), 0.5, 200)
    batch = jnp.stack([series, series.at[7].set(jnp.nan), jnp.ones(200)])
    found = jax.jit(jax.vmap(run))(batch)
    assert found.dtype == jnp.float32
    assert np.array_equal(np.isnan(found), [False, True, True])
    np.testing.assert_allclose(run(series), found[0], rtol=1e-5)
    with jax.enable_x64(True):
        double = run(np.asarray(series, np.float64))
        assert double.dtype == jnp.float64
    np.testing.assert_allclose(np.asarray(double), np.asarray(found[0]), atol=1e-3)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_short_series_are_named(name):
    with pytest.raises(ValueError, match="Argument `values` must"):
        FUNCTIONS[name](jnp.zeros(31))


def test_lags_out_of_range_are_named():
    with pytest.raises(ValueError, match="Argument `max_lag` must"):
        classical.higuchi_fractal_dimension(jnp.zeros(64), max_lag=17)
