"""Tasks that need memory: delayed copy and temporal XOR, on random bits.

    lags = parity_lags(20, order=1, convention="longest")        # y_t = s_{t-10} xor s_{t-20}
    bits = random_bits(key, 300)
    targets, counted = parity_targets(bits, lags), defined_steps(300, lags)
    loss = bit_loss(logits, targets, counted)

Lags may be arrays that are traced or batched: runs at many delays are one program.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least

__all__ = [
    "CHANCE_LOSS",
    "DelayConvention",
    "Lags",
    "bit_accuracy",
    "bit_loss",
    "check_lags",
    "defined_steps",
    "parity_lags",
    "parity_targets",
    "random_bits",
]

CHANCE_LOSS = math.log(2)  # of the best constant guess
DelayConvention = Literal["spacing", "longest"]
Lags: TypeAlias = Int[Array | np.ndarray, "*runs taps"] | Sequence[int]


def parity_lags(
    delay: int, *, order: int = 0, convention: DelayConvention = "spacing"
) -> tuple[int, ...]:
    """List the lags whose bits a task of some order adds modulo 2: 2^order of them.

    Order 0 is delayed copy, y_t = s_{t-d}, order 1 temporal XOR of two taps, and so on: each order
    needs the parity of twice as many bits.

    Two conventions are in use for what the delay d is. `"spacing"`, that of the author's code,
    puts taps at d, 2d, …, 2^h·d. `"longest"`, that of the paper's figures, gives the longest
    lag: y_t = s_{t-d/2} xor s_{t-d} at order 1. A delay of d in the second is one of d/2^h in the
    first; for h > 1 the second is extended here in that way. They agree for delayed copy.

    Args:
        delay: d, in steps.
        order: h.
        convention: What d is.

    Raises:
        ValueError: If a number is out of range, or the longest lag is no multiple of 2^order.

    References:
        Engelken (2023), Gradient flossing, https://arxiv.org/abs/2312.17306, and the author's
        code.
    """
    check_at_least(delay=(delay, 1), order=(order, 0))
    if convention not in get_args(DelayConvention):
        choices = get_args(DelayConvention)
        msg = f"Argument `convention` must be one of {choices}, but is {convention!r}."
        raise ValueError(msg)
    taps = 2**order
    if convention == "longest":
        if delay % taps:
            msg = f"Argument `delay` must be a multiple of 2^order = {taps}, but is {delay}."
            raise ValueError(msg)
        delay //= taps
    return tuple(delay * tap for tap in range(1, taps + 1))


def check_lags(num_steps: int, lags: Lags) -> Int[np.ndarray, "*runs taps"]:
    """Check lags that are not traced against the length of the sequences.

    Raises:
        ValueError: If a lag is not positive, or leaves no step with a target.
    """
    table = np.asarray(lags, np.int32)
    if table.ndim < 1 or table.size == 0 or table.min() < 1 or table.max() >= num_steps:
        msg = (
            f"Argument `lags` must hold whole numbers between 1 and {num_steps - 1}, less than"
            f" the number of steps, but is {lags}."
        )
        raise ValueError(msg)
    return table


def random_bits(
    key: Key, num_steps: int, batch_size: int | None = None
) -> Float[Array, "*batch steps"]:
    """Draw independent fair bits, 0 or 1, in JAX's default dtype.

    Args:
        key: Randomness.
        num_steps: Length of a sequence.
        batch_size: How many sequences; without it one, with no leading axis.

    Raises:
        ValueError: If a number is below 1.
    """
    check_at_least(num_steps=(num_steps, 1), batch_size=(batch_size, 1))
    shape = (num_steps,) if batch_size is None else (batch_size, num_steps)
    return jax.random.bernoulli(key, 0.5, shape).astype(jnp.result_type(float))


def parity_targets(bits: Float[Array, "*batch steps"], lags: Lags) -> Float[Array, "*batch steps"]:
    """Add the bits at the lags modulo 2; 0 where the longest lag reaches before the start.

    Args:
        bits: Sequences of 0 and 1.
        lags: The lags, (taps,); may be traced.
    """
    steps = bits.shape[-1]
    table = jnp.asarray(lags)
    from_where = jnp.arange(steps)[:, None] - table
    taken = bits[..., jnp.maximum(from_where, 0)]
    parity = jnp.mod(taken.sum(axis=-1), 2)
    return jnp.where(defined_steps(steps, table), parity, 0)


def defined_steps(num_steps: int, lags: Lags) -> Bool[Array, " steps"]:
    """Say which steps have a target: those from the longest lag on, counted from 0.

    The author's code begins one step sooner, with a bit that the network has not seen.
    """
    return jnp.arange(num_steps) >= jnp.max(jnp.asarray(lags))


def bit_loss(
    logits: Float[Array, "*batch steps"],
    targets: Float[Array, "*batch steps"],
    counted: Bool[Array, " steps"],
) -> Float[Array, ""]:
    """Average the binary cross-entropy of logits, in nats per bit, over steps with a target.

    The best constant guess has ln 2, `CHANCE_LOSS`. Small losses keep their digits.

    Args:
        logits: ln of the odds that the bit is 1.
        targets: The bits.
        counted: Which steps have one, see `defined_steps`.
    """
    return _over_counted(jax.nn.softplus((1 - 2 * targets) * logits), counted)


def bit_accuracy(
    logits: Float[Array, "*batch steps"],
    targets: Float[Array, "*batch steps"],
    counted: Bool[Array, " steps"],
) -> Float[Array, ""]:
    """Share of bits that are guessed right, of those with a target; NaN where a logit is NaN.

    A logit of exactly 0 counts as the guess 1, as in the author's code. Guesses of n independent
    bits by chance score .5 ± .5/√n. Targets of fair bits are such bits, also within one sequence:
    each holds one that those before it do not.

    Args:
        logits: See `bit_loss`.
        targets: See `bit_loss`.
        counted: See `bit_loss`.
    """
    right = ((logits >= 0) == (targets > 0.5)).astype(logits.dtype)
    return _over_counted(jnp.where(jnp.isnan(logits), jnp.nan, right), counted)


def _over_counted(values: Array, counted: Array) -> Float[Array, ""]:
    """Average over the steps that count, and over the batch."""
    batch = math.prod(values.shape[:-1])
    total = jnp.where(counted, values, 0).sum()
    return total / (batch * counted.sum()).astype(values.dtype)
