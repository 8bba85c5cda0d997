"""Many runs of a task at once, in stretches that can be interrupted between.

    lags = np.array([parity_lags(delay) for delay in (5, 10, 20)])
    none = train_runs(network, lags, key, seeds=range(8), num_updates=2000, settings=settings)
    none.looks.accuracy                       # (lags, seeds, looks)

    flossed = floss_runs(network, key, seeds=range(8), num_updates=500, settings=settings)
    pre = train_runs(..., learners=flossed.learners)       # the same seeds

Runs of one seed see the same bits, flossed or not, so that conditions are compared in pairs.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.flossing.blocks import FlossingLog, FlossingSchedule
from fracjax.learning.recurrent_training.networks import RecurrentClassifier
from fracjax.learning.recurrent_training.tasks import Lags, check_lags
from fracjax.learning.recurrent_training.updates import (
    Learner,
    Look,
    TrainingSettings,
    run_functions,
)

__all__ = ["FlossedRuns", "TrainedRuns", "floss_runs", "train_runs"]


class FlossedRuns(NamedTuple):
    """Networks after flossing alone.

    Attributes:
        learners: `Learner` with a leading axis of seeds.
        log: What every update found before its change, (seeds, updates, ...).
    """

    learners: Learner
    log: FlossingLog


class TrainedRuns(NamedTuple):
    """Runs at several lags, of several seeds.

    Attributes:
        learners: `Learner` with leading axes (lags, seeds): what `train_runs` goes on from.
        looks: `Look` of arrays (lags, seeds, looks, ...), the first after flossing, untrained.
        flossing: Logs of the blocks of flossing by the update before which they came, arrays
            (lags, seeds, flossing updates, ...).
    """

    learners: Learner
    looks: Look
    flossing: dict[int, FlossingLog]


def floss_runs(
    network: RecurrentClassifier,
    key: Key,
    *,
    seeds: Sequence[int],
    num_updates: int = 500,
    settings: TrainingSettings | None = None,
) -> FlossedRuns:
    """Draw networks and floss them, before any task: what all delays of a task then share.

    Args:
        network: What is flossed.
        key: Randomness; seed i uses `fold_in(key, i)`, here and in `train_runs`.
        seeds: Numbers of the runs.
        num_updates: Flossing updates. 0 draws networks alone.
        settings: Window, exponents, rate.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_at_least(num_updates=(num_updates, 0), seeds=(len(seeds), 1))
    run = _programs(network, settings or TrainingSettings())
    keys = jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.asarray(seeds))
    learners = run.begin(keys)
    learners, log = run.floss(num_updates)(learners, keys)
    return FlossedRuns(_held(learners), _held(log))


