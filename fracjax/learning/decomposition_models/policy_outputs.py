"""Policies as networks to decompose: what they put out, and at which states.

    apply = action_distribution(policy)
    inputs = visited_observations(environment, policy, key, num_samples=1000, horizon=200)
    settings = FitSettings(num_subnetworks=20, divergence=gaussian_kl)
    decompose(apply, policy.params, inputs, key, settings)

References are outputs at other visited states ("paired states"): a subnetwork is a direction that
turns what the policy does in one state towards what it does in another.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import initial_states, track, tracked_loop

__all__ = ["action_distribution", "mean_action", "visited_observations"]

_MIN_STD = 1e-3  # of Brax's `NormalTanhDistribution`


def action_distribution(
    policy: Policy,
) -> Callable[[PyTree, Float[Array, " observation"]], tuple[Array, Array]]:
    """Make `(params, observation) -> (means, log standard deviations)` before the tanh.

    With `gaussian_kl` the divergence is that between the two laws of the action itself: the tanh
    is one to one, and no such map changes a divergence.

    Args:
        policy: With a `tanh_normal` head.

    Raises:
        ValueError: If its head has no distribution.
    """
    if policy.network.head != "tanh_normal":
        msg = (
            "Argument `policy` must have a `tanh_normal` head, but is deterministic: take"
            " `mean_action` and `squared_error`."
        )
        raise ValueError(msg)

    def apply(params: PyTree, observation: Array) -> tuple[Array, Array]:
        mean, scale = jnp.split(policy.logits(params, observation), 2)
        return mean, jnp.log(jax.nn.softplus(scale) + _MIN_STD)

    return apply


def mean_action(
    policy: Policy,
) -> Callable[[PyTree, Float[Array, " observation"]], Float[Array, " action"]]:
    """Make `(params, observation) -> action`, that of the deterministic policy, in [-1, 1].

    For `squared_error`: what matters is how far actions move, not how sure the policy was.
    """

    def apply(params: PyTree, observation: Array) -> Array:
        return policy.act(params, observation)

    return apply


def visited_observations(
    environment: Environment,
    policy: Policy,
    key: Key,
    *,
    num_samples: int = 1000,
    num_episodes: int = 32,
    horizon: int = 200,
) -> Float[np.ndarray, "samples observation"]:
    """Draw observations from episodes of the deterministic policy, without repetition.

    Those after termination do not count. Returns fewer than asked for where episodes are shorter.

    Args:
        environment: The simulator.
        policy: The policy.
        key: Of the initial states and of the draw.
        num_samples: How many observations.
        num_episodes: Episodes that they are drawn from.
        horizon: Longest episode, in steps.

    Raises:
        ValueError: If a number is out of range.
    """
    check_at_least(
        num_samples=(num_samples, 2), num_episodes=(num_episodes, 1), horizon=(horizon, 1)
    )
    step = tracked_loop(environment, policy, policy.params)

    @jax.jit
    def episodes(states: PyTree) -> tuple[Array, Array]:
        def one(state: PyTree) -> tuple[Array, Array]:
            def body(tracked: PyTree, _: None) -> tuple[PyTree, tuple[Array, Array]]:
                return step(tracked), (environment.observe(tracked.state), tracked.alive)

            return jax.lax.scan(body, track(state), length=horizon)[1]

        return jax.vmap(one)(states)

    of_states, of_draw = jax.random.split(key)
    seen, alive = episodes(initial_states(environment, of_states, num_episodes))
    seen, alive = np.asarray(seen), np.asarray(alive)
    table = seen[alive & np.isfinite(seen).all(axis=-1)]
    order = np.asarray(jax.random.permutation(of_draw, len(table)))
    return table[order[:num_samples]]
