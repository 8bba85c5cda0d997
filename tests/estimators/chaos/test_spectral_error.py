"""Standard errors of correlated means, against sequences whose long-run variance is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import t

from fracjax.estimators.chaos.spectral_error import degrees_of_freedom, standard_error

COUNT, SEEDS = 128, 1000


def autoregressive(noise, memory):
    """x' = memory x + noise, started in equilibrium; mean zero."""

    def step(x, e):
        x = memory * x + e
        return x, x

    first = noise[0] / jnp.sqrt(1 - memory**2)
    return jax.lax.scan(step, first, noise[1:])[1]


def lent_and_paid_back(noise):
    """White noise plus differences of white noise: the mean is known better than it scatters."""
    return noise[0, 1:] + 3 * jnp.diff(noise[1])


CASES = {
    "white": lambda key: jax.random.normal(key, (COUNT,)),
    "memory .5": lambda key: autoregressive(jax.random.normal(key, (COUNT + 1,)), 0.5),
    "lent": lambda key: lent_and_paid_back(jax.random.normal(key, (2, COUNT + 1))),
}


@pytest.mark.parametrize("name", CASES)
def test_intervals_cover_the_mean(name, x64):
    """95 % of 1000; the bounds are 90 and 99 %, five and six binomial errors away."""
    series = jax.vmap(CASES[name])(jax.random.split(jax.random.key(3), SEEDS))
    error = np.asarray(jax.jit(jax.vmap(standard_error))(series))
    mean = np.asarray(series).mean(axis=1)
    quantile = t.ppf(0.975, degrees_of_freedom(COUNT))
    assert 0.90 < np.mean(np.abs(mean) < quantile * error) < 0.99
    assert 0.85 < error.mean() / mean.std() < 1.2


def test_batch_scatter_overstates_what_is_paid_back(x64):
    """Why the spectrum is used: 20 batches give three times the error here."""
    series = jax.vmap(CASES["lent"])(jax.random.split(jax.random.key(3), SEEDS))
    batches = series[:, :120].reshape(SEEDS, 20, 6).mean(axis=2)
    assert standard_error(batches.T).mean() > 1.2 * np.asarray(series).mean(axis=1).std()


def test_few_blocks_use_their_scatter(x64):
    blocks = jnp.array([[1.0, 2.0], [2.0, 5.0], [3.0, 2.0]])
    np.testing.assert_allclose(standard_error(blocks), blocks.std(axis=0, ddof=1) / np.sqrt(3))
    assert degrees_of_freedom(3) == 2
    assert np.isnan(standard_error(jnp.ones(1)))


def test_degrees_of_freedom_match_the_scatter_of_the_error(x64):
    """Squared errors scatter as χ²/df does: relative variance 2/df, within a third."""
    series = jax.vmap(CASES["white"])(jax.random.split(jax.random.key(4), SEEDS))
    squared = np.asarray(jax.vmap(standard_error)(series)) ** 2
    assert abs(squared.var() / squared.mean() ** 2 * degrees_of_freedom(COUNT) / 2 - 1) < 1 / 3


def test_a_constant_sequence_has_no_error_and_a_broken_one_no_number():
    assert standard_error(jnp.full(128, 0.7)) < 1e-6
    assert np.isnan(standard_error(jnp.ones(128).at[5].set(jnp.nan)))
    assert np.isnan(standard_error(jnp.ones(128).at[5].set(-jnp.inf)))
