"""Penalising the exponent of trained policies: reward, exponents, returns under disturbance.

Policies are trained by the gradient through the environment from many seeds; some stay in the
optimum of doing nothing. The first of those that do not go on training, once with the
penalty and once, with the same starts, without: every difference is paired by seed. A penalty
from the first update on is not tried here: doing nothing is stable, and satisfies it.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, PyTree
from fracjax.evaluation import map_points
from fracjax.learning import (
    closed_loop_exponents,
    interquartile_mean,
    returns_under_noise,
    returns_under_push,
    summarize_curve,
)
from fracjax.learning.exponent_regularization.runs import (
    TrainedPolicies,
    fine_tune,
    train_policies,
)
from fracjax.learning.exponent_regularization.short_horizon import TrainingSettings
from fracjax.reproduce.comparisons import about, described, mean_of
from fracjax.reproduce.experiments import Size
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.rl import classic, gallery, policies
from fracjax.rl.environment import Environment
from fracjax.rl.networks import Normalizer
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import initial_states

__all__ = ["PARTS"]

_NOISES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
_PUSHES = (0.0, 0.1, 0.3, 1.0, 3.0)
_STEPS = 1000  # of an episode of exponents, the paper's
_HORIZON = 400  # of a return: 20 s


@dataclasses.dataclass(frozen=True)
class _Task:
    """How a task is trained.

    Attributes:
        environment: Maker of it.
        spread: Of starts, see `TrainingSettings`.
        scale: Standard deviations by which observations are divided.
        solved: Return of `_HORIZON` steps above which a policy is kept. On the pendulum it
            swings up and balances; on the cart-pole most swing through the top again and again.
        weights: Of the penalty.
        target: Nats per step above which exponents are penalised.
        effort: See `TrainingSettings`.
    """

    environment: Environment
    spread: tuple[float, ...]
    scale: tuple[float, ...]
    solved: float
    weights: tuple[float, ...]
    target: float
    effort: float


def _tasks() -> dict[str, _Task]:
    return {
        "pendulum": _Task(
            classic.pendulum(dtype="float32"),
            (3.0, 2.0),
            (1.0, 1.0, 4.0),
            -500.0,
            (0.0, 10.0, 100.0),
            -0.2,
            0.003,
        ),
        "cartpole_swingup": _Task(
            classic.cartpole_swingup(dtype="float32"),
            (1.0, 3.0, 1.0, 2.0),
            (1.0, 1.0, 1.0, 2.0, 4.0),
            200.0,
            (0.0, 10.0, 100.0),
            -0.05,
            0.02,
        ),
    }


@dataclasses.dataclass(frozen=True)
class _Effort:
    seeds: int
    kept: int
    updates: int
    more: int
    states: int


_EFFORTS: dict[Size, _Effort] = {
    "quick": _Effort(8, 3, 400, 150, 8),
    "default": _Effort(16, 5, 800, 300, 20),
    "full": _Effort(64, 20, 3000, 1000, 80),
}


def _penalised(name: str, key: Key, size: Size) -> Findings:
    """Go on training solved policies with and without the penalty."""
    task, effort = _tasks()[name], _EFFORTS[size]
    environment = task.environment
    scale = jnp.asarray(task.scale, jnp.float32)
    policy = policies.initialize(
        jax.random.key(0),
        environment.observation_size,
        environment.action_size,
        hidden=(32, 32),
        head="deterministic",
    ).replace(normalizer=Normalizer(jnp.zeros_like(scale), scale))
    first = jax.vmap(policy.network.init)(jax.random.split(key, effort.seeds))
    settings = TrainingSettings(
        num_updates=effort.updates,
        start_spread=task.spread,
        effort=task.effort,
        target=task.target,
        horizon=16,
        episode_length=48,  # short: starts are spread, and an episode soon rests
        penalty_states=16,
    )
    plain = train_policies(
        environment, policy, first, jax.random.fold_in(key, 1), weights=(0.0,), settings=settings
    )
    start = initial_states(environment, jax.random.fold_in(key, 2), effort.states)
    params = jax.tree.map(lambda leaf: leaf[0], plain.params)
    returns = _by_policy(returns_under_noise(environment, policy, horizon=_HORIZON), params, start)(
        key, jnp.zeros(1)
    )[:, 0].mean(axis=1)
    solved = np.flatnonzero(returns > task.solved)[: effort.kept]
    system = f"{name}, gradients through the environment"
    rows = [
        describe(
            system,
            f"seeds of {effort.seeds} whose return in {_HORIZON} steps exceeds {task.solved:g}",
            (float((returns > task.solved).sum()), 0.0),
        )
    ]
    if len(solved) < 2:
        return Findings(rows)
    kept = jax.tree.map(lambda leaf: leaf[solved], params)
    later = dataclasses.replace(
        settings, num_updates=effort.more + 50, warmup=50, learning_rate=3e-4
    )
    trained = train_policies(
        environment,
        policy,
        kept,
        jax.random.fold_in(key, 3),
        weights=task.weights,
        settings=later,
    )
    return _compared(system, environment, policy, trained, start, key, rows)


def _fine_tuned(name: str, key: Key, size: Size) -> Findings:
    """Tune a policy that PPO has trained, by gradients that PPO does not have."""
    policy, effort = gallery.shipped(name), _EFFORTS[size]
    environment = {"pendulum": classic.pendulum, "acrobot": classic.acrobot}[name](dtype="float32")
    # The pendulum's target lies below the -0.29 that it has, where it balances at rest: no
    # exponent near there is lower, and it is to show what asking for one costs.
    weights, target = {
        "pendulum": ((0.0, 10.0, 100.0), -0.4),
        "acrobot": ((0.0, 100.0, 1000.0), 0.0),
    }[name]
    settings = TrainingSettings(
        num_updates=effort.more,
        learning_rate=1e-3,
        horizon=16,
        episode_length=400,
        task=0.0,
        anchor=1.0,
        effort=0.0,
        target=target,
    )
    trained = fine_tune(
        environment,
        policy,
        jax.random.fold_in(key, 3),
        weights=weights,
        num_seeds=effort.kept,
        settings=settings,
    )
    start = initial_states(environment, jax.random.fold_in(key, 2), effort.states)
    before = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], policy.params)
    found = _exponents(environment, policy, before, start, key)
    system = f"{name}, shipped policy tuned"
    returns = _by_policy(returns_under_noise(environment, policy, horizon=_HORIZON), before, start)(
        key, jnp.zeros(1)
    )
    rows = [
        describe(system, f"{label} before tuning", (float(values.mean()), 0.0))
        for label, values in (*found.items(), ("return", returns))
    ]
    return _compared(system, environment, policy, trained, start, key, rows)


def _by_policy(curve: Any, params: PyTree, states: PyTree) -> Any:
    """Evaluate a curve of returns at many parameters: (policies, sizes, states)."""

    def evaluate(key: Key, sizes: jax.Array) -> np.ndarray:
        return np.asarray(map_points(curve, params, states, key, sizes, chunk_size=4))

    return evaluate


def _exponents(
    environment: Environment, policy: Policy, params: PyTree, states: PyTree, key: Key
) -> dict[str, np.ndarray]:
    """Largest exponent, sum and the reward's, one number per policy."""
    measure = closed_loop_exponents(environment, policy, num_steps=_STEPS)
    found = map_points(measure, params, states, key, chunk_size=2)
    return {
        "λ": np.asarray(found.largest.value, float),
        "sum of exponents": np.asarray(found.total.value, float),
        "exponent of the reward": np.asarray(found.reward.value, float),
    }


