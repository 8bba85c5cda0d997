"""Escape times of exact gradient ascent on bandits against closed forms.

The body of Mei et al. (2020) was not available: its abstract says that softmax policy gradient is
trapped, and what it states of the time is of the form C/(Δ π_1(a*)). Closed forms, constants and
bounds here were derived for this package; its notes also hold escape times that another program
had measured, which are compared as counts.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key
from fracjax.learning.gravity_wells.escape_laws import (
    corner_escape_time,
    escape_exponent,
    escape_lower_bound,
    natural_escape_time,
    unequal_rewards_exponent,
)
from fracjax.learning.gravity_wells.escapes import Escape, escape_time, start_params
from fracjax.learning.gravity_wells.traces import ascent_trace
from fracjax.reproduce.comparisons import about, exactly
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, describe

__all__ = ["NOTES", "PARTS", "equal_rewards"]

NOTES = "another program, computed for this package's notes"
_ARMS = 6
# Δ, x, T from a corner, T with the rest spread evenly.
_TABLE = (
    (0.5, 1e-2, 96, 160),
    (0.5, 1e-4, 10_008, 16_677),
    (0.2, 1e-3, 2_502, 4_167),
    (0.1, 1e-4, 50_025, 83_372),
    (0.05, 1e-5, 1_000_092, 1_666_817),
)
_ESCORT = {
    2.0: (31, 60, 90, 119, 149),
    3.0: (42, 130, 323, 738, 1631),
    4.0: (40, 170, 592, 1937, 6204),
    8.0: (22, 148, 912, 5414, 31_471),
}
_SLOPES = {3.0: -0.365, 4.0: -0.520, 8.0: -0.776}


def equal_rewards(gap: float | jax.Array, arms: int = _ARMS) -> jax.Array:
    """Rewards r = (b + Δ, b, …, b) with b = .4."""
    return jnp.full(arms, 0.4).at[0].add(gap)


def _slope(along: np.ndarray, times: np.ndarray) -> float:
    return float(np.polyfit(np.log(along), np.log(times), 1)[0])


def _from_both(gap: np.ndarray, x: np.ndarray, max_steps: int) -> tuple[Escape, Escape]:
    """Escapes from a corner and from an even rest."""
    run = jax.jit(jax.vmap(functools.partial(escape_time, max_steps=max_steps)))
    rewards = jax.vmap(equal_rewards)(jnp.asarray(gap))

    def escape(corner: bool) -> Escape:
        start = jax.vmap(lambda one: start_params(one, num_arms=_ARMS, corner=corner))(x)
        return run(start, rewards)

    return escape(True), escape(False)


def _softmax(key: Key, size: Size) -> Findings:
    """The table, exponents, constants and the bound; in float64."""
    with jax.enable_x64(True):
        table = np.array(_TABLE[: 4 if size == "quick" else 5])
        gap, x = table[:, 0], table[:, 1]
        found = _from_both(gap, x, 2_000_000)
        rows: list[Row] = []
        closed = corner_escape_time(x, gap)
        for index, (one_gap, one_x, *counts) in enumerate(table):
            name = f"softmax, K = 6, Δ = {one_gap:g}, π₁ = {one_x:g}"
            for escape, start, count in zip(
                found, ("a corner", "an even rest"), counts, strict=True
            ):
                text = f"updates until the gap is below .9 Δ, from {start}"
                rows.append(exactly(name, text, int(escape.gap_time[index]), int(count), NOTES))
            ratio = float(found[0].gap_time[index] / closed[index])
            rows.append(
                about(
                    name,
                    "updates over the closed form of gradient flow, from a corner",
                    (ratio, 0.0),
                    1.0,
                    0.015 if one_x > 5e-3 else 0.003,
                    "derived: [F(.1) - F(x)]/(2ηΔ); steps of size 1 are not a flow",
                )
            )
            if one_x > 1e-3:
                continue
            for escape, start, constant in zip(
                found, ("a corner", "an even rest"), (0.5, 5 / 6), strict=True
            ):
                scaled = float(escape.gap_time[index] * one_gap * one_x)
                text = f"T η Δ π₁ from {start}"
                source = "derived: 1/(1 + Σw²) as π₁ → 0"
                rows.append(about(name, text, (scaled, 0.0), constant, 0.005, source))
        rows += _exponents(size)
        rows += _bound(key, size)
        return Findings(
            rows,
            {
                "gravity_escape_times": functools.partial(_draw_times, gap, x, found),
                "gravity_simplex": _draw_simplex,
            },
        )


def _exponents(size: Size) -> list[Row]:
    x = np.array([1e-4, 3e-4, 1e-3] if size == "quick" else [1e-5, 1e-4, 1e-3])
    gaps = np.array([0.05, 0.15, 0.5])
    both = np.concatenate([np.full(3, 0.5), gaps]), np.concatenate([x, np.full(3, 1e-3)])
    corner, even = _from_both(*both, 2_000_000)
    source = "Mei et al. (2020) as restated: t_0 = C/(Δ π_1(a*))"
    rows = []
    for name, escape in (("corner", corner), ("even rest", even)):
        times = np.asarray(escape.gap_time)
        for label, along, part in (("π₁", x, times[:3]), ("Δ", gaps, times[3:])):
            found = (_slope(along, part), 0.0)
            system = f"softmax, {name}"
            rows.append(about(system, f"exponent of T in {label}", found, -1.0, 0.05, source))
    return rows


def _bound(key: Key, size: Size) -> list[Row]:
    """Violations of (1 - 10x)/(2ηΔx) by steps, from random starts."""
    number = {"quick": 200, "default": 300, "full": 5000}[size]
    broken, trapped, nearest = 0, 0, math.inf
    for index, arms in enumerate((2, 3, 6, 10)):
        drawn = jax.random.normal(jax.random.fold_in(key, index), (number, arms))
        starts = jnp.concatenate([spread * drawn for spread in (1.0, 2.0, 3.0)])

        @jax.jit
        def run(starts: jax.Array, gap: jax.Array, step_size: jax.Array) -> Escape:
            rewards = equal_rewards(gap, starts.shape[1])
            one = functools.partial(escape_time, step_size=step_size, max_steps=5000)
            return jax.lax.map(lambda start: one(start, rewards), starts, batch_size=100)

        order = jnp.argsort(jax.nn.softmax(starts)[:, 0])  # equal waits stand together
        for gap, step_size in ((0.2, 1.0), (0.5, 0.5)):
            found = run(starts[order], jnp.asarray(gap), jnp.asarray(step_size))
            bound = np.asarray(escape_lower_bound(found.start, gap, step_size))
            inside = np.asarray((found.start < 0.1) & found.gap_observed)
            ratio = np.asarray(found.gap_time)[inside] / bound[inside]
            trapped += int(inside.sum())
            broken += int((ratio < 1).sum())
            nearest = min(nearest, float(ratio.min()))
    name = f"softmax, {trapped} trapped starts, K in 2 to 10, σ in 1 to 3"
    source = "derived for gradient flow; for steps a measurement, no proof"
    text = "starts that leave before (1 - 10x)/(2ηΔx)"
    return [
        exactly(name, text, broken, 0, source),
        describe(name, "smallest T over that bound", (nearest, 0.0)),
    ]


def _other_rules(key: Key, size: Size) -> list[Row]:
    """Escort and natural policy gradient, Δ = .2, from corners; in float64."""
    del key, size
    with jax.enable_x64(True):
        x = 10.0 ** -np.arange(2, 7)
        rewards = equal_rewards(0.2)
        rows: list[Row] = []
        for power, counts in _ESCORT.items():
            starts = jax.vmap(
                lambda one, p=power: start_params(
                    one, num_arms=_ARMS, corner=True, rule="escort", power=p
                )
            )(x)
            run = functools.partial(
                escape_time, rule="escort", step_size=0.1, power=power, scale_free=True
            )
            times = np.asarray(
                jax.jit(jax.vmap(lambda s, run=run: run(s, rewards)))(starts).gap_time
            )
            name = f"escort, p = {power:g}, step .1‖θ‖²"
            wrong = int(np.sum(times != np.array(counts)))
            rows.append(exactly(name, "times that differ, x = 1e-2 to 1e-6", wrong, 0, NOTES))
            if power == 2:
                steps = float(np.ptp(np.diff(times)))
                text = "spread of T between decades of π₁, in updates"
                rows.append(about(name, text, (steps, 0.0), 0.0, 1.0, "law: a logarithm"))
                continue
            slope = (_slope(x[1:], times[1:]), 0.0)
            text = "exponent of T in π₁ over 1e-3 to 1e-6"
            source = f"{NOTES}; the limit is {escape_exponent('escort', power):.3f}"
            rows.append(about(name, text, slope, _SLOPES[power], 0.03, source))
        starts = jax.vmap(lambda one: start_params(one, num_arms=_ARMS, corner=False))(x)
        natural = functools.partial(escape_time, rule="natural")
        times = np.asarray(jax.jit(jax.vmap(lambda s: natural(s, rewards)))(starts).gap_time)
        wrong = int(np.sum(times != np.ceil(natural_escape_time(x, 0.2))))
        text = "times that differ from ⌈(logit .1 - logit π₁)/(ηΔ)⌉"
        rows.append(exactly("natural gradient", text, wrong, 0, "exact"))
        return rows


def _unequal(key: Key, size: Size) -> list[Row]:
    """The best arm loses first where the others differ; in float64."""
    del key
    with jax.enable_x64(True):
        rows = []
        for means in ((1.0, 0.7, 0.3), (1.0, 0.7, 0.3, 0.3)):
            arms = len(means)
            x = np.array([0.1, 0.05, 0.025, 0.0125, 0.00625][: 4 if size == "quick" else 5])
            starts = jax.vmap(lambda one, k=arms: start_params(one, num_arms=k, corner=False))(x)
            run = functools.partial(escape_time, step_size=0.5, max_steps=2_000_000)
            rewards = jnp.broadcast_to(jnp.asarray(means), starts.shape)
            found = jax.jit(jax.vmap(run))(starts, rewards)
            slopes = np.diff(np.log(found.gap_time)) / np.diff(np.log(x))
            name = f"softmax, r = {means}, η = .5"
            limit = unequal_rewards_exponent(arms)
            last = (float(slopes[-1]), 0.0)
            text = f"local exponent of T in π₁ at {x[-1]:g}"
            if arms == 3:
                source = "Ω(π₁^-(K-1)), reward-weighted fine-tuning (2026); -1 for equal rewards"
                rows.append(about(name, text, last, limit, 0.1, source))
                counts = np.array([38, 128, 528, 2205])
                wrong = int(np.sum(np.asarray(found.gap_time)[:4] != counts))
                rows.append(exactly(name, "times that differ, x = .1 to .0125", wrong, 0, NOTES))
            else:
                rows.append(describe(name, f"{text} (limit {limit:g})", last))
            least = float(found.lowest[3] / found.start[3])
            text = f"lowest π(a*) over its start, from {x[3]:g}"
            rows.append(describe(name, text, (least, 0.0)))
        return rows


def _draw_times(gap: np.ndarray, x: np.ndarray, found: tuple[Escape, Escape]) -> Any:
    from fracjax.plotting import gravity_wells
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.2, 4.2)
        along = 1 / (gap * x)
        names = ("rest on one arm", "rest spread evenly")
        gravity_wells.escape_times(
            figure.subplots(),
            {
                name: (along, np.asarray(each.gap_time))
                for name, each in zip(names, found, strict=True)
            },
            laws={"c = 1/2, the lower bound": 0.5, "c = 5/6": 5 / 6},
        )
    return figure


def _draw_simplex() -> Any:
    from fracjax.plotting import gravity_wells
    from fracjax.plotting.style import new_figure, style

    starts = {
        "r = (1, .5, .5), near a₂": ((1.0, 0.5, 0.5), (0.03, 0.95, 0.02)),
        "r = (1, .5, .5), even rest": ((1.0, 0.5, 0.5), (0.03, 0.485, 0.485)),
        "r = (1, .7, .3), even rest": ((1.0, 0.7, 0.3), (0.03, 0.485, 0.485)),
        "r = (1, .7, .3), near a₃": ((1.0, 0.7, 0.3), (0.03, 0.02, 0.95)),
    }
    run = jax.jit(functools.partial(ascent_trace, num_records=600, step_size=1.0))
    with style():
        figure = new_figure(5.2, 4.6)
        paths = {
            name: np.asarray(run(jnp.log(jnp.asarray(start)), jnp.asarray(rewards)).probabilities)
            for name, (rewards, start) in starts.items()
        }
        axes = figure.subplots()
        gravity_wells.simplex_paths(axes, paths)
        axes.set_title("600 updates of exact softmax policy gradient")
    return figure


PARTS: dict[str, Part] = {
    "softmax": _softmax,
    "escort and natural": _other_rules,
    "unequal rewards": _unequal,
}
