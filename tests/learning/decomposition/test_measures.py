"""Owners, cosines, correlations, attributions, interventions and matches on built examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.attributions import (
    activation_frequency,
    attributions,
)
from fracjax.learning.decomposition.coefficient_correlations import coefficient_correlations
from fracjax.learning.decomposition.feature_owners import (
    distinct_owners,
    feature_energy,
    max_cosines,
    mean_max_cosine,
)
from fracjax.learning.decomposition.matching import match_subnetworks
from fracjax.learning.decomposition.sample_gradients import (
    reference_outputs,
    sample_gradients,
)
from fracjax.learning.decomposition.subnetwork_interventions import (
    intervened_outputs,
    median_changes,
    output_velocities,
    selectivity,
)
from fracjax.learning.decomposition.toy_models import superposition

KEY = jax.random.key(0)
MODEL = superposition(4, 3)


def oracle(seed=0):
    """A network with 4 features in 3 dimensions, and one subnetwork for each, in mixed order."""
    draws = np.random.default_rng(seed)
    encoder = draws.normal(size=(4, 3))
    params = {"encoder": encoder, "decoder": encoder.T, "bias": np.full(4, -0.1)}
    order = np.array([2, 0, 3, 1])
    parts = {
        "encoder": np.zeros((4, 4, 3)),
        "decoder": np.zeros((4, 3, 4)),
        "bias": np.zeros((4, 4)),
    }
    for subnetwork, feature in enumerate(order):
        sign = (-1) ** subnetwork
        parts["encoder"][subnetwork, feature] = sign * encoder[feature]
        parts["decoder"][subnetwork, :, feature] = sign * encoder[feature]
        parts["bias"][subnetwork, feature] = sign
    return jax.tree.map(jnp.asarray, (params, parts)), order


def test_owners_and_cosines(x64):
    (params, parts), order = oracle()
    assert distinct_owners(parts) == 4
    np.testing.assert_allclose(mean_max_cosine(params["encoder"], parts["encoder"]), 1)
    np.testing.assert_array_equal(feature_energy(parts["decoder"], 1).argmax(1), order)
    # A subnetwork whose decoder is another feature's owns nothing.
    crossed = parts | {"decoder": parts["decoder"].at[0].set(parts["decoder"][1])}
    assert distinct_owners(crossed) == 3
    alive = jnp.array([True, True, False, True])
    assert distinct_owners(parts, alive=alive) == 3
    # Turned by 60° in its row, and no other subnetwork has that row.
    row = params["encoder"][2]
    across = jnp.cross(row, jnp.array([1.0, 0.0, 0.0]))
    across *= jnp.linalg.norm(row) / jnp.linalg.norm(across)
    turned = parts["encoder"].at[0, 2].set(0.5 * row + np.sqrt(0.75) * across)
    np.testing.assert_allclose(max_cosines(params["encoder"], turned), [1, 1, 0.5, 1], rtol=1e-9)


def test_correlations_tell_scale_from_shape(x64):
    """Exact rows of different scales: r = 1 in each, less when pooled; r² is not r."""
    (params, parts), order = oracle()
    truth = params["encoder"] @ params["decoder"]
    scales = np.array([1.0, 5.0, 0.2, 2.0])
    parts = {
        "encoder": parts["encoder"] * scales[:, None, None] * (-1.0) ** np.arange(4)[:, None, None],
        "decoder": jnp.broadcast_to(params["decoder"], (4, 3, 4)),
    }
    found = coefficient_correlations(params, parts, truth)
    np.testing.assert_array_equal(found.owned, order)
    np.testing.assert_allclose(found.each, 1)
    np.testing.assert_allclose(found.ceiling, 1)
    expected = np.corrcoef(
        (scales[:, None] * truth[order]).ravel(), np.asarray(truth[order]).ravel()
    )[0, 1]
    np.testing.assert_allclose(found.pooled, expected)
    np.testing.assert_allclose(found.pooled_squared, expected**2)
    assert found.pooled < 0.98
    alive = jnp.array([True, False, False, False])
    alone = coefficient_correlations(params, parts, truth, alive=alive)
    np.testing.assert_allclose(alone.pooled, 1)
    noise = np.random.default_rng(1).normal(size=truth.shape)
    noisy = coefficient_correlations(params, parts, truth + noise)
    expected = np.corrcoef(np.ravel(truth), np.ravel(truth + noise))[0, 1]
    np.testing.assert_allclose(noisy.ceiling, expected)
    np.testing.assert_allclose(noisy.each, noisy.ceiling_each)


@pytest.mark.slow
def test_attributions_are_means_over_references(x64):
    (params, parts), _ = oracle()
    inputs = MODEL.inputs(KEY, 12)
    found = jax.jit(
        lambda key: attributions(MODEL.apply, params, inputs, parts, key, num_references=3, chunk=5)
    )(KEY)

    @jax.jit
    def slopes(key):
        references = reference_outputs(MODEL.apply(params, inputs), key)
        return sample_gradients(MODEL.apply, params, inputs, references)

    total = np.zeros((12, 4))
    for key in jax.random.split(KEY, 3):
        slope = jax.tree.map(np.asarray, slopes(key))
        total += abs(
            np.einsum("sij,kij->sk", slope["encoder"], parts["encoder"])
            + np.einsum("sij,kij->sk", slope["decoder"], parts["decoder"])
            + np.einsum("si,ki->sk", slope["bias"], parts["bias"])
        )
    np.testing.assert_allclose(found, total / 3, atol=1e-12)
    values = jnp.array([[3.0, 0.1, 0.0], [2.0, 0.2, 0.0], [1.0, 0.9, 0.0], [0.1, 0.0, 0.0]])
    frequency = activation_frequency(values, 4 / 12)
    np.testing.assert_allclose(frequency, [0.75, 0.25, 0.0])


def test_interventions_move_the_own_output(x64):
    """Along a bias, by hand: own output + δ, other outputs unmoved, floor where ReLU is off."""
    (params, parts), order = oracle()
    inputs = MODEL.inputs(KEY, 200)
    sizes = np.linspace(-20, 20, 9)
    only_bias = {
        "encoder": np.zeros((4, 4, 3)),
        "decoder": np.zeros((4, 3, 4)),
        "bias": parts["bias"],
    }

    @jax.jit
    def measured(directions, sizes):
        before = MODEL.apply(params, inputs)
        after = intervened_outputs(MODEL.apply, params, inputs, directions, sizes)
        changes = median_changes(before, after)
        speeds = output_velocities(MODEL.apply, params, inputs, directions)
        return before, after, changes, selectivity(changes, sizes), speeds

    before, after, changes, found, _ = jax.tree.map(np.asarray, measured(only_bias, sizes))
    assert after.shape == (4, 9, 200, 4)
    features, weights = np.asarray(inputs), jax.tree.map(np.asarray, params)
    bias = weights["bias"] + sizes[6] * np.asarray(parts["bias"])[1]
    hidden = features @ weights["encoder"] @ weights["decoder"]
    np.testing.assert_allclose(after[1, 6], np.maximum(hidden + bias, 0), atol=1e-12)
    np.testing.assert_array_equal(np.nan_to_num(changes[:, 4]), 0)  # δ = 0
    np.testing.assert_array_equal(found.output, order)
    np.testing.assert_array_equal(found.other, 0)
    own = after[np.arange(4), [-1, 0, -1, 0], :, order]  # odd subnetworks have the other sign
    left = np.array(
        [np.median((b - a)[(a != 0) | (b != 0)]) for a, b in zip(before.T[order], own, strict=True)]
    )
    np.testing.assert_allclose(found.own, left, atol=1e-12)
    np.testing.assert_allclose(found.slope, left / 20, atol=1e-12)
    on = np.array([np.median(column[column > 0]) for column in before.T[order]])
    assert before.max() < 20  # so that the largest δ switches every output off
    np.testing.assert_allclose(found.floor, -on, atol=1e-12)
    _, ends, _, _, speeds = measured(parts, np.linspace(-1e-6, 1e-6, 9))
    slopes = (ends[:, -1] - ends[:, 0]) / 2e-6
    np.testing.assert_allclose(speeds, slopes, atol=1e-5)


def test_matching_finds_a_permutation_with_signs():
    _, parts = jax.tree.map(np.asarray, oracle()[0])
    order = np.array([3, 1, 0, 2])
    signs = np.array([1.0, -1.0, -1.0, 1.0])
    mixed = jax.tree.map(
        lambda leaf: leaf[order] * signs.reshape(-1, *[1] * (leaf.ndim - 1)), parts
    )
    match = jax.jit(match_subnetworks)
    found = match(parts, mixed)
    np.testing.assert_array_equal(found.pairs, np.argsort(order))
    np.testing.assert_allclose(found.paired, 1, rtol=1e-6)
    np.testing.assert_allclose(found.mean_max, 1, rtol=1e-6)
    others = oracle(seed=5)[0][1]
    assert match(parts, others).mean_max < 0.99
    fewer = match(parts, jax.tree.map(lambda leaf: leaf[:2], mixed))
    np.testing.assert_array_equal(fewer.pairs, [-1, 1, -1, 0])
    np.testing.assert_allclose(fewer.paired, [0, 1, 0, 1], rtol=1e-6)
