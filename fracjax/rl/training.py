"""Train policies with Brax's PPO, and keep the path that the parameters take.

The algorithm is Brax's own; here are its defaults per environment, progress, snapshots
that survive a crash, and one repair that Brax 0.14.2 needs on JAX 0.10.
"""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fracjax import devices
from fracjax.rl.brax_envs import as_brax, quiet_brax
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS, PolicyNetwork
from fracjax.rl.policies import Policy, PolicyInfo
from fracjax.rl.snapshots import Recorder, TrainingProgress, read_path, read_policies, start_path
from fracjax.rl.training_settings import TrainingSettings, default_settings

__all__ = [
    "TrainingProgress",
    "TrainingSettings",
    "default_settings",
    "device_put_replicated",
    "read_path",
    "read_policies",
    "train",
]


def train(
    environment: Environment,
    *,
    algorithm: str = "ppo",
    settings: TrainingSettings | None = None,
    hidden: tuple[int, ...] | None = None,
    activation: str | None = None,
    num_timesteps: int | None = None,
    episode_length: int | None = None,
    discount: float | None = None,
    num_envs: int | None = None,
    seed: int = 0,
    num_reports: int = 10,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    path_folder: str | os.PathLike | None = None,
    path_every: int = 1,
    num_devices: int = 1,
) -> Policy:
    """Train a policy with Brax's PPO.

    Equal arguments on equal software and hardware give equal policies. Brax draws new keys
    at every report, so another number of reports gives another policy, as does another
    number of devices. It trains in float32, whatever `jax_enable_x64` says. Most of a short
    run is compilation.

    Args:
        environment: What to train on, in float32.
        algorithm: `"ppo"` is the only one.
        settings: All settings; `default_settings(environment.name)` if not given.
        hidden: Overrides the setting of that name, as the next five do.
        activation: See `TrainingSettings`.
        num_timesteps: See `TrainingSettings`.
        episode_length: See `TrainingSettings`.
        discount: See `TrainingSettings`.
        num_envs: See `TrainingSettings`.
        seed: Seed of weights, environments and exploration.
        num_reports: Evaluations after the first, when no path is kept.
        on_progress: Called after every evaluation, the first before any training.
        path_folder: Keep snapshots of the policy here as `000012.npz`, numbered by policy
            updates. Each is a policy file with its `steps`, `updates` and `return` noted,
            is written whole or not at all, and stays when the run is killed.
        path_every: Policy updates between snapshots, and between evaluations; the run is
            rounded up to a multiple of them.
        num_devices: Devices to train on.

    Returns:
        The trained policy; `info.training` holds what is needed to train it again.

    Raises:
        ValueError: If an argument does not fit, or `path_folder` already holds a path.
        FloatingPointError: If the parameters are no longer finite.
    """
    if algorithm != "ppo":
        msg = f'Argument `algorithm` must be "ppo", but is {algorithm!r}.'
        raise ValueError(msg)
    asked: dict[str, Any] = {
        "hidden": None if hidden is None else tuple(hidden),
        "activation": activation,
        "num_timesteps": num_timesteps,
        "episode_length": episode_length,
        "discount": discount,
        "num_envs": num_envs,
    }
    settings = dataclasses.replace(
        settings or default_settings(environment.name),
        **{name: value for name, value in asked.items() if value is not None},
    )
    _check(settings, num_reports, path_every)
    num_updates = math.ceil(settings.num_timesteps / settings.steps_per_update)
    updates_per_report = path_every if path_folder is not None else -(-num_updates // num_reports)
    num_reports = -(-num_updates // updates_per_report)
    recorder = Recorder(
        network=PolicyNetwork(
            environment.observation_size,
            environment.action_size,
            settings.hidden,
            settings.activation,
        ),
        info=PolicyInfo(environment.name, environment.backend, "trained"),
        summary={
            "algorithm": algorithm,
            "seed": seed,
            "settings": dataclasses.asdict(settings) | {"hidden": list(settings.hidden)},
            "updates_per_report": updates_per_report,
            "num_devices": num_devices,
        },
        settings=settings,
        total_steps=num_reports * updates_per_report * settings.steps_per_update,
        on_progress=on_progress,
        folder=None if path_folder is None else start_path(Path(path_folder)),
    )
    _run_ppo(environment, settings, recorder, num_reports, seed, num_devices)
    policy = recorder.policy()
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(policy.params)):
        msg = f"Training on `{environment.name}` diverged: the parameters are not finite."
        raise FloatingPointError(msg)
    return policy


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


def _run_ppo(
    environment: Environment,
    settings: TrainingSettings,
    recorder: Recorder,
    num_reports: int,
    seed: int,
    num_devices: int,
) -> None:
    with quiet_brax():
        from brax.training.agents.ppo import networks
        from brax.training.agents.ppo import train as ppo

    network_factory = functools.partial(
        networks.make_ppo_networks,
        policy_hidden_layer_sizes=recorder.network.hidden,
        value_hidden_layer_sizes=(64, 64),
        activation=ACTIVATIONS[recorder.network.activation],
    )
    with device_put_replicated(), jax.enable_x64(False):
        ppo.train(
            as_brax(environment),
            num_timesteps=recorder.total_steps,
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
            network_factory=network_factory,
            seed=seed,
            num_evals=num_reports + 1,
            num_eval_envs=settings.num_eval_envs,
            deterministic_eval=True,
            progress_fn=recorder.on_evaluation,
            policy_params_fn=recorder.on_params,
        )


def _check(settings: TrainingSettings, num_reports: int, path_every: int) -> None:
    rows = settings.batch_size * settings.num_minibatches
    if rows % settings.num_envs:
        msg = f"Argument `num_envs` must divide {rows}, but is {settings.num_envs}."
        raise ValueError(msg)
    positive = {
        "num_timesteps": settings.num_timesteps,
        "episode_length": settings.episode_length,
        "num_reports": num_reports,
        "path_every": path_every,
    }
    for name, value in positive.items():
        if value < 1:
            msg = f"Argument `{name}` must be positive, but is {value}."
            raise ValueError(msg)
    if not 0 <= settings.discount < 1:
        msg = f"Argument `discount` must lie in [0, 1), but is {settings.discount}."
        raise ValueError(msg)
    if settings.activation not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        msg = f"Argument `activation` must be one of {names}, but is {settings.activation!r}."
        raise ValueError(msg)
