"""A source of text whose entropy is known: the first token names a dialect, words follow by it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least

__all__ = ["Dialects"]


@dataclasses.dataclass(frozen=True)
class Dialects:
    """Markov chains on common words, one per dialect, which the first token names.

    A sequence is (dialect, w_1, ..., w_T): w_1 is uniform; later each word is followed by its
    successor in the dialect with probability 1 - noise, and by a uniform word otherwise. No two
    dialects give a word the same successor. So a reader of one word alone cannot know the next:
    the dialect has to be fetched from the first place, which is what attention is for, and it is
    what subnetworks of an attention block have to own.

    All entropies are per predicted word, in nats, exact, and means over the T predictions, of
    which the first (w_1 from the dialect) costs ln(words) whatever a reader knows.

    Attributes:
        num_dialects: At most `num_words`.
        num_words: Words, tokens 0 to `num_words` - 1; dialects are the tokens that follow.
        length: T, words of a sequence.
        noise: Probability of a word drawn uniformly.
    """

    num_dialects: int = 4
    num_words: int = 12
    length: int = 12
    noise: float = 0.1

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_at_least(
            num_dialects=(self.num_dialects, 1),
            num_words=(self.num_words, 2),
            length=(self.length, 2),
        )
        if self.num_dialects > self.num_words:
            msg = (
                f"Argument `num_dialects` must be at most `num_words` = {self.num_words}, but is"
                f" {self.num_dialects}."
            )
            raise ValueError(msg)
        if not 0 < self.noise <= 1:
            msg = f"Argument `noise` must lie in (0, 1], but is {self.noise}."
            raise ValueError(msg)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.num_words + self.num_dialects

    @property
    def successors(self) -> np.ndarray:
        """Usual next word, (dialects, words): steps of 1 to `num_dialects` along a fixed ring."""
        ring = np.random.default_rng(0).permutation(self.num_words)
        place = np.argsort(ring)
        steps = np.arange(1, self.num_dialects + 1)[:, None]
        return ring[(place + steps) % self.num_words]

    @property
    def entropy(self) -> float:
        """Of a reader who knows the source: no model does better."""
        return self._mean(self._entropy_of(1))

    @property
    def bigram_entropy(self) -> float:
        """Of a reader of the current word alone: a model without attention does no better."""
        return self._mean(self._entropy_of(self.num_dialects))

    @property
    def unigram_entropy(self) -> float:
        """Of a reader of nothing: words are uniform at every place."""
        return math.log(self.num_words)

    def sample(self, key: Key, num_sequences: int) -> Int[Array, "sequences tokens"]:
        """Draw sequences of 1 + `length` tokens."""
        words = self.num_words
        drawn = jax.random.uniform(key, (num_sequences, self.length, 2))
        dialect = (drawn[:, 0, 0] * self.num_dialects).astype(jnp.int32)
        uniform = jnp.minimum((drawn[..., 1] * words).astype(jnp.int32), words - 1)
        table = jnp.asarray(self.successors, jnp.int32)[dialect]
        free = drawn[..., 0] < self.noise

        def follow(word: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            other, is_free = now
            usual = jnp.take_along_axis(table, word[:, None], axis=1)[:, 0]
            word = jnp.where(is_free, other, usual)
            return word, word

        rest = (uniform[:, 1:].T, free[:, 1:].T)
        _, later = jax.lax.scan(follow, uniform[:, 0], rest)
        return jnp.concatenate([words + dialect[:, None], uniform[:, :1], later.T], axis=1)

    def next_probabilities(
        self, sequence: Int[Array, " length"]
    ) -> Float[Array, "length vocabulary"]:
        """Law of the next token at every place of one sequence, given all up to there.

        Args:
            sequence: The dialect and words, of any length; the word after the last one counts.
        """
        words = self.num_words
        usual = jnp.asarray(self.successors)[sequence[0] - words, sequence[1:]]
        later = (1 - self.noise) * jax.nn.one_hot(usual, self.vocabulary)
        first = jnp.full((1, self.vocabulary), (1 - self.noise) / words)
        known = jnp.concatenate([first, later]) + self.noise / words
        return jnp.where(jnp.arange(self.vocabulary) < words, known, 0)

    def _entropy_of(self, choices: int) -> float:
        """Of a next word that has equally likely usual words."""
        rare = self.noise / self.num_words
        usual = (1 - self.noise) / choices + rare
        others = self.num_words - choices
        return -choices * usual * math.log(usual) - others * rare * math.log(rare)

    def _mean(self, later: float) -> float:
        return (self.unigram_entropy + (self.length - 1) * later) / self.length
