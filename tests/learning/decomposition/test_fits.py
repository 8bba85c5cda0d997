"""Fits: unit directions, exact continuation, many at once, and a toy whose answer is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.decomposition.feature_owners import distinct_owners, mean_max_cosine
from fracjax.learning.decomposition.fits import (
    continue_fit,
    decompose,
    normalize_directions,
    start_fit,
    state_from_arrays,
    state_to_arrays,
)
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.toy_models import superposition

KEY = jax.random.key(0)
MODEL = superposition()
SETTINGS = FitSettings(num_subnetworks=5, num_epochs=120, decay_every=12)


def pentagon():
    """The optimum that training finds (norms of 1.13, biases of -.245), in closed form."""
    angles = 2 * np.pi * np.arange(5) / 5
    encoder = 1.13 * np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    bias = np.full(5, -0.245, np.float32)
    return jax.tree.map(jnp.asarray, {"encoder": encoder, "decoder": encoder.T, "bias": bias})


@functools.cache
def fits():
    """Four seeds at once: a tenth of the published length, rates decayed in proportion.

    The last network is broken.
    """

    def one(key, factor):
        first, second = jax.random.split(key)
        params = jax.tree.map(lambda leaf: factor * leaf, pentagon())
        return decompose(MODEL.apply, params, MODEL.inputs(first, 1000), second, SETTINGS)

    factors = jnp.array([1, 1, 1, jnp.nan])
    return jax.jit(jax.vmap(one))(jax.random.split(KEY, 4), factors)


def test_subnetworks_are_features():
    found = fits()
    np.testing.assert_array_equal(found.status, [Status.OK] * 3 + [Status.DIVERGED])
    found = jax.tree.map(lambda leaf: leaf[:3], found)
    assert found.loss.shape == (3, 120)
    # Five subnetworks at .1 × 5 per sample leave a fifth; a random direction leaves nearly all.
    best = jnp.min(found.loss[:, -1])
    assert 0.15 < best < 0.26
    owners = jax.vmap(distinct_owners)(found.subnetworks)
    assert int(jnp.max(owners)) == 5
    cosines = mean_max_cosine(
        pentagon()["encoder"],
        jax.tree.map(lambda leaf: leaf[jnp.argmax(owners)], found.subnetworks)["encoder"],
    )
    assert cosines > 0.98
    # Exactly a tenth of the entries is kept in every batch.
    np.testing.assert_allclose(found.frequency.sum(1), 0.5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["euclidean", "published"])
def test_directions_have_unit_norm(norm):
    layout = SETTINGS.layout(pentagon())
    found = fits()
    leaves = [leaf[:3] for leaf in jax.tree.leaves(found.subnetworks)]
    squares = sum(jnp.sum(leaf**2, axis=tuple(range(2, leaf.ndim))) for leaf in leaves)
    np.testing.assert_allclose(squares, 1, rtol=1e-5)
    rows = 3 * jax.random.normal(KEY, (5, layout.num_factors))
    once = normalize_directions(layout, rows, norm)
    norms = layout.tensor_norms(once)
    before = layout.tensor_norms(rows)
    if norm == "euclidean":
        np.testing.assert_allclose(jnp.sum(norms**2, axis=0), 1, rtol=1e-5)
    else:
        # One division gives the square root of what is called the norm, and not 1.
        np.testing.assert_allclose(jnp.sum(norms, 0), jnp.sqrt(jnp.sum(before, 0)), rtol=1e-5)
    ratios = norms / before
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios), 0), rtol=1e-5)


def test_a_fit_continues_exactly_from_a_file(tmp_path):
    settings = FitSettings(num_subnetworks=5, batch_size=16, decay_every=1)
    params, inputs = pentagon(), MODEL.inputs(KEY, 50)

    @functools.partial(jax.jit, static_argnums=1)
    def advance(state, epochs):
        return continue_fit(MODEL.apply, params, inputs, state, settings, num_epochs=epochs)

    state = start_fit(params, KEY, settings)
    np.testing.assert_array_equal(state.factors[0], state.factors[1])  # encoder = decoder
    whole, trace = advance(state, 2)
    half, first = advance(state, 1)
    np.savez(tmp_path / "fit.npz", **state_to_arrays(half))
    with np.load(tmp_path / "fit.npz") as stored:
        half = state_from_arrays(stored)
    parts, second = advance(half, 1)
    for one, other in zip(
        state_to_arrays(whole).values(), state_to_arrays(parts).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(trace.loss, jnp.concatenate([first.loss, second.loss]))
    assert int(parts.epoch) == 2
    # The first epoch keeps all projections, the later ones a tenth.
    assert trace.loss[0] < trace.loss[1]


def test_too_few_samples():
    params, inputs = pentagon(), MODEL.inputs(KEY, 20)
    state = start_fit(params, KEY, SETTINGS)
    with pytest.raises(ValueError, match="at least `batch_size` = 32 samples"):
        continue_fit(MODEL.apply, params, inputs, state, SETTINGS, num_epochs=1)