def train_runs(
    network: RecurrentClassifier,
    lags: Lags,
    key: Key,
    *,
    seeds: Sequence[int],
    num_updates: int,
    look_every: int = 100,
    settings: TrainingSettings | None = None,
    schedule: FlossingSchedule | None = None,
    learners: Learner | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TrainedRuns:
    """Train every seed at every set of lags.

    A stretch of `look_every` updates is one compiled scan over all runs; between stretches they
    are looked at, and flossed if it is time. Batches depend on the seed and the number of the
    update alone: what differs between two calls (flossing, another task) is the only difference
    between their runs of one seed, so that comparisons are paired. A run whose parameters are no
    longer finite stays in the record with status `DIVERGED` and an accuracy of NaN, which
    `succeeded` counts as a failure.

    Args:
        network: What is trained.
        lags: (tasks, taps) or (taps,), see `parity_lags`. All tasks have sequences of one
            length; longer delays leave fewer bits that count.
        key: Randomness; seed i uses `fold_in(key, i)`.
        seeds: Numbers of the runs.
        num_updates: Task updates in all, a multiple of `look_every`.
        look_every: Updates between looks.
        settings: How to train, floss and look.
        schedule: When to floss, in updates of the task; never, by default. A block comes before
            the update that it is due at: the first before the first look, later ones after the
            look there. With learners that are flossed already it begins with `pre_updates=0`.
        learners: Where to go on from: those of `floss_runs`, with an axis of seeds alone, or of
            an earlier call, whose remaining updates are made, to the same bits as without
            interruption.
        on_progress: Called after every stretch with the updates made and those in all.

    Returns:
        Runs as NumPy arrays. Looks are those of this call: the first, before training, is left
        out where `learners` have been trained already.

    Raises:
        ValueError: If a setting is out of range, flossing is due between two looks, or nothing
            is left to do.
    """
    settings = settings or TrainingSettings()
    check_at_least(look_every=(look_every, 1), seeds=(len(seeds), 1))
    table = check_lags(settings.num_steps, lags)
    table = table[None] if table.ndim == 1 else table
    _check(num_updates, look_every, schedule)
    shape = (len(table), len(seeds))
    run = _programs(network, settings)
    tasks, numbers = (each.ravel() for each in np.indices(shape))
    keys = jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.asarray(seeds)[numbers])
    rows = jnp.asarray(table)[tasks]
    if learners is None:
        learners = run.begin(keys)
    elif np.ndim(learners.updates) == 1:
        learners = jax.tree.map(lambda leaf: jnp.asarray(leaf)[numbers], learners)
    else:
        learners = jax.tree.map(
            lambda leaf: jnp.asarray(leaf).reshape(-1, *leaf.shape[2:]), learners
        )
    done = int(np.max(learners.updates))
    if done >= num_updates or done % look_every:
        msg = (
            "Argument `learners` must have made fewer updates than `num_updates`, and a multiple"
            f" of `look_every`, but have made {done} of {num_updates}, looked at every"
            f" {look_every}."
        )
        raise ValueError(msg)
    looks, logs, unknown = [], {}, jnp.full(len(rows), jnp.nan)
    for at in range(done, num_updates, look_every):
        due = 0 if schedule is None else schedule.due(at)
        if due:
            learners, logs[at] = run.floss(due)(learners, keys)
        if at == 0:
            looks.append(run.look(learners, keys, rows, (unknown, unknown)))
        learners, stretch = run.train(look_every)(learners, keys, rows)
        looks.append(run.look(learners, keys, rows, stretch))
        if on_progress is not None:
            jax.block_until_ready(looks[-1])
            on_progress(at + look_every, num_updates)

    def folded(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(*shape, *leaf.shape[1:]), tree)

    joined = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *map(_held, looks))
    return TrainedRuns(folded(learners), folded(joined), {at: folded(logs[at]) for at in logs})


class _Programs(NamedTuple):
    """Compiled functions of batches of runs."""

    begin: Callable[[jax.Array], Learner]
    train: Callable[[int], Callable[..., tuple[Learner, tuple[jax.Array, jax.Array]]]]
    look: Callable[..., Look]
    floss: Callable[[int], Callable[..., tuple[Learner, FlossingLog]]]


@functools.lru_cache(maxsize=16)
def _programs(network: RecurrentClassifier, settings: TrainingSettings) -> _Programs:
    """Make the programs of one network and one set of settings, each compiled once."""
    one = run_functions(network, settings)

    @functools.cache
    def train(num_updates: int) -> Callable:
        return jax.jit(jax.vmap(lambda *row: one.train(*row, num_updates)))

    @functools.cache
    def floss(num_updates: int) -> Callable:
        return jax.jit(jax.vmap(lambda *row: one.floss(*row, num_updates)))

    return _Programs(jax.jit(jax.vmap(one.begin)), train, jax.jit(jax.vmap(one.look)), floss)


def _held(tree: PyTree) -> PyTree:
    return jax.tree.map(np.asarray, tree)


def _check(num_updates: int, look_every: int, schedule: FlossingSchedule | None) -> None:
    if num_updates < 1 or num_updates % look_every:
        msg = (
            f"Argument `num_updates` must be a positive multiple of `look_every` = {look_every},"
            f" but is {num_updates}."
        )
        raise ValueError(msg)
    if schedule is not None and schedule.num_blocks and schedule.every % look_every:
        msg = (
            f"Argument `schedule` must floss at multiples of `look_every` = {look_every}, but"
            f" does so every {schedule.every} updates."
        )
        raise ValueError(msg)
