"""Many states and rewards that change: the ASR paper's inequality, and what holds in its place.

The statement was available as restated in this package's notes; its proof and the paper's
experiments were not. Its inequality says nothing as long as any C will do, so that what is tested
is whether the gap stays above .9 Δ for as long as the policy is trapped: it does not.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key
from fracjax.learning.gravity_wells.changing_rewards import (
    StateEscapes,
    asr_hypothesis,
    state_escapes,
)
from fracjax.learning.gravity_wells.escape_laws import corner_escape_time, escape_lower_bound
from fracjax.learning.gravity_wells.escapes import start_params
from fracjax.learning.gravity_wells.initial_spread import log_slope
from fracjax.learning.gravity_wells.tabular_mdps import (
    TabularMDP,
    contextual_mdp,
    effective_step,
    mdp_gradient,
    mdp_value,
    occupancy,
    softened_mdp,
)
from fracjax.learning.gravity_wells.traces import ascent_trace
from fracjax.reproduce.comparisons import about, exactly
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.gravity_laws import NOTES
from fracjax.reproduce.rows import Findings, Row, describe

__all__ = ["PARTS"]

_STATES, _ACTIONS, _DISCOUNT, _STEP = 8, 6, 0.9, 0.1


def _bandit(rewards: tuple[float, ...]) -> TabularMDP:
    row = jnp.asarray([rewards], jnp.result_type(float))
    return TabularMDP(jnp.ones((1, len(rewards), 1)), row, jnp.ones(1), 0.0)


def _schedule(size: float, others: float, lag: float) -> Callable[[Array], Array]:
    """b_1 = .4 + A sin(2πt/200) with Δ = .2, and two others, in or against its phase."""

    def rewards(step: Array) -> Array:
        wave, late = (size * jnp.sin(2 * jnp.pi * step / 200 + own) for own in (0.0, lag))
        return jnp.stack([0.6 + wave, 0.4 + others * wave, 0.4 + others * late])

    return rewards


def _drift(key: Key, size: Size) -> Findings:
    """The counter-example, drift, and the repaired statement; in float64."""
    del key, size
    with jax.enable_x64(True):
        rows = _counter_example()
        start = start_params(jnp.asarray(1e-3), num_arms=3, corner=True)

        def run(drift: tuple[float, float, float]) -> StateEscapes:
            schedule = _schedule(*drift)
            one = functools.partial(
                state_escapes, schedule=lambda step: schedule(step)[None], contextual=True
            )
            return jax.jit(one)(start[None], _bandit((0.6, 0.4, 0.4)))

        cases = {
            "without drift": ((0.0, -1.0, 0.0), 2502, 2502),
            "common drift of .1": ((0.1, 1.0, 0.0), 2502, 2502),
            "drift of .1 against the others": ((0.1, -1.0, 0.0), 104, 2461),
            "drift of .3 against the others": ((0.3, -1.0, 0.0), 102, 2442),
            "others out of phase, .3": ((0.3, -1.0, 2.0), None, None),
        }
        for label, (drift, broken, escaped) in cases.items():
            found = run(drift)
            name = f"K = 3, Δ = .2, π₁ = 1e-3, {label}"
            fails, leaves = int(found.inequality_time[0]), int(found.probability_time[0])
            repaired = int(found.effective_time[0])
            drive = float(found.drive[0] / found.bound[0])
            if broken is None or escaped is None:
                rows.append(describe(name, "updates until the gap is below .9 Δ", (fails, 0.0)))
                rows.append(describe(name, "updates until π(a*) > .1", (leaves, 0.0)))
                text = "drive Σ η max(Δ_eff, 0) at the escape, over (1 - 10x)/(2x)"
                rows.append(describe(name, f"{text}; unequal others: no bound", (drive, 0.0)))
            else:
                text = "updates until the gap is below .9 Δ"
                rows.append(exactly(name, text, fails, broken, NOTES))
                text = "updates until π(a*) > .1"
                rows.append(exactly(name, text, leaves, escaped, NOTES))
                text = "whether the drive Σ η max(Δ_eff, 0) at the escape is below (1 - 10x)/(2x)"
                source = "derived: never, for equal other rewards"
                rows.append(exactly(name, text, int(drive < 1), 0, source))
            text = "updates by which the gap is below .9 Δ_eff before π(a*) > .1"
            rows.append(exactly(name, text, leaves - repaired, 0, "derived: none, any rewards"))
        rows += _other_arms()
        return Findings(rows, {"gravity_drift": functools.partial(_draw_drift, start)})


def _counter_example() -> list[Row]:
    rewards = jnp.asarray([0.5, 0.5, 0.5])
    logits = jnp.log(jnp.asarray([[1e-3, 0.5, 0.499]]))
    run = functools.partial(state_escapes, contextual=True, best=0, max_steps=1000)
    found = jax.jit(run)(logits, _bandit((0.5, 0.5, 0.5)), gaps=jnp.asarray([0.5]))
    name = "b = (0, .5, .5), Δ = .5, β = .5"
    met = int(asr_hypothesis(rewards[None]))
    fails = int(found.inequality_time[0])
    stays = int(found.probability_observed[0])
    return [
        exactly(name, "whether the hypothesis is met", met, 1, "ASR paper as restated"),
        exactly(
            name,
            "updates until the gap is below .9 Δ",
            fails,
            0,
            "derived: all rewards are equal, so that the statement fails for every C ≥ Δ π₁",
        ),
        exactly(name, "whether the policy escapes in 1000 updates", stays, 0, "derived: it stays"),
    ]


def _other_arms() -> list[Row]:
    """Unequal others without drift: the distance to the favoured arm is what pulls."""
    logits = jnp.log(jnp.asarray([[3e-3, 1e-4, 1 - 3.1e-3]]))
    run = functools.partial(state_escapes, contextual=True)
    found = jax.jit(run)(logits, _bandit((1.0, 0.99, 0.0)))
    name = "r = (1, .99, 0) from the third arm, π₁ = .003"
    bound = float(escape_lower_bound(3e-3, 0.01))
    return [
        describe(name, "updates until π(a*) > .1", (int(found.probability_time[0]), 0.0)),
        describe(name, "(1 - 10x)/(2 η Δ_eff x), no bound here", (bound, 0.0)),
    ]


def _process(key: Key, share: float, smallest: float) -> tuple[Array, TabularMDP, Array, Array]:
    """8 states, 6 actions, Δ(s) ~ U[.05, .5], x_s ~ 10^U(smallest, -2), uniform μ."""
    draws = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    chain = jnp.asarray(draws.dirichlet(np.ones(_STATES), _STATES))
    other = jnp.asarray(draws.dirichlet(np.ones(_STATES), (_STATES, _ACTIONS)))
    gaps = jnp.asarray(draws.uniform(0.05, 0.5, _STATES))
    x = jnp.asarray(10 ** draws.uniform(smallest, -2.0, _STATES))
    rewards = jnp.full((_STATES, _ACTIONS), 0.3).at[:, 0].add(gaps)
    mdp = contextual_mdp(chain, rewards, jnp.ones(_STATES) / _STATES, _DISCOUNT)
    logits = jax.vmap(lambda one: start_params(one, num_arms=_ACTIONS, corner=True))(x)
    return logits, softened_mdp(mdp, other, share), gaps, x


def _states(key: Key, size: Size) -> list[Row]:
    """Escape times of the states of an MDP against η d(s)/(1 - γ); in float64."""
    with jax.enable_x64(True):
        number = {"quick": 1, "default": 2, "full": 10}[size]
        smallest = {"quick": -3.0, "default": -4.0, "full": -4.0}[size]
        rows = [_gradient(key)]
        for share in (0.0, 0.1, 0.5):
            contextual = share == 0
            run = functools.partial(
                state_escapes, step_size=_STEP, contextual=contextual, max_steps=4_000_000
            )
            compiled = jax.jit(run)
            floor = smallest if contextual else max(smallest, -3.5)
            scaled, closed, drives, ratios = [], [], [], []
            for index in range(number):
                logits, mdp, gaps, x = _process(jax.random.fold_in(key, index), share, floor)
                found = compiled(logits, mdp)
                step = effective_step(_STEP, occupancy(logits, mdp), _DISCOUNT)
                times = found.probability_time
                drives.append(np.stack([step * gaps * x, times], 1))
                scaled.append(times * step * gaps * x)
                closed.append(times / corner_escape_time(x, gaps, step))
                ratios.append(times / escape_lower_bound(x, gaps, step))
            along, times = np.concatenate(drives).T
            # The other actions' pull differs from state to state: the slope has an error.
            fit = log_slope(jnp.asarray(along), jnp.asarray(times))
            slope = (float(fit.value), float(fit.stderr))
            least = float(np.min(ratios))
            label = "contextual" if contextual else f"{share:.0%} action-dependent transitions"
            name = f"{number * _STATES} states, K = 6, γ = .9, {label}"
            text = "exponent of T in d(s) Δ(s) π₁/(1 - γ)"
            source = "derived: exact if contextual"
            rows.append(about(name, text, slope, -1.0, 0.05, source))
            if contextual:
                worst = float(np.max(np.abs(np.concatenate(closed) - 1)))
                text = "largest |T/closed form - 1|, with η d(s)/(1 - γ) for the step"
                source = "derived; the published bound lacks the factor d(s)/(1 - γ)"
                rows.append(about(name, text, (worst, 0.0), 0.0, 0.015, source))
                broken = int(np.sum(np.concatenate(ratios) < 1))
                text = "states that leave before the bound"
                rows.append(exactly(name, text, broken, 0, "derived"))
            else:
                text = "smallest T over the bound of a contextual state"
                rows.append(describe(name, f"{text}: not a bound here", (least, 0.0)))
            values = np.concatenate(scaled)
            for end, value in (("smallest", values.min()), ("largest", values.max())):
                rows.append(describe(name, f"{end} T η_eff Δ π₁ over states", (value, 0.0)))
        return rows


def _gradient(key: Key) -> Row:
    logits, mdp, _, _ = _process(key, 0.5, -2.0)
    logits = logits + jax.random.normal(key, logits.shape)
    gap = jnp.abs(jax.grad(mdp_value)(logits, mdp) - mdp_gradient(logits, mdp)).max()
    text = "largest |d(s) π A/(1 - γ) - automatic gradient|, in 1e-10"
    found = (float(gap) / 1e-10, 0.0)
    return about("8 states, action-dependent transitions", text, found, 0.0, 1.0, "exact")


def _traced(
    start: Array, drift: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, π(a*) and Δ_eff of one run."""
    run = functools.partial(ascent_trace, rewards=_schedule(*drift), num_records=540, every=5)
    trace = jax.jit(run)(start)
    shares = np.asarray(trace.probabilities)[:, 0]
    return np.asarray(trace.steps), shares, np.asarray(trace.effective_gaps)


def _draw_drift(start: Array) -> Any:
    from fracjax.plotting import gravity_wells
    from fracjax.plotting.style import new_figure, style

    drifts = {
        "no drift": (0.0, -1.0, 0.0),
        "common drift": (0.1, 1.0, 0.0),
        "A = .1 against the others": (0.1, -1.0, 0.0),
        "A = .3 against the others": (0.3, -1.0, 0.0),
    }
    with jax.enable_x64(True):  # as `start` is
        runs = {name: _traced(start, drift) for name, drift in drifts.items()}
    with style():
        figure = new_figure(6.4, 5.0)
        axes = figure.subplots(2, 1, height_ratios=(1.6, 1))
        gravity_wells.probability_and_gap(axes, runs, inequality=0.18, until=500)
    return figure


PARTS: dict[str, Part] = {"many states": _states, "changing rewards": _drift}
