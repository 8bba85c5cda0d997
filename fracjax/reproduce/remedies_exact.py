"""Remedies on a loop whose return is a known sum of cosines: horizon and parameter smoothing.

x' = 3 (x + g θ) mod 1 with the reward cos 2πx: the return Σ γ^t cos 2πx_t is Weierstrass's
function of θ, of exponent −ln γ/ln 3, and everything that a remedy does to it is in closed form.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, Objective
from fracjax.learning.exponent_regularization.parameter_smoothing import (
    rough_again_below,
    smoothed_objective,
)
from fracjax.reproduce.comparisons import about, mean_of
from fracjax.reproduce.experiments import Size
from fracjax.reproduce.rows import Findings, Measured, Row, describe
from fracjax.systems import maps, mdps

__all__ = ["PARTS"]

_GAIN = 0.02
_RATE = math.log(3.0)
_SYSTEM = "3x mod 1 with an additive action"
_WHOLE = 60  # steps; beyond 33 of them 3^t exceeds the inverse of the rounding unit


def _returns(discount: float, horizon: int) -> Objective:
    found = mdps.chaotic_returns(
        maps.expanding(3.0), (discount,), num_steps=horizon, feedback="constant", gain=_GAIN
    )
    return lambda parameter, key: found(parameter, key)[0]


def _modes(discount: float, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers and amplitudes of the cosines in θ."""
    time = np.arange(horizon)
    return 2 * math.pi * _GAIN * (3.0 ** (time + 1) - 3) / 2, discount**time


def _second_differences(
    objective: Objective, centres: np.ndarray, steps: np.ndarray, key: Key
) -> np.ndarray:
    """Squared second differences, (centres, steps)."""

    @jax.jit
    def squares(places: jax.Array) -> jax.Array:
        def at(place: jax.Array) -> jax.Array:
            def value(offset: jax.Array) -> jax.Array:
                return objective(place + offset, key)

            size = jnp.asarray(steps)
            middle = value(jnp.zeros_like(place))
            return (jax.vmap(value)(size) - 2 * middle + jax.vmap(value)(-size)) ** 2

        return jax.lax.map(at, places, batch_size=64)

    return np.asarray(squares(jnp.asarray(centres)))


def _slope(squares: np.ndarray, steps: np.ndarray, groups: int = 16) -> Measured:
    """Exponent: half the slope of ln of the mean square, and its jackknife error over groups."""

    def fit(rows: np.ndarray) -> float:
        return float(np.polyfit(np.log(steps), np.log(rows.mean(axis=0)), 1)[0] / 2)

    parts = np.array_split(np.arange(len(squares)), groups)
    others = np.array([fit(np.delete(squares, part, axis=0)) for part in parts])
    error = math.sqrt((groups - 1) / groups * np.sum((others - others.mean()) ** 2))
    return Measured(fit(squares), error, groups - 1.0)


def _centres(key: Key, count: int) -> np.ndarray:
    """Parameters over one period of the return, so that means over them are those of the law."""
    return np.asarray(jax.random.uniform(key, (count,), maxval=1 / (3 * _GAIN)), float)


