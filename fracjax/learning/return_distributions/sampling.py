"""Returns after many independent single updates from one point."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from fracjax._types import Key, Objective, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.evaluation import cache_chunk_size, map_points
from fracjax.learning.return_distributions.updates import Update

__all__ = ["PostUpdateReturns", "post_update_returns"]


@dataclasses.dataclass(frozen=True)
class PostUpdateReturns:
    """Returns after updates, and how far the updates went.

    Attributes:
        returns: (updates, factors).
        factors: What displacements were multiplied with.
        value: Return before any update.
        spread: Root mean square distance per parameter of the updates from their mean, at
            factor 1: the size of what differs between updates.
        drift: Root mean square of the mean displacement, per parameter, at factor 1: what all
            updates have in common.
    """

    returns: np.ndarray
    factors: np.ndarray
    value: float
    spread: float
    drift: float

    @property
    def sizes(self) -> np.ndarray:
        """Spread of the displacements at every factor."""
        return self.spread * self.factors


def post_update_returns(
    update: Update,
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    num_updates: int = 1000,
    factors: Sequence[float] | np.ndarray = (1.0,),
    chunk_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PostUpdateReturns:
    """Make many independent updates of `params` and evaluate each once.

    Update i sees `fold_in(key, i)`; the objective sees one key everywhere, so that what differs
    between returns is the update. Rahn et al. take 1000 updates with a minibatch each and one
    deterministic rollout of 1000 steps from a fixed start: pass
    `expected_return(environment, policy, states, horizon=1000, discount=1.0)` with one state.

    `factors` scale the displacement of every update: θ + c (update(θ) - θ). For plain gradient
    steps that is another learning rate. The same displacements serve all factors, so that
    differences between factors are not of the draw.

    Args:
        update: One update; hashable, as functions are. Pass the same object again.
        objective: `objective(params, key)`, a number.
        params: Where all updates start.
        key: Seeds the updates.
        num_updates: Updates, rounded up to whole chunks.
        factors: Positive numbers.
        chunk_size: Updates that one device makes together.
        devices: Devices to use; all local ones if not given.
        on_progress: Called with the number of updates made so far.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Rahn et al. (2023), Policy Optimization in a Noisy Neighborhood, arXiv 2309.14597.
    """
    check_at_least(num_updates=(num_updates, 2))
    table = np.asarray(factors, float)
    if table.ndim != 1 or not len(table) or not (np.isfinite(table) & (table > 0)).all():
        msg = f"Argument `factors` must hold positive numbers, but is {factors}."
        raise ValueError(msg)
    chunk_size = min(chunk_size or cache_chunk_size(params), num_updates)
    updates_key, objective_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    num_chunks = -(-num_updates // chunk_size)
    returns, means, squares = map_points(
        _in_chunk(update, objective, chunk_size),
        np.arange(num_chunks),
        params,
        jnp.asarray(table, jnp.result_type(*jax.tree.leaves(params))),
        updates_key,
        objective_key,
        chunk_size=1,
        devices=devices,
        on_progress=None if on_progress is None else lambda done: on_progress(done * chunk_size),
    )
    count = num_chunks * chunk_size
    centre = means.astype(float).mean(axis=0)
    between = chunk_size * np.sum((means - centre) ** 2)
    return PostUpdateReturns(
        returns=returns.reshape(count, len(table)),
        factors=table,
        value=float(_evaluate(objective, params, objective_key)),
        spread=float(np.sqrt((squares.sum() + between) / (count - 1) / len(centre))),
        drift=float(np.sqrt(np.mean(centre**2))),
    )


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(objective: Objective, params: PyTree, key: Key) -> Array:
    return objective(params, key)


@functools.lru_cache(maxsize=64)
def _in_chunk(update: Update, objective: Objective, chunk_size: int) -> Callable:
    """Returns of one chunk of updates, its mean displacement and squared distances from it."""

    def chunk(
        number: Array, params: PyTree, factors: Array, key: Key, objective_key: Key
    ) -> tuple[Array, Array, Array]:
        start, restore = ravel_pytree(params)

        def displacement(index: Array) -> Array:
            return ravel_pytree(update(params, jax.random.fold_in(key, index)))[0] - start

        def value(moved: Array, factor: Array) -> Array:
            return objective(restore(start + factor * moved), objective_key)

        moves = jax.vmap(displacement)(number * chunk_size + jnp.arange(chunk_size))
        values = jax.vmap(lambda move: jax.vmap(lambda factor: value(move, factor))(factors))(moves)
        mean = moves.mean(axis=0)
        return values, mean, jnp.sum((moves - mean) ** 2)

    return chunk
