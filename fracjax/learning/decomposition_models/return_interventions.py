"""The return of a policy along subnetworks: J(W + δ v), from the same initial states for all."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import evaluation
from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import discounted_returns

__all__ = ["episode_returns", "null_ranks", "return_changes", "returns_along"]


def episode_returns(
    environment: Environment,
    policy: Policy,
    states: PyTree,
    *,
    horizon: int,
    discount: float = 1.0,
    stochastic: bool = False,
) -> Callable[[PyTree, Key], Float[Array, " episodes"]]:
    """Make `(params, key) -> returns`, one per initial state; NaN where an episode diverged.

    Args:
        environment: The simulator.
        policy: Gives actions for parameters.
        states: Initial states, from `initial_states`.
        horizon: Steps of an episode.
        discount: Per step.
        stochastic: Whether actions are sampled, with noise that depends on the key, the episode
            and the step alone: common random numbers for all parameters.
    """
    returns = discounted_returns(
        environment, policy, horizon=horizon, discounts=(discount,), stochastic=stochastic
    )

    def objective(params: PyTree, key: Key) -> Float[Array, " episodes"]:
        def one(index: Array, state: PyTree) -> Array:
            alone = jax.tree.map(lambda leaf: leaf[None], state)
            return returns(params, alone, jax.random.fold_in(key, index))[0]

        indices = jnp.arange(len(jax.tree.leaves(states)[0]))
        return jax.vmap(one)(indices, states)

    return objective


def returns_along(
    objective: Callable[[PyTree, Key], Float[Array, " episodes"]],
    params: PyTree,
    directions: PyTree,
    sizes: Float[np.ndarray | Array, "directions sizes"],
    key: Key,
    *,
    chunk_size: int = 16,
) -> Float[np.ndarray, "directions sizes episodes"]:
    """Evaluate returns at W + δ v_k for all directions and sizes.

    Args:
        objective: Of `episode_returns`; the same object again compiles nothing anew.
        params: W.
        directions: v_k, leaves (directions, ...).
        sizes: δ of every direction, in any order; a size that is NaN gives NaN.
        key: The same for all points.
        chunk_size: Points that a device evaluates together. At one chunk size δ = 0 gives what
            W itself gives, bit by bit.
    """
    sizes = np.asarray(sizes)
    count, number = sizes.shape
    index = np.repeat(np.arange(count), number)
    rows = (index, sizes.ravel(), np.zeros_like(index), np.zeros(index.size))
    found = evaluation.map_combinations(
        objective, params, directions, rows, key, chunk_size=chunk_size
    )
    return found.reshape(count, number, -1)


def return_changes(
    moved: Float[Array | np.ndarray, "*points episodes"],
    plain: Float[Array | np.ndarray, " episodes"],
) -> Estimate:
    """Mean change of the return over episodes, from the same initial state each.

    Differences are taken episode by episode, so that what initial states have in common drops
    out. Student's interval over episodes, given W and v: not over trained policies.

    Args:
        moved: Returns at W + δ v, NaN where an episode diverged.
        plain: Returns at W.

    Returns:
        An estimate of the shape of the points. DIVERGED with NaN where an episode has no return,
        TOO_FEW_POINTS for one episode (no error).
    """
    gaps = jnp.asarray(moved) - jnp.asarray(plain)
    count = gaps.shape[-1]
    mean = jnp.mean(gaps, axis=-1)
    error = (
        jnp.std(gaps, axis=-1, ddof=1) / count**0.5 if count > 1 else jnp.full_like(mean, jnp.nan)
    )
    margin = student_quantile(count - 1, count).astype(mean.dtype) * error
    status = jnp.where(jnp.isfinite(mean), int(Status.OK), int(Status.DIVERGED))
    if count < 2:
        status = jnp.where(status == Status.OK, int(Status.TOO_FEW_POINTS), status)
    return Estimate(mean, error, mean - margin, mean + margin, status)


@functools.partial(jnp.vectorize, signature="(),(n)->()")
def null_ranks(value: Float[Array, ""], nulls: Float[Array, " nulls"]) -> Float[Array, ""]:
    """Share of random directions that reach a value, (1 + #{null ≥ value})/(1 + n).

    A one-sided p-value of a permutation kind: exact in level if value and nulls are exchangeable
    under the null hypothesis, and never below 1/(1 + n). Nulls that are NaN count as reaching it;
    a value that is NaN has none. Values that share their nulls are dependent: do not add them up
    as if they were not.

    Args:
        value: Of a subnetwork, e.g. |change of the return|.
        nulls: Of random directions.
    """
    reached = jnp.sum(~(nulls < value))
    return jnp.where(jnp.isnan(value), jnp.nan, (1 + reached) / (1 + nulls.shape[0]))
