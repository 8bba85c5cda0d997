"""Rings of maps against their exact spectra, and where the formula does not hold."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import lattices, maps

START = np.random.default_rng(3).uniform(size=16)
TENTS = lattices.coupled_ring(maps.tent(1.9), 0.3)


def spectrum(step, start=START, **settings):
    settings = {"num_steps": 2000, "num_transient": 2000, **settings}
    return lyapunov_spectrum(step, jnp.asarray(start), **settings).value


def test_constant_slope_has_the_exact_spectrum_and_its_leading_part(x64):
    """At ε = .8, where some factors are negative."""
    step = lattices.coupled_ring(maps.expanding(3.0), 0.8)
    exact = lattices.coupled_ring_exponents(math.log(3), 0.8, 16)
    np.testing.assert_allclose(spectrum(step), exact, atol=1e-9)
    np.testing.assert_allclose(spectrum(step, num_exponents=4), exact[:4], atol=1e-9)


def test_exact_exponents_are_those_of_the_coupling_matrix(x64):
    """Odd size; the matrix comes from differentiating the step of the identity."""
    matrix = jax.jacfwd(lattices.coupled_ring(lambda x: x, 0.6))(jnp.zeros(7))
    by_matrix = np.sort(np.log(np.abs(np.linalg.eigvalsh(matrix))))[::-1]
    exact = lattices.coupled_ring_exponents(0.0, 0.6, 7)
    np.testing.assert_allclose(exact, by_matrix, atol=1e-12)
    assert lattices.coupled_ring_exponents(1.0, 0.5, 6)[-1] == -np.inf


def test_equal_sites_stay_equal_and_have_the_exact_spectrum(x64):
    """Also for a map whose slope changes sign, such as the tent."""
    exact = lattices.coupled_ring_exponents(math.log(1.9), 0.3, 16)
    np.testing.assert_allclose(spectrum(TENTS, np.full(16, 0.3)), exact, atol=1e-9)


def test_unequal_tents_obey_only_the_sum_rule(x64):
    """Their largest exponent is .406 (measured), not ln 1.9 = .642."""
    exact = lattices.coupled_ring_exponents(math.log(1.9), 0.3, 16)
    measured = spectrum(TENTS)
    assert abs(measured.sum() - exact.sum()) < 1e-9
    assert abs(measured[0] - 0.406) < 0.02


def test_growth_of_volume_is_the_determinant(x64):
    state = jnp.asarray(2 * START - 1)
    step = lattices.coupled_ring(maps.quadratic(), 0.3)
    growth = lattices.coupled_ring_growth(maps.quadratic(), 0.3, state)
    determinant = jnp.linalg.slogdet(jax.jacfwd(step)(state))[1]
    np.testing.assert_allclose(growth, determinant, atol=1e-10)
