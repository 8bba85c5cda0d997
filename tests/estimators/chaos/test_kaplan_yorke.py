"""Dimension and entropy: exact cases, error propagation against replicates, failures."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Estimate, Status
from fracjax.estimators.chaos.kaplan_yorke import entropy_bound, kaplan_yorke_dimension
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import maps


def spectrum_of(*values, blocks=16):
    value = jnp.asarray(values, float)
    stderr = jnp.full(value.shape, 0.1)
    status = jnp.zeros(value.shape, int)
    rates = jnp.broadcast_to(value, (blocks, len(value)))
    return Estimate(value, stderr, value - 0.2, value + 0.2, status, {"blocks": rates})


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ((-1.0, -2.0), 0.0),
        ((0.5, -1.0), 1.5),
        ((0.0, -1.0), 1.0),
        ((1.0, 0.0, -4.0), 2.25),
        ((-4.0, 0.0, 1.0), 2.25),  # any order
        ((1.0, 0.5, -1.5, -3.0), 3.0),
        ((1.0, -0.5), 2.0),
        ((0.3, 0.2), 2.0),
        ((0.5, -math.inf), 1.0),
    ],
)
def test_dimension_of_given_exponents(exponents, dimension, x64):
    estimate = kaplan_yorke_dimension(spectrum_of(*exponents))
    assert estimate.status == Status.OK
    np.testing.assert_allclose(estimate.value, dimension, atol=1e-12)


def test_an_incomplete_spectrum_has_no_dimension_unless_it_suffices(x64):
    short = kaplan_yorke_dimension(spectrum_of(1.0, 0.5), num_coordinates=5)
    assert short.status == Status.NOT_CONVERGED
    assert np.isnan(short.value)
    assert kaplan_yorke_dimension(spectrum_of(1.0, -4.0), num_coordinates=5).value == 1.25


def test_entropy_adds_the_positive(x64):
    estimate = entropy_bound(spectrum_of(1.0, 0.5, -2.0))
    assert (float(estimate.value), int(estimate.status)) == (1.5, Status.OK)
    assert entropy_bound(spectrum_of(-1.0, -2.0)).value == 0
    assert entropy_bound(spectrum_of(1.0, 0.5)).status == Status.NOT_CONVERGED


@pytest.mark.parametrize("function", [kaplan_yorke_dimension, entropy_bound])
def test_blocks_that_a_run_left_empty_do_not_count(function, x64):
    """An adaptive run fills its buffer or three quarters of it: error and interval of these."""
    rates = jnp.array([0.5, -1.0]) + 0.1 * jax.random.normal(jax.random.key(0), (96, 2))
    full = dataclasses.replace(spectrum_of(0.5, -1.0), details={"blocks": rates})
    padded = jnp.concatenate([rates, jnp.full((32, 2), jnp.nan)])
    part = dataclasses.replace(full, details={"blocks": padded})
    expected, found = function(full), function(part)
    assert found.stderr > 0
    for name in ("stderr", "low", "high"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


@pytest.mark.slow
def test_errors_are_those_of_replicates_and_intervals_cover(x64):
    """200 Hénon orbits. The sum is exact, so errors of the two exponents cancel in part.

    Truth from the long run's exponents: 1 + .419239/1.623212, known to 3e-5.
    """
    states = 0.1 * jax.random.uniform(jax.random.key(2), (200, 2))
    run = functools.partial(lyapunov_spectrum, maps.henon(), num_steps=2000, num_transient=100)
    spectra = jax.jit(jax.vmap(run))(states)
    truths = (1 + 0.419239 / 1.623212, 0.419239)
    for function, truth in zip((kaplan_yorke_dimension, entropy_bound), truths, strict=True):
        estimate = jax.vmap(function)(spectra)
        covered = np.mean((estimate.low < truth) & (truth < estimate.high))
        assert 0.90 <= covered <= 0.99
        assert 0.8 < estimate.stderr.mean() / estimate.value.std(ddof=1) < 1.2


@pytest.mark.slow
def test_a_diverged_spectrum_passes_its_status_on():
    spectrum = lyapunov_spectrum(maps.henon(), jnp.array([5.0, 5.0]), num_steps=200)
    for function in (kaplan_yorke_dimension, entropy_bound):
        estimate = function(spectrum)
        assert estimate.status == Status.DIVERGED
        assert np.isnan(estimate.value)
