"""Likelihood-ratio gradients of closed loops under Gaussian noise of the actions.

The objective is J(θ) = E mean over states of Σ_t γ^t r_t with actions a_t = π_θ(o_t) + s z_t,
z_t ~ N(0, I). Its gradient exists whatever the dynamics are, because the density of the actions
is smooth:

    ∇J = E Σ_t ∇ln p(a_t | o_t) (Σ_{k >= t} γ^k r_k - b_t),    ∇ln p = (∂π_θ/∂θ)ᵀ z_t / s

for any b_t that does not depend on z_t and later noise. No derivative of the dynamics enters, so
that the exponent of the loop does not either: the variance grows with the length of the
episode and as 1/s², not as e^{2λT}.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.gradient_estimates.samplers import GradientSampler
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor, Tracked, track, tracked_loop

__all__ = ["GaussianActions", "reward_to_go_baseline", "score_function_gradient"]

_Baseline: TypeAlias = Callable[[PyTree, Key], Float[Array, "states steps"]]


@dataclasses.dataclass(frozen=True)
class GaussianActions:
    """A policy with Gaussian noise of fixed scale on its deterministic actions.

    Pass it to `fracjax.rl.rollouts.expected_return(..., stochastic=True)`: the pathwise gradient
    of that objective is the reparameterised gradient, of the same J as the likelihood ratio.
    Actions are not clipped; an environment that clips does so inside J.

    Attributes:
        policy: Acts without noise of its own.
        scale: Standard deviation s of the noise, in units of the action (limits are ±1).
    """

    policy: Actor
    scale: float | Array

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Act, with noise if a key is given."""
        action = self.policy.act(params, observation)
        if key is None:
            return action
        return action + self.scale * jax.random.normal(key, action.shape, action.dtype)


class _Episode(NamedTuple):
    observations: Float[Array, "steps observation"]
    noise: Float[Array, "steps action"]
    to_go: Float[Array, " steps"]
    alive: Array


def score_function_gradient(
    environment: Environment,
    policy: Actor,
    states: PyTree,
    *,
    horizon: int,
    discount: float,
    noise_scale: float | Float[Array, ""],
    baseline: Float[Array, "states steps"] | None = None,
) -> GradientSampler:
    """Make a sampler of the likelihood-ratio gradient: one episode from every initial state.

    Rewards count from the action on ("reward to go"). A sample costs one rollout per state and
    one reverse pass through the policy, none through the dynamics. Unbiased for every
    environment; NaN if an episode diverges.

    Args:
        environment: The simulator.
        policy: Gives the mean of the actions; differentiable in its parameters.
        states: Stacked initial states; the objective is the mean over them.
        horizon: Steps of an episode.
        discount: γ per step.
        noise_scale: Standard deviation s > 0 of the actions, in units of the action.
        baseline: b_t per state, such as `reward_to_go_baseline` gives; none if not given. It
            must come from other episodes than those of the samples.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Williams (1992), https://doi.org/10.1007/BF00992696; Baxter and Bartlett (2001),
        https://doi.org/10.1613/jair.806.
    """
    _check(horizon, discount, noise_scale)
    count = len(jax.tree.leaves(states)[0])
    if baseline is not None and jnp.shape(baseline) != (count, horizon):
        msg = (
            f"Argument `baseline` must have shape {(count, horizon)}, one row per state, but has"
            f" {jnp.shape(baseline)}."
        )
        raise ValueError(msg)
    rollout = _rollout(environment, policy, horizon, discount, noise_scale)

    def sample(params: PyTree, key: Key) -> PyTree:
        indices = jnp.arange(count)
        episodes = jax.vmap(lambda i, state: rollout(params, state, jax.random.fold_in(key, i)))(
            indices, states
        )
        advantage = episodes.to_go if baseline is None else episodes.to_go - baseline
        weights = jnp.where(episodes.alive, advantage, 0)[..., None] * episodes.noise / noise_scale

        def surrogate(params: PyTree) -> Array:
            act = jax.vmap(jax.vmap(lambda seen: policy.act(params, seen)))
            return jnp.sum(weights * act(episodes.observations)) / count

        return jax.grad(surrogate)(params)

    return sample


