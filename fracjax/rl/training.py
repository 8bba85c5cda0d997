"""Train policies with Brax's PPO and SAC, and keep the path that the parameters take.

The algorithms are Brax's own; here are their defaults per environment, progress, snapshots
that survive a crash, and what Brax permits of going on after one.
"""

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax.rl.brax_training import device_put_replicated, ppo_parameters, run_ppo, run_sac
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS, PolicyNetwork
from fracjax.rl.policies import Policy, PolicyInfo
from fracjax.rl.snapshots import (
    Recorder,
    TrainingProgress,
    has_begun,
    read_path,
    read_policies,
    read_resume,
    start_path,
)
from fracjax.rl.training_settings import (
    ALGORITHMS,
    SACSettings,
    Settings,
    TrainingSettings,
    default_settings,
)

__all__ = [
    "SACSettings",
    "TrainingProgress",
    "TrainingSettings",
    "check_settings",
    "default_settings",
    "device_put_replicated",
    "read_path",
    "read_policies",
    "train",
]

_COUNTS = frozenset(
    "num_timesteps episode_length num_envs batch_size num_passes num_eval_envs unroll_length"
    " num_minibatches num_reports path_every".split()
)


def train(
    environment: Environment,
    *,
    algorithm: str = "ppo",
    settings: Settings | None = None,
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
    on_params: Callable[[int, Any, Any], None] | None = None,
    resume: bool = False,
) -> Policy:
    """Train a policy with Brax's PPO or SAC.

    Equal arguments on equal software and hardware give equal policies. Brax draws new keys
    at every report, so another number of reports gives another policy, as does another
    number of devices. It trains in float32, whatever `jax_enable_x64` says. Most of a short
    run is compilation.

    Args:
        environment: What to train on, in float32.
        algorithm: `"ppo"` or `"sac"`.
        settings: All settings, `SACSettings` for SAC; `default_settings(environment.name,
            algorithm)` if not given.
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
        on_params: Called as `on_params(steps, make_policy, params)` at every report, after the
            snapshot is on disk, such as `Watch.policy_params_fn(…)`. `make_policy` is `None`
            with SAC, whose `params` have no third entry.
        resume: Go on with the run in `path_folder` after its last snapshot, if there is one.
            Brax restores the networks (policy and value) and the statistics of the normaliser
            and nothing else: Adam begins without memory, environments are reset, and the random
            numbers are others (a function of `seed` and the steps done). The run is
            therefore not the one that would have been without the interruption; it is the
            same however often it is interrupted at the same snapshot. `info.training` notes
            the steps under "resumed_at". `num_timesteps` may grow. PPO only: Brax's SAC hands
            out neither critics nor its replay buffer.

    Returns:
        The trained policy; `info.training` holds what is needed to train it again.

    Raises:
        ValueError: If an argument does not fit, or `path_folder` already holds a path, or
            one that was trained otherwise.
        FloatingPointError: If the parameters are no longer finite.
    """
    if algorithm not in ALGORITHMS:
        msg = f"Argument `algorithm` must be one of {ALGORITHMS}, but is {algorithm!r}."
        raise ValueError(msg)
    settings = default_settings(environment.name, algorithm) if settings is None else settings
    if isinstance(settings, SACSettings) != (algorithm == "sac"):
        msg = f"Argument `settings` must be those of {algorithm}, but is {type(settings).__name__}."
        raise ValueError(msg)
    if resume and (algorithm != "ppo" or path_folder is None):
        msg = (
            "Argument `resume` must come with `path_folder` and PPO: Brax's SAC hands out neither"
            f" critics nor its replay buffer, but they are {path_folder} and {algorithm}."
        )
        raise ValueError(msg)
    asked: dict[str, Any] = {
        "hidden": None if hidden is None else tuple(hidden),
        "activation": activation,
        "num_timesteps": num_timesteps,
        "episode_length": episode_length,
        "discount": discount,
        "num_envs": num_envs,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    settings = dataclasses.replace(settings, **changes)
    check_settings(settings, num_reports, path_every)
    updates = settings.num_timesteps - settings.steps_before_updates
    num_updates = math.ceil(updates / settings.steps_per_update)
    updates_per_report = path_every if path_folder is not None else -(-num_updates // num_reports)
    num_reports = -(-num_updates // updates_per_report)
    steps_per_report = updates_per_report * settings.steps_per_update
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
        total_steps=settings.steps_before_updates + num_reports * steps_per_report,
        on_progress=on_progress,
        folder=None if path_folder is None else start_path(Path(path_folder), resume=resume),
        then=on_params,
    )
    if resume and has_begun(recorder.folder):
        seed = _go_on(environment, recorder, seed)
        num_reports = (recorder.total_steps - recorder.steps_before) // steps_per_report
    if isinstance(settings, SACSettings):
        run_sac(environment, settings, recorder, num_reports, seed, num_devices)
    elif num_reports > 0 or recorder.episode_return is None:
        run_ppo(environment, settings, recorder, num_reports, seed, num_devices)
    policy = recorder.policy()
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(policy.params)):
        msg = f"Training on `{environment.name}` diverged: the parameters are not finite."
        raise FloatingPointError(msg)
    return policy


def _go_on(environment: Environment, recorder: Recorder, seed: int) -> int:
    """Put the recorder where the run in its folder stopped; return the seed of the rest."""
    assert recorder.folder is not None
    like = ppo_parameters(environment, recorder)
    steps, params, summary = read_resume(recorder.folder, like, recorder.summary)
    recorder.params = params
    recorder.steps = recorder.steps_before = steps
    recorder.episode_return = recorder.known_return()
    recorder.summary["resumed_at"] = [*summary.get("resumed_at", []), steps]
    return int(np.random.SeedSequence([seed, steps]).generate_state(1)[0] >> 1)


def check_settings(settings: Settings, num_reports: int = 1, path_every: int = 1) -> None:
    """Refuse settings that Brax would fail on, before anything is compiled.

    Raises:
        ValueError: If one is out of range.
    """
    stated = dataclasses.asdict(settings) | {"num_reports": num_reports, "path_every": path_every}
    for name, value in stated.items():
        if name in _COUNTS and value < 1:
            msg = f"Argument `{name}` must be positive, but is {value}."
            raise ValueError(msg)
    if isinstance(settings, TrainingSettings):
        rows = settings.batch_size * settings.num_minibatches
        if rows % settings.num_envs:
            msg = f"Argument `num_envs` must divide {rows}, but is {settings.num_envs}."
            raise ValueError(msg)
    elif not settings.num_envs <= settings.steps_before_updates < settings.num_timesteps:
        msg = (
            "Argument `min_replay_size` must lie between `num_envs` and `num_timesteps`, but they"
            f" are {settings.min_replay_size}, {settings.num_envs} and {settings.num_timesteps}."
        )
        raise ValueError(msg)
    if not 0 <= settings.discount < 1:
        msg = f"Argument `discount` must lie in [0, 1), but is {settings.discount}."
        raise ValueError(msg)
    if settings.activation not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        msg = f"Argument `activation` must be one of {names}, but is {settings.activation!r}."
        raise ValueError(msg)
