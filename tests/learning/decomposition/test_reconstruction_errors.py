"""Errors on new samples: the mean over batches, and its interval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.decomposition.fits import start_fit
from fracjax.learning.decomposition.reconstruction_errors import reconstruction_error
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.toy_models import superposition

KEY = jax.random.key(0)
MODEL = superposition()
SETTINGS = FitSettings(num_subnetworks=5, batch_size=8)


@pytest.mark.slow
def test_errors_cover_the_mean_over_many_samples():
    """Directions that were never fitted; 200 draws of 20 batches against one of 4000."""
    draws = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    params = {"encoder": draws, "decoder": draws.T, "bias": np.full(5, -0.1, np.float32)}
    params = jax.tree.map(jnp.asarray, params)
    factors = start_fit(params, KEY, SETTINGS).factors

    def measured(key, params=params):
        first, second = jax.random.split(key)
        inputs = MODEL.inputs(first, 160)
        return reconstruction_error(MODEL.apply, params, inputs, factors, second, SETTINGS)

    found = jax.jit(jax.vmap(measured))(jax.random.split(KEY, 400))
    truth = jnp.mean(found.value[200:])
    inside = (found.low <= truth) & (truth <= found.high)
    # Binomial at 95 %: an SD of .015, and a little for the error of the truth.
    assert abs(jnp.mean(inside[:200]) - 0.95) < 0.06
    assert 0.2 < truth < 1
    np.testing.assert_array_equal(found.status, Status.OK)
    assert found.details["losses"].shape == (400, 20)
    # 4 of the 40 entries of a batch are kept.
    np.testing.assert_allclose(found.details["frequency"].sum(1), 0.5, rtol=1e-5)


def test_statuses_and_settings():
    params = {"encoder": jnp.ones((5, 2)), "decoder": jnp.ones((2, 5)), "bias": jnp.zeros(5)}
    factors = start_fit(params, KEY, SETTINGS).factors
    inputs = MODEL.inputs(KEY, 8)

    @jax.jit
    def measured(factor):
        moved = jax.tree.map(lambda leaf: factor * leaf, params)
        return reconstruction_error(MODEL.apply, moved, inputs, factors, KEY, SETTINGS)

    few = measured(1.0)
    assert few.status == Status.TOO_FEW_POINTS
    assert jnp.isfinite(few.value)
    assert jnp.isnan(few.stderr)
    assert jnp.isnan(few.high)
    assert measured(jnp.nan).status == Status.DIVERGED
    with pytest.raises(ValueError, match="at least 8 samples"):
        reconstruction_error(MODEL.apply, params, inputs[:7], factors, KEY, SETTINGS)
