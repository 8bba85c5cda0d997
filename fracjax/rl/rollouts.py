"""Rollouts: a policy in an environment as a step, a return, or a sequence of rewards.

Returns follow one rule. The reward of step t counts γ^t as long as no earlier step has
terminated the episode: the step that terminates still pays its own reward, and everything
after it pays 0, as if the state it reached were absorbing. A rollout that reaches a state, or
earns a reward, that is not finite has diverged and its return is NaN, whatever its rewards
say: Brax's inverted pendulum pays 1 for a state of NaN, too.

Everything here is written for one parameter point. Many points go through
`fracjax.evaluation.map_points`:

    returns = discounted_returns(environment, policy, horizon=1000, discounts=(0.9, 0.99))
    table = map_points(returns, many_params, states, key, chunk_size=16)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Key, Objective, PyTree, StepFunction
from fracjax.rl.environment import Environment
from fracjax.rl.loop_checks import check_action

__all__ = [
    "Actor",
    "Tracked",
    "closed_loop",
    "discounted_returns",
    "expected_return",
    "initial_states",
    "lift_tracked",
    "reward_sequences",
    "track",
    "tracked_loop",
]

_Returns: TypeAlias = Callable[[PyTree, PyTree, Key], Float[Array, " discounts"]]
_Rewards: TypeAlias = Callable[
    [PyTree, PyTree, Key], tuple[Float[Array, "states steps"], Bool[Array, "states steps"]]
]


@runtime_checkable
class Actor(Protocol):
    """What a rollout asks of a policy."""

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Choose an action in [-1, 1], at random only if a key is given."""
        ...


class Tracked(NamedTuple):
    """A state that remembers its episode.

    Attributes:
        state: State of the environment.
        reward: Reward of the step that led here; 0 after termination.
        alive: Whether no step so far has terminated the episode.
    """

    state: PyTree
    reward: Float[Array, ""]
    alive: Bool[Array, ""]


def track(state: PyTree) -> Tracked:
    """Begin an episode at `state`."""
    floating = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return Tracked(state, jnp.zeros((), jnp.result_type(*floating)), jnp.ones((), bool))


def lift_tracked(
    environment: Environment,
) -> Callable[[Float[Array, " coordinates"], Tracked], Tracked] | None:
    """Make `(coordinates, tracked) -> tracked`, or None where the environment cannot lift them.

    The tracked state with the given coordinates; reward and termination stay.
    """
    make = environment.from_coordinates
    if make is None:
        return None
    return lambda vector, tracked: tracked._replace(state=make(vector, tracked.state))


def closed_loop(environment: Environment, policy: Actor, params: PyTree) -> StepFunction:
    """Make the step `state -> state` of an environment under the deterministic policy.

    Termination is ignored: the physics goes on. Use `tracked_loop` where it matters.

    Example:
        >>> import jax
        >>> from fracjax import estimators, rl
        >>> environment = rl.make("pendulum", dtype="float64")
        >>> policy = rl.shipped("pendulum").astype("float64")
        >>> step = rl.closed_loop(environment, policy, policy.params)
        >>> state = rl.initial_states(environment, jax.random.key(0), 1)[0]
        >>> spectrum = estimators.lyapunov_spectrum(
        ...     step, state, num_steps=1000, num_exponents=1, dt=environment.dt
        ... )
        >>> bool(spectrum.value[0] < 0)  # it stands still in the end
        True
    """

    def step(state: PyTree) -> PyTree:
        action = policy.act(params, environment.observe(state))
        check_action(environment, action)
        return environment.step(state, action).state

    return step


def tracked_loop(
    environment: Environment, policy: Actor, params: PyTree
) -> Callable[[Tracked], Tracked]:
    """Make the closed loop on tracked states, which know reward and termination.

    The physics goes on after termination; `alive` says which states count.
    """

    def step(tracked: Tracked) -> Tracked:
        return _advance(environment, policy, params, tracked, None)

    return step


def initial_states(environment: Environment, key: Key, count: int) -> PyTree:
    """Draw `count` initial states, stacked; state i depends on `fold_in(key, i)` alone.

    Raises:
        ValueError: If `count` is not positive.
    """
    if count < 1:
        msg = f"Argument `count` must be positive, but is {count}."
        raise ValueError(msg)

    def draw(index: Array) -> PyTree:
        return environment.reset(jax.random.fold_in(key, index))

    return jax.vmap(draw)(jnp.arange(count))


