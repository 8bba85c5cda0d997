"""A source with known entropy, and a transformer that learns it: what each must satisfy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fracjax.learning.decomposition.divergences import kullback_leibler
from fracjax.learning.decomposition_models.dialects import Dialects
from fracjax.learning.decomposition_models.selected_tensors import restrict
from fracjax.learning.decomposition_models.transformers import (
    Transformer,
    positions,
    train_transformer,
)

SOURCE = Dialects(num_dialects=3, num_words=6, length=6)
MODEL = Transformer(SOURCE.vocabulary, SOURCE.length, width=16, hidden=32)
KEY = jax.random.key(0)


def drawn(model, scale=0.3):
    """Parameters from NumPy, which compiles nothing."""
    draws = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * draws.normal(size=leaf.shape)), shapes)


def test_words_cost_the_stated_entropy():
    """-ln p of 4000 sequences by the law of the next word: within 4 standard errors."""

    @jax.jit
    def all_of_it(key):
        sequences = SOURCE.sample(key, 4000)
        laws = jax.vmap(SOURCE.next_probabilities)(sequences[:, :-1])
        taken = jnp.take_along_axis(laws, sequences[:, 1:, None], axis=2)[..., 0]
        return sequences, laws.sum(axis=-1), taken

    sequences, sums, taken = map(np.asarray, all_of_it(KEY))
    assert sequences.shape == (4000, 7)
    assert (sequences[:, 0] >= 6).all()
    assert (sequences[:, 1:] < 6).all()
    np.testing.assert_allclose(sums, 1, rtol=1e-6)
    costs = -np.log(taken).mean(axis=1)
    assert abs(costs.mean() - SOURCE.entropy) < 4 * costs.std(ddof=1) / 4000**0.5
    # Each word has another successor in every dialect, and no word is its own.
    successors = SOURCE.successors
    assert all(len(set(column)) == 3 for column in successors.T)
    assert all(sorted(row) == list(range(6)) for row in successors)
    assert not (successors == np.arange(6)).any()


def test_entropies_are_those_of_their_readers():
    """By summing the laws: the dialect known, averaged over, and words averaged over."""
    pairs = jnp.array([[[6 + d, w] for w in range(6)] for d in range(3)])
    found = jax.jit(jax.vmap(jax.vmap(SOURCE.next_probabilities)))(pairs)
    laws = np.asarray(found, float)[:, :, 1, :6]

    def mean_entropy(table):
        return -(table * np.log(table)).sum(axis=-1).mean()

    for entropy, table in ((SOURCE.entropy, laws), (SOURCE.bigram_entropy, laws.mean(axis=0))):
        later = mean_entropy(table)
        assert entropy == pytest.approx((np.log(6) + 5 * later) / 6, rel=1e-5)
    assert pytest.approx(mean_entropy(laws.mean(axis=(0, 1))), rel=1e-5) == SOURCE.unigram_entropy
    assert SOURCE.entropy < SOURCE.bigram_entropy < SOURCE.unigram_entropy


def test_later_tokens_change_nothing_before():
    tokens = np.array([7, 0, 3, 1, 5, 2])
    others = np.tile(tokens, (6, 1))
    for place in range(1, 6):
        others[place, place] = (tokens[place] + 1) % 6

    @jax.jit
    def all_of_it(params, sequences):
        flat = positions(sequences[:1])
        found = jax.vmap(MODEL.at_position, in_axes=(None, 0))(params, flat)
        return jax.vmap(MODEL.apply, in_axes=(None, 0))(params, sequences), found

    logits, by_position = all_of_it(drawn(MODEL), jnp.asarray(others))
    for place in range(1, 6):
        np.testing.assert_array_equal(logits[place, :place], logits[0, :place])
        assert (logits[place, place:] != logits[0, place:]).any(axis=1).all()
    np.testing.assert_allclose(by_position, logits[0], rtol=1e-5, atol=1e-5)


def test_gradients_of_the_divergence_are_differences(x64):
    """KL at one token with respect to the attention, against central differences to 1e-7."""
    model = Transformer(5, 4, width=4, hidden=4)
    chosen, apply = restrict(model.at_position, drawn(model), "blocks/0/attention/*")
    tokens = jnp.array([4, 0, 2, 1])

    @jax.jit
    def all_of_it(chosen):
        reference = apply(chosen, (tokens, 0))
        start, unravel = ravel_pytree(chosen)

        def divergence(flat):
            return kullback_leibler(apply(unravel(flat), (tokens, 2)), reference)

        def difference(step):
            return (divergence(start + step) - divergence(start - step)) / 2e-5

        steps = 1e-5 * jnp.eye(len(start))
        return jax.grad(divergence)(start), jax.vmap(difference)(steps)

    gradient, differences = all_of_it(chosen)
    assert gradient.dtype == jnp.float64
    np.testing.assert_allclose(gradient, differences, atol=1e-7)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.slow
def test_training_needs_attention_to_get_where_it_gets():
    """Between the source's entropy and that of a reader of single words, on fresh text."""
    found = jax.jit(
        lambda key: train_transformer(
            MODEL, SOURCE, key, num_updates=400, learning_rate=1e-2, num_fresh=512
        )
    )(KEY)
    assert found.loss.value - SOURCE.entropy > -4 * found.loss.stderr
    assert found.loss.value + 4 * found.loss.stderr < SOURCE.bigram_entropy
    assert found.loss.value < SOURCE.unigram_entropy
    gap = found.loss.value - SOURCE.entropy - found.excess.value
    assert abs(gap) < 4 * found.loss.stderr
    assert 0 < found.excess.low < found.excess.value < 0.1
    assert found.trace[0] > SOURCE.unigram_entropy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dialects(num_dialects=9, num_words=6), "`num_dialects` must be at most"),
        (lambda: Dialects(noise=0.0), "`noise` must lie"),
        (lambda: Transformer(5, 4, width=6, num_heads=4), "`width` must be a multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
