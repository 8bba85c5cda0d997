"""Toy MDPs against their truth tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.plasticity.toy_mdps import (
    Observations,
    digit_observations,
    observe,
    prototype_observations,
    reset,
    step,
    tables,
    toy_mdp,
)

KEY = jax.random.key(0)
IMAGES = prototype_observations(KEY, num_per_class=7)
EVERY = np.stack(np.meshgrid(np.arange(10), np.arange(10), indexing="ij")).reshape(2, -1)


@pytest.mark.parametrize("reward", ["true-label", "random-label", "sparse-reward"])
def test_steps_follow_the_truth_table(reward):
    """Rewards exactly; next states over 1000 draws of every pair, within five SD of a count."""
    mdp = toy_mdp(reward, IMAGES, KEY)
    number = 1000
    state, action = (jnp.repeat(jnp.asarray(part), number) for part in EVERY)
    before = reset(mdp, KEY, state.shape)._replace(latent=state)
    after, paid = step(mdp, before, action, KEY)
    sparse = reward == "sparse-reward"
    due = (state == action) & ((state == 9) | (not sparse))
    np.testing.assert_array_equal(paid, due.astype(float))
    counts = np.zeros((10, 10, 10))
    np.add.at(counts, (np.asarray(state), np.asarray(action), np.asarray(after.latent)), 1)
    for s, a in EVERY.T:
        if sparse and s == a:
            assert counts[s, a, (s + 1) % 10] == number  # after 9 comes 0
        else:
            assert np.abs(counts[s, a] - number / 10).max() < 5 * np.sqrt(number * 0.09)
    # The image is one of the latent state's, and every one of them is shown.
    np.testing.assert_array_equal(mdp.latent[after.image], after.latent)
    assert len(np.unique(after.image)) == 70
    np.testing.assert_array_equal(observe(mdp, after), IMAGES.images[after.image])


def test_tables_are_probabilities():
    for reward in ("true-label", "random-label", "sparse-reward"):
        transitions, rewards = tables(reward)
        np.testing.assert_allclose(transitions.sum(axis=-1), 1)
        assert rewards.sum() == (1 if reward == "sparse-reward" else 10)
    with pytest.raises(Exception, match="reward"):
        tables("dense-reward")


def test_random_labels_are_fixed_by_the_key():
    mdp, again, other = (
        toy_mdp("random-label", IMAGES, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(mdp.latent, again.latent)
    # Unrelated to the classes and to another key's: 70 pairs agree 7 ± 2.5 times.
    assert (mdp.latent == other.latent).sum() < 20
    assert (mdp.latent == jnp.asarray(IMAGES.labels)).sum() < 20
    np.testing.assert_array_equal(jnp.bincount(mdp.latent), np.full(10, 7))
    np.testing.assert_array_equal(toy_mdp("true-label", IMAGES).latent, IMAGES.labels)


def test_one_state_and_a_batch_are_alike():
    mdp = toy_mdp("sparse-reward", IMAGES)
    state = reset(mdp, KEY)
    assert observe(mdp, state).shape == (8, 8)
    after, reward = step(mdp, state, state.latent, KEY)
    assert after.latent == (state.latent + 1) % 10
    assert reward == (state.latent == 9)


def test_observations():
    digits = digit_observations(500)
    assert digits.images.shape == (500, 8, 8)
    assert digits.images.dtype == np.float32
    assert set(digits.labels) == set(range(10))
    made = np.asarray(IMAGES.images)
    assert made.min() >= 0
    assert made.max() <= 1
    flat = made.reshape(10, 7, -1)
    within = np.linalg.norm(flat - flat.mean(axis=1, keepdims=True), axis=-1).mean()
    between = np.linalg.norm(flat.mean(axis=1) - flat.mean(axis=(0, 1)), axis=-1).mean()
    assert between > 1.5 * within
    with pytest.raises(ValueError, match="observations"):
        toy_mdp("true-label", Observations(made[:7], np.zeros(7, int)))
