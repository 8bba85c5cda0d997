"""Environments and policies whose closed loops are known in closed form."""

import jax
import jax.numpy as jnp

from fracjax.rl.environment import Environment, Transition


class Feedback:
    """Linear state feedback: action = gains · observation."""

    def act(self, params, observation, key=None):
        return params @ observation


def from_map(move, reward, size, *, done=None, dt=0.5, name="map", starts=(0.5, 1.5)):
    """Environment x' = move(x, a), paying reward(x, a) for the step."""
    low, high = starts

    def step(state, action):
        following = move(state, action)
        end = jnp.zeros((), bool) if done is None else done(following)
        return Transition(following, reward(state, action), end)

    return Environment(
        name=name,
        backend="analytic",
        dt=dt,
        observation_size=size,
        action_size=1,
        state_size=size,
        reset=lambda key: jax.random.uniform(key, (size,), minval=low, maxval=high),
        observe=lambda state: state,
        step=step,
        coordinates=lambda state: state,
        from_coordinates=lambda coordinates, template: jnp.asarray(coordinates, template.dtype),
    )


def linear(matrix, column, reward=lambda state, action: jnp.sum(state)):
    """Environment x' = A x + B a."""
    return from_map(lambda x, a: matrix @ x + column @ a, reward, len(matrix), name="linear")


def henon(reward=lambda state, action: state[0]):
    """The Hénon map as a loop closed by the gains (0, 0.3): (x, y)' = (1 - 1.4 x² + y, a)."""

    def move(state, action):
        x, y = state
        return jnp.stack([1 - 1.4 * x**2 + y, action[0]])

    loop = from_map(move, reward, 2, name="henon", starts=(0.1, 0.15))
    return loop, jnp.array([[0.3, 0.0]])
