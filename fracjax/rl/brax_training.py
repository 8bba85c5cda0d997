"""Brax's PPO and SAC, called with our settings, and the repairs that Brax 0.14.2 needs.

Both call `jax.device_put_replicated`, which JAX 0.10 removed. SAC has no `policy_params_fn`:
its parameters are read where it hands them to its evaluator. Both repairs hold inside a `with`
block only.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import devices
from fracjax._types import PyTree
from fracjax.rl.brax_envs import as_brax, quiet_brax
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS
from fracjax.rl.snapshots import Recorder
from fracjax.rl.training_settings import SACSettings, TrainingSettings

__all__ = ["device_put_replicated", "evaluated_parameters", "ppo_parameters", "run_ppo", "run_sac"]

_VALUE_LAYERS = (64, 64)


class _ReportedError(Exception):
    """Ends Brax's training once its first parameters are reported."""


@contextlib.contextmanager
def device_put_replicated() -> Iterator[None]:
    """Lend JAX the `device_put_replicated` that Brax 0.14.2 calls and JAX 0.10 removed.

    It is there inside the `with` block only, and nothing happens where JAX has its own.
    """
    if hasattr(jax, "device_put_replicated"):
        yield
        return
    setattr(jax, "device_put_replicated", devices.replicate)  # noqa: B010 (unknown to mypy)
    try:
        yield
    finally:
        delattr(jax, "device_put_replicated")


@contextlib.contextmanager
def evaluated_parameters(receive: Callable[[Any], None]) -> Iterator[None]:
    """Call `receive(params)` with what Brax evaluates, before it does, inside the block."""
    with quiet_brax():
        from brax.training import acting

    original = acting.Evaluator

    class Evaluator(original):  # type: ignore[misc]
        def run_evaluation(self, policy_params: Any, *args: Any, **kwargs: Any) -> Any:
            receive(policy_params)
            return super().run_evaluation(policy_params, *args, **kwargs)

    acting.Evaluator = Evaluator
    try:
        yield
    finally:
        acting.Evaluator = original


def run_ppo(
    environment: Environment,
    settings: TrainingSettings,
    recorder: Recorder,
    num_reports: int,
    seed: int,
    num_devices: int,
) -> None:
    """Train by PPO, from the recorder's parameters if it has any.

    With no report to come, only those parameters are evaluated and reported.
    """
    with quiet_brax():
        from brax.training.agents.ppo import train as ppo

    def report_and_stop(steps: int, make_policy: Any, params: Any) -> None:
        recorder.on_params(steps, make_policy, params)
        raise _ReportedError

    ended = contextlib.suppress(_ReportedError)
    with ended, device_put_replicated(), jax.enable_x64(False):
        ppo.train(
            as_brax(environment),
            # Brax evaluates nothing where there is nothing to train.
            num_timesteps=max(1, recorder.total_steps - recorder.steps_before),
            max_devices_per_host=num_devices,
            num_envs=settings.num_envs,
            episode_length=settings.episode_length,
            learning_rate=settings.learning_rate,
            entropy_cost=settings.entropy_cost,
            discounting=settings.discount,
            unroll_length=settings.unroll_length,
            batch_size=settings.batch_size,
            num_minibatches=settings.num_minibatches,
            num_updates_per_batch=settings.num_passes,
            normalize_observations=settings.normalize_observations,
            reward_scaling=settings.reward_scaling,
            network_factory=_ppo_networks(recorder),
            seed=seed,
            num_evals=max(1, num_reports) + 1,
            num_eval_envs=settings.num_eval_envs,
            deterministic_eval=True,
            progress_fn=recorder.on_evaluation,
            policy_params_fn=recorder.on_params if num_reports > 0 else report_and_stop,
            restore_params=recorder.params or None,
        )


def ppo_parameters(environment: Environment, recorder: Recorder) -> PyTree:
    """Untrained parameters of PPO, in the structure that Brax hands out and restores."""
    with quiet_brax():
        from brax.training.acme import running_statistics, specs

    with jax.enable_x64(False):
        size = environment.observation_size
        shape = specs.Array((size,), jnp.dtype("float32"))
        networks = _ppo_networks(recorder)(
            size, environment.action_size, preprocess_observations_fn=lambda x, _: x
        )
        key = jax.random.key(0)
        return (
            running_statistics.init_state(shape, std_eps=0.0, mode="welford"),
            networks.policy_network.init(key),
            networks.value_network.init(key),
        )


def _ppo_networks(recorder: Recorder) -> Callable:
    with quiet_brax():
        from brax.training.agents.ppo import networks

    return functools.partial(
        networks.make_ppo_networks,
        policy_hidden_layer_sizes=recorder.network.hidden,
        value_hidden_layer_sizes=_VALUE_LAYERS,
        activation=ACTIVATIONS[recorder.network.activation],
    )


def run_sac(
    environment: Environment,
    settings: SACSettings,
    recorder: Recorder,
    num_reports: int,
    seed: int,
    num_devices: int,
) -> None:
    """Train by SAC."""
    with quiet_brax():
        from brax.training.agents.sac import networks
        from brax.training.agents.sac import train as sac

    latest: list[Any] = []

    def receive(params: Any) -> None:
        latest[:] = [jax.tree.map(np.asarray, params)]

    def on_evaluation(steps: int, metrics: dict[str, Any]) -> None:
        """Report as PPO does: parameters before their return, but for the first."""
        if steps == 0:
            recorder.on_evaluation(steps, metrics)
            recorder.on_params(steps, None, latest[0])
        else:
            recorder.on_params(steps, None, latest[0])
            recorder.on_evaluation(steps, metrics)

    with device_put_replicated(), evaluated_parameters(receive), jax.enable_x64(False):
        sac.train(
            as_brax(environment),
            num_timesteps=recorder.total_steps,
            max_devices_per_host=num_devices,
            num_envs=settings.num_envs,
            episode_length=settings.episode_length,
            learning_rate=settings.learning_rate,
            discounting=settings.discount,
            batch_size=settings.batch_size,
            normalize_observations=settings.normalize_observations,
            reward_scaling=settings.reward_scaling,
            tau=settings.tau,
            min_replay_size=settings.min_replay_size,
            max_replay_size=min(settings.max_replay_size, recorder.total_steps),
            grad_updates_per_step=settings.num_passes,
            network_factory=functools.partial(
                networks.make_sac_networks,
                hidden_layer_sizes=recorder.network.hidden,
                activation=ACTIVATIONS[recorder.network.activation],
            ),
            seed=seed,
            num_evals=num_reports + 1,
            num_eval_envs=settings.num_eval_envs,
            deterministic_eval=True,
            progress_fn=on_evaluation,
        )