def _horizon(key: Key, size: Size) -> Findings:
    """A return of T steps is smooth below e^{−λT} and what it was above."""
    discount, horizons = 0.5, (12, 16)
    alpha = -math.log(discount) / _RATE
    centres = _centres(key, {"quick": 512, "default": 4096, "full": 65536}[size])
    steps = 3.0 ** np.arange(-18, 1.01, 0.5) / _GAIN / 10
    rows: list[Row] = []
    curves, cuts = {}, {}
    whole = _second_differences(_returns(discount, _WHOLE), centres, steps, key)
    window = (steps > steps[-1] / 3.0**12) & (steps < steps[-1] / 81)
    before = _slope(whole[:, window], steps[window])
    rows.append(
        about(_SYSTEM, f"α, γ=0.5, T={_WHOLE}", before, alpha, 0.03, "law: -ln γ/λ, whole periods")
    )
    for horizon in horizons:
        cut = math.exp(-_RATE * horizon) / _GAIN / (3 * math.pi)
        squares = _second_differences(_returns(discount, horizon), centres, steps, key)
        below = (steps > cut / 3.0**5.2) & (steps < cut / 3.0**1.2)
        above = (steps > 9 * cut) & (steps < steps[-1] / 81)
        name = f"γ=0.5, T={horizon}"
        rows.append(
            about(
                _SYSTEM,
                f"exponent of second differences below e^(-λT), {name}",
                _slope(squares[:, below], steps[below]),
                2.0,
                0.03,
                "law: smooth below e^(-λT)",
            )
        )
        rows.append(
            about(
                _SYSTEM,
                f"exponent above e^(-λT), {name}",
                _slope(squares[:, above], steps[above]),
                alpha,
                0.05,
                "law: -ln γ/λ",
            )
        )
        lost = discount**horizon
        rows.append(
            describe(_SYSTEM, f"cost: share of the discounted reward cut off, {name}", (lost, 0.0))
        )
        curves[f"T = {horizon}"] = squares
        cuts[f"e^(-λT), T={horizon}"] = cut
    # Where the smooth line meets the rough one: it moves by e^{−λ} per step of the horizon.
    crossings = [
        _crossing(curves[f"T = {horizon}"], steps, cuts[f"e^(-λT), T={horizon}"], groups=16)
        for horizon in horizons
    ]
    moved = crossings[1] - crossings[0]
    per_step = mean_of(moved / (horizons[1] - horizons[0]))
    rows.append(
        about(
            _SYSTEM,
            "shift of ln(scale where smooth meets rough) per step of the horizon",
            per_step,
            -_RATE,
            0.05,
            "law: -λ",
        )
    )
    longer = _second_differences(_returns(discount, 2 * _WHOLE), centres, steps, key)
    gap = np.log(longer[:, window].mean(axis=1)) - np.log(whole[:, window].mean(axis=1))
    rows.append(
        about(
            _SYSTEM,
            f"placebo: ln ratio of squared differences, T={2 * _WHOLE} to {_WHOLE}, γ=0.5",
            mean_of(gap),
            0.0,
            1e-3,
            "nothing to change: γ^60 = 9e-19",
        )
    )
    table = {f"T = {_WHOLE}": whole, **curves}
    return Findings(rows, {"remedy_horizon": functools.partial(_draw_horizon, steps, table, cuts)})


def _crossing(squares: np.ndarray, steps: np.ndarray, cut: float, groups: int) -> np.ndarray:
    """Logarithm of the step at which the two power laws meet, per group of centres."""
    below = (steps > cut / 3.0**5.2) & (steps < cut / 3.0**1.2)
    above = (steps > 9 * cut) & (steps < steps[-1] / 81)
    found = []
    for part in np.array_split(np.arange(len(squares)), groups):
        logs = np.log(squares[part].mean(axis=0))
        smooth = np.polyfit(np.log(steps[below]), logs[below], 1)
        rough = np.polyfit(np.log(steps[above]), logs[above], 1)
        found.append((rough[1] - smooth[1]) / (smooth[0] - rough[0]))
    return np.array(found)


