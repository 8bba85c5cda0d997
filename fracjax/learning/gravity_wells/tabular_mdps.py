"""Tabular Markov decision processes with softmax policies: exact values, occupancies, gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax.learning.gravity_wells.bandits import advantages

__all__ = [
    "Evaluation",
    "TabularMDP",
    "contextual_mdp",
    "effective_step",
    "evaluate",
    "mdp_gradient",
    "mdp_value",
    "occupancy",
    "softened_mdp",
]


class TabularMDP(NamedTuple):
    """A Markov decision process of finitely many states and actions.

    Attributes:
        transitions: Probability of the next state by state and action, (states, actions, states).
        rewards: By state and action, (states, actions).
        initial: μ, probability of the first state, (states,).
        discount: γ, in [0, 1).
    """

    transitions: Float[Array, "states actions states"]
    rewards: Float[Array, "states actions"]
    initial: Float[Array, " states"]
    discount: float | Float[Array, ""]


class Evaluation(NamedTuple):
    """What a policy does in an MDP.

    Attributes:
        probabilities: π(a|s), (states, actions).
        values: V(s), (states,).
        advantages: A(s, a) = Q(s, a) - V(s), (states, actions).
        occupancy: d(s) = (1 - γ) Σ_t γ^t P(s_t = s), which sums to 1, (states,).
        value: J = Σ μ(s) V(s).
    """

    probabilities: Float[Array, "states actions"]
    values: Float[Array, " states"]
    advantages: Float[Array, "states actions"]
    occupancy: Float[Array, " states"]
    value: Float[Array, ""]


def evaluate(logits: Float[Array, "states actions"], mdp: TabularMDP) -> Evaluation:
    """Solve for the values and the discounted occupancy of a softmax policy, exactly.

    V = (I - γ P_π)⁻¹ r_π and d = (1 - γ)(I - γ P_πᵀ)⁻¹ μ, from one inverse: meant for tens of
    states, not for thousands.

    Args:
        logits: θ(s, a).
        mdp: The process.
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    chain = jnp.einsum("sa,sat->st", probabilities, mdp.transitions)
    identity = jnp.eye(len(logits), dtype=logits.dtype)
    inverse = jnp.linalg.inv(identity - mdp.discount * chain)
    paid = jnp.sum(probabilities * mdp.rewards, axis=-1)
    values = inverse @ paid
    visits = (1 - mdp.discount) * (mdp.initial @ inverse)
    totals = mdp.rewards + mdp.discount * mdp.transitions @ values
    return Evaluation(
        probabilities, values, advantages(probabilities, totals), visits, mdp.initial @ values
    )


def mdp_value(logits: Float[Array, "states actions"], mdp: TabularMDP) -> Float[Array, ""]:
    """J(θ) = μᵀ V, the discounted return of a softmax policy."""
    return evaluate(logits, mdp).value


def occupancy(logits: Float[Array, "states actions"], mdp: TabularMDP) -> Float[Array, " states"]:
    """d(s), the discounted share of time in every state; see `Evaluation`."""
    return evaluate(logits, mdp).occupancy


def mdp_gradient(
    logits: Float[Array, "states actions"], mdp: TabularMDP
) -> Float[Array, "states actions"]:
    """Exact gradient of J: ∂J/∂θ(s, a) = d(s) π(a|s) A(s, a)/(1 - γ).

    Args:
        logits: θ(s, a).
        mdp: The process.
    """
    found = evaluate(logits, mdp)
    weight = found.occupancy / (1 - mdp.discount)
    return weight[:, None] * found.probabilities * found.advantages


def effective_step(
    step_size: float | Float[Array, ""],
    visits: Float[Array, " states"],
    discount: float | Float[Array, ""],
) -> Float[Array, " states"]:
    """η d(s)/(1 - γ): the step with which a state's logits climb its own bandit.

    The escape laws of a bandit hold in a state with this step in place of η, exactly where
    transitions do not depend on actions. Left out, the published bound is off by that factor.

    Args:
        step_size: η.
        visits: d(s), see `occupancy`.
        discount: γ.
    """
    return step_size * visits / (1 - discount)


def contextual_mdp(
    chain: Float[Array, "states states"],
    rewards: Float[Array, "states actions"],
    initial: Float[Array, " states"],
    discount: float | Float[Array, ""],
) -> TabularMDP:
    """An MDP whose next state does not depend on the action: bandits with a context.

    Args:
        chain: Probability of the next state by state.
        rewards: By state and action.
        initial: μ.
        discount: γ.
    """
    states, actions = rewards.shape
    transitions = jnp.broadcast_to(chain[:, None], (states, actions, states))
    return TabularMDP(transitions, rewards, initial, discount)


def softened_mdp(
    mdp: TabularMDP,
    transitions: Float[Array, "states actions states"],
    share: float | Float[Array, ""],
) -> TabularMDP:
    """Mix a share of other transitions into those of an MDP.

    Args:
        mdp: The process, a contextual one for example.
        transitions: Others, which may depend on the action.
        share: How much of them, in [0, 1].
    """
    return mdp._replace(transitions=(1 - share) * mdp.transitions + share * transitions)
