"""Replay of sequences from a ring of arrays: fixed in shape, inside compiled programs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = ["Record", "Replay", "append", "empty", "sample"]


class Record(NamedTuple):
    """What is known on arriving at an observation.

    Attributes:
        observation: The observation.
        action: Action that led here; zeros at the beginning of an episode.
        reward: Reward paid on arriving; 0 at the beginning.
        first: 1 at the beginning of an episode, else 0.
        continues: 0 where the episode has terminated (not where it was cut), else 1.
    """

    observation: Float[Array, "*batch observation"]
    action: Float[Array, "*batch action"]
    reward: Float[Array, "*batch"]
    first: Float[Array, "*batch"]
    continues: Float[Array, "*batch"]


class Replay(NamedTuple):
    """Records of several simulators in a ring.

    Attributes:
        records: Arrays (length, environments, ...).
        cursor: Where the next record goes.
        filled: How many of `length` hold a record.
    """

    records: Record
    cursor: Int[Array, ""]
    filled: Int[Array, ""]


def empty(length: int, environments: int, observation_size: int, action_size: int) -> Replay:
    """Make a replay without records."""
    shape = (length, environments)
    numbers = jnp.zeros(shape, jnp.float32)
    records = Record(
        jnp.zeros((*shape, observation_size), jnp.float32),
        jnp.zeros((*shape, action_size), jnp.float32),
        numbers,
        numbers,
        numbers,
    )
    return Replay(records, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def append(replay: Replay, records: Record) -> Replay:
    """Append consecutive records (steps, environments, ...), over the oldest if it is full."""
    length, steps = len(replay.records.reward), len(records.reward)
    places = (replay.cursor + jnp.arange(steps)) % length
    kept = jax.tree.map(lambda old, new: old.at[places].set(new), replay.records, records)
    filled = jnp.minimum(replay.filled + steps, length)
    return Replay(kept, (replay.cursor + steps) % length, filled)


def sample(replay: Replay, uniform: Float[Array, "two number"], *, length: int) -> Record:
    """Take sequences (number, length, ...), uniformly among all that are whole.

    A sequence may hold the end of one episode and the beginning of the next.

    Args:
        replay: Where from.
        uniform: Uniform numbers that choose the starts and the simulators.
        length: Records per sequence.
    """
    capacity, environments = replay.records.reward.shape
    places = replay.filled - length + 1
    offset = jnp.minimum((uniform[0] * places).astype(jnp.int32), places - 1)
    column = jnp.minimum((uniform[1] * environments).astype(jnp.int32), environments - 1)
    oldest = replay.cursor - replay.filled
    rows = (oldest + offset[:, None] + jnp.arange(length)) % capacity
    return jax.tree.map(lambda leaf: leaf[rows, column[:, None]], replay.records)