def _smoothing(key: Key, size: Size) -> Findings:
    """A mean over R Gaussian changes leaves 1/R of the roughness below σ, and all above."""
    discount, sigma = 0.8, 1e-3 / _GAIN
    alpha = -math.log(discount) / _RATE
    counts = (16, 256)
    num_centres, num_keys = {"quick": (48, 8), "default": (128, 32), "full": (1024, 64)}[size]
    centres = _centres(key, num_centres)
    steps = sigma * 3.0 ** np.arange(-10, 3.01, 1.0)
    plain = _returns(discount, _WHOLE)
    base = _second_differences(plain, centres, steps, key).mean(axis=0)
    numbers, amplitudes = _modes(discount, _WHOLE)
    bumps = amplitudes**2 * np.sin(np.minimum(numbers * steps[:, None], 1e9) / 2) ** 4
    share = (bumps * np.exp(-np.minimum((numbers * sigma) ** 2, 700))).sum(axis=1) / bumps.sum(
        axis=1
    )
    rows, curves, laws, marks = [], {}, {}, {"σ": sigma}
    for count in counts:
        smoothed = smoothed_objective(plain, sigma, count)
        ratios = np.array(
            [
                _second_differences(smoothed, centres, steps, jax.random.fold_in(key, draw)).mean(
                    axis=0
                )
                / base
                for draw in range(num_keys)
            ]
        )
        law = (1 - 1 / count) * share + 1 / count
        errors = ratios.std(axis=0, ddof=1) / num_keys**0.5
        label = f"R = {count}"
        curves[label], laws[label] = (ratios.mean(axis=0), errors), law
        marks[f"rough again, R={count}"] = rough_again_below(alpha, sigma, count)
        for index, words in ((0, "σ/59049"), (5, "σ/243"), (10, "σ"), (13, "27 σ")):
            mean = mean_of(ratios[:, index])  # whose expectation the law is
            logs = mean._replace(value=math.log(mean.value), error=mean.error / mean.value)
            rows.append(
                about(
                    _SYSTEM,
                    f"ln share of squared differences left at the step {words}, {label}",
                    logs,
                    math.log(law[index]),
                    0.2,
                    "law: (1 - 1/R) F + 1/R",
                )
            )
        below = steps < marks[f"rough again, R={count}"] / 20
        slopes = [
            np.polyfit(np.log(steps[below]), np.log(row[below] * base[below]), 1)[0] / 2
            for row in ratios
        ]
        rows.append(
            about(
                _SYSTEM,
                f"exponent far below σ, {label}",
                mean_of(np.array(slopes)),
                alpha,
                0.03,
                "law: -ln γ/λ still",
            )
        )
    same = smoothed_objective(plain, 0.0, 4)
    gap = _second_differences(same, centres, steps, key).mean(axis=0) / base - 1
    rows.append(
        about(
            _SYSTEM,
            "placebo: share of squared differences changed at σ = 0",
            (float(np.abs(gap).max()), 0.0),
            0.0,
            1e-6,
            "nothing to change",
        )
    )
    values = jax.jit(jax.vmap(lambda place: plain(place, key)))(jnp.asarray(centres))
    for count in counts:
        smoothed = smoothed_objective(plain, sigma, count)
        after = jax.jit(lambda places, f=smoothed: jax.lax.map(lambda p: f(p, key), places))(
            jnp.asarray(centres)
        )
        ratio = float(np.std(after) / np.std(values))
        rows.append(
            describe(
                _SYSTEM, f"cost: SD of the landscape left, σ={sigma:g}, R={count}", (ratio, 0.0)
            )
        )
    draw = functools.partial(_draw_smoothing, steps, curves, laws, marks)
    return Findings(rows, {"remedy_parameter_smoothing": draw})


def _draw_horizon(steps: np.ndarray, table: dict, cuts: dict) -> Any:
    from fracjax.plotting import remedies
    from fracjax.plotting.style import new_figure, style

    curves = {
        label: (squares.mean(axis=0), squares.std(axis=0, ddof=1) / len(squares) ** 0.5)
        for label, squares in table.items()
    }
    with style():
        figure = new_figure(5.5, 4.0)
        axes = remedies.roughness_curves(figure.subplots(), steps, curves, marks=cuts)
        axes.set_title("a shorter horizon: 3x mod 1, γ = 0.5")
    return figure


def _draw_smoothing(steps: np.ndarray, curves: dict, laws: dict, marks: dict) -> Any:
    from fracjax.plotting import remedies
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        axes = remedies.roughness_curves(
            figure.subplots(),
            steps,
            curves,
            laws,
            marks=marks,
            name="share of squared second differences left",
        )
        axes.set_title("parameter smoothing: 3x mod 1, γ = 0.8")
    return figure


PARTS = {"horizon": _horizon, "parameter smoothing": _smoothing}
