"""Sums over pairs against all pairs at once; the covariance of correlation sums against draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.dimensions import pair_counts

SCALES = np.array([1.0, 0.5, 0.2, 0.1, 0.05])


def distances(points, theiler_window):
    """Between all ordered pairs that count; infinite for those that do not."""
    apart = np.abs(np.subtract.outer(np.arange(len(points)), np.arange(len(points))))
    lengths = np.linalg.norm(points[:, None] - points, axis=-1)
    return np.where(apart > theiler_window, lengths, np.inf)


def shares(lengths):
    """Share of partners closer than each scale, averaged over the points."""
    partners = np.isfinite(lengths).sum(axis=1)
    return np.mean([(lengths < r).sum(axis=1) / partners for r in SCALES], axis=1)


def correlation_sums(points, **settings):
    """The sums behind a curve: the logarithm was debiased where it can be used."""
    curve = pair_counts.correlation_curve(jnp.asarray(points), jnp.asarray(SCALES), **settings)
    bias = np.where(curve.usable, np.diagonal(curve.covariance), 0) / 2
    return np.exp(curve.log_measure - bias)


@pytest.mark.parametrize(("num_points", "theiler_window"), [(40, 0), (600, 0), (600, 25)])
def test_the_correlation_sum_is_the_share_of_close_pairs(num_points, theiler_window, x64):
    """600 points do not fill their second chunk of 512."""
    points = np.random.default_rng(0).uniform(size=(num_points, 2))
    found = correlation_sums(points, theiler_window=theiler_window, num_blocks=20)
    np.testing.assert_allclose(found, shares(distances(points, theiler_window)), rtol=1e-12)


def test_few_references_are_spread_over_the_sample(x64):
    points = np.random.default_rng(1).uniform(size=(500, 1))
    chosen = pair_counts.reference_points(500, 50, 10)
    assert len(chosen) == 50
    assert np.array_equal(np.unique(np.diff(chosen)), [10])
    found = correlation_sums(points, num_references=50, num_blocks=10)
    np.testing.assert_allclose(found, shares(distances(points, 0)[chosen]), rtol=1e-12)


@pytest.mark.parametrize("order", [2.0, 3.0])
def test_generalised_sums_count_neighbours_without_bias(order, x64):
    """Order 3: the mean of n (n - 1) over ordered pairs of partners; the log is debiased."""
    points = np.random.default_rng(2).uniform(size=(400, 2))
    counts = (distances(points, 0)[:, :, None] < SCALES).sum(axis=1)
    power = counts / 399 if order == 2 else counts * (counts - 1) / 399**2
    curve = pair_counts.correlation_curve(
        jnp.asarray(points), jnp.asarray(SCALES), order=order, num_blocks=20
    )
    variance = np.diagonal(curve.covariance) * (order - 1) ** 2
    expected = (np.log(power.mean(axis=0)) + variance / 2) / (order - 1)
    usable = np.asarray(curve.usable)
    assert usable[:4].all()
    np.testing.assert_allclose(curve.log_measure[usable], expected[usable], rtol=1e-9)


@pytest.mark.parametrize(("order", "excess"), [(2.0, 0.05), (3.0, 1.1)])
def test_the_covariance_is_that_of_independent_samples(order, excess):
    """Variances from one sample against the scatter of 200, within 5 errors of that, 0.1 each.

    Those of orders above 2 are up to twice as large as they should be, never smaller.
    """
    keys = jax.random.split(jax.random.key(3), 200)

    def one(key):
        points = jax.random.uniform(key, (500, 2))
        return pair_counts.correlation_curve(
            points, jnp.asarray(SCALES, jnp.float32), order=order, num_blocks=50
        )

    curves = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    truth = np.var(curves.log_measure, axis=0, ddof=1)
    claimed = np.diagonal(curves.covariance.mean(axis=0))
    assert np.all(claimed / truth > 1 - 0.05 - 5 * 0.1)
    assert np.all(claimed / truth < 1 + excess + 5 * 0.1)
    joint = np.corrcoef(np.asarray(curves.log_measure).T)[1, 2]
    mean = np.asarray(curves.covariance.mean(axis=0))
    assert abs(mean[1, 2] / np.sqrt(mean[1, 1] * mean[2, 2]) - joint) < 0.2


def test_too_few_references_are_named():
    with pytest.raises(ValueError, match="Argument `points` must give at least 2 references"):
        pair_counts.reference_points(100, 30, 20)
