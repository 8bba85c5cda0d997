"""A compact world-model agent, with the paper's regulariser, with an exponent's, and without.

Three arms are trained from the same keys, so that differences are paired by seed: Dreamer's loss
alone, with the spread of imagined trajectories added (Young and Pugeault), and with the largest
exponent of the imagined loop added. The agent is small and trained for minutes, not for the 10⁶
steps of the paper: no published number is expected of it. Tested is what must hold: that the agent
learns, and that each penalty lowers what it penalises.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, PyTree
from fracjax.learning import ClosedLoopExponents, closed_loop_exponents, summarize_curve
from fracjax.learning.world_models.analysis import (
    imagined_exponents,
    model_errors,
    returns_under_observation_noise,
    spread_of_imagination,
    visited_beliefs,
)
from fracjax.learning.world_models.collecting import random_returns
from fracjax.learning.world_models.settings import PenaltySettings, TrainingSettings
from fracjax.learning.world_models.training import Run, Trainer, train
from fracjax.reproduce.comparisons import described, left_out, mean_of, signed
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.robustness_rows import over_runs, regimes
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.rl import envs
from fracjax.rl.rollouts import initial_states
from fracjax.rl.world_models.agent import Agent
from fracjax.rl.world_models.memory import FilteringPolicy, with_memory
from fracjax.rl.world_models.networks import AgentSettings

__all__ = ["PARTS"]

_ARMS: Mapping[str, PenaltySettings] = {
    "no penalty": PenaltySettings(),
    "spread": PenaltySettings(kind="spread"),
    # Without a penalty the exponent over 15 imagined steps is -.14: a target of 0 does nothing.
    "exponent": PenaltySettings(kind="exponent", weight=10.0, target=-0.2),
}
_NOISES = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)


@dataclasses.dataclass(frozen=True)
class _Effort:
    """How much is trained and measured.

    Attributes:
        seeds: Runs per arm.
        updates: Updates of each.
        chunk: Updates between evaluations.
        sizes: Of the networks.
        training: Changes of the training's defaults.
        states: Initial states of the measurements.
        steps: Steps of an episode whose exponents are measured.
        horizon: Steps of an episode whose return is measured, and of training's episodes.
    """

    seeds: int
    updates: int
    chunk: int
    sizes: AgentSettings
    training: Mapping[str, Any]
    states: int
    steps: int
    horizon: int = 200


_EFFORTS: Mapping[Size, _Effort] = {
    "quick": _Effort(
        2,
        4,
        2,
        AgentSettings(deterministic=16, hidden=16, groups=4, classes=4),
        {"batch_size": 4, "batch_length": 8, "imagined_starts": 16, "prefill": 40},
        2,
        20,
    ),
    "default": _Effort(5, 1500, 250, AgentSettings(), {}, 8, 500),
    "full": _Effort(
        5,
        20_000,
        1000,
        AgentSettings(deterministic=512, hidden=256, layers=2, groups=16, classes=16),
        {
            "environments": 16,
            "explorers": 4,
            "replay_length": 50_000,
            "batch_size": 16,
            "batch_length": 64,
            "imagined_starts": 1024,
            "discount": 0.99,
            "free_nats": 1.0,
            "model_rate": 3e-4,
            "actor_rate": 1e-4,
            "critic_rate": 3e-4,
        },
        20,
        1000,
        1000,
    ),
}


def _compared(name: str, only_full: bool, key: Key, size: Size) -> list[Row] | Findings:
    """Train the arms in one environment and set them beside each other."""
    system = f"world model, {name}"
    if only_full and size != "full":
        return [left_out(system, "needs a GPU, use the full size")]
    effort = _EFFORTS[size]
    environment = envs.make(name)
    agent = Agent(environment.observation_size, environment.action_size, effort.sizes)
    training, measuring = jax.random.split(key)
    measure = _measurement(name, agent, effort)
    runs, found = {}, {}
    for arm, penalty in _ARMS.items():
        settings = TrainingSettings(
            episode_length=effort.horizon, penalty=penalty, **effort.training
        )
        trainer = Trainer(environment, agent, settings)
        runs[arm] = train(
            trainer,
            training,
            num_seeds=effort.seeds,
            num_updates=effort.updates,
            chunk=effort.chunk,
        )
        found[arm] = measure(runs[arm].state.params, measuring)
    chance = np.asarray(
        random_returns(environment, measuring, horizon=effort.horizon, episodes=100), float
    )
    rows = [
        describe(
            system,
            f"return of random actions, {effort.horizon} steps",
            mean_of(chance),
        )
    ]
    for arm, numbers in found.items():
        rows += _of_arm(f"{system}, {arm}", numbers, key)
    rows += _claims(system, found, float(chance.mean()), key, tested=size != "quick")
    figures = {
        f"world_model_{name}_learning": functools.partial(_draw_learning, runs, chance),
        f"world_model_{name}_noise": functools.partial(_draw_noise, found, key),
    }
    return Findings(rows, figures)


def _measurement(name: str, agent: Agent, effort: _Effort) -> Callable[[PyTree, Key], PyTree]:
    """Make the measurements of all seeds of an arm: one program for all arms."""
    environment = envs.make(name)
    loop = with_memory(environment, agent)
    settings: dict[str, Any] = {"num_steps": effort.steps}
    exponents = {
        "mode, by tangents": closed_loop_exponents(
            loop, FilteringPolicy(agent, "mode"), **settings
        ),
        "mode, by the paper's recipe": closed_loop_exponents(
            loop, FilteringPolicy(agent, "mode"), method="perturbations", **settings
        ),
        "mean latents, by tangents": closed_loop_exponents(
            loop, FilteringPolicy(agent, "mean"), **settings
        ),
        "mean latents, whole loop": closed_loop_exponents(
            with_memory(environment, agent, distances="full"),
            FilteringPolicy(agent, "mean"),
            num_exponents=1,
            **settings,
        ),
    }
    curve = returns_under_observation_noise(environment, agent, horizon=effort.horizon)
    visit, errors = visited_beliefs(environment, agent), model_errors(environment, agent)

    def of_seed(params: PyTree, key: Key) -> dict[str, Any]:
        states = initial_states(loop, key, effort.states)
        beliefs = visit(params, states)
        return {
            "noise": curve(params, states, key, jnp.asarray(_NOISES)),
            "exponents": {
                label: method(params, states, key) for label, method in exponents.items()
            },
            "spread": spread_of_imagination(agent, params, beliefs, key),
            "imagined": imagined_exponents(agent, params, beliefs, key).value,
            "errors": errors(params, initial_states(environment, key, effort.states), key),
        }

    measure = jax.jit(jax.vmap(of_seed, (0, None)))
    return lambda params, key: jax.tree.map(np.asarray, measure(params, key))


def _of_arm(system: str, found: dict[str, Any], key: Key) -> list[Row]:
    """Describe one arm: interquartile means over seeds, with bootstrap intervals."""

    def row(quantity: str, scores: Any) -> Row:
        return described(system, quantity, over_runs(scores, key))

    noise = found["noise"]
    rows = [
        row("return", noise[:, 0]),
        *(
            row(f"return under observation noise, σ={sigma:g}", noise[:, index])
            for index, sigma in enumerate(_NOISES)
            if index
        ),
        row("spread of imagined trajectories", found["spread"]),
        row("largest exponent of imagination (nats/step)", found["imagined"]),
        row("error of the model one step ahead, observation", found["errors"].observation),
        row("error of the model one step ahead, reward", found["errors"].reward),
    ]
    for label, exponents in found["exponents"].items():
        rows.append(row(f"λ₁, {label} (nats/step)", exponents.largest.value))
        if exponents.spectrum.value.shape[-1] > 1:
            rows.append(row(f"sum of exponents, {label}", exponents.total.value))
            rows.append(row(f"exponent of the reward, {label}", exponents.reward.value))
    recipe: ClosedLoopExponents = found["exponents"]["mode, by the paper's recipe"]
    return rows + regimes(system, recipe.regime, "perturbations")


def _claims(
    system: str, found: Mapping[str, dict[str, Any]], chance: float, key: Key, *, tested: bool
) -> list[Row]:
    """Set arms against each other, seed by seed, with Student's interval."""
    plain = found["no penalty"]
    gained = over_runs(plain["noise"][:, 0] - chance, key, student=True)
    spread = over_runs(np.log(found["spread"]["spread"] / plain["spread"]), key, student=True)
    slower = over_runs(found["exponent"]["imagined"] - plain["imagined"], key, student=True)
    must = [
        ("return above that of random actions", gained, 1, "what learning means"),
        ("change of ln(spread) by the penalty on it", spread, -1, "what the penalty penalises"),
        ("change of the imagined exponent by its penalty", slower, -1, "what it penalises"),
    ]
    if tested:
        rows = [signed(system, name, found, sign, why) for name, found, sign, why in must]
    else:
        rows = [described(system, f"{name}, untrained", found) for name, found, _, _ in must]
    for arm in ("spread", "exponent"):
        other = found[arm]
        changes = {
            "return": other["noise"][:, 0] - plain["noise"][:, 0],
            "return at σ=1 less that at 0": (
                (other["noise"][:, -1] - other["noise"][:, 0])
                - (plain["noise"][:, -1] - plain["noise"][:, 0])
            ),
            "λ₁, mean latents": (
                other["exponents"]["mean latents, by tangents"].largest.value
                - plain["exponents"]["mean latents, by tangents"].largest.value
            ),
        }
        for name, change in changes.items():
            estimate = over_runs(change, key, student=True)
            rows.append(described(system, f"change of {name} by the penalty on {arm}", estimate))
    return rows


def _draw_learning(runs: Mapping[str, Run], chance: np.ndarray) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.world_models import learning_curves

    steps = next(iter(runs.values())).environment_steps
    with style():
        figure = new_figure(5.5, 3.6)
        learning_curves(
            figure.subplots(),
            steps,
            {arm: run.returns for arm, run in runs.items()},
            baseline=float(chance.mean()),
        )
    return figure


def _draw_noise(found: Mapping[str, dict[str, Any]], key: Key) -> Any:
    from fracjax.plotting.robustness import return_curve
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style

    with style():
        figure = new_figure(5.5, 3.6)
        axes = figure.subplots()
        for color, (arm, numbers) in zip(DISCOUNT_COLORS, found.items(), strict=False):
            curve = summarize_curve(jnp.asarray(numbers["noise"]), key)
            return_curve(axes, np.asarray(_NOISES), curve, color=color, label=arm)
    return figure


PARTS: Mapping[str, Part] = {
    f"world model, {name}": functools.partial(_compared, name, only_full)
    for name, only_full in (
        ("pendulum", False),
        ("cartpole_swingup", False),
        ("dmc_walker_stand", True),
        ("dmc_walker_walk", True),
    )
}