def reward_to_go_baseline(
    environment: Environment,
    policy: Actor,
    states: PyTree,
    *,
    horizon: int,
    discount: float,
    noise_scale: float | Float[Array, ""],
    num_episodes: int = 64,
) -> _Baseline:
    """Make `(params, key) -> baseline`: the mean reward to go at every time, per initial state.

    It depends on time and initial state only, so that it takes out what all episodes share.
    From its own episodes it leaves the gradient unbiased; their number decides only how close
    it comes to the mean.

    Args:
        environment: As for `score_function_gradient`, like the rest.
        policy: Gives the mean of the actions.
        states: Stacked initial states.
        horizon: Steps of an episode.
        discount: γ per step; rewards are discounted from the start of the episode.
        noise_scale: Standard deviation of the actions.
        num_episodes: Episodes per state.

    Raises:
        ValueError: If a setting is out of range.
    """
    _check(horizon, discount, noise_scale)
    check_at_least(num_episodes=(num_episodes, 1))
    rollout = _rollout(environment, policy, horizon, discount, noise_scale)
    count = len(jax.tree.leaves(states)[0])

    def baseline(params: PyTree, key: Key) -> Float[Array, "states steps"]:
        def of_state(index: Array, state: PyTree) -> Array:
            keys = jax.random.split(jax.random.fold_in(key, index), num_episodes)
            every = jax.lax.map(
                lambda one: rollout(params, state, one).to_go,
                keys,
                batch_size=min(num_episodes, 64),
            )
            return every.mean(axis=0)

        return jax.vmap(of_state)(jnp.arange(count), states)

    return baseline


@dataclasses.dataclass(frozen=True)
class _Pushed:
    """A policy whose parameters hold the noise that is added to its action."""

    policy: Actor

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        del key
        own, noise = params
        return self.policy.act(own, observation) + noise


def _rollout(
    environment: Environment,
    policy: Actor,
    horizon: int,
    discount: float,
    noise_scale: float | Array,
) -> Callable[[PyTree, PyTree, Key], _Episode]:
    pushed = _Pushed(policy)

    def rollout(params: PyTree, state: PyTree, key: Key) -> _Episode:
        start = track(state)
        dtype = start.reward.dtype
        noise = jax.random.normal(key, (horizon, environment.action_size), dtype)

        def body(tracked: Tracked, drawn: Array) -> tuple[Tracked, tuple[Array, ...]]:
            push = (noise_scale * drawn).astype(dtype)
            following = tracked_loop(environment, pushed, (params, push))(tracked)
            finite = jnp.isfinite(environment.coordinates(following.state)).all()
            reward = jnp.where(finite | ~tracked.alive, following.reward, jnp.nan)
            return following, (environment.observe(tracked.state), reward, tracked.alive)

        _, (observations, rewards, alive) = jax.lax.scan(body, start, noise)
        weighted = rewards * discount ** jnp.arange(horizon, dtype=dtype)
        to_go = jnp.cumsum(weighted[::-1])[::-1]
        return jax.lax.stop_gradient(_Episode(observations, noise, to_go, alive))

    return rollout


def _check(horizon: int, discount: float, noise_scale: float | Array) -> None:
    check_at_least(horizon=(horizon, 1))
    if not 0 <= discount <= 1:
        msg = f"Argument `discount` must lie in [0, 1], but is {discount}."
        raise ValueError(msg)
    if isinstance(noise_scale, int | float) and not noise_scale > 0:
        msg = f"Argument `noise_scale` must be positive, but is {noise_scale}."
        raise ValueError(msg)
