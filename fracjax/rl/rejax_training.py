"""Environments of fracjax for rejax, and its training as a function of one array state.

rejax trains where the whole program can be vmapped, over seeds for example. It expects
environments of gymnax: stepped with a key, reset by themselves, and done at the time limit. For
it, as for gymnax before 1.0, a time limit ends an episode like any other end: no value is
expected of the states behind it. What is learned is therefore the discounted return of episodes
of that length by a policy that does not see the time, and values near the limit are biased
towards zero; the share of such states is about 1/((1 - γ) · episode length).

gymnax 1.0 returns termination and truncation apart, six values where rejax 0.1.3 unpacks five,
so that gymnax's own environments do not go through rejax as they are. Ours do.
"""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS, Normalizer, PolicyNetwork

if TYPE_CHECKING:
    from rejax import Algorithm

__all__ = ["Adapted", "RejaxTraining", "default_settings", "import_rejax"]

_CRITIC = (64, 64)
_SMALLEST_VARIANCE = 1e-8  # rejax adds it before the root

# By rejax's names. SAC: learns the pendulum's swing-up in 4 10^4 steps. TD3: not tuned, stays
# hanging there for 2 10^4 steps.
_OFF_POLICY: Mapping[str, Any] = {
    "num_envs": 4,
    "num_epochs": 2,
    "batch_size": 128,
    "buffer_size": 20_000,
    "fill_buffer": 1000,
    "learning_rate": 1e-3,
    "polyak": 0.99,
    "normalize_observations": False,
    # Rewards over the deviation of returns would drown in the entropy bonus of SAC.
    "normalize_rewards": False,
}
# PPO: settled on the pendulum and the acrobot at 10^6 steps.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ppo": {
        "num_envs": 32,
        "num_steps": 64,
        "num_minibatches": 8,
        "num_epochs": 4,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
        "normalize_observations": True,
        "normalize_rewards": True,
    },
    "sac": _OFF_POLICY,
    "td3": _OFF_POLICY,
}


def default_settings(algorithm: str) -> dict[str, Any]:
    """Settings of a rejax algorithm, by its own names.

    Raises:
        ValueError: If there is no such algorithm for continuous actions.
    """
    if algorithm not in _DEFAULTS:
        names = ", ".join(map(repr, _DEFAULTS))
        msg = f"Argument `algorithm` must be one of {names}, but is {algorithm!r}."
        raise ValueError(msg)
    return dict(_DEFAULTS[algorithm])


