"""Toy inputs against their law, toy networks against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.toy_data import sparse_inputs
from fracjax.learning.decomposition.toy_models import (
    circuits,
    square,
    superposition,
    train_toy,
)

KEY = jax.random.key(0)
COUNT = 20_000


@pytest.mark.parametrize("group", [1, 2])
def test_inputs_follow_the_law_without_empty_samples(group):
    """Exact rates given that some group is on; bounds of five binomial standard errors."""
    x = np.asarray(sparse_inputs(KEY, COUNT, 6, active=0.15, group=group, signed=group == 2))
    on = x != 0
    assert on.any(1).all()
    groups = 6 // group
    rate = 0.15 / (1 - 0.85**groups)
    error = 5 * np.sqrt(rate * (1 - rate) / COUNT)
    assert np.all(abs(on.mean(0) - rate) < error)
    pair = 0.15**2 / (1 - 0.85**groups)  # two given groups together
    together = (on[:, 0] & on[:, -1]).mean()
    assert abs(together - pair) < 5 * np.sqrt(pair / COUNT)
    if group == 2:
        np.testing.assert_array_equal(on[:, 0], on[:, 1])
        assert abs(np.mean(x[on])) < 5 * np.sqrt(1 / 3 / on.sum())
        assert x.min() < -0.99
    else:
        assert abs(np.mean(x[on]) - 0.5) < 5 * np.sqrt(1 / 12 / on.sum())
        assert x.min() == 0
    with pytest.raises(ValueError, match="`num_features` must be a multiple of 4"):
        sparse_inputs(KEY, 5, 6, group=4)


@pytest.mark.slow
def test_training_lowers_the_loss_and_unties():
    model = superposition(hidden_identity=True)
    settings = {"num_samples": 640, "batch_size": 64, "learning_rate": 1e-2, "restarts": 2}
    train = jax.jit(lambda key: train_toy(model, key, num_epochs=60, **settings))
    found = train(KEY)
    params = found.params
    np.testing.assert_array_equal(params["decoder"], params["encoder"].T)
    np.testing.assert_array_equal(params["hidden"], jnp.eye(2))
    np.testing.assert_array_equal(found.coefficients, jnp.eye(5))
    x = model.inputs(KEY, 1000)
    by_hand = np.maximum(x @ params["encoder"] @ params["encoder"].T + params["bias"], 0)
    np.testing.assert_allclose(model.apply(params, x), by_hand, atol=1e-6)
    # Nothing learnt leaves E x² = 1/3 per feature that is on, .22 of them: .074.
    assert found.loss < 0.02


def test_other_models_have_their_shapes():
    model = circuits(30, 10, group=5)
    found = jax.eval_shape(lambda key: train_toy(model, key, num_epochs=1), KEY)
    assert found.coefficients.shape == (30, 30)
    assert found.params["encoder"].shape == (30, 10)
    model = square(activation="gelu")
    found = jax.eval_shape(lambda key: train_toy(model, key, num_epochs=1), KEY)
    assert [layer["kernel"].shape for layer in found.params] == [
        (5, 10),
        (10, 10),
        (10, 10),
        (10, 10),
        (10, 5),
    ]
