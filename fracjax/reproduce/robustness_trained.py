"""Trained agents against no action: exponents of state and reward, by tangents and by recipe.

The published signs are of SAC and TD3 on DM Control's tasks; they are compared on those tasks
and with those algorithms alone. Settings of the paper are in pictures that could not be read:
rejax's algorithms at the settings of `fracjax.rl.rejax_training` and `robustness_agents` stand in
for Stable-Baselines3's, with far fewer steps at the default size. Intervals of interquartile means
are bootstraps over whole agents, as in the paper; signs are read off Student's intervals,
which cover with three agents too.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from fracjax._types import Estimate, Key
from fracjax.learning import (
    ClosedLoopExponents,
    Regime,
    closed_loop_exponents,
    neutral_growth,
)
from fracjax.learning.robustness.spectra import Method
from fracjax.reproduce.comparisons import (
    about,
    described,
    estimated,
    exactly,
    left_out,
    mean_of_finite,
    signed,
)
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.robustness_agents import RECIPES, Agents, train
from fracjax.reproduce.robustness_curves import curves
from fracjax.reproduce.robustness_rows import METHODS, Still, over_runs, regimes
from fracjax.reproduce.robustness_spectra import dm_control_is_here, measure
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.rl import envs
from fracjax.rl.many_seeds import available_library
from fracjax.rl.rollouts import discounted_returns, initial_states

__all__ = ["PARTS"]

_PUBLISHED = "Young and Pugeault (2024), text: sign"
_SIMPLE = ("dmc_cartpole_balance", "dmc_cartpole_swingup", "dmc_point_mass")
_COMPLEX = ("dmc_walker_stand", "dmc_walker_walk", "dmc_walker_run", "dmc_cheetah_run")
_CLASSIC = ("pendulum", "cartpole_swingup", "acrobot", "double_pendulum")
_SHORTER = 16  # times shorter control steps of the pendulum
_ALGORITHMS = ("ppo", "sac", "td3")
_TITLES = {
    "largest": "largest exponent",
    "total": "sum of exponents",
    "reward": "reward exponent",
}


def _trained(task: str, algorithm: str, key: Key, size: Size) -> list[Row] | Findings:
    """Train agents, and measure them by both methods and under disturbances."""
    system = f"{task}, {algorithm}"
    missing = _reason(task, algorithm, size)
    if missing:
        return [left_out(system, missing)]
    agents = train(task, algorithm, key, size)
    states, steps = (8, 400) if size == "quick" else (20, 1000)
    pairs = agents.at(-1)
    found = measure(
        agents.environment,
        agents.actor,
        pairs,
        key,
        num_states=states,
        num_steps=steps,
        batched=True,
    )
    rows = _returns(agents, system, key, size)
    for method in METHODS:
        rows += _exponents(system, method, found[method], key)
    rows += _signs(task, algorithm, found["tangents"], key)
    rows.append(_agreement(system, found, steps))
    if task == "pendulum":
        rows += _short_steps(agents, system, key, found["tangents"])
    drawing = functools.partial(_draw, system, found, neutral_growth(steps))
    figures: dict[str, Callable[[], Any]] = {f"exponents-{task}-{algorithm}": drawing}
    if task in _CLASSIC or size == "full":  # contacts and solvers compile for minutes
        disturbed = curves(agents, system, key, size)
        rows, figures = rows + disturbed.rows, {**figures, **disturbed.figures}
    return Findings(rows, figures)


def _short_steps(agents: Agents, system: str, key: Key, found: ClosedLoopExponents) -> list[Row]:
    """Give the same agents of the pendulum shorter control steps.

    A flow in two dimensions has no chaos, but a loop that acts every .05 s is no flow: agents
    that push with full torque to either side chatter around the upright rest, within a few
    hundredths of a radian, chaotically, and because one state can be reached from two the sum
    of exponents is positive on a bounded set, which the paper's table calls unstable. With
    steps 16 times shorter it must be gone.
    """
    growing = (Regime.CHAOTIC, Regime.UNSTABLE)
    before = int(np.isin(np.asarray(found.regime), growing).sum())
    environment = envs.make("pendulum", dtype="float64", dt=agents.environment.dt / _SHORTER)
    states = jax.jit(lambda key: initial_states(environment, key, 8))(key)
    one = closed_loop_exponents(environment, agents.actor, num_steps=8000, num_transient=3200)
    after = jax.jit(jax.vmap(lambda pair: one(pair, states, key).regime))(agents.at(-1))
    left = int(np.isin(np.asarray(after), growing).sum())
    text = f"agents chaotic or unstable with steps {_SHORTER} times shorter"
    return [
        describe(system, "agents chaotic or unstable by tangents", (float(before), 0.0)),
        exactly(system, text, left, 0, "law: no chaos in a flow of two dimensions"),
    ]


def _reason(task: str, algorithm: str, size: Size) -> str | None:
    """Say why a part is left out, if it is."""
    if algorithm != "ppo" and available_library() != "rejax":
        return "needs `pip install 'fracjax[training]'`"
    if task in _CLASSIC or size == "full":
        return None
    if size == "quick":
        return "compiles for minutes; not in the quick size"
    if algorithm not in RECIPES[task].steps or task in _COMPLEX:
        return "takes hours on a CPU; in the full size"
    return None if algorithm == "sac" else "one algorithm in the default size; all in the full one"


def _returns(agents: Agents, system: str, key: Key, size: Size) -> list[Row]:
    """Returns after training, and against doing nothing from the same initial states."""
    environment = agents.environment
    states = jax.jit(lambda key: initial_states(environment, key, 16))(key)

    def returns(actor: Any) -> Any:
        one = discounted_returns(environment, actor, horizon=agents.episode, discounts=(1.0,))

        def of_agent(params: Any) -> Any:
            return jax.vmap(
                lambda state: one(params, jax.tree.map(lambda leaf: leaf[None], state), key)[0]
            )(states)

        return of_agent

    trained = np.asarray(jax.jit(jax.vmap(returns(agents.actor)))(agents.at(-1)))
    still = np.asarray(jax.jit(returns(Still(environment)))(()))
    level = over_runs(trained, key)
    gain = over_runs(trained - still, key, student=True)
    rows = [described(system, "return of an episode", level)]
    text = "return above that without action"
    if size == "quick":  # too short a training to promise anything
        return [*rows, described(system, text, gain)]
    return [*rows, signed(system, text, gain, 1, "must be, or nothing was learnt")]


def _exponents(system: str, method: Method, found: ClosedLoopExponents, key: Key) -> list[Row]:
    """Interquartile means over agents and initial states, and the regimes."""
    rows = []
    for name, title in _TITLES.items():
        estimate = _interquartile(getattr(found, name), key)
        rows.append(described(system, f"{title} {METHODS[method]}", estimate))
    return rows + regimes(system, found.regime, method)


def _interquartile(estimate: Estimate, key: Key, *, student: bool = False) -> Estimate:
    """Over agents and initial states where they are kept apart, else over agents."""
    scores = estimate.details.get("per_state", estimate.value)
    return over_runs(np.asarray(scores), key, student=student)


def _signs(task: str, algorithm: str, found: ClosedLoopExponents, key: Key) -> list[Row]:
    """Compare with the published signs, where there are any."""
    system = f"{task}, {algorithm}"
    rows: list[Row] = []
    if algorithm == "ppo" or task in _CLASSIC:
        return rows
    wanted = (
        {"largest": -1, "reward": -1}
        if task in _SIMPLE
        else {"largest": 1, "total": -1, "reward": 1}
    )
    for name, sign in wanted.items():
        estimate = _interquartile(getattr(found, name), key, student=True)
        rows.append(signed(system, f"{_TITLES[name]} by tangents", estimate, sign, _PUBLISHED))
    return rows


def _agreement(system: str, found: Mapping[str, ClosedLoopExponents], steps: int) -> Row:
    """Compare the largest exponents of both methods, agent by agent.

    A chaotic orbit forgets how it was rounded, so agents are averages over different orbits; and
    neither knows zero better than ln T/T.
    """
    first, second = (
        np.asarray(found[method].largest.value) for method in ("perturbations", "tangents")
    )
    gap = mean_of_finite(first - second)
    text = "largest exponent by the recipe, minus by tangents"
    return about(system, text, gap, 0.0, neutral_growth(steps), "law: the same exponent")


def _draw(system: str, found: Mapping[str, ClosedLoopExponents], zero: float) -> Any:
    from fracjax.plotting import robustness
    from fracjax.plotting.style import new_figure, style

    regime = np.asarray(found["tangents"].regime)
    names = [f"{index} ({Regime(int(code)).label})" for index, code in enumerate(regime)]
    bars = {
        label: {name: _pick(found[method].largest, index) for index, name in enumerate(names)}
        for method, label in METHODS.items()
    }
    spectra = {method: found[method].spectrum for method in METHODS}
    with style():
        figure = new_figure(11.0, 4.0)
        left, right = figure.subplots(1, 2)
        robustness.exponent_bars(left, bars, zero=zero)
        left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        left.set_xlabel("agent (regime)")
        places = list(np.ndindex(np.asarray(spectra["tangents"].value).shape))
        robustness.tangents_against_recipe(
            right,
            *([_pick(spectra[method], place) for place in places] for method in METHODS),
        )
        right.set_title("all exponents")
        figure.suptitle(system)
    return figure


def _pick(estimate: Estimate, index: Any) -> Estimate:
    """One estimate of a batch, without its details."""
    value, stderr, low, high = (
        float(np.asarray(getattr(estimate, name))[index])
        for name in ("value", "stderr", "low", "high")
    )
    return estimated(value, stderr, low, high, int(np.asarray(estimate.status)[index]))


def _parts() -> dict[str, Part]:
    tasks = [*_CLASSIC, *_SIMPLE, *_COMPLEX] if dm_control_is_here() else _CLASSIC
    return {
        f"{algorithm} on {task}": functools.partial(_trained, task, algorithm)
        for task in tasks
        for algorithm in _ALGORITHMS
    }


PARTS: dict[str, Part] = _parts()
