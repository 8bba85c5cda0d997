"""A transformer on one prompt against the map that it reduces to, and mini-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.systems.training_maps import one_prompt, product_map
from fracjax.systems.training_maps.ellipse import ellipse_value
from fracjax.systems.training_maps.minibatches import (
    full_batch_reduction,
    mean_ellipse_value,
    minibatch_map,
    next_ellipse_value,
    start_minibatches,
)
from fracjax.systems.training_maps.one_prompt import AttentionHeads, TwoFactorHeads

DIMENSION, LONGEST = 3, 30
EPS = 2.3e-16


def heads_of(kind, draws, reduction, prompt):
    """Initial parameters whose reduced factors are of size .1 to .5."""
    count = 1 if kind == "one head" else 3
    u, v = draws.uniform(0.1, 0.5, (2, count)) / np.sqrt(count)
    if kind == "matrices":
        keys = 0.4 * draws.normal(size=(count, DIMENSION, DIMENSION))
        return TwoFactorHeads(jnp.asarray(u), jnp.asarray(keys))
    return TwoFactorHeads(*product_map.original_factors(np.stack([u, v]), reduction))


def compare(kind, prompt, heads, reduction, step_size, num_steps):
    """Largest distance of the reduced orbit from the map's at every step, and tangents' growth."""
    rate = step_size / abs(reduction.slope * reduction.target)
    train = one_prompt.descent_map(lambda at: one_prompt.prompt_loss(at, prompt), rate)
    step = product_map.vector_product_map(product_map.effective_step_size(reduction, rate))

    def reduce(heads):
        return product_map.reduced_factors(one_prompt.head_factors(heads, prompt), reduction)

    def both(carry, _):
        heads, state, growth = carry
        jacobian = jax.jacfwd(step)(state)
        size = state.size
        growth = 1 + jnp.linalg.norm(jacobian.reshape(size, size), 2) * growth
        heads, state = train(heads), step(state)
        loss = one_prompt.prompt_loss(heads, prompt) / reduction.target**2
        gap = jnp.max(jnp.abs(reduce(heads) - state))
        lost = jnp.abs(loss - product_map.normalized_loss(state))
        return (heads, state, growth), (gap, lost, growth, jnp.max(jnp.abs(state)))

    start = (heads, reduce(heads), jnp.ones(()))
    return jax.lax.scan(both, start, length=num_steps)[1]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("one head", marks=pytest.mark.slow),
        pytest.param("three heads", marks=pytest.mark.slow),
        "matrices",
    ],
)
def test_training_on_one_prompt_is_the_product_map(kind, x64):
    """To 1e-12 step for step where rounding does not grow; in chaos within what it grows to.

    Rounding of a step, 1e-15 at most, is multiplied by the tangents' growth ever after.
    """
    prompt = one_prompt.random_prompt(jax.random.key(1), 8, DIMENSION, noise=0.3)
    reduction = one_prompt.prompt_reduction(prompt, matrices=kind == "matrices")
    heads = heads_of(kind, np.random.default_rng(0), reduction, prompt)
    run = jax.jit(lambda heads, size: compare(kind, prompt, heads, reduction, size, LONGEST))
    gap, lost, _, largest = run(heads, 0.9)
    assert np.max(gap) < 1e-12
    assert np.max(lost) < 1e-12
    assert np.max(largest) > 0.5
    gap, _, growth, largest = run(heads, 1.9)
    assert np.max(gap[:8]) < 1e-12
    assert np.all(gap < 4 * EPS * growth)
    assert np.max(largest) < 2
    assert 5 < np.sum(gap < 1e-12) < LONGEST  # chaos it is


def test_matrices_move_along_one_direction_only(x64):
    """What is orthogonal to h x_q' in V never changes."""
    prompt = one_prompt.random_prompt(jax.random.key(2), 8, DIMENSION)
    draws = np.random.default_rng(0)
    heads = TwoFactorHeads(
        jnp.asarray(draws.normal(size=2)), jnp.asarray(draws.normal(size=(2, 3, 3)))
    )
    slope = jax.jit(jax.grad(one_prompt.prompt_loss))(heads, prompt).key_query
    vector = np.asarray(prompt.outputs @ prompt.inputs)
    direction = np.outer(vector, prompt.query)
    direction /= np.linalg.norm(direction)
    along = np.einsum("hij,ij->h", slope, direction)
    np.testing.assert_allclose(slope, along[:, None, None] * direction, atol=1e-12)
    assert np.all(np.abs(along) > 1e-3)


