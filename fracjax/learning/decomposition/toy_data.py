"""Sparse inputs of toy models: most features of a sample are off, never all of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least

__all__ = ["sparse_inputs"]


def sparse_inputs(
    key: Key,
    num_samples: int,
    num_features: int,
    *,
    active: float = 0.05,
    group: int = 1,
    signed: bool = False,
) -> Float[Array, "samples features"]:
    """Draw features that are on with a small probability, U[0, 1] where they are on.

    Samples without any are left out of the distribution, exactly: the first group that is on is
    drawn first, from a geometric law cut off at the number of groups, and the later ones freely.

    Args:
        key: One key.
        num_samples: How many samples.
        num_features: A multiple of `group`.
        active: Probability that a group of features is on.
        group: Features that are on together, each with its own value.
        signed: Whether values get a random sign: U[-1, 1].

    Raises:
        ValueError: If a setting is out of range.
    """
    check_at_least(num_samples=(num_samples, 1), num_features=(num_features, 1), group=(group, 1))
    if num_features % group:
        msg = f"Argument `num_features` must be a multiple of {group}, but is {num_features}."
        raise ValueError(msg)
    if not 0 < active <= 1:
        msg = f"Argument `active` must lie in (0, 1], but is {active}."
        raise ValueError(msg)
    groups = num_features // group
    drawn = jax.random.uniform(key, (num_samples, 1 + groups + num_features))
    # P(the first is number j or earlier | some are on) = (1 - (1 - p)^(j+1)) / (1 - (1 - p)^n).
    off = (1 - active) ** np.arange(1.0, groups + 1)
    below = (1 - off) / (1 - off[-1])
    first = jnp.sum(drawn[:, :1] >= jnp.asarray(below[:-1], drawn.dtype), axis=1, keepdims=True)
    number = jnp.arange(groups)
    on = (number == first) | ((number > first) & (drawn[:, 1 : 1 + groups] < active))
    values = drawn[:, 1 + groups :]
    if signed:
        values = 2 * values - 1
    return values * jnp.repeat(on, group, axis=1)
