"""The setting of the ASR paper (arXiv 2208.08056): many states, rewards that change in time.

The paper states, for an MDP with r(t) = (b_1(t) + Δ(s), b_2(t), …, b_K(t)) in [0, 1]^K, bounded
b_i and some β with b_i(t) ≤ β ≤ b_1(t) + Δ(s): there are an initialisation and a C > 0 such that

    (π* - π_t)ᵀ r(t) ≥ .9 Δ(s)   before   t_0 = C/(Δ(s) π_1(a*)).

Its proof is in a supplement that was not available, and its experiments were not read. What can
be said of the statement (derived and measured for this package):

- *It says nothing as it stands*: a C so small that t_0 < 1 satisfies "there is a C".
- *With a C that does not vanish it is false*: b = (0, .5, .5) and Δ = .5 satisfy the hypothesis
  with β = .5, all rewards are equal, and the gap is 0 at every t. Mild drift is enough: the
  inequality fails where the gap of the rewards shrinks, long before the policy has moved.
- *In a discounted MDP a factor is missing*: a state's logits move with the step η d(s)/(1 - γ).

What holds instead, with Δ_eff(s, t) = b_1(t) + Δ(s) - max_{i≥2} b_i(t) and x = π_1(a*|s):

1. For any rewards and any policy with π(a*|s) ≤ .1 the gap is at least .9 Δ_eff(s, t), where
   Δ_eff ≥ 0: the escape should be read off π*, and the gap be compared with Δ_eff.
2. If the other rewards are equal at every t, b_i(t) = b(t) for i ≥ 2, and transitions do not
   depend on actions, then under gradient flow π* ≤ .1 until
   ∫ η d(s)/(1 - γ) max(Δ_eff(s, t), 0) dt ≥ (1 - 10 x)/(2 x).

Both conditions of 2 are needed. With unequal other rewards the well can be left far sooner: for
r = (1, .99, 0) and a start on the third arm Δ_eff = .01, but what pulls is 1; from x = .003 the
escape takes 166 updates where the formula gives 16 167 (and where the second arm takes over, far
longer than it). Where transitions depend on actions, d(s) and the advantages move:
with half of the transitions so, states left after .87 of the static bound to 1.9 times the time
from a corner (16 states; .70 in this package's notes), while the exponent in d Δ x stayed -1
within its error, -1.08 ± .07.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import Leaf, Status
from fracjax.learning.gravity_wells.bandits import advantages, effective_gap
from fracjax.learning.gravity_wells.escape_laws import escape_lower_bound
from fracjax.learning.gravity_wells.escapes import ESCAPE_PROBABILITY, GAP_SHARE
from fracjax.learning.gravity_wells.first_passage import first_passage
from fracjax.learning.gravity_wells.tabular_mdps import (
    TabularMDP,
    effective_step,
    evaluate,
    occupancy,
)

__all__ = [
    "RewardSchedule",
    "StateEscapes",
    "asr_hypothesis",
    "state_escapes",
]

RewardSchedule: TypeAlias = Callable[[Array], Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StateEscapes:
    """When every state of an MDP left its well. All arrays are (states,).

    Attributes:
        inequality_time: Updates until the paper's inequality, gap ≥ .9 Δ(s), was first broken.
        inequality_observed: Whether that was seen; where not, the time is censored.
        effective_time: Updates until the gap was first below .9 Δ_eff(s, t), where Δ_eff > 0.
        effective_observed: Whether that was seen.
        probability_time: Updates until π(a*|s) was first above .1.
        probability_observed: Whether that was seen.
        drive: Sum of η d(s)/(1 - γ) max(Δ_eff(s, t), 0) over the updates before π* was above .1.
        bound: (1 - 10 x)/(2 x), or 0: what the drive is at least, under the conditions of the
            module's statement 2.
        start: x = π(a*|s) before the first update.
        status: `NOT_CONVERGED` where π* was not seen above .1, `DIVERGED` where the parameters
            were not finite.
    """

    inequality_time: Leaf
    inequality_observed: Leaf
    effective_time: Leaf
    effective_observed: Leaf
    probability_time: Leaf
    probability_observed: Leaf
    drive: Leaf
    bound: Leaf
    start: Leaf
    status: Leaf


def asr_hypothesis(
    rewards: Float[Array | np.ndarray, "times arms"], best: int = 0
) -> Bool[Array, ""]:
    """Whether some β lies between all other rewards and the best arm's, at all given times.

    The hypothesis of the paper, read strictly: one β for all times. It allows equality, and with
    it rewards without a gap.

    Args:
        rewards: r(t).
        best: The best arm.
    """
    rewards = jnp.asarray(rewards)
    mark = jnp.arange(rewards.shape[-1]) == best
    return jnp.max(jnp.where(mark, -jnp.inf, rewards)) <= jnp.min(rewards[:, best])


def state_escapes(
    logits: Float[Array, "states actions"],
    mdp: TabularMDP,
    *,
    step_size: float | Float[Array, ""] = 1.0,
    schedule: RewardSchedule | None = None,
    gaps: Float[Array, " states"] | None = None,
    best: int | Int[Array, " states"] | None = None,
    contextual: bool = False,
    max_steps: int = 100_000,
) -> StateEscapes:
    """Run exact gradient ascent on the return of an MDP; say when every state left its well.

    Under changing rewards every update is along the exact gradient for the rewards of its moment,
    as if they stayed. The gap of a state is that of its immediate rewards, (π* - π)ᵀ r(t), as in
    the paper; π* is the policy that always takes `best`. Updates are summed with compensation, as
    in `escape_time`. A step takes about 1 µs on a CPU if `contextual`, else some 15 µs for 8
    states in float64.

    Args:
        logits: θ(s, a) at the start.
        mdp: The process. A single bandit is one state with discount 0.
        step_size: η.
        schedule: Rewards (states, actions) by the number of updates made; those of `mdp`, for all
            times, if not given.
        gaps: Δ(s) of the paper's inequality; Δ_eff(s, 0) if not given.
        best: Best action, of all states or of each; that with the largest reward at the start if
            not given.
        contextual: Transitions do not depend on the action: the occupancy is computed once, and
            advantages are those of immediate rewards. Not checked.
        max_steps: Updates after which a run is censored.

    Returns:
        Times and flags of three events in every state, and the drive of the repaired bound.

    Raises:
        ValueError: If shapes differ, or a setting is out of range.

    References:
        The ASR paper, https://arxiv.org/abs/2208.08056, of which only the opening page and the
        statement above were available.
    """
    states, actions = logits.shape
    if mdp.transitions.shape != (states, actions, states) or mdp.rewards.shape != logits.shape:
        msg = (
            f"Argument `mdp` must be of {states} states and {actions} actions, as `logits`, but"
            f" has transitions {mdp.transitions.shape} and rewards {mdp.rewards.shape}."
        )
        raise ValueError(msg)

    def rewards_at(index: Array) -> Float[Array, "states actions"]:
        return mdp.rewards if schedule is None else jnp.asarray(schedule(index), logits.dtype)

    first = rewards_at(jnp.zeros((), jnp.int32))
    best = jnp.argmax(first, axis=-1) if best is None else best
    best = jnp.broadcast_to(jnp.asarray(best), (states,))
    mark = jnp.arange(actions) == best[:, None]
    wanted = effective_gap(first, best) if gaps is None else jnp.asarray(gaps, logits.dtype)
    fixed = effective_step(step_size, occupancy(logits, mdp), mdp.discount)

    def step(state: tuple, index: Array) -> tuple[Array, Array, tuple]:
        moved, lost, drive, left = state
        rewards = rewards_at(index)
        if contextual:
            probabilities = jax.nn.softmax(logits + moved, axis=-1)
            immediate = advantages(probabilities, rewards)
            later, size = immediate, fixed
        else:
            found = evaluate(logits + moved, mdp._replace(rewards=rewards))
            probabilities, later = found.probabilities, found.advantages
            immediate = advantages(probabilities, rewards)
            size = effective_step(step_size, found.occupancy, mdp.discount)
        own = jnp.sum(jnp.where(mark, probabilities, 0), axis=-1)
        gap = jnp.sum(jnp.where(mark, immediate, 0), axis=-1)
        pull = effective_gap(rewards, best)
        inside = own <= ESCAPE_PROBABILITY
        moved_on = (pull > 0) & (gap < GAP_SHARE * pull)
        events = jnp.stack([gap < GAP_SHARE * wanted, moved_on, ~inside])
        change = size[:, None] * probabilities * later - lost
        after = moved + change
        # A state that has left may come back in; its drive is that of the first stay.
        left = left | ~inside
        drive = jnp.where(left, drive, drive + size * jnp.maximum(pull, 0))
        alive = jnp.isfinite(own).all() & jnp.isfinite(gap).all()
        return events, alive, (after, (after - moved) - change, drive, left)

    zero = jnp.zeros_like(logits)
    state = (zero, zero, jnp.zeros(states, logits.dtype), jnp.zeros(states, bool))
    found = first_passage(step, state, max_steps=max_steps, shape=(3, states))
    x = jnp.sum(jnp.where(mark, jax.nn.softmax(logits, axis=-1), 0), axis=-1)
    seen = jnp.where(found.observed[2], int(Status.OK), int(Status.NOT_CONVERGED))
    return StateEscapes(
        inequality_time=found.times[0],
        inequality_observed=found.observed[0],
        effective_time=found.times[1],
        effective_observed=found.observed[1],
        probability_time=found.times[2],
        probability_observed=found.observed[2],
        drive=found.state[2],
        bound=escape_lower_bound(x, 1.0),
        start=x,
        status=jnp.where(found.alive, seen, int(Status.DIVERGED)),
    )
