"""A small causal transformer as plain functions of a pytree.

    model = Transformer(vocabulary=16, length=12)
    params = model.init(key)
    logits = model.apply(params, tokens)                  # (length, vocabulary)
    chosen, apply_chosen = restrict(model.at_position, params, "blocks/0/attention/*")

Tokens are the samples of a decomposition: x is a sequence and a position, see `positions`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Estimate, Key, Leaf, PyTree, Status
from fracjax.estimators.intervals import masked_mean, student_quantile
from fracjax.estimators.settings import check_at_least
from fracjax.learning.decomposition_models.dialects import Dialects

__all__ = ["TrainedTransformer", "Transformer", "next_token_loss", "positions", "train_transformer"]

_TINY = 1e-5  # of the layer norm


@dataclasses.dataclass(frozen=True)
class Transformer:
    """Blocks of attention and a perceptron, layer norms before each; hashable.

    Attributes:
        vocabulary: Number of tokens.
        length: Longest sequence.
        width: Of the residual stream; a multiple of `num_heads`.
        num_heads: Heads of attention.
        hidden: Units of a perceptron.
        num_blocks: Blocks.
    """

    vocabulary: int
    length: int
    width: int = 32
    num_heads: int = 2
    hidden: int = 64
    num_blocks: int = 1

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_at_least(**{name: (size, 1) for name, size in dataclasses.asdict(self).items()})
        if self.width % self.num_heads:
            msg = f"Argument `width` must be a multiple of {self.num_heads}, but is {self.width}."
            raise ValueError(msg)

    def init(self, key: Key) -> PyTree:
        """Draw parameters: N(0, 1/inputs) matrices, N(0, .1²) embeddings, no biases."""
        width, hidden = self.width, self.hidden
        square, norm = np.zeros((width, width)), {"gain": 1.0, "shift": 0.0}
        block = {
            "attention": {name: square for name in ("query", "key", "value", "output")}
            | {"bias": np.zeros(width)},
            "perceptron": {
                "enter": np.zeros((width, hidden)),
                "enter_bias": np.zeros(hidden),
                "leave": np.zeros((hidden, width)),
                "leave_bias": np.zeros(width),
            },
            "attention_norm": norm,
            "perceptron_norm": norm,
        }
        shapes = {
            "embedding": np.zeros((self.vocabulary, width)),
            "places": np.zeros((self.length, width)),
            "blocks": [block] * self.num_blocks,
            "norm": norm,
            "unembedding": np.zeros((width, self.vocabulary)),
        }
        drawn = tree.random_normal(key, jax.tree.map(lambda s: jnp.zeros(jnp.shape(s)), shapes))

        def scaled(path: tuple, leaf: Array) -> Array:
            name = jax.tree_util.keystr(path[-1:], simple=True)
            if name in ("gain", "shift"):
                return jnp.full(width, float(name == "gain"), leaf.dtype)
            if leaf.ndim < 2:
                return jnp.zeros_like(leaf)
            scale = 0.1 if name in ("embedding", "places") else 1 / math.sqrt(len(leaf))
            return scale * leaf

        return jax.tree_util.tree_map_with_path(scaled, drawn)

    def apply(
        self, params: PyTree, tokens: Int[Array, " length"]
    ) -> Float[Array, "length vocabulary"]:
        """Predict the next token at every place, from it and the places before it."""
        stream = params["embedding"][tokens] + params["places"][: len(tokens)]
        for block in params["blocks"]:
            stream += self._attend(block["attention"], _normed(block["attention_norm"], stream))
            stream += _perceptron(block["perceptron"], _normed(block["perceptron_norm"], stream))
        return _normed(params["norm"], stream) @ params["unembedding"]

    def at_position(
        self, params: PyTree, sample: tuple[Int[Array, " length"], Int[Array, ""] | int]
    ) -> Float[Array, " vocabulary"]:
        """Logits at one position of one sequence: a sample of a decomposition."""
        tokens, position = sample
        return self.apply(params, tokens)[position]

    def _attend(self, params: PyTree, stream: Float[Array, "length width"]) -> Array:
        length, size = len(stream), self.width // self.num_heads
        query, key, value = (
            (stream @ params[name]).reshape(length, self.num_heads, size)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("thc,shc->hts", query, key) / math.sqrt(size)
        seen = np.tril(np.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
        mixed = jnp.einsum("hts,shc->thc", weights, value).reshape(length, self.width)
        return mixed @ params["output"] + params["bias"]


def _normed(params: PyTree, stream: Array) -> Array:
    centred = stream - jnp.mean(stream, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + _TINY)
    return centred * scale * params["gain"] + params["shift"]


def _perceptron(params: PyTree, stream: Array) -> Array:
    units = jax.nn.gelu(stream @ params["enter"] + params["enter_bias"])
    return units @ params["leave"] + params["leave_bias"]


def next_token_loss(
    model: Transformer, params: PyTree, sequences: Int[Array, "sequences tokens"]
) -> Float[Array, " sequences"]:
    """Cross entropy of the next token in nats, mean over the places of every sequence."""

    def one(tokens: Array) -> Array:
        logits = jax.nn.log_softmax(model.apply(params, tokens[:-1]))
        return -jnp.mean(jnp.take_along_axis(logits, tokens[1:, None], axis=1))

    return jax.vmap(one)(sequences)


def positions(
    sequences: Int[Array, "sequences length"],
) -> tuple[Int[Array, "samples length"], Int[Array, " samples"]]:
    """Flatten sequences to one sample per token: copies of the sequence, and positions."""
    count, length = sequences.shape
    return jnp.repeat(sequences, length, axis=0), jnp.tile(jnp.arange(length), count)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainedTransformer:
    """A trained transformer.

    Attributes:
        params: Its parameters.
        trace: Loss of every update.
        loss: On fresh sequences, in nats per predicted word, with Student's interval; to be held
            against `Dialects.entropy`, the floor.
        excess: Divergence KL(source ‖ model) on the same, the expected loss above the floor: it
            has no noise from the words drawn, so that its interval is far shorter.
    """

    params: PyTree
    trace: Leaf
    loss: Estimate
    excess: Estimate


def train_transformer(
    model: Transformer,
    source: Dialects,
    key: Key,
    *,
    num_updates: int = 1500,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    num_fresh: int = 1024,
) -> TrainedTransformer:
    """Train by Adam, each batch drawn anew: what is fitted is the source, not a sample of it.

    Args:
        model: Which; its `length` is at least that of the source.
        source: Of the text.
        key: Of weights and batches.
        num_updates: Updates; the learning rate falls to zero along a cosine.
        batch_size: Sequences per update.
        learning_rate: At the start.
        num_fresh: Sequences of the final loss.

    Raises:
        ValueError: If a number is out of range.
    """
    check_at_least(
        num_updates=(num_updates, 1), batch_size=(batch_size, 1), num_fresh=(num_fresh, 2)
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_updates))
    of_weights, of_batches, of_fresh = jax.random.split(key, 3)

    def update(carry: tuple, key: Key) -> tuple[tuple, Array]:
        params, state = carry
        batch = source.sample(key, batch_size)
        value, slope = jax.value_and_grad(
            lambda moved: jnp.mean(next_token_loss(model, moved, batch))
        )(params)
        change, state = optimizer.update(slope, state, params)
        return (optax.apply_updates(params, change), state), value

    params = model.init(of_weights)
    keys = jax.random.split(of_batches, num_updates)
    (params, _), trace = jax.lax.scan(update, (params, optimizer.init(params)), keys)
    fresh = source.sample(of_fresh, num_fresh)

    def excess(tokens: Array) -> Array:
        law = source.next_probabilities(tokens[:-1])
        gap = jnp.log(jnp.where(law > 0, law, 1)) - jax.nn.log_softmax(
            model.apply(params, tokens[:-1])
        )
        return jnp.mean(jnp.sum(law * gap, axis=1))

    losses = next_token_loss(model, params, fresh)
    return TrainedTransformer(params, trace, _mean(losses), _mean(jax.vmap(excess)(fresh)))


def _mean(values: Float[Array, " n"]) -> Estimate:
    mean, error, count = masked_mean(values, jnp.isfinite(values))
    margin = student_quantile(count - 1, len(values)).astype(values.dtype) * error
    bad = count < len(values)
    status = jnp.where(bad, int(Status.DIVERGED), int(Status.OK))
    return Estimate(mean, error, mean - margin, mean + margin, status)
