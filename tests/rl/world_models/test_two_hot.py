"""Symmetric logarithms and two-hot numbers: exact round trips."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.rl.world_models.two_hot import (
    bin_centres,
    expected_value,
    symexp,
    symlog,
    two_hot,
    two_hot_loss,
)

CENTRES = bin_centres(41, 5.0)
weigh = jax.jit(lambda values: two_hot(values, CENTRES))
mean = jax.jit(lambda logits: expected_value(logits, CENTRES))
lose = jax.jit(lambda logits, values: two_hot_loss(logits, values, CENTRES))


def test_symlog_and_symexp_are_inverse(x64):
    values = jnp.array([-1e6, -2.5, -1e-9, 0.0, 1e-9, 0.3, 7.0, 1e6])
    np.testing.assert_allclose(symexp(symlog(values)), values, rtol=1e-12, atol=0)
    np.testing.assert_allclose(symlog(jnp.array(math.e - 1)), 1.0, rtol=1e-15)
    assert jax.grad(symlog)(0.0) == jax.grad(symexp)(0.0) == 1.0


@pytest.mark.parametrize("wide", [False, True])
def test_a_two_hot_number_is_the_mean_of_its_bins(wide):
    """Exact up to rounding, between bins, on them and at the ends; clipped beyond."""
    with jax.enable_x64(wide):
        inside = jnp.array([-147.0, -3.3, -1.0, 0.0, 0.01, 0.5, 20.0, 147.0])
        values = jnp.concatenate([inside, jnp.asarray(CENTRES, inside.dtype)])
        weights = weigh(values)
        assert weights.dtype == values.dtype == (jnp.float64 if wide else jnp.float32)
        weights = np.asarray(weights)
        assert np.all(np.sum(weights > 0, axis=1) <= 2)
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-6)
        tolerance = 1e-12 if wide else 1e-5
        found = weights @ CENTRES.astype(values.dtype)
        np.testing.assert_allclose(found, values, rtol=tolerance, atol=tolerance)
        with np.errstate(divide="ignore"):
            found = mean(np.log(weights))
        np.testing.assert_allclose(found, values, rtol=tolerance, atol=tolerance)
    far = weigh(jnp.array([-1e9, 1e9]))
    np.testing.assert_array_equal(np.asarray(far).argmax(axis=1), [0, 40])


def test_a_uniform_softmax_means_zero_and_costs_its_logarithm():
    logits = jnp.zeros((3, 41))
    np.testing.assert_array_equal(mean(logits), 0.0)
    loss = lose(logits, jnp.array([0.0, 1.7, -30.0]))
    np.testing.assert_allclose(loss, math.log(41), rtol=1e-6)


def test_descent_on_the_loss_finds_the_mean_of_noisy_numbers():
    """The minimum has the mean of the targets: 0.3 · 100 − 0.7 · 1."""
    targets, shares = jnp.array([100.0, -1.0]), jnp.array([0.3, 0.7])

    def loss(logits):
        return jnp.sum(shares * two_hot_loss(jnp.broadcast_to(logits, (2, 41)), targets, CENTRES))

    def descend(logits, _):
        return logits - 2.0 * jax.grad(loss)(logits), None

    logits, _ = jax.lax.scan(descend, jnp.zeros(41), length=3000)
    np.testing.assert_allclose(mean(logits), 29.3, rtol=0.01)


@pytest.mark.parametrize("number", [2, 10, 1])
def test_bins_must_hold_zero(number):
    with pytest.raises(ValueError, match="`number` must be odd"):
        bin_centres(number, 5.0)
