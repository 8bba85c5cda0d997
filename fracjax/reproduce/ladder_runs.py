"""Policies that learn with and without trimming, and their paths beside random walks.

TD3, SAC and PPO of rejax on Brax's environments (Brax's own training takes no optimiser), its
double DQN on MinAtar. The paper trains for 500 000 updates of the policy (1 M steps), keeps 2000
snapshots and trims every 1000 updates at least; what a CPU has time for is a hundredth of that,
and its window and interval are a tenth.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fracjax import tree
from fracjax._types import Key
from fracjax.learning.path_trimming.transformation import pptb
from fracjax.learning.policy_paths.analysis import PolicyPath, policy_path
from fracjax.learning.policy_paths.walk_nulls import Walk
from fracjax.learning.robustness.interquartile import interquartile_mean
from fracjax.reproduce.comparisons import described, mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.rl import envs
from fracjax.rl.recorded_training import (
    RecordedRun,
    from_environment,
    from_gymnax,
    recorded_training,
    updates_each,
)

__all__ = ["PARTS"]

_OFF = (False, 8, 0.0)
_FIXED = (16, 0.5)  # r_t and p_b before looking at any result
_GRID = {
    "quick": (),
    "default": ((8, 0.1), (8, 1.0), (64, 0.1), (64, 1.0)),
    "full": tuple((kept, boost) for kept in (8, 16, 32, 64) for boost in (0.1, 0.5, 1.0)),
}
_WALKS: tuple[Walk, ...] = ("drifting", "shuffled")
_Setting = tuple[bool, int, float]


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """How long, how many and how wide."""

    num_seeds: int
    num_evaluations: int
    snapshots: int  # per evaluation
    hidden: tuple[int, ...]
    window: int
    trim_every: int
    sample_every: int = 25


_SIZES = {
    "quick": _Sizes(5, 4, 10, (32, 32), 64, 250),
    "default": _Sizes(5, 10, 16, (32, 32), 200, 250),
    "full": _Sizes(6, 100, 50, (256, 256), 2000, 1000),
}


@dataclasses.dataclass(frozen=True)
class _Task:
    """What is learned, by what."""

    name: str
    algorithm: str
    make: Callable[[], Any]
    episode_length: int
    settings: Mapping[str, Any]


def _brax(name: str, algorithm: str, **settings: Any) -> _Task:
    length = 200

    def make() -> Any:
        return from_environment(envs.make(name, backend="spring"), length, algorithm)

    return _Task(f"{algorithm.upper()}, {name} (Brax)", algorithm, make, length, settings)


def _minatar(name: str, **settings: Any) -> _Task:
    make = functools.partial(from_gymnax, f"{name}-MinAtar")
    return _Task(f"double DQN, {name} (MinAtar)", "dqn", make, 300, settings)


def _transformation(sizes: _Sizes) -> Callable[[Any], optax.GradientTransformation]:
    def make(setting: Any) -> optax.GradientTransformation:
        on, kept, boost = setting
        inner = pptb(
            num_kept=kept,
            boost=boost,
            sample_every=sizes.sample_every,
            trim_every=sizes.trim_every,
            window=sizes.window,
        )

        # One program for all settings: the run without is the same one with its updates kept.
        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            trimmed, state = inner.update(updates, state, params)
            return tree.select(on, trimmed, updates), state

        return optax.GradientTransformation(inner.init, update)

    return make


def _train(task: _Task, key: Key, size: Size) -> Callable[[_Setting], RecordedRun]:
    """Compile one program that trains all seeds, and return it as a function of a setting."""
    sizes = _SIZES[size]
    each = updates_each(task.algorithm, task.settings)
    train = recorded_training(
        task.make(),
        task.algorithm,
        episode_length=task.episode_length,
        num_evaluations=sizes.num_evaluations,
        snapshots_per_evaluation=sizes.snapshots,
        iterations_per_snapshot=max(sizes.sample_every // each, 1),
        hidden=sizes.hidden,
        num_episodes=8,
        settings=_lengths(task, sizes),
        transformation=_transformation(sizes),
    )
    keys = jax.random.split(jax.random.PRNGKey(int(jax.random.bits(key))), sizes.num_seeds)
    program = jax.jit(jax.vmap(train, (0, None)))

    def run(setting: _Setting) -> RecordedRun:
        on, kept, boost = setting
        traced = (jnp.asarray(on), jnp.asarray(kept, jnp.int32), jnp.asarray(boost, jnp.float32))
        return jax.block_until_ready(program(keys, traced))

    return run


def _lengths(task: _Task, sizes: _Sizes) -> dict[str, Any]:
    """Settings that depend on how long the run is: DQN's exploration ends after a share of it."""
    if task.algorithm != "dqn":
        return dict(task.settings)
    iterations = sizes.num_evaluations * sizes.snapshots * sizes.sample_every
    return {**task.settings, "total_timesteps": 4 * iterations}