def whole_heads(prompt, vectors, draws):
    """Two heads of whole matrices whose rows w_h and columns k_h are given, the rest random."""
    unit = jnp.append(prompt.query, 0.0) / jnp.linalg.norm(prompt.query)
    value, keys = draws.normal(size=(2, 2, DIMENSION + 1, DIMENSION + 1))
    value[:, -1] = vectors[0]
    keys = keys - np.einsum("hij,j,k->hik", keys, unit, unit)
    keys = keys + np.einsum("hi,j->hij", vectors[1], unit)
    return AttentionHeads(jnp.asarray(value), jnp.asarray(keys))


def test_whole_matrices_reduce_from_an_eigenspace_and_not_from_elsewhere(x64):
    prompt = one_prompt.random_prompt(jax.random.key(3), 8, DIMENSION, noise=0.3)
    reduction, vector = one_prompt.eigenspace_reduction(prompt)
    draws = np.random.default_rng(1)
    x = draws.uniform(0.1, 0.4, (2, 2))
    factors = product_map.original_factors(x, reduction)
    rate = 0.9 / abs(reduction.slope * reduction.target)
    unit = jnp.append(prompt.query, 0.0) / jnp.linalg.norm(prompt.query)
    inside = whole_heads(prompt, np.asarray(factors)[..., None] * np.asarray(vector), draws)
    outside = whole_heads(prompt, 0.3 * draws.normal(size=(2, 2, DIMENSION + 1)), draws)
    train = one_prompt.descent_map(lambda at: one_prompt.prompt_loss(at, prompt), rate)
    step = product_map.vector_product_map(0.9)

    def read(heads):
        factors = jnp.stack([heads.value[:, -1] @ vector, heads.key_query @ unit @ vector])
        return product_map.reduced_factors(factors, reduction)

    def both(carry, _):
        heads, state = train(carry[0]), step(carry[1])
        loss = one_prompt.prompt_loss(heads, prompt) / reduction.target**2
        gap = jnp.max(jnp.abs(read(heads) - state))
        return (heads, state), (gap, jnp.abs(loss - product_map.normalized_loss(state)))

    run = jax.jit(lambda heads: jax.lax.scan(both, (heads, read(heads)), length=LONGEST)[1])
    gap, lost = run(inside)
    assert np.max(gap) < 1e-12
    assert np.max(lost) < 1e-12
    gap, lost = run(outside)
    assert gap[3] > 1e-3


def test_the_prediction_by_hand():
    """One head, u = 2 and v = 3: the prediction is u v mean(y_i x_i·x_q)."""
    prompt = one_prompt.Prompt(
        jnp.array([[1.0, 0.0], [1.0, 2.0]]), jnp.array([1.0, -1.0]), jnp.array([0.5, 1.0]),
        jnp.array(0.7),
    )  # fmt: skip
    heads = TwoFactorHeads(jnp.array([2.0]), jnp.array([3.0]))
    slope = (1.0 * 0.5 - 1.0 * 2.5) / 2
    np.testing.assert_allclose(one_prompt.predict(heads, prompt), 6 * slope, rtol=1e-6)
    np.testing.assert_allclose(
        one_prompt.prompt_loss(heads, prompt), (6 * slope - 0.7) ** 2 / 2, rtol=1e-6
    )
    np.testing.assert_allclose(one_prompt.prompt_reduction(prompt).slope, slope, rtol=1e-6)


def test_bad_prompts_and_heads_are_named():
    with pytest.raises(ValueError, match="`num_examples`"):
        one_prompt.random_prompt(jax.random.key(0), 0)
    with pytest.raises(ValueError, match="`heads`"):
        one_prompt.attention_heads(TwoFactorHeads(jnp.ones(2), jnp.ones((2, 3, 3))), 4)


# --- mini-batches ---------------------------------------------------------------------------

