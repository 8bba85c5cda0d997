"""Random networks: mean-field theory, exact volume growth, and the two trivial spectra."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import maps, recurrent

KEY = jax.random.key(0)
# Gain, largest exponent. All digits that the project's reference page lists.
TABLE = [
    (1.1, 0.005069),
    (1.2, 0.016476),
    (1.5, 0.065217),
    (2.0, 0.154724),
    (3.0, 0.310249),
    (5.0, 0.532428),
    (10.0, 0.856435),
]


@pytest.mark.parametrize(("gain", "exponent"), TABLE)
def test_mean_field_exponent(gain, exponent):
    assert abs(recurrent.mean_field_exponent(gain) - exponent) < 6e-7


def test_mean_field_against_gauss_hermite_quadrature():
    """300 nodes are exact to rounding while √q is small, here q = .79."""
    theory = recurrent.mean_field(1.5)
    z, weights = np.polynomial.hermite_e.hermegauss(300)
    weights = weights / weights.sum()
    x = math.sqrt(theory.variance) * z
    assert abs(theory.variance - 1.5**2 * weights @ np.tanh(x) ** 2) < 1e-12
    exponent = math.log(1.5 * math.sqrt(weights @ np.cosh(np.clip(x, -40, 40)) ** -4.0))
    assert abs(theory.exponent - exponent) < 1e-12


def test_mean_field_at_the_edges():
    quiet = recurrent.mean_field(0.5)
    np.testing.assert_allclose(quiet, (0.0, math.log(0.5), math.log(0.5) - 0.5), atol=1e-12)
    assert abs(recurrent.mean_field_exponent(1.0)) < 1e-12
    # For large gains signs decide: tanh² → 1, and all but a share of units is saturated.
    assert abs(recurrent.mean_field(1000.0).variance / 1e6 - 1) < 2e-3
    with pytest.raises(ValueError, match="Argument `gain` must"):
        recurrent.mean_field(0.0)


@pytest.mark.slow
def test_a_large_network_has_the_mean_field_exponent(x64):
    """Gate: .310 ± .01 at 2048 units. Finite size costs .002 here, .004 at 512 units."""
    step = recurrent.tanh_network(recurrent.gaussian_coupling(KEY, 2048, 3.0))
    start = jnp.asarray(np.random.default_rng(0).normal(size=2048))
    settings = {"num_steps": 1000, "num_transient": 300, "num_exponents": 2}
    estimate = lyapunov_spectrum(step, start, **settings)
    assert abs(float(estimate.value[0]) - recurrent.mean_field_exponent(3.0)) < 0.01


def test_a_quiet_network_has_the_eigenvalues_of_its_couplings(x64):
    matrix = recurrent.gaussian_coupling(KEY, 64, 0.5)
    step = recurrent.tanh_network(matrix)
    settings = {"num_steps": 5000, "num_transient": 2000, "num_exponents": 3}
    estimate = lyapunov_spectrum(step, jnp.full(64, 0.1), **settings)
    moduli = np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64)))
    exact = np.sort(np.log(moduli))[::-1]
    np.testing.assert_allclose(estimate.value, exact[:3], atol=1e-3)


def test_an_orthogonal_network_contracts_all_directions_equally(x64):
    step = maps.linear(recurrent.orthogonal_coupling(KEY, 3, 0.9))
    estimate = lyapunov_spectrum(step, jnp.zeros(3), num_steps=500)
    np.testing.assert_allclose(estimate.value, math.log(0.9), atol=1e-12)


@pytest.mark.parametrize("gain", [3.0, 10.0])
def test_growth_of_volume_is_the_determinant(gain, x64):
    """At gain 10 the plain derivative of tanh rounds to zero at some unit."""
    matrix = recurrent.gaussian_coupling(KEY, 64, gain)
    step = recurrent.tanh_network(matrix)
    state = jax.lax.fori_loop(0, 100, lambda _, s: step(s), jnp.linspace(-1.0, 1.0, 64))
    determinant = jnp.linalg.slogdet(jax.jacfwd(step)(state))[1]
    np.testing.assert_allclose(
        recurrent.tanh_network_growth(matrix)(state), determinant, rtol=1e-12
    )


def test_mean_exponent_is_the_mean_growth_of_volume(x64):
    """An exact identity of each network. Over 60 steps two compiled orbits are still one."""
    matrix = recurrent.gaussian_coupling(KEY, 32, 3.0)
    step, growth = recurrent.tanh_network(matrix), recurrent.tanh_network_growth(matrix)
    start = jnp.linspace(-1.0, 1.0, 32)
    orbit = jax.lax.scan(lambda s, _: (step(s), s), start, length=60)[1]
    estimate = lyapunov_spectrum(step, start, num_steps=60)
    assert estimate.details["num_steps"] == 60
    assert abs(float(estimate.value.sum() - jax.vmap(growth)(orbit).mean())) / 32 < 1e-9


def test_saturate_is_tanh_with_the_derivative_of_tanh():
    """Where 1 - tanh² is exactly zero in float32."""
    x = jnp.array([-30.0, -12.0, -1.0, 0.0, 0.5, 12.0], jnp.float32)
    value, slope = jax.jvp(recurrent.saturate, (x,), (jnp.ones_like(x),))
    chex.assert_trees_all_close(value, jnp.tanh(x))
    exact = 1 / np.cosh(np.asarray(x, np.float64)) ** 2
    np.testing.assert_allclose(slope, exact, rtol=2e-6)
    assert slope.dtype == jnp.float32
    chex.assert_trees_all_close(jax.vmap(jax.grad(recurrent.saturate))(x), slope, rtol=1e-6)


def test_the_rate_network_is_the_limit_of_the_leaky_one(x64):
    matrix = recurrent.gaussian_coupling(KEY, 8, 2.0, zero_diagonal=True)
    state, field = jnp.linspace(-2.0, 2.0, 8), recurrent.rate_network(matrix)
    step = recurrent.tanh_network(matrix, leak=1e-3)
    chex.assert_trees_all_close((step(state) - state) / 1e-3, field(state), atol=1e-10)
    assert abs(float(jnp.trace(jax.jacfwd(field)(state))) + 8) < 1e-12


@pytest.mark.usefixtures("single_precision")
def test_couplings_have_their_variance_and_do_not_depend_on_the_precision():
    """Variance of 40 000 entries within 5 standard errors."""
    single = recurrent.gaussian_coupling(KEY, 200, 3.0)
    with jax.enable_x64(True):
        double = recurrent.gaussian_coupling(KEY, 200, 3.0)
    np.testing.assert_array_equal(single, double)
    assert abs(float(single.var()) * 200 / 9 - 1) < 5 * (2 / 40_000) ** 0.5
    hollow = recurrent.gaussian_coupling(KEY, 200, 3.0, zero_diagonal=True)
    assert np.all(np.diagonal(hollow) == 0)
    assert np.array_equal(hollow - single, -np.diag(np.diagonal(single)))
    step = recurrent.tanh_network(single)
    assert step(jnp.zeros(200)).dtype == jnp.float32
