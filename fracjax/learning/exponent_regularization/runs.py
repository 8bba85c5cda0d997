"""Train many seeds at several weights of the penalty at once, and go on after an interruption."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, Leaf, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.exponent_regularization.run_files import load_run, save_run
from fracjax.learning.exponent_regularization.short_horizon import (
    Learner,
    Log,
    TrainingSettings,
    make_updates,
)
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy

__all__ = ["TrainedPolicies", "fine_tune", "train_policies"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainedPolicies:
    """Policies by weight of the penalty and seed.

    Attributes:
        params: Policies, leading axes (weights, seeds).
        weights: Weights of the penalty.
        log: `Log` of arrays (weights, seeds, updates).
    """

    params: PyTree
    weights: Leaf
    log: Log


def train_policies(
    environment: Environment,
    policy: Policy,
    params: PyTree,
    key: Key,
    *,
    weights: Sequence[float] = (0.0, 1.0),
    settings: TrainingSettings | None = None,
    updates_per_call: int = 50,
    file: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TrainedPolicies:
    """Train from every given set of parameters at every weight of the exponent penalty.

    Seed i uses `fold_in(key, i)` at every weight: runs that differ in the weight alone share
    their first parameters, starts and frames, so that their difference is paired. (Once their
    policies differ so do their states; what is shared then is the randomness.) All runs are one
    program, and an update depends on its number alone: a run that was interrupted goes on to
    the same bits, on the same machine.

    Args:
        environment: See `make_updates`.
        policy: See `make_updates`.
        params: First parameters, a leading axis of seeds on every leaf.
        key: Randomness.
        weights: Weights of the penalty; 0 is the plain run.
        settings: How to train.
        updates_per_call: Updates between returns to the host: between progress reports, and
            between writes of `file`.
        file: Where to keep everything that is needed to go on (`.npz`). An existing file of
            the same environment, settings, weights, first parameters and key is gone on from.
        on_progress: Called with updates done and updates in all.

    Raises:
        ValueError: If a setting is out of range, or `file` holds another run or is damaged.
    """
    settings = settings or TrainingSettings()
    check_at_least(updates_per_call=(updates_per_call, 1))
    if not len(weights) or not all(weight >= 0 for weight in weights):
        msg = f"Argument `weights` must hold numbers that are not negative, but is {weights}."
        raise ValueError(msg)
    begin, update = make_updates(environment, policy, settings)
    seeds = len(jax.tree.leaves(params)[0])
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(seeds))
    kind = jnp.result_type(*jax.tree.leaves(params))
    table = jnp.asarray(np.asarray(weights, float), kind)
    learners = jax.jit(
        lambda: jax.vmap(lambda _: jax.vmap(begin)(params, keys))(jnp.arange(len(weights)))
    )()

    def advance(learners: Learner, count: int) -> tuple[Learner, Log]:
        def of_one(learner: Learner, weight: jax.Array) -> tuple[Learner, Log]:
            return jax.lax.scan(lambda at, _: update(at, weight), learner, length=count)

        return jax.vmap(jax.vmap(of_one, (0, None)))(learners, table)

    run = jax.jit(advance, static_argnums=1, donate_argnums=0)
    total, done = settings.num_updates, 0
    logs: list[Log] = []
    identity = repr((environment.name, settings, tuple(map(float, weights)), seeds))
    if file is not None and file.exists():
        learners, past = load_run(file, learners, identity, num_updates=total)
        done = past.reward.shape[-1]
        logs.append(past)
    while done < total:
        count = min(updates_per_call, total - done)
        learners, log = run(learners, count)
        logs.append(jax.tree.map(np.asarray, log))
        done += count
        if file is not None:
            logs = [_joined(logs)]
            save_run(file, learners, logs[0], identity)
        if on_progress is not None:
            on_progress(done, total)
    return TrainedPolicies(learners.params, table, _joined(logs))


def fine_tune(
    environment: Environment,
    policy: Policy,
    key: Key,
    *,
    weights: Sequence[float] = (0.0, 1.0),
    num_seeds: int = 5,
    settings: TrainingSettings | None = None,
    file: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TrainedPolicies:
    """Lower the exponent of a policy that is already trained, by whatever algorithm.

    `train_policies` from one policy, with seeds that differ in starts and frames only. By
    default the policy is held to its own actions (`anchor`) and not to the return (`task`): a
    value that has to be learned first gives gradients that undo what long training found. Weight 0
    then changes nothing.

    Measured on the acrobot that comes with the package (λ = .025, return 78 in 400 steps; 150
    updates, windows of 16 steps, three seeds): at weight 100 λ falls to .016 to .019 and the
    return to 56 to 63, at weight 1000 to .002 to .015 and −130 to −220, which is that of hardly
    swinging up. The return that a lower exponent costs is part of the answer.

    Only the network's parameters move; normaliser and, in a `tanh_normal` head, the raw scales
    stay (no gradient reaches them).

    Args:
        environment: What it acts in, differentiable.
        policy: The trained policy.
        key: Randomness.
        weights: Weights of the penalty.
        num_seeds: Repetitions.
        settings: How to tune; by default 300 updates.
        file: See `train_policies`.
        on_progress: See `train_policies`.
    """
    if settings is None:
        settings = TrainingSettings(
            num_updates=300,
            episode_length=400,
            learning_rate=1e-3,
            task=0.0,
            anchor=1.0,
            effort=0.0,
        )
    params = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_seeds, *jnp.shape(leaf))), policy.params
    )
    return train_policies(
        environment,
        policy,
        params,
        key,
        weights=weights,
        settings=settings,
        file=file,
        on_progress=on_progress,
    )


def _joined(logs: list[Log]) -> Log:
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *logs)
