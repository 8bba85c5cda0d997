"""Averages over a chain: predictions, parameters, and members on request, in bounded memory."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from fracjax._types import PyTree
from fracjax.estimators.settings import check_at_least

__all__ = ["AverageState", "MeanRate", "PosteriorAverage", "posterior_average"]

MeanRate = Literal["uniform", "inverse_root"]


class AverageState(NamedTuple):
    """Averages so far.

    Attributes:
        step: States of the chain seen.
        num_members: Members kept.
        predictions: Mean of the members' predictions (its logarithm for predictions that are
            logarithms); meaningless while there are none.
        params: Mean of the members' parameters.
        members: Parameters of the last members, along a leading axis, in the order of a ring:
            member m is at m modulo their number. Empty unless asked for.
    """

    step: Int[Array, ""]
    num_members: Int[Array, ""]
    predictions: PyTree
    params: PyTree
    members: PyTree


@dataclasses.dataclass(frozen=True)
class PosteriorAverage:
    """Two functions that keep averages along a chain.

    Attributes:
        init: `init(params) -> AverageState`.
        update: `update(state, params) -> AverageState`, once for every state of the chain.
    """

    init: Callable[[PyTree], AverageState]
    update: Callable[[AverageState, PyTree], AverageState]


def posterior_average(
    predict: Callable[[PyTree], PyTree],
    *,
    burn_in: int = 0,
    thinning: int = 1,
    logarithms: bool = True,
    mean_rate: MeanRate = "uniform",
    num_stored: int = 0,
) -> PosteriorAverage:
    """Average predictions over the members of a posterior sample as they come.

    What is kept is sums, however long the chain: one set of predictions and one of parameters.
    The prediction of a posterior is the mean of the members' probabilities, not the prediction of
    their mean parameters, which is kept beside it for comparison.

    Args:
        predict: `predict(params)`, of fixed shape: log-probabilities of held-out data, say. It is
            evaluated for members alone, in `scan` and also under `vmap` over seeds, as members
            come at steps that do not depend on the seed.
        burn_in: States of the chain that are passed over first; state t is `update`'s t-th.
        thinning: Every so many states after the burn-in one is kept, the first of them at once.
        logarithms: Whether predictions are log-probabilities, so that their exponentials are
            averaged, exactly also where those would underflow.
        mean_rate: `"uniform"` weights members equally in the mean of parameters. `"inverse_root"`
            gives member m (from 0) the weight 1/√(1 + m), as the code of natural Langevin dynamics
            does: a mean over about the last √m.
        num_stored: Parameters of how many members, the last, are stored.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_at_least(burn_in=(burn_in, 0), thinning=(thinning, 1), num_stored=(num_stored, 0))
    if mean_rate not in get_args(MeanRate):
        msg = f"Argument `mean_rate` must be one of {get_args(MeanRate)}, but is {mean_rate!r}."
        raise ValueError(msg)

    def init(params: PyTree) -> AverageState:
        shapes = jax.eval_shape(predict, params)
        zero = jnp.zeros((), jnp.int32)
        return AverageState(
            zero,
            zero,
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(lambda leaf: jnp.zeros((num_stored, *jnp.shape(leaf)), leaf.dtype), params)
            if num_stored
            else (),
        )

    def keep(state: AverageState, params: PyTree) -> AverageState:
        number = state.num_members + 1

        def predicted(mean: Array, new: Array) -> Array:
            share = (1 / number).astype(mean.dtype)
            if not logarithms:
                return mean + share * (new - mean)
            # The first member replaces what was there: ln 0 would be -∞, and ∞ - ∞ its gradient.
            joint = jnp.logaddexp(mean + jnp.log1p(-share), new + jnp.log(share))
            return jnp.where(state.num_members == 0, new, joint)

        weight = 1 / number if mean_rate == "uniform" else 1 / jnp.sqrt(number)
        mean = jax.tree.map(
            lambda old, new: old + weight.astype(old.dtype) * (new - old), state.params, params
        )
        members: Any = ()
        if num_stored:
            place = state.num_members % num_stored
            members = jax.tree.map(lambda ring, new: ring.at[place].set(new), state.members, params)
        predictions = jax.tree.map(predicted, state.predictions, predict(params))
        return AverageState(state.step, number, predictions, mean, members)

    def update(state: AverageState, params: PyTree) -> AverageState:
        after = state.step - burn_in
        due = (after >= 0) & (after % thinning == 0)
        state = jax.lax.cond(due, keep, lambda state, _: state, state, params)
        return state._replace(step=state.step + 1)

    return PosteriorAverage(init, update)