def _compared(
    system: str,
    environment: Environment,
    policy: Policy,
    trained: TrainedPolicies,
    states: PyTree,
    key: Key,
    rows: list[Row],
) -> Findings:
    """Rows and figures of policies trained in pairs."""
    params, weights = trained.params, tuple(np.asarray(trained.weights).tolist())
    seeds = jax.tree.leaves(params)[0].shape[1]
    flat = jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), params)
    shape = (len(weights), seeds)
    numbers = {
        name: values.reshape(shape)
        for name, values in _exponents(environment, policy, flat, states, key).items()
    }
    curves = {
        name: _by_policy(make(environment, policy, horizon=_HORIZON), flat, states)(
            jax.random.fold_in(key, 4), jnp.asarray(sizes, jnp.float32)
        ).reshape((*shape, len(sizes), -1))
        for name, make, sizes in (
            ("noise", returns_under_noise, _NOISES),
            ("push", returns_under_push, _PUSHES),
        )
    }
    numbers["return"] = curves["noise"][:, :, 0].mean(axis=-1)
    for name, sizes in (("noise", _NOISES), ("push", _PUSHES)):
        for size in (sizes[2], sizes[-1]):
            place = sizes.index(size)
            label = f"return under {name} of {size:g}"
            numbers[label] = curves[name][:, :, place].mean(axis=-1)
    for name, table in numbers.items():
        for index, weight in enumerate(weights):
            rows.append(_summary(system, f"{name}, weight {weight:g}", table[index]))
        for index, weight in enumerate(weights[1:], 1):
            gap = table[index] - table[0]
            rows.append(_summary(system, f"{name}, weight {weight:g} less weight 0", gap))
    fell = int((numbers["λ"][-1] < numbers["λ"][0]).sum())
    name = f"seeds of {seeds} whose λ is lower at weight {weights[-1]:g} than at 0"
    rows.append(describe(system, name, (float(fell), 0.0)))
    # What is penalised is the penalty over short windows, not λ over whole episodes.
    late = trained.log.penalty[:, :, -20:].mean(axis=-1)
    name = f"seeds of {seeds} whose penalty in the last 20 updates is lower at weight"
    lower = int((late[-1] < late[0]).sum())
    rows.append(describe(system, f"{name} {weights[-1]:g}", (float(lower), 0.0)))
    again = _exponents(environment, policy, flat, states, jax.random.fold_in(key, 5))["λ"]
    gap = again.reshape(shape)[0] - numbers["λ"][0]
    rows.append(
        about(
            system,
            "placebo: change of λ at weight 0 with fresh frames",
            mean_of(gap),
            0.0,
            0.01,
            "nothing changed",
        )
    )
    name = "regularisation_" + system.replace(", ", "_").replace(" ", "_")
    return Findings(rows, {name: functools.partial(_draw, system, weights, numbers, curves)})


