"""Categorical latents: mixing, frequencies of draws, straight-through gradients, divergence."""

import jax
import jax.numpy as jnp
import numpy as np

from fracjax.rl.world_models.latents import choose, divergence, draw, probabilities

KEY = jax.random.key(0)
LOGITS = jax.random.normal(KEY, (3, 4)) * 2


def test_probabilities_are_mixed_with_the_uniform_distribution():
    shares = probabilities(jnp.array([[1e4, 0.0, 0.0, 0.0]]), 0.01)
    np.testing.assert_allclose(shares, [[0.9925, 0.0025, 0.0025, 0.0025]], rtol=1e-6)
    np.testing.assert_allclose(probabilities(LOGITS, 0.0), jax.nn.softmax(LOGITS), rtol=1e-6)


def test_draws_are_one_hot_with_the_right_frequencies():
    """Null: multinomial frequencies of 20 000 draws, each within 4.5 standard errors."""
    shares = probabilities(LOGITS)
    uniform = jax.random.uniform(KEY, (20_000, 3))
    drawn = draw(jnp.broadcast_to(shares, (20_000, 3, 4)), uniform)
    np.testing.assert_allclose(jnp.sort(drawn, axis=-1)[..., -1], 1.0, atol=1e-6)
    np.testing.assert_allclose(jnp.sort(drawn, axis=-1)[..., :-1], 0.0, atol=1e-6)
    error = jnp.sqrt(shares * (1 - shares) / 20_000)
    assert jnp.all(jnp.abs(drawn.mean(axis=0) - shares) < 4.5 * error)
    edge = draw(shares, jnp.array([0.0, 1.0, 1.0 - 1e-7]))
    np.testing.assert_array_equal(edge.argmax(axis=-1), [0, 3, 3])


def test_gradients_pass_straight_through():
    """That of a draw is that of its probabilities; of the mode nothing; of the mean all."""
    weights = jax.random.normal(jax.random.fold_in(KEY, 1), (3, 4))
    uniform = jnp.array([0.2, 0.5, 0.9])

    def through(take):
        return jax.grad(lambda logits: jnp.sum(weights * take(probabilities(logits))))(LOGITS)

    expected = through(lambda shares: shares)
    assert jnp.abs(expected).max() > 0.01
    np.testing.assert_allclose(through(lambda shares: draw(shares, uniform)), expected, atol=1e-7)
    np.testing.assert_allclose(through(lambda s: choose(s, "mean")), expected, atol=1e-7)
    np.testing.assert_array_equal(through(lambda s: choose(s, "mode")), 0.0)
    mode = choose(probabilities(LOGITS), "mode")
    np.testing.assert_array_equal(mode.argmax(axis=-1), LOGITS.argmax(axis=-1))
    np.testing.assert_array_equal(mode.sum(axis=-1), 1.0)


def test_divergence_in_closed_form():
    first = jnp.array([[0.5, 0.5], [0.9, 0.1]])
    second = jnp.array([[0.25, 0.75], [0.9, 0.1]])
    exact = 0.5 * np.log(2.0) + 0.5 * np.log(2 / 3)
    np.testing.assert_allclose(divergence(first, second), exact, rtol=1e-5)
    np.testing.assert_allclose(divergence(first, first), 0.0, atol=1e-7)
