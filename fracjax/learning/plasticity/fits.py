"""A short optimisation that is looked at after chosen numbers of steps."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from fracjax._types import PyTree

__all__ = ["check_iterations", "fit"]


def fit(
    loss: Callable[[PyTree, Array], Array],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    opt_state: PyTree | None = None,
    *,
    iterations: tuple[int, ...],
    observe: Callable[[PyTree], PyTree],
) -> PyTree:
    """Minimise `loss(params, index)`; stack `observe(params)` after each of `iterations` steps.

    Only what is observed is kept, and it is computed at those steps only, also under vmap.

    Args:
        loss: Of parameters and the number of the step.
        params: Where to start.
        optimizer: Any Optax one.
        opt_state: Where the optimiser starts; as new by default.
        iterations: Ascending; 0 is before the first step.
        observe: What to keep.

    Returns:
        A pytree with the leading axis of `iterations`.

    Raises:
        ValueError: If `iterations` are not ascending.
    """
    check_iterations(iterations)
    number = len(iterations)
    places = np.full(iterations[-1] + 1, number)
    places[list(iterations)] = np.arange(number)
    shapes = jax.eval_shape(observe, params)
    kept = jax.tree.map(lambda leaf: jnp.zeros((number, *leaf.shape), leaf.dtype), shapes)

    def step(carry: tuple, now: tuple[Array, Array]) -> tuple[tuple, None]:
        params, state, kept = carry
        index, place = now

        def note() -> PyTree:
            seen = observe(params)
            return jax.tree.map(lambda all_, one: all_.at[place].set(one), kept, seen)

        kept = jax.lax.cond(place < number, note, lambda: kept)
        slope = jax.grad(loss)(params, index)
        change, state = optimizer.update(slope, state, params)
        return (optax.apply_updates(params, change), state, kept), None

    start = optimizer.init(params) if opt_state is None else opt_state
    # One step too many, after the last look: the step is compiled once.
    now = (jnp.arange(len(places)), jnp.asarray(places))
    (_, _, kept), _ = jax.lax.scan(step, (params, start, kept), now)
    return kept


def check_iterations(iterations: tuple[int, ...]) -> None:
    """Raise ValueError unless there are ascending, nonnegative numbers of steps."""
    ascending = all(a < b for a, b in itertools.pairwise(iterations))
    if not iterations or iterations[0] < 0 or not ascending:
        msg = f"Argument `iterations` must be ascending from 0 or more, but is {iterations}."
        raise ValueError(msg)