def _summary(system: str, quantity: str, values: np.ndarray) -> Row:
    """Interquartile mean over seeds, with Student's interval: seeds are few."""
    estimate = interquartile_mean(jnp.asarray(values), interval="student")
    return described(system, f"{quantity} (IQM)", estimate)


def _draw(
    system: str,
    weights: tuple[float, ...],
    numbers: dict[str, np.ndarray],
    curves: dict[str, np.ndarray],
) -> Any:
    from fracjax.plotting import remedies, robustness
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style

    labels = [f"weight {weight:g}" for weight in weights]
    with style():
        figure = new_figure(11.0, 3.6)
        left, middle, right = figure.subplots(1, 3)
        remedies.exponent_pairs(left, labels, numbers["λ"].T, name="largest exponent (nats/step)")
        for axes, name, sizes, text in (
            (middle, "noise", _NOISES, "standard deviation of observation noise"),
            (right, "push", _PUSHES, "size of one push of the state"),
        ):
            for index, label in enumerate(labels):
                curve = summarize_curve(jnp.asarray(curves[name][index]), interval="student")
                color = DISCOUNT_COLORS[index]
                robustness.return_curve(
                    axes, np.asarray(sizes), curve, color=color, label=label, name=text
                )
        left.set_title(system)
    return figure


PARTS = {
    "regularisation, pendulum": functools.partial(_penalised, "pendulum"),
    "regularisation, cartpole_swingup": functools.partial(_penalised, "cartpole_swingup"),
    "fine-tuning, pendulum": functools.partial(_fine_tuned, "pendulum"),
    "fine-tuning, acrobot": functools.partial(_fine_tuned, "acrobot"),
}