def discounted_returns(
    environment: Environment,
    policy: Actor,
    *,
    horizon: int,
    discounts: Sequence[float],
    stochastic: bool = False,
) -> _Returns:
    """Make `(params, states, key) -> returns`: mean returns at one parameter point.

        J_γ = mean over initial states of Σ_{t < horizon} γ^t r_t

    One rollout per initial state serves all discounts, and no reward is stored. If one
    rollout diverges, the point's returns are NaN, and those of other points are untouched.

    Args:
        environment: The simulator.
        policy: Gives actions for parameters.
        horizon: Steps of a rollout.
        discounts: Discount factors γ in [0, 1], per step.
        stochastic: Whether to sample actions. The noise of step t from initial state i
            depends on the key, i and t alone, so that all parameter points share it.

    Returns:
        A function of parameters, stacked initial states (see `initial_states`) and a key
        (used only by stochastic policies) that returns one number per discount.

    Raises:
        ValueError: If `horizon` is not positive, or a discount is missing or outside [0, 1].

    Example:
        >>> import jax
        >>> from fracjax import rl
        >>> environment = rl.make("pendulum", dtype="float64")
        >>> policy = rl.shipped("pendulum").astype("float64")
        >>> states = rl.initial_states(environment, jax.random.key(0), 2)
        >>> returns = rl.discounted_returns(environment, policy, horizon=100, discounts=(0.99, 0.9))
        >>> print(returns(policy.params, states, jax.random.key(1)).round(0))
        [-157.  -41.]
    """
    _check(horizon, discounts)

    def returns(params: PyTree, states: PyTree, key: Key) -> Float[Array, " discounts"]:
        def rollout(index: Array, state: PyTree) -> Float[Array, " discounts"]:
            start = track(state)
            factors = jnp.asarray(discounts, start.reward.dtype)
            noise = jax.random.fold_in(key, index) if stochastic else None

            def body(carry: tuple, time: Array) -> tuple[tuple, None]:
                tracked, weights, totals, finite = carry
                step_key = None if noise is None else jax.random.fold_in(noise, time)
                following = _advance(environment, policy, params, tracked, step_key)
                finite &= ~tracked.alive | _is_finite(environment, following)
                totals = totals + weights * following.reward
                return (following, weights * factors, totals, finite), None

            carry = (start, jnp.ones_like(factors), jnp.zeros_like(factors), jnp.ones((), bool))
            (_, _, totals, finite), _ = jax.lax.scan(body, carry, jnp.arange(horizon))
            return jnp.where(finite, totals, jnp.nan)

        indices = jnp.arange(len(jax.tree.leaves(states)[0]))
        return jax.vmap(rollout)(indices, states).mean(axis=0)

    return returns


def reward_sequences(
    environment: Environment, policy: Actor, *, horizon: int, stochastic: bool = False
) -> _Rewards:
    """Make `(params, states, key) -> (rewards, alive)`, the rewards of every step.

    Takes `horizon` numbers per rollout; `discounted_returns` needs none of them. Unlike
    there, rewards of a diverged rollout are given as they are.

    Args:
        environment: The simulator.
        policy: Gives actions for parameters.
        horizon: Steps of a rollout.
        stochastic: Whether to sample actions, with the noise of `discounted_returns`.

    Returns:
        A function of parameters, stacked initial states and a key that returns rewards,
        which are 0 after termination, and whether each step was taken in a live episode,
        which includes the step that terminates it; both (states, horizon).

    Raises:
        ValueError: If `horizon` is not positive.
    """
    _check(horizon, (1.0,))

    def sequences(
        params: PyTree, states: PyTree, key: Key
    ) -> tuple[Float[Array, "states steps"], Bool[Array, "states steps"]]:
        def rollout(index: Array, state: PyTree) -> tuple[Array, Array]:
            noise = jax.random.fold_in(key, index) if stochastic else None

            def body(tracked: Tracked, time: Array) -> tuple[Tracked, tuple[Array, Array]]:
                step_key = None if noise is None else jax.random.fold_in(noise, time)
                following = _advance(environment, policy, params, tracked, step_key)
                return following, (following.reward, tracked.alive)

            return jax.lax.scan(body, track(state), jnp.arange(horizon))[1]

        indices = jnp.arange(len(jax.tree.leaves(states)[0]))
        return jax.vmap(rollout)(indices, states)

    return sequences


def expected_return(
    environment: Environment,
    policy: Actor,
    states: PyTree,
    *,
    horizon: int,
    discount: float,
    stochastic: bool = False,
) -> Objective:
    """Make `objective(params, key) -> scalar`: the mean return from given initial states.

    The arguments are those of `discounted_returns`, with one discount.
    """
    returns = discounted_returns(
        environment, policy, horizon=horizon, discounts=(discount,), stochastic=stochastic
    )

    def objective(params: PyTree, key: Key) -> Float[Array, ""]:
        return returns(params, states, key)[0]

    return objective


def _advance(
    environment: Environment, policy: Actor, params: PyTree, tracked: Tracked, key: Key | None
) -> Tracked:
    """Take one step of an episode: the only place where rewards are masked."""
    action = policy.act(params, environment.observe(tracked.state), key)
    check_action(environment, action)
    transition = environment.step(tracked.state, action)
    reward = jnp.where(tracked.alive, transition.reward, 0).astype(tracked.reward.dtype)
    return Tracked(transition.state, reward, tracked.alive & ~transition.done)


def _is_finite(environment: Environment, tracked: Tracked) -> Bool[Array, ""]:
    coordinates = environment.coordinates(tracked.state)
    return jnp.isfinite(coordinates).all() & jnp.isfinite(tracked.reward)


def _check(horizon: int, discounts: Sequence[float]) -> None:
    if horizon < 1:
        msg = f"Argument `horizon` must be positive, but is {horizon}."
        raise ValueError(msg)
    if not discounts or not all(0 <= discount <= 1 for discount in discounts):
        msg = f"Argument `discounts` must hold numbers in [0, 1], but is {tuple(discounts)}."
        raise ValueError(msg)
