"""Filters, coefficients, leaders and the excess of sampling, against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.multifractals import wavelets

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("order", [1, 2, 3, 6, 10])
def test_filters_are_orthonormal_with_vanishing_moments(order):
    low = wavelets.daubechies_filter(order)
    high = low[::-1] * (-1.0) ** np.arange(2 * order)
    for shift in range(order):
        end = 2 * order - 2 * shift
        assert abs(low[2 * shift :] @ low[:end] - (shift == 0)) < 1e-12
        assert abs(high[2 * shift :] @ low[:end]) < 1e-12
    position = np.arange(2 * order) / (2 * order)
    for power in range(order):
        assert abs(high @ position**power) < 1e-12
    assert order == 10 or abs(high @ position**order) > 1e-4
    assert abs(low.sum() - math.sqrt(2)) < 1e-12
    # Minimum phase: the energy comes first.
    assert (low[:order] ** 2).sum() > 0.5


def test_second_filter_is_the_one_in_closed_form():
    root = math.sqrt(3)
    exact = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * math.sqrt(2))
    np.testing.assert_allclose(wavelets.daubechies_filter(2), exact, atol=1e-14)


def test_polynomials_give_zeros_and_no_coefficient_sees_the_ends(x64):
    """A shorter series has the same coefficients as the longer one it was cut from."""
    values = jnp.asarray(RNG.normal(size=300).cumsum())
    transform = jax.jit(lambda series: wavelets.wavelet_coefficients(series, 4))
    whole = transform(values)
    part = transform(values[32:250])
    for level, (long, short) in enumerate(zip(whole, part, strict=True), start=1):
        assert long.shape[0] == wavelets.num_coefficients(300, level, 3)
        offset = 32 // 2**level
        np.testing.assert_allclose(short, long[offset : offset + len(short)], atol=1e-12)
    t = jnp.arange(300.0)
    for level in transform(t**2 - 3 * t + 1):
        assert np.all(np.abs(level) < 1e-8)


def brute_force_leaders(coefficients, p, depth, order):
    """Leaders from intervals of time: level j, number k + N - 1, length 2^j."""
    leaders = []
    for level in range(depth, len(coefficients) + 1):
        row = []
        for k in range(1, len(coefficients[level - 1]) - 1):
            number = k + order - 1
            start, end = (number - 1) * 2**level, (number + 2) * 2**level
            total, largest = 0.0, 0.0
            for finer in range(level - depth + 1, level + 1):
                for index, value in enumerate(coefficients[finer - 1]):
                    left = (index + order - 1) * 2**finer
                    if start <= left and left + 2**finer <= end:
                        largest = max(largest, abs(value))
                        total += abs(value) ** min(p, 99) * 2.0 ** (finer - level)
            row.append(math.log(largest) if math.isinf(p) else math.log(total) / p)
        leaders.append(np.array(row))
    return leaders


@pytest.mark.parametrize(("p", "depth", "order"), [(2.0, 3, 3), (math.inf, 2, 2), (1.0, 1, 3)])
def test_leaders_are_those_of_the_definition(p, depth, order, x64):
    values = jnp.asarray(RNG.normal(size=160).cumsum())

    @jax.jit
    def both(series):
        levels = wavelets.wavelet_coefficients(series, 4, vanishing_moments=order)
        return levels, wavelets.log_leaders(levels, p=p, depth=depth, vanishing_moments=order)

    coefficients, leaders = both(values)
    expected = brute_force_leaders([np.asarray(level) for level in coefficients], p, depth, order)
    assert len(leaders) == 5 - depth
    for ours, theirs in zip(leaders, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_excess_of_sampling_is_that_of_the_covariance(x64):
    """Variances of coefficients from the covariance matrix of the motion, no statistics."""
    size = 256

    def last(values):
        return jnp.stack([level[0] for level in wavelets.wavelet_coefficients(values, 5)])

    matrix = np.asarray(jax.jit(jax.jacrev(last))(jnp.zeros(size)))
    t = np.arange(size)
    exponents, table = wavelets.sampling_gain(5, 3)
    for hurst in (0.1, 0.5, 0.8):
        power = 2 * hurst
        covariance = (t[:, None] ** power + t**power - abs(t[:, None] - t) ** power) / 2
        variance = np.einsum("ji,ik,jk->j", matrix, covariance, matrix)
        gain = np.array([np.interp(hurst, exponents, column) for column in table.T])
        asymptote = np.log(variance) - power * np.arange(1, 6) * math.log(2) - gain
        np.testing.assert_allclose(asymptote, asymptote[0], atol=5e-3)
        assert gain[0] > 0.25
    assert abs(table[:, 4][exponents > 0.9]).max() < 1e-3


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="Argument `vanishing_moments` must"):
        wavelets.daubechies_filter(11)
    with pytest.raises(ValueError, match="Argument `num_levels` must"):
        wavelets.wavelet_coefficients(jnp.ones(20), 4)
