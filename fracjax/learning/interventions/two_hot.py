"""Regression as classification: a head whose outputs are logits over the values of a support.

    support = linear_support(-10.0, 10.0, 101)
    loss = categorical_loss(support, logits, targets).mean()
    values = decode(support, logits)

Lyle et al. do not say which support they used; an independent reproduction with 51 values on ±100
had the head do worst where the paper has it do best. State it with every result.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax.rl.world_models import two_hot as weights

__all__ = [
    "CategoricalSupport",
    "categorical_loss",
    "decode",
    "encode",
    "linear_support",
    "symlog_support",
]


class CategoricalSupport(NamedTuple):
    """The values that a categorical head weighs.

    Attributes:
        name: What it is called in results.
        centres: The values, rising, (bins,), in float64.
    """

    name: str
    centres: np.ndarray

    @property
    def size(self) -> int:
        """How many values: outputs of the head per predicted number."""
        return len(self.centres)


def linear_support(low: float, high: float, number: int) -> CategoricalSupport:
    """Evenly spaced values from `low` to `high`.

    Args:
        low: The first; targets below are clipped.
        high: The last; targets above are clipped.
        number: How many.

    Raises:
        ValueError: If there are fewer than two, or `low` is not below `high`.
    """
    if number < 2 or not low < high:
        msg = (
            "Argument `number` must be at least 2 and `low` below `high`, but they are"
            f" {number}, {low} and {high}."
        )
        raise ValueError(msg)
    return CategoricalSupport(f"{number} on [{low:g}, {high:g}]", np.linspace(low, high, number))


def symlog_support(limit: float, number: int) -> CategoricalSupport:
    """Values whose symmetric logarithms are evenly spaced, for targets of unknown size.

    Args:
        limit: Symmetric logarithm of the largest: 20 reaches 5e8.
        number: How many; odd, so that 0 is one of them.

    References:
        Hafner et al. (2023), https://arxiv.org/abs/2301.04104.
    """
    centres = weights.bin_centres(number, limit)
    return CategoricalSupport(f"{number} on symexp([{-limit:g}, {limit:g}])", centres)


def encode(
    support: CategoricalSupport, values: Float[Array, "*batch"]
) -> Float[Array, "*batch bins"]:
    """Weights of two neighbours whose mean is the value: two-hot.

    Args:
        support: The support.
        values: Targets; those beyond the support are clipped.
    """
    return weights.two_hot(values, support.centres)


def decode(
    support: CategoricalSupport, logits: Float[Array, "*batch bins"]
) -> Float[Array, "*batch"]:
    """Mean of the support under the softmax of the logits.

    Args:
        support: The support.
        logits: Outputs of the head.
    """
    if support.size % 2 and np.array_equal(support.centres, -support.centres[::-1]):
        return weights.expected_value(logits, support.centres)  # 0 for equal logits, to rounding
    return jax.nn.softmax(logits, axis=-1) @ jnp.asarray(support.centres, logits.dtype)


def categorical_loss(
    support: CategoricalSupport,
    logits: Float[Array, "*batch bins"],
    values: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """Cross-entropy of the softmax with the two-hot weights of the target, one per value.

    Its gradient with respect to the logits is softmax - weights, so bounded by 1 whatever the
    size of the target. It is not the squared error: the least it can be is the entropy of the
    weights, up to ln 2.

    Args:
        support: The support.
        logits: Outputs of the head.
        values: Targets.
    """
    return weights.two_hot_loss(logits, values, support.centres)