def import_rejax(purpose: str, otherwise: str = "") -> Any:
    """Import rejax without the noise.

    Args:
        purpose: What needs it, as the error begins.
        otherwise: What else the error proposes than to install it.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        # TensorFlow Probability, below rejax, calls what JAX is about to drop.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import rejax
    except ModuleNotFoundError as error:
        msg = (
            f"{purpose} needs `{error.name}`: install it with"
            f" `pip install 'fracjax[training]'`{otherwise}."
        )
        raise ValueError(msg) from error
    return rejax


class _Episode(NamedTuple):
    """State of an environment and the steps since its reset."""

    state: PyTree
    time: Int[Array, ""]


class Adapted:
    """An environment of fracjax behind the interface that rejax expects.

    It resets by itself after `episode_length` steps, after termination, and where the simulator
    leaves the finite numbers, which pays nothing. PPO's Gaussian is unbounded, so its samples
    go through a tanh here, outside of the library: the ratio of densities, which is all that PPO
    uses of them, is the same before the tanh as after it, its entropy bonus is that of the
    Gaussian, and the mode of the policy is tanh(mean), smooth in the parameters, where
    clipping would leave a kink.

    Args:
        environment: What to adapt, in float32.
        episode_length: The time limit.
        squash: Whether actions are unbounded and go through a tanh; clipped if not.
    """

    default_params: Mapping[str, Any] = {}

    def __init__(self, environment: Environment, episode_length: int, *, squash: bool):
        self._environment = environment
        self._length = episode_length
        self._squash = squash

    def __deepcopy__(self, memo: dict) -> "Adapted":
        """Stay the same object: rejax copies its settings, and compares environments."""
        return self

    def reset(self, key: Key, params: Any) -> tuple[Array, _Episode]:
        """Begin an episode."""
        del params
        state = self._environment.reset(key)
        return self._environment.observe(state), _Episode(state, jnp.zeros((), jnp.int32))

    def step(
        self, key: Key, episode: _Episode, action: Array, params: Any
    ) -> tuple[Array, _Episode, Float[Array, ""], Bool[Array, ""], dict]:
        """Take a step, and begin anew where it ends an episode."""
        action = jnp.tanh(action) if self._squash else jnp.clip(action, -1.0, 1.0)
        moved = self._environment.step(episode.state, action)
        finite = jnp.isfinite(self._environment.coordinates(moved.state)).all()
        finite &= jnp.isfinite(moved.reward)
        following = _Episode(moved.state, episode.time + 1)
        done = moved.done | ~finite | (following.time >= self._length)
        fresh = self.reset(key, params)
        observation, following = tree.select(
            done, fresh, (self._environment.observe(moved.state), following)
        )
        return observation, following, jnp.where(finite, moved.reward, 0.0), done, {}

    def action_space(self, params: Any) -> Any:
        """Space of actions."""
        del params
        from gymnax.environments.spaces import Box

        bound = jnp.inf if self._squash else 1.0
        return Box(-bound, bound, (self._environment.action_size,))

    def observation_space(self, params: Any) -> Any:
        """Space of observations."""
        del params
        from gymnax.environments.spaces import Box

        return Box(-jnp.inf, jnp.inf, (self._environment.observation_size,))


class RejaxTraining:
    """Training by rejax as pure functions of a tuple of arrays.

    Attributes:
        network: The policy in our layout: a deterministic head with a tanh, which is the mode
            of rejax's actor exactly.
        steps_per_iteration: Environment steps of one iteration.

    Args:
        environment: What to train on, in float32.
        algorithm: `"ppo"`, `"sac"` or `"td3"`.
        discount: γ of the returns that are maximised.
        episode_length: Time limit, see the module's note.
        hidden: Widths of the actor's hidden layers.
        activation: Name in `ACTIVATIONS`, for actor and critic.
        settings: Settings by rejax's names, over `default_settings`.

    Raises:
        ValueError: If rejax is not installed, or does not know a setting.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        algorithm: str,
        discount: float,
        episode_length: int,
        hidden: tuple[int, ...],
        activation: str,
        settings: Mapping[str, Any],
    ):
        adapted = Adapted(environment, episode_length, squash=algorithm == "ppo")
        self.network = PolicyNetwork(
            environment.observation_size,
            environment.action_size,
            hidden,
            activation,
            head="deterministic",
        )
        self._kind = algorithm
        self._algorithm = _create(algorithm, adapted, discount, settings)
        self._algorithm = self._algorithm.replace(
            actor=self._algorithm.actor.clone(
                hidden_layer_sizes=hidden, activation=ACTIVATIONS[activation]
            ),
            critic=self._algorithm.critic.clone(
                hidden_layer_sizes=_CRITIC, activation=ACTIVATIONS[activation]
            ),
        )
        # The structure of rejax's state is a class made anew by every call: keep one.
        shapes = jax.eval_shape(self._algorithm.init_state, jax.random.PRNGKey(0))
        after = jax.eval_shape(self._algorithm.train_iteration, shapes)
        self._structure = jax.tree.structure(shapes)
        self._dtypes = [leaf.dtype for leaf in jax.tree.leaves(after)]

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one iteration."""
        algorithm = self._algorithm
        each = {
            "ppo": getattr(algorithm, "num_steps", 1),
            "sac": 1,
            "td3": getattr(algorithm, "policy_delay", 1),
        }
        return int(algorithm.num_envs * each[self._kind])

    def start(self, key: Key) -> tuple[Array, ...]:
        """Draw weights and initial states from a raw key (`jax.random.PRNGKey`)."""
        leaves = jax.tree.leaves(self._algorithm.init_state(key))
        # Some begin as Python numbers and would change their dtype in the first iteration.
        return tuple(
            jnp.asarray(leaf, dtype) for leaf, dtype in zip(leaves, self._dtypes, strict=True)
        )

    def advance(self, leaves: tuple[Array, ...], num_iterations: int) -> tuple[Array, ...]:
        """Train for a number of iterations."""
        state = jax.tree.unflatten(self._structure, leaves)
        state = jax.lax.fori_loop(
            0, num_iterations, lambda _, now: self._algorithm.train_iteration(now), state
        )
        return tuple(jax.tree.leaves(state))

    def policy(self, leaves: tuple[Array, ...]) -> tuple[PyTree, Normalizer | None]:
        """Take the policy out of a state: parameters in our layout, and the normaliser."""
        state = jax.tree.unflatten(self._structure, leaves)
        actor = state.actor_ts.params["params"]
        inner = actor if self._kind == "td3" else actor["features"]
        count = len(self.network.hidden)
        dense = [inner[f"Dense_{index}"] for index in range(count)]
        dense.append(actor[f"Dense_{count}"] if self._kind == "td3" else actor["action_mean"])
        params = {"params": {f"hidden_{index}": dict(one) for index, one in enumerate(dense)}}
        if not self._algorithm.normalize_observations:
            return params, None
        statistics = state.obs_rms_state
        deviation = jnp.sqrt(statistics.var + _SMALLEST_VARIANCE)
        return params, Normalizer(statistics.mean, deviation)

    def library_action(
        self, leaves: tuple[Array, ...], observation: Float[Array, " observation"]
    ) -> Float[Array, " action"]:
        """Compute the mode of the action by rejax's own network, to compare with ours."""
        state = jax.tree.unflatten(self._structure, leaves)
        if self._algorithm.normalize_observations:
            observation = self._algorithm.normalize_obs(state.obs_rms_state, observation)
        arguments = (state.actor_ts.params, observation[None])
        if self._kind == "td3":
            return self._algorithm.actor.apply(*arguments)[0]
        found = self._algorithm.actor.apply(*arguments, method="_action_dist")
        return jnp.tanh(found.mode()[0])


def _create(
    algorithm: str, adapted: Adapted, discount: float, settings: Mapping[str, Any]
) -> "Algorithm":
    """Build rejax's algorithm, its own evaluation left out."""
    otherwise = ", or pass `library='brax'`"
    kind = import_rejax("Training many seeds at once", otherwise).get_algo(algorithm)
    given = {
        **default_settings(algorithm),
        "reward_normalization_discount": discount,
        **settings,
    }
    fixed = {"env", "env_params", "actor", "critic", "gamma", "eval_callback"}
    known = set(kind.__dataclass_fields__) - fixed
    unknown = sorted(set(given) - known)
    if unknown:
        names = ", ".join(sorted(known))
        msg = f"Argument `settings` must name settings of rejax ({names}), but has {unknown}."
        raise ValueError(msg)
    return kind.create(env=adapted, env_params={}, gamma=discount, **given).replace(
        eval_callback=_nothing, skip_initial_evaluation=True
    )


def _nothing(*_: Any) -> None:
    """Evaluate nothing: rejax would do so between iterations, which are ours to loop over."""
