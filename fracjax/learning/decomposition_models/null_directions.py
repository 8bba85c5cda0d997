"""Random directions to hold subnetworks against: as long, or as far in what the network puts out.

Any direction changes a network if one goes far enough along it. That a subnetwork matters for the
return is said of one that matters more than random directions that change the outputs as much.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.decomposition.divergences import Divergence
from fracjax.learning.decomposition.sample_gradients import Apply

__all__ = ["matched_size", "output_divergence", "unit_directions"]


def unit_directions(key: Key, params: PyTree, count: int) -> PyTree:
    """Draw uniformly random directions of norm 1 over all tensors, (count, ...) leaves.

    Args:
        key: One key.
        params: Like which.
        count: How many.

    Raises:
        ValueError: If `count` is below 1.
    """
    check_at_least(count=(count, 1))

    def one(key: Key) -> PyTree:
        drawn = tree.random_normal(key, params)
        return tree.scale(1 / tree.norm(drawn), drawn)

    return jax.vmap(one)(jax.random.split(key, count))


def output_divergence(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    direction: PyTree,
    size: float | Float[Array, ""],
    *,
    divergence: Divergence,
) -> Float[Array, ""]:
    """Mean over samples of D(f(x, W + δ v), f(x, W)): how far outputs move.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: W.
        inputs: Samples, leaves (samples, ...).
        direction: v, in the structure of `params`.
        size: δ.
        divergence: One that vanishes where outputs agree, so not `detached_product`.
    """
    return _divergence_along(apply, params, inputs, direction, divergence)(jnp.asarray(size))


def matched_size(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    direction: PyTree,
    target: float | Float[Array, ""],
    *,
    divergence: Divergence,
    largest: float = 100.0,
    num_halvings: int = 30,
) -> Float[Array, ""]:
    """Find δ > 0 at which outputs along a direction have moved by a given divergence.

    Bisection of log δ between 1e-6 `largest` and `largest`. The divergence grows with δ² at
    first; far out it need not be monotone, and one of its crossings is found.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: W.
        inputs: Samples, leaves (samples, ...).
        direction: v.
        target: The mean divergence to reach, e.g. `output_divergence` of a subnetwork.
        divergence: See `output_divergence`.
        largest: Longest δ.
        num_halvings: Of the interval: 30 leave a relative error of 1e-8.

    Returns:
        δ; NaN where the divergence at `largest` is below the target, or not finite at the end.

    Raises:
        ValueError: If `num_halvings` is below 1.
    """
    check_at_least(num_halvings=(num_halvings, 1))
    reached = _divergence_along(apply, params, inputs, direction, divergence)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    goal = jnp.asarray(target, dtype)

    def halve(_: Array | int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = jnp.sqrt(low * high)
        # What is not finite is too far.
        short = reached(middle) < goal
        return jnp.where(short, middle, low), jnp.where(short, high, middle)

    start = jnp.asarray(1e-6 * largest, dtype), jnp.asarray(largest, dtype)
    low, high = jax.lax.fori_loop(0, num_halvings, halve, start)
    size = jnp.sqrt(low * high)
    found = reached(size)
    close = (0.99 * goal <= found) & (found <= 1.01 * goal) & jnp.isfinite(goal)
    return jnp.where(close, size, jnp.nan)


def _divergence_along(
    apply: Apply, params: PyTree, inputs: PyTree, direction: PyTree, divergence: Divergence
) -> Callable[[Array], Float[Array, ""]]:
    """Make `size -> output_divergence`, which evaluates the outputs at W once."""
    outputs = jax.vmap(apply, in_axes=(None, 0))
    plain = outputs(params, inputs)

    def at(size: Array) -> Float[Array, ""]:
        moved = outputs(tree.add_scaled(params, size, direction), inputs)
        return jnp.mean(jax.vmap(divergence)(moved, plain))

    return at