def _part(task: _Task, key: Key, size: Size) -> Findings:
    run = _train(task, key, size)
    without = run(_OFF)
    fixed = run((True, *_FIXED))
    grid = {setting: run((True, *setting)) for setting in _GRID[size]}
    rows = [_same_until_trimmed(task, without, fixed, _SIZES[size])]
    labelled = {"without": without, f"r_t={_FIXED[0]}, p_b={_FIXED[1]:g}": fixed}
    labelled |= {f"r_t={kept}, p_b={boost:g}": one for (kept, boost), one in grid.items()}
    base = _scores(without)
    for label, one in labelled.items():
        finite = (_finite_at_the_end(one), 0.0)
        rows.append(
            describe(task.name, f"seeds with finite parameters at the end, {label}", finite)
        )
        for quantity, values in _scores(one).items():
            found = interquartile_mean(jnp.asarray(values), key, interval="student")
            rows.append(described(task.name, f"{quantity}, {label}", found))
            if one is not without:
                gain = mean_of(values - base[quantity])
                rows.append(describe(task.name, f"{quantity}, {label}: gain, per seed", gain))
    paths = _analyse(without, key, _SIZES[size])
    rows += _departures(task.name, paths)
    first = jax.tree.map(lambda leaf: leaf[0], paths["shuffled"])
    curves = {label: np.asarray(one.returns).mean(axis=-1) for label, one in labelled.items()}
    steps = np.asarray(without.updates)[0]
    name = task.name.split(" (")[0].replace(", ", "_").replace(" ", "_").lower()
    return Findings(
        rows,
        {
            f"ladder_path_{name}": functools.partial(_draw_path, task.name, first),
            f"ladder_returns_{name}": functools.partial(
                _draw_returns, task.name, steps, dict(list(curves.items())[:2])
            ),
        },
    )


def _finite_at_the_end(run: RecordedRun) -> float:
    last = [leaf[:, -1].reshape(len(leaf), -1) for leaf in jax.tree.leaves(run.snapshots)]
    return float(jnp.isfinite(jnp.concatenate(last, axis=1)).all(axis=1).mean())


def _scores(run: RecordedRun) -> dict[str, np.ndarray]:
    """Score, the best evaluation, and AUC, the mean of all, of every seed."""
    means = np.asarray(run.returns, float).mean(axis=-1)[:, 1:]
    return {"Score": means.max(axis=1), "AUC": means.mean(axis=1)}


def _same_until_trimmed(
    task: _Task, without: RecordedRun, fixed: RecordedRun, sizes: _Sizes
) -> Row:
    # Snapshots before the earliest one that may be trimmed; off-policy learning begins later.
    before = sizes.trim_every // sizes.sample_every
    difference = max(
        float(jnp.abs(mine[:, :before] - theirs[:, :before]).max())
        for mine, theirs in zip(
            jax.tree.leaves(without.snapshots), jax.tree.leaves(fixed.snapshots), strict=True
        )
    )
    changed = any(
        bool((mine[:, before:] != theirs[:, before:]).any())
        for mine, theirs in zip(
            jax.tree.leaves(without.snapshots), jax.tree.leaves(fixed.snapshots), strict=True
        )
    )
    value = difference if changed else float("nan")  # a trimming that does nothing is no test
    source = "definition: nothing happens before a trimming"
    quantity = "largest difference before the first trimming"
    return compare(task.name, quantity, (value, 0.0), (0.0, 0.0, source))


def _analyse(run: RecordedRun, key: Key, sizes: _Sizes) -> dict[str, dict[str, PolicyPath]]:
    """Analyse the late two thirds of every seed's path, from when learning has begun."""
    begin = jax.tree.leaves(run.snapshots)[0].shape[1] // 3
    late = jax.tree.map(lambda leaf: leaf[:, begin:], run.snapshots)
    keys = jax.random.split(key, sizes.num_seeds)
    found: dict[str, dict[str, PolicyPath]] = {}
    for walk in _WALKS:
        # Not jitted as a whole: layers and seeds share the programs inside.
        members = [
            policy_path(
                jax.tree.map(lambda leaf, i=index: leaf[i], late),
                keys[index],
                walk=walk,
                stride=sizes.sample_every,
                num_directions=6,
            )
            for index in range(sizes.num_seeds)
        ]
        found[walk] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    return found


