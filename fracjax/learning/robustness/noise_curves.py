"""Returns under observation noise and under single pushes of growing size.

Noise and directions are common to all sizes and all policies, so that differences between
them are not of the draw. Returns follow the rule of `fracjax.rl.rollouts`: nothing is paid
after termination, and a rollout that reaches a state that is not finite returns NaN.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor, Tracked, discounted_returns, track, tracked_loop

__all__ = ["Curve", "NoisyPolicy", "noise_curve", "returns_under_noise", "returns_under_push"]

Curve: TypeAlias = Callable[[PyTree, PyTree, Key, Array], Float[Array, "sizes states"]]


def returns_under_noise(
    environment: Environment, policy: Actor, *, horizon: int = 1000, discount: float = 1.0
) -> Curve:
    """Make `(params, states, key, sigmas) -> returns`: returns under observation noise.

    The policy sees o + σ z with independent z ~ N(0, 1) in every component and step; the
    physics and the reward do not. z depends on the key, the index of the state and the time
    alone: the same noise is scaled for all σ. At σ = 0 the return is that without noise.

    One σ serves observations of different units, and comes before whatever normalisation the
    policy has of its own. The paper takes σ in [0, 1] and 80 episodes of each of 3 seeds.

    Args:
        environment: The simulator.
        policy: Acts without noise of its own.
        horizon: Steps of an episode.
        discount: Discount per step; the paper's returns are sums of rewards, 1.

    Returns:
        A function of parameters, stacked initial states, a key and the noise levels (sizes,)
        that returns (sizes, states).

    Raises:
        ValueError: If a setting is out of range.

    References:
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674.
    """
    return noise_curve(environment, NoisyPolicy(policy), horizon=horizon, discount=discount)


def returns_under_push(
    environment: Environment,
    policy: Actor,
    *,
    horizon: int = 1000,
    discount: float = 1.0,
    at_step: int = 0,
) -> Curve:
    """Make `(params, states, key, sizes) -> returns`: returns after one push of the state.

    Before step `at_step` the coordinates of the state are displaced by size · u, once, with u
    a direction drawn uniformly on the sphere from the key and the index of the state alone: a
    curve over sizes is a line through the space of states. At size 0 the state is rebuilt from
    its own coordinates, which a simulator may round.

    The paper's figure takes 10 000 sizes from 0 to 1e-3 in one fixed direction from the start.
    The return of a chaotic loop is rough along such a line down to the size ε at which
    ln(1/ε)/λ exceeds the episode; `holder_exponent` along it measures how rough.

    Args:
        environment: The simulator, with `from_coordinates`.
        policy: Acts without noise.
        horizon: Steps of an episode.
        discount: Discount per step.
        at_step: Step before which the state is pushed, in [0, horizon).

    Returns:
        A function of parameters, stacked initial states, a key and the sizes (sizes,) that
        returns (sizes, states). An episode that has terminated before the push is not changed.

    Raises:
        ValueError: If a setting is out of range, or the environment cannot be set to given
            coordinates.

    References:
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674.
    """
    _check(horizon, discount)
    if not 0 <= at_step < horizon:
        msg = f"Argument `at_step` must lie in [0, {horizon}), but is {at_step}."
        raise ValueError(msg)
    rebuild = environment.from_coordinates
    if rebuild is None:
        msg = (
            "Argument `environment` must offer `from_coordinates`, but"
            f" `{environment.name}` does not."
        )
        raise ValueError(msg)
    returns = discounted_returns(
        environment, policy, horizon=horizon - at_step, discounts=(discount,)
    )

    def curve(
        params: PyTree, states: PyTree, key: Key, sizes: Float[Array, " sizes"]
    ) -> Float[Array, "sizes states"]:
        step = tracked_loop(environment, policy, params)

        def before(state: PyTree) -> tuple[Tracked, Array]:
            def advance(carry: tuple, _: None) -> tuple[tuple, None]:
                tracked, weight, total = carry
                tracked = step(tracked)
                return (tracked, weight * discount, total + weight * tracked.reward), None

            start = track(state)
            carry = (start, jnp.ones_like(start.reward), jnp.zeros_like(start.reward))
            (tracked, _, total), _ = jax.lax.scan(advance, carry, length=at_step)
            # A state that is not finite goes on as NaN, and is found by the second part.
            return tracked, total

        def episode(index: Array, part: tuple[Tracked, Array], size: Array) -> Array:
            tracked, earned = part
            place = environment.coordinates(tracked.state)
            drawn = jax.random.normal(jax.random.fold_in(key, index), place.shape, place.dtype)
            direction = drawn / jnp.sqrt(jnp.sum(drawn**2))
            pushed = rebuild(place + size.astype(place.dtype) * direction, tracked.state)
            one = jax.tree.map(lambda leaf: leaf[None], pushed)
            later = returns(params, one, key)[0] * discount**at_step
            return earned + jnp.where(tracked.alive, later, 0)

        return _over_sizes_and_states(episode, jax.vmap(before)(states), sizes)

    return curve


@dataclasses.dataclass(frozen=True)
class NoisyPolicy:
    """A policy that sees its observation through noise; parameters are (params, sigma).

    Attributes:
        policy: Acts without noise of its own.
        num_noisy: How many components of the observation are noisy, from the first on, where
            others hold the policy's own memory. All of them if not given.
    """

    policy: Actor
    num_noisy: int | None = None

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Act on the observation plus the noise of this key."""
        own, sigma = params
        if key is None:
            return self.policy.act(own, observation)
        count = len(observation) if self.num_noisy is None else self.num_noisy
        noise = jax.random.normal(key, (count, *observation.shape[1:]), observation.dtype)
        seen = observation[:count] + sigma.astype(observation.dtype) * noise
        return self.policy.act(own, jnp.concatenate([seen, observation[count:]]))


def noise_curve(
    environment: Environment, policy: NoisyPolicy, *, horizon: int, discount: float
) -> Curve:
    """Make the curve of `returns_under_noise` of a policy that sees noise.

    Raises:
        ValueError: If a setting is out of range.
    """
    _check(horizon, discount)
    returns = discounted_returns(
        environment, policy, horizon=horizon, discounts=(discount,), stochastic=True
    )

    def curve(
        params: PyTree, states: PyTree, key: Key, sigmas: Float[Array, " sizes"]
    ) -> Float[Array, "sizes states"]:
        def episode(index: Array, state: PyTree, sigma: Array) -> Array:
            one = jax.tree.map(lambda leaf: leaf[None], state)
            return returns((params, sigma), one, jax.random.fold_in(key, index))[0]

        return _over_sizes_and_states(episode, states, sigmas)

    return curve


def _over_sizes_and_states(
    episode: Callable[[Array, PyTree, Array], Array], parts: PyTree, sizes: Float[Array, " sizes"]
) -> Float[Array, "sizes states"]:
    """Evaluate for all sizes and states at once."""
    indices = jnp.arange(len(jax.tree.leaves(parts)[0]))
    over_states = jax.vmap(episode, (0, 0, None))
    return jax.vmap(over_states, (None, None, 0))(indices, parts, sizes)


def _check(horizon: int, discount: float) -> None:
    check_at_least(horizon=(horizon, 1))
    if not 0 <= discount <= 1:
        msg = f"Argument `discount` must lie in [0, 1], but is {discount}."
        raise ValueError(msg)
