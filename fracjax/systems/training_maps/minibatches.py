"""Mini-batch gradient descent on ½ mean_i (a_i u v - b_i)²: a product map that changes by the step.

A batch B has curvature m = mean a_i² and drift c = mean a_i b_i over B, and a step multiplies
q = u + v by 1 + g and d = u - v by 1 - g, where g = η (c - m u v). The mean over batches of m and c
is that of all data, so that the gradient is unbiased at every point; u = v stays balanced, and the
transverse exponent is the mean of ln|1 - g| (exact; for batches as for all data).

All data at once are one problem with a = √mean(a_i²), b = mean(a_i b_i)/a, and μ = η mean(a_i b_i);
their x, y, p and ellipse value E are meant below. With g = μ (1 - p) + ξ, where ξ is the
deviation of the batch, a step gives exactly (derived here)

    E' = E (1 - μ g + g²) + (4 - μ²)/μ · g ξ,
    mean E' = E (1 - μ ḡ + ḡ² + σ²) + (4 - μ²)/μ · σ²,    ḡ = μ (1 - p), σ² = variance of ξ.

An orbit inside leaves by a step whenever the second term outweighs the first, and on the ellipse E
rises on average, although the gradient is unbiased: noise moves the boundary. Where all problems
share a minimum, b_i = a_i p*, ξ vanishes there, and the exponents at the minimum with
S = u² + v² are 0 and the mean of ln|1 - η m S|. Theorems of the paper on mini-batches
(Balasubramanian 2026, arXiv 2605.21292) have not been read and are not claimed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import Key, StepFunction
from fracjax.systems.training_maps.ellipse import ellipse_level, ellipse_value
from fracjax.systems.training_maps.product_map import Real, Reduction, products

__all__ = [
    "MinibatchMap",
    "MinibatchState",
    "full_batch_reduction",
    "mean_ellipse_value",
    "minibatch_map",
    "next_ellipse_value",
    "start_minibatches",
]


class MinibatchState(NamedTuple):
    """What mini-batch descent carries along.

    Attributes:
        factors: (u, v).
        key: Draws the batches; it stays the same.
        position: Steps made.
    """

    factors: Float[Array, "2"]
    key: Key
    position: Int[Array, ""]


class MinibatchMap(NamedTuple):
    """Mini-batch descent.

    Attributes:
        step: State to state.
        growth: State to the g of the batch that comes next.
    """

    step: StepFunction
    growth: Callable[[MinibatchState], Float[Array, ""]]


def full_batch_reduction(
    slopes: Float[Array | np.ndarray, " n"], targets: Float[Array | np.ndarray, " n"]
) -> Reduction:
    """Reduce all data: a = √mean(a_i²), b = mean(a_i b_i)/a; exact but for a constant loss."""
    slopes, targets = jnp.asarray(slopes), jnp.asarray(targets)
    slope = jnp.sqrt(jnp.mean(slopes**2))
    return Reduction(slope, jnp.mean(slopes * targets) / slope)


def start_minibatches(factors: Float[Array, "2"], key: Key) -> MinibatchState:
    """Make the state before the first step."""
    return MinibatchState(factors, key, jnp.zeros((), jnp.int32))


def minibatch_map(
    slopes: Float[Array | np.ndarray, " n"],
    targets: Float[Array | np.ndarray, " n"],
    learning_rate: Real,
    *,
    batch_size: int = 1,
    replacement: bool = True,
) -> MinibatchMap:
    """Make mini-batch gradient descent on ½ mean_i (a_i u v - b_i)².

    Args:
        slopes: a_i.
        targets: b_i.
        learning_rate: η.
        batch_size: Problems of a batch.
        replacement: Draw every batch from all problems, with replacement; else go through a new
            random order every epoch.

    Raises:
        ValueError: If the batch size is out of range, or without replacement does not divide n.
    """
    slopes, targets = jnp.asarray(slopes), jnp.asarray(targets)
    count = slopes.shape[0]
    if slopes.shape != targets.shape:
        msg = (
            "Arguments `slopes` and `targets` must have one length,"
            f" but have {slopes.shape} and {targets.shape}."
        )
        raise ValueError(msg)
    if not 1 <= batch_size <= count or (not replacement and count % batch_size):
        msg = (
            f"Argument `batch_size` must lie in [1, {count}] and, without replacement, divide"
            f" {count}, but is {batch_size}."
        )
        raise ValueError(msg)
    per_epoch = count // batch_size

    def chosen(state: MinibatchState) -> Int[Array, " batch"]:
        if replacement:
            own = jax.random.fold_in(state.key, state.position)
            return jax.random.randint(own, (batch_size,), 0, count)
        own = jax.random.fold_in(state.key, state.position // per_epoch)
        order = jax.random.permutation(own, count).reshape(per_epoch, batch_size)
        return order[state.position % per_epoch]

    def growth(state: MinibatchState) -> Float[Array, ""]:
        batch = chosen(state)
        a, b = slopes[batch], targets[batch]
        moved = jnp.mean(a * (b - a * state.factors[0] * state.factors[1]))
        return jnp.asarray(learning_rate, moved.dtype) * moved

    def step(state: MinibatchState) -> MinibatchState:
        moved = state.factors + growth(state) * state.factors[::-1]
        return MinibatchState(moved, state.key, state.position + 1)

    return MinibatchMap(step, growth)


def next_ellipse_value(
    value: Float[Array, "..."],
    product: Float[Array, "..."],
    growth: Float[Array, "..."],
    step_size: Real,
) -> Float[Array, "..."]:
    """E after a step that grows by any g: E (1 - μ g + g²) + (4 - μ²)/μ · g (g - μ (1 - p)).

    Args:
        value: E before.
        product: p before.
        growth: g of the batch.
        step_size: μ of all data.
    """
    own = growth - step_size * (1 - product)
    unchanged = value * (1 - step_size * growth + growth**2)
    return unchanged + ellipse_level(step_size) * growth * own


def mean_ellipse_value(
    state: Float[Array, "2"], variance: Float[Array, ""], step_size: Real
) -> Float[Array, ""]:
    """Mean of E after a step, over batches whose g has the mean μ (1 - p).

    Args:
        state: (x, y), in the units of all data.
        variance: Of g over batches, at this state.
        step_size: μ of all data.
    """
    p, _ = products(state)
    value, mean = ellipse_value(state, step_size), step_size * (1 - p)
    drift = ellipse_level(step_size) * variance
    return value * (1 - step_size * mean + mean**2 + variance) + drift
