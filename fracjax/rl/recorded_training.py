"""Training by rejax with the policy's path kept, and what one likes at the end of its optimiser.

    train = recorded_training(from_environment(environment, 200), "td3", ...)
    runs = jax.jit(jax.vmap(train, (0, None)))(jax.random.split(key, 5), setting)

Everything is one program: weights, training, snapshots and evaluations. Brax's environments come
through `from_environment`, gymnax's own (MinAtar's for example) through `from_gymnax`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS
from fracjax.rl.rejax_training import Adapted, default_settings, import_rejax

__all__ = ["RecordedRun", "from_environment", "from_gymnax", "recorded_training", "updates_each"]

_CRITIC = (64, 64)
_DISCRETE: Mapping[str, Mapping[str, Any]] = {
    "dqn": {
        "num_envs": 4,
        "num_epochs": 1,
        "batch_size": 64,
        "buffer_size": 10_000,
        "fill_buffer": 1000,
        "learning_rate": 3e-4,
        "target_update_freq": 400,
        "polyak": 0.0,
        "exploration_fraction": 0.2,
        "eps_end": 0.05,
    },
}


class RecordedRun(NamedTuple):
    """One run.

    Attributes:
        snapshots: Parameters of the policy (of the value network, for DQN): leaves with a first
            axis of length 1 + evaluations · snapshots per evaluation.
        returns: Undiscounted returns of episodes, before training and at every evaluation.
        updates: Optimiser steps of the policy until each evaluation, at most: learning from a
            buffer begins when `fill_buffer` steps are in it, and snapshots are the same until then.
    """

    snapshots: PyTree
    returns: Float[Array, "evaluations episodes"]
    updates: Int[Array, " evaluations"]


class _Gymnax:
    """A gymnax 1.0 environment behind the interface of the one before, which rejax expects."""

    default_params: Mapping[str, Any] = {}

    def __init__(self, env: Any, params: Any):
        self._env, self._params = env, params

    def __deepcopy__(self, memo: dict) -> "_Gymnax":
        return self

    def reset(self, key: Key, params: Any) -> tuple[Array, PyTree]:
        del params
        observation, state = self._env.reset(key, self._params)
        return observation.astype(jnp.float32), state

    def step(
        self, key: Key, state: PyTree, action: Array, params: Any
    ) -> tuple[Array, PyTree, Float[Array, ""], Bool[Array, ""], dict]:
        del params
        observation, state, reward, ended, cut, _ = self._env.step(key, state, action, self._params)
        return observation.astype(jnp.float32), state, reward, ended | cut, {}

    def action_space(self, params: Any) -> Any:
        del params
        return self._env.action_space(self._params)

    def observation_space(self, params: Any) -> Any:
        del params
        from gymnax.environments.spaces import Box

        space = self._env.observation_space(self._params)
        return Box(0.0, 1.0, space.shape, jnp.float32)


def from_environment(environment: Environment, episode_length: int, algorithm: str) -> Adapted:
    """Prepare one of our environments, see `rejax_training`.

    Args:
        environment: In float32.
        episode_length: Time limit.
        algorithm: `"ppo"`, `"sac"` or `"td3"`.
    """
    return Adapted(environment, episode_length, squash=algorithm == "ppo")


def from_gymnax(name: str) -> Any:
    """Prepare an environment of gymnax as it is, by its name (`"Breakout-MinAtar"`).

    Raises:
        ValueError: If gymnax is not installed.
    """
    try:
        import gymnax
    except ModuleNotFoundError as error:
        msg = f"`{name}` needs `{error.name}`: install it with `pip install 'fracjax[gymnax]'`."
        raise ValueError(msg) from error
    return _Gymnax(*gymnax.make(name))


def recorded_training(
    environment: Any,
    algorithm: str,
    *,
    episode_length: int,
    num_evaluations: int,
    snapshots_per_evaluation: int,
    iterations_per_snapshot: int,
    discount: float = 0.99,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "tanh",
    num_episodes: int = 16,
    settings: Mapping[str, Any] | None = None,
    transformation: Callable[[Any], optax.GradientTransformation] | None = None,
) -> Callable[[Key, Any], RecordedRun]:
    """Make `(key, setting) -> RecordedRun`, to be jitted and vmapped over keys.

    Vmapped from the key on, the counters of a run are the same for all seeds and known to be so,
    and branches on them stay branches.

    Args:
        environment: From `from_environment` or `from_gymnax`.
        algorithm: Name in rejax: `"ppo"`, `"sac"`, `"td3"`, and for gymnax `"dqn"` or `"ppo"`.
        episode_length: Most steps of an episode of an evaluation.
        num_evaluations: Evaluations after the one before training.
        snapshots_per_evaluation: Snapshots between evaluations.
        iterations_per_snapshot: Iterations of rejax between snapshots, see `updates_each`.
        discount: γ.
        hidden: Widths of the policy's hidden layers.
        activation: Name in `ACTIVATIONS`.
        num_episodes: Episodes of an evaluation, by the policy as rejax evaluates it: the mode
            for TD3, with ε = .005 for DQN, sampled for PPO and SAC.
        settings: Settings by rejax's names.
        transformation: Makes of `setting` what stands last in the chain of the policy's
            optimiser, which is rejax's else.

    Raises:
        ValueError: If rejax is not installed.
    """
    made = _create(environment, algorithm, discount, hidden, activation, settings or {})
    field = "q_ts" if algorithm == "dqn" else "actor_ts"
    each = updates_each(algorithm, settings)

    def start(key: Key, setting: Any) -> Any:
        state = made.init_state(key)
        if transformation is None:
            return state
        own = getattr(state, field)
        optimizer = optax.chain(own.tx, transformation(setting))
        own = own.replace(tx=optimizer, opt_state=optimizer.init(own.params))
        return state.replace(**{field: own})

    def evaluate(state: Any, key: Key) -> Float[Array, " episodes"]:
        act = made.make_act(state)
        keys = jax.random.split(key, num_episodes)
        return jax.vmap(lambda own: _episode(environment, act, own, episode_length))(keys)

    def params(state: Any) -> PyTree:
        return getattr(state, field).params["params"]

    def train(key: Key, setting: Any = None) -> RecordedRun:
        train_key, test_key = jax.random.split(key)
        state = start(train_key, setting)

        def to_snapshot(carry: tuple, _: None) -> tuple[tuple, PyTree]:
            state, iterations = carry
            state = jax.lax.fori_loop(
                0, iterations, lambda _, now: made.train_iteration(now), state
            )
            return (state, iterations), params(state)

        def to_evaluation(state: Any, number: Array) -> tuple[Any, tuple[PyTree, Array]]:
            # The first one trains nothing: a program with one evaluation compiles sooner.
            iterations = jnp.where(number == 0, 0, iterations_per_snapshot)
            (state, _), path = jax.lax.scan(
                to_snapshot, (state, iterations), None, snapshots_per_evaluation
            )
            return state, (path, evaluate(state, test_key))

        numbers = jnp.arange(num_evaluations + 1)
        _, (path, returns) = jax.lax.scan(to_evaluation, state, numbers)
        first = snapshots_per_evaluation - 1
        snapshots = jax.tree.map(lambda many: many.reshape(-1, *many.shape[2:])[first:], path)
        return RecordedRun(
            snapshots, returns, each * iterations_per_snapshot * snapshots_per_evaluation * numbers
        )

    return train


def updates_each(algorithm: str, settings: Mapping[str, Any] | None = None) -> int:
    """Count the optimiser steps of the policy in one iteration of rejax."""
    given = {**_defaults(algorithm), **(settings or {})}
    epochs = int(given.get("num_epochs", 1))
    return epochs * int(given.get("num_minibatches", 1)) if algorithm == "ppo" else epochs


def _episode(environment: Any, act: Callable, key: Key, length: int) -> Float[Array, ""]:
    """Play one episode to its end or `length` steps, and add up its rewards."""
    reset_key, key = jax.random.split(key)
    space = environment.action_space({})
    observation, state = environment.reset(reset_key, {})

    def step(carry: tuple) -> tuple:
        state, observation, total, time, _ = carry
        act_key, step_key = jax.random.split(jax.random.fold_in(key, time))
        action = jnp.reshape(act(observation, act_key), space.shape)
        observation, state, reward, done, _ = environment.step(step_key, state, action, {})
        return state, observation, total + reward.astype(jnp.float32), time + 1, done

    def goes_on(carry: tuple) -> Array:
        return ~carry[4] & (carry[3] < length)

    begin = (state, observation, jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    return jax.lax.while_loop(goes_on, step, begin)[2]


def _defaults(algorithm: str) -> Mapping[str, Any]:
    return _DISCRETE["dqn"] if algorithm == "dqn" else default_settings(algorithm)


def _create(
    environment: Any,
    algorithm: str,
    discount: float,
    hidden: tuple[int, ...],
    activation: str,
    settings: Mapping[str, Any],
) -> Any:
    kind = import_rejax("Recorded training").get_algo(algorithm)
    made = kind.create(
        env=environment, env_params={}, gamma=discount, **{**_defaults(algorithm), **settings}
    )
    sizes = {"hidden_layer_sizes": hidden, "activation": ACTIVATIONS[activation]}
    if algorithm == "dqn":
        return made.replace(agent=made.agent.clone(**sizes))
    critic = {**sizes, "hidden_layer_sizes": _CRITIC}
    return made.replace(actor=made.actor.clone(**sizes), critic=made.critic.clone(**critic))
