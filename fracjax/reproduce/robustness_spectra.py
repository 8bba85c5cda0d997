"""Exponents of closed loops by both methods, and those of the baseline without action.

Every number is measured twice, by tangents and by the recipe of Young and Pugeault (copies at a
distance of 1e-4, orthonormalised every 10 steps), because the recipe does not measure all of
them: see `robustness_exact`.
"""

import functools
import importlib.util
import math
from collections.abc import Mapping
from typing import Any

import jax

from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.learning import (
    ClosedLoopExponents,
    Regime,
    closed_loop_exponents,
    neutral_growth,
)
from fracjax.learning.robustness.spectra import Method
from fracjax.reproduce.comparisons import about, anchored, described, left_out, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.robustness_rows import METHODS, Still, over_runs
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.rl import envs
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor, initial_states

__all__ = ["PARTS", "dm_control_is_here", "measure", "without_dm_control"]

_PUBLISHED = "Young and Pugeault (2024), text: zero without action on every task"
_ANALYTIC = ("pendulum", "cartpole_swingup", "acrobot", "double_pendulum")
_NEUTRAL = (0.0, 0.001)
_ANCHORED = 1000  # steps of the anchors; a neutral exponent reads up to ln T/T
# By the recipe in dm_control on the CPU, 20 initial states: mean and SD between them of the
# largest exponent, and of the sum where it lies within the recipe's reach.
_ANCHORS: dict[str, tuple[tuple[float, float], tuple[float, float] | None]] = {
    "dmc_cartpole_balance": ((0.0047, 0.0009), _NEUTRAL),
    "dmc_cartpole_swingup": ((0.0017, 0.0004), _NEUTRAL),
    "dmc_point_mass": ((-0.0002, 0.0002), None),
    "dmc_walker_walk": ((0.0026, 0.0045), None),
    "dmc_cheetah_run": ((-0.0013, 0.0005), (-6.18, 0.28)),
}
_EXACT_SUMS = {
    # Damping 1 of .3 kg in both directions, explicit steps of .02 s.
    "dmc_point_mass": (2 * math.log(1 - 1 / 15), "exact: 2 ln(1 - 1/15), explicit damping"),
}


def measure(
    environment: Environment,
    actor: Actor,
    params: PyTree,
    key: Key,
    *,
    num_states: int,
    num_steps: int,
    batched: bool = False,
    **settings: Any,
) -> dict[str, ClosedLoopExponents]:
    """Measure exponents by both methods, from the same initial states.

    Args:
        environment: The simulator.
        actor: The policy.
        params: Its parameters, or those of many agents stacked along a leading axis.
        key: Draws initial states and frames.
        num_states: Initial states; the paper takes 20.
        num_steps: Steps from each; the paper takes 1000.
        batched: Whether there are many agents.
        **settings: Further settings of `closed_loop_exponents`.
    """
    states = jax.jit(lambda key: initial_states(environment, key, num_states))(key)
    found: dict[str, ClosedLoopExponents] = {}
    for method in METHODS:
        one = closed_loop_exponents(
            environment, actor, method=method, num_steps=num_steps, **settings
        )
        every = jax.vmap(one, (0, None, None)) if batched else one
        found[method] = jax.block_until_ready(jax.jit(every)(params, states, key))
    return found


def dm_control_is_here() -> bool:
    """Whether Playground is installed."""
    return importlib.util.find_spec("mujoco_playground") is not None


def _still(names: tuple[str, ...], key: Key, size: Size) -> Findings:
    """Measure environments without action."""
    rows: list[Row] = []
    drawn: dict[str, dict[str, Estimate]] = {label: {} for label in METHODS.values()}
    steps = 0
    for name in names:
        environment = envs.make(name, dtype="float64")
        states, steps = _amount(environment, size)
        baseline = Still(environment)
        found = measure(environment, baseline, (), key, num_states=states, num_steps=steps)
        for method, label in METHODS.items():
            rows += _baseline_rows(name, method, found[method], key, steps)
            task = name.removeprefix("dmc_")
            drawn[label][task] = over_runs(found[method].largest.details["per_state"], key)
    title = names[0] if len(names) == 1 else "classic"
    draw = functools.partial(_draw_bars, drawn, neutral_growth(steps))
    return Findings(rows, {f"without-action-{title}": draw})


def _amount(environment: Environment, size: Size) -> tuple[int, int]:
    """States and steps: the paper's, but fewer where contacts take a CPU half an hour for them."""
    contacts = environment.state_size > 6
    if size == "quick":
        return (2, 200) if contacts else (10, 400)
    return (4 if contacts and size == "default" else 20), _ANCHORED


def _baseline_rows(
    name: str, method: Method, found: ClosedLoopExponents, key: Key, steps: int
) -> list[Row]:
    """Compare one environment without action, by one method."""
    system, label = f"{name}, no action", METHODS[method]
    largest = over_runs(found.largest.details["per_state"], key)
    zero = neutral_growth(steps)
    source = _PUBLISHED if name in _ANCHORS else "law: small swings without friction are neutral"
    rows = [about(system, f"largest exponent {label}", number(largest), 0.0, zero, source)]
    anchors = _ANCHORS.get(name)
    total, text = number(found.total), f"sum {label}"
    hidden = int(found.total.status) == Status.AT_NOISE_FLOOR
    if name in _EXACT_SUMS:
        rows.append(compare(system, text, total, (_EXACT_SUMS[name][0], 0.0, _EXACT_SUMS[name][1])))
    elif anchors is None or anchors[1] == _NEUTRAL:
        rows.append(about(system, text, total, 0.0, 1e-3, "law: no friction loses no volume"))
    elif anchors[1] is not None and method == "perturbations" and steps == _ANCHORED:
        rows.append(anchored(system, text, total, anchors[1]))
    else:
        rows.append(described(system, text + (" (a bound)" if hidden else ""), found.total))
    if anchors is not None and method == "perturbations" and steps == _ANCHORED:
        mean, spread = anchors[0]
        rows.append(anchored(system, "largest exponent, against dm_control's MuJoCo",
                             number(largest), (mean, spread)))  # fmt: skip
    rows.append(described(system, f"reward exponent {label}", found.reward))
    # Where the sum is out of reach, so is a regime other than stable.
    rows.append(describe(system, f"regime {label}: {Regime(int(found.regime)).label}",
                         (float(found.regime), 0.0)))  # fmt: skip
    return rows


def _draw_bars(estimates: Mapping[str, Mapping[str, Estimate]], zero: float) -> Any:
    from fracjax.plotting import robustness
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(6.5, 3.6)
        axes = robustness.exponent_bars(figure.subplots(), estimates, zero=zero)
        axes.set_title("without action")
    return figure


def _parts() -> dict[str, Part]:
    found: dict[str, Part] = {"no action: classic": functools.partial(_still, _ANALYTIC)}
    if dm_control_is_here():
        found |= {f"no action: {name}": functools.partial(_still, (name,)) for name in _ANCHORS}
    else:
        found["no action: DM Control left out"] = without_dm_control
    return found


def without_dm_control(key: Key, size: Size) -> list[Row]:
    """Say what is missing; a part of another name, so that a run goes on once it is there."""
    del key, size
    return [left_out("DM Control", "needs `pip install 'fracjax[playground]'`")]


PARTS: dict[str, Part] = _parts()
