"""Numbers of points in boxes, and sums over boxes, against counting them one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma

from fracjax.estimators.dimensions.box_counts import box_curve, occupation_numbers

LEVELS = 6


def boxes(placed, level):
    cells = np.floor(placed * 2**level).astype(int)
    return np.unique(cells, axis=0, return_inverse=True, return_counts=True)[1:]


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_occupation_numbers_are_those_of_each_point(dim):
    """Five coordinates of nine bits do not fit into one word of 32."""
    points = np.random.default_rng(0).uniform(0, 9, (300, dim)).astype(np.float32)
    order, counts = occupation_numbers(jnp.asarray(points), LEVELS)
    assert sorted(order.tolist()) == list(range(300))
    for level in range(LEVELS):
        inverse, numbers = boxes(points, level)
        assert np.array_equal(counts[level], numbers[inverse.ravel()][np.asarray(order)])


def direct(numbers, order):
    """The estimate of each measure from the occupation numbers of one grid."""
    total = numbers.sum()
    if order == 0:
        single, double = (numbers == 1).sum(), (numbers == 2).sum()
        chao = (total - 1) / total * single * (single - 1) / (2 * (double + 1))
        return -np.log(len(numbers) + chao)
    if order == 1:
        half = (digamma((numbers + 1) / 2) - digamma(numbers / 2)) / 2
        entropy = (
            np.log(total) - (numbers * (digamma(numbers) + (-1.0) ** numbers * half)).sum() / total
        )
        return -entropy
    return np.log((numbers * (numbers - 1)).sum() / (total * (total - 1)))


@pytest.mark.parametrize("order", [0.0, 1.0, 2.0])
def test_sums_are_those_of_the_counts(order, x64):
    """One grid: a quarter of the extent, moved by half a box. Order 2 is debiased, to 1e-4."""
    points = np.random.default_rng(1).uniform(size=(500, 2)) ** 2
    curve = box_curve(
        jnp.asarray(points), order=order, num_levels=LEVELS, num_grids=1, num_blocks=50
    )
    low = points.min(axis=0)
    extent = (points.max(axis=0) - low).max()
    placed = 4 * (points - low) / extent + 0.5
    expected = [direct(boxes(placed, level)[1], order) for level in range(LEVELS)]
    bias = np.diagonal(curve.covariance) / 2 if order == 2 else 0
    np.testing.assert_allclose(curve.log_measure - bias, expected, atol=1e-4)
    np.testing.assert_allclose(curve.log_scale, np.log(extent / 4 / 2.0 ** np.arange(LEVELS)))


@pytest.mark.parametrize("order", [0.0, 1.0, 2.0, 1.5])
def test_finite_samples_do_not_hide_boxes(order):
    """Uniform points in an interval: the truth is from 200 times as many points.

    Null: the mean over 200 samples of 300 points within the error that the correction admits
    plus 4 standard errors, on usable levels; and the scatter is what the covariance says, with
    a relative error of 0.1 of each variance and a quarter for what is conservative.
    """
    keys = jax.random.split(jax.random.key(2), 200)

    def one(key, num_points, num_blocks):
        points = jax.random.uniform(key, (num_points, 1))
        return box_curve(points, order=order, num_levels=8, num_grids=4, num_blocks=num_blocks)

    small = jax.jit(lambda keys: jax.lax.map(lambda k: one(k, 300, 50), keys))(keys)
    large = one(jax.random.key(3), 60_000, 50)
    usable = np.asarray(small.usable).all(axis=0)
    assert usable.sum() >= 3
    mean = np.asarray(small.log_measure).mean(axis=0)
    scatter = np.asarray(small.log_measure).std(axis=0, ddof=1)
    claimed = np.sqrt(np.diagonal(small.covariance.mean(axis=0)))
    off = np.abs(mean - large.log_measure)[usable]
    rounding = 0.01  # the extent of 300 points is 0.7 % short
    assert np.all(off < claimed[usable] + 4 * scatter[usable] / 200**0.5 + rounding)
    assert np.all(claimed[usable] > 0.75 * scatter[usable])