COUNT = 12
DRAWS = np.random.default_rng(7)
SLOPES = DRAWS.uniform(0.7, 1.3, COUNT)
TARGETS = SLOPES * DRAWS.uniform(0.8, 1.2, COUNT)


def test_all_data_at_once_are_one_problem(x64):
    reduction = full_batch_reduction(SLOPES, TARGETS)
    whole = minibatch_map(SLOPES, TARGETS, 0.7, batch_size=COUNT, replacement=False)
    state = start_minibatches(jnp.array([0.3, 1.1]), jax.random.key(0))
    moved = whole.step(state).factors
    step = product_map.product_map(product_map.effective_step_size(reduction, 0.7))
    x = product_map.reduced_factors(state.factors, reduction)
    back = product_map.original_factors(step(x), reduction)
    np.testing.assert_allclose(moved, back, rtol=1e-13)
    assert int(whole.step(state).position) == 1


@pytest.mark.parametrize("replacement", [pytest.param(True, marks=pytest.mark.slow), False])
def test_batches_are_unbiased_and_obey_the_drift_of_the_ellipse(replacement, x64):
    """E' to rounding at every step; without replacement an epoch has every problem once."""
    rate, size = 0.9, 4
    noisy = minibatch_map(SLOPES, TARGETS, rate, batch_size=size, replacement=replacement)
    reduction = full_batch_reduction(SLOPES, TARGETS)
    step_size = float(product_map.effective_step_size(reduction, rate))

    @jax.jit
    def run(key):
        def move(state, _):
            after = noisy.step(state)
            both = [product_map.reduced_factors(each.factors, reduction) for each in (state, after)]
            g, p = noisy.growth(state), both[0][0] * both[0][1]
            values = [ellipse_value(each, step_size) for each in both]
            law = next_ellipse_value(values[0], p, g, step_size)
            u, v = state.factors
            q, d = after.factors.sum(), after.factors[0] - after.factors[1]
            return after, (values[1] - law, q - (u + v) * (1 + g), d - (u - v) * (1 - g))

        state = start_minibatches(jnp.array([0.5, 1.2]), key)
        return jax.lax.scan(move, state, length=40)[1]

    np.testing.assert_allclose(jnp.stack(run(jax.random.key(1))), 0, atol=1e-12)

    # Growth at one state over many batches.
    state = start_minibatches(jnp.array([0.5, 1.2]), jax.random.key(2))
    many = 3 * 4000
    at = jax.vmap(lambda i: noisy.growth(state._replace(position=i)))(jnp.arange(many))
    all_g = rate * SLOPES * (TARGETS - SLOPES * 0.6)
    mean = all_g.mean()
    if replacement:
        variance = all_g.var() / size
        assert abs(at.mean() - mean) < 5 * np.sqrt(variance / many)
    else:
        variance = all_g.var() / size * (COUNT - size) / (COUNT - 1)
        np.testing.assert_allclose(at.reshape(-1, 3).mean(axis=1), mean, atol=1e-13)
    assert abs(at.var() / variance - 1) < 0.08  # some six standard errors
    x = product_map.reduced_factors(state.factors, reduction)
    value, p = ellipse_value(x, step_size), x[0] * x[1]
    after = next_ellipse_value(value, p, at, step_size)
    error = np.std(after) / many**0.5
    law = mean_ellipse_value(x, jnp.asarray(variance), step_size)
    assert abs(after.mean() - law) < 5 * error + 1e-12


def test_noise_pushes_orbits_out_of_the_ellipse(x64):
    """On the ellipse E rises by (4 - mu^2)/mu sigma^2 on average; without noise not at all."""
    on = jnp.array([3.0**0.5, 0.0])  # mu = 1, p = 0, E = 0, g = 1
    for variance in (0.0, 0.25):
        mean = mean_ellipse_value(on, jnp.array(variance), 1.0)
        np.testing.assert_allclose(mean, 3 * variance, atol=1e-12)


def test_bad_batches_are_named():
    with pytest.raises(ValueError, match="`batch_size`"):
        minibatch_map(SLOPES, TARGETS, 0.1, batch_size=5, replacement=False)
    with pytest.raises(ValueError, match="`batch_size`"):
        minibatch_map(SLOPES, TARGETS, 0.1, batch_size=13)