def _departures(name: str, paths: Mapping[str, Mapping[str, PolicyPath]]) -> list[Row]:
    """How many directions and detours there are, and how many seeds depart from a walk's."""
    rows = []
    nulls = {"drifting": "isotropic walk with the drift", "shuffled": "its steps in random order"}
    layers = paths["shuffled"]
    for layer, one in layers.items():
        place = list(one.svd.shares).index(0.8)
        count = np.asarray(one.svd.dimensionality, float)[:, place]
        rows.append(describe(name, f"D(.8), {layer}", mean_of(count)))
        for walk, text in nulls.items():
            band = paths[walk][layer].null.dimensionality
            middle = mean_of(np.asarray(band.median, float)[:, place])
            rows.append(describe(name, f"D(.8), {layer}: {text}", middle))
            below = np.asarray(one.svd.dimensionality)[:, place] < np.asarray(band.low)[:, place]
            rows.append(describe(name, f"D(.8), {layer}: seeds below {text}", (below.mean(), 0.0)))
    whole = layers["network"]
    for index in range(3):
        own = np.median(np.asarray(whole.svd.detour, float)[:, index])
        rows.append(describe(name, f"detour {index + 1}, median of seeds", (float(own), 0.0)))
        band = whole.null.detour
        typical = float(np.median(np.asarray(band.median, float)[:, index]))
        rows.append(describe(name, f"detour {index + 1}: {nulls['shuffled']}", (typical, 0.0)))
        outside = float(np.asarray(band.departs(whole.svd.detour))[:, index].mean())
        rows.append(describe(name, f"detour {index + 1}: share of seeds outside", (outside, 0.0)))
    for layer, one in layers.items():
        gini = mean_of(np.asarray(one.changes.gini, float))
        rows.append(describe(name, f"Gini of accumulated change, {layer}", gini))
    return rows


def _draw_path(title: str, found: Mapping[str, PolicyPath]) -> Any:
    from fracjax.plotting import policy_paths
    from fracjax.plotting.style import new_figure, style

    whole = found["network"]
    with style():
        figure = new_figure(13.0, 7.2)
        axes = figure.subplots(2, 3)
        policy_paths.dimensionality_curve(axes[0, 0], whole.svd, whole.null)
        policy_paths.detours_by_direction(axes[0, 1], whole.svd, whole.null)
        policy_paths.time_courses(axes[0, 2], whole.svd, whole.null, count=3)
        changes = {name: one.changes for name, one in found.items() if name != "network"}
        policy_paths.accumulated_changes(axes[1, 0], changes)
        policy_paths.detours(axes[1, 1], changes)
        axes[1, 2].set_axis_off()
        figure.suptitle(f"{title}: one seed, without trimming")
    return figure


def _draw_returns(title: str, steps: np.ndarray, curves: Mapping[str, np.ndarray]) -> Any:
    from fracjax.plotting import policy_paths
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(6.0, 4.0)
        policy_paths.learning_curves(figure.subplots(), steps, curves)
        figure.suptitle(title)
    return figure


_TD3 = {"num_envs": 4, "num_epochs": 1, "batch_size": 64, "buffer_size": 10_000}
_PPO = {"num_envs": 16, "num_steps": 40, "num_minibatches": 5, "num_epochs": 5}
_TASKS = {
    "TD3, inverted pendulum": _brax("inverted_pendulum", "td3", **_TD3),
    "TD3, inverted double pendulum": _brax("inverted_double_pendulum", "td3", **_TD3),
    "SAC, inverted pendulum": _brax("inverted_pendulum", "sac", **_TD3),
    "PPO, inverted pendulum": _brax("inverted_pendulum", "ppo", **_PPO),
    "PPO, inverted double pendulum": _brax("inverted_double_pendulum", "ppo", **_PPO),
    "double DQN, Breakout": _minatar("Breakout", buffer_size=10_000),
}
PARTS: dict[str, Part] = {name: functools.partial(_part, task) for name, task in _TASKS.items()}
