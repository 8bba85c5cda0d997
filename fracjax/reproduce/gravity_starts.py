"""Initial logits from N(0, σ²): who is trapped, for how long, and how heavy the tail is.

Six arms, Δ = .2, η = 1, at most 20 000 updates. References were computed once for this package's
notes from 4096 starts (200 000 for the share trapped); draws differ, so that what is compared are
shares at the reference's quantiles, with the sampling errors of both.
"""

import functools
from typing import Any

import jax
import numpy as np

from fracjax._types import Key, Status
from fracjax.learning.gravity_wells.bandits import policy_probabilities
from fracjax.learning.gravity_wells.initial_spread import (
    SpreadStudy,
    initial_params,
    log_slope,
    share_of,
    spread_study,
)
from fracjax.reproduce.comparisons import about, described
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.gravity_laws import NOTES, equal_rewards
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS"]

_ARMS, _LIMIT, _REFERENCE = 6, 20_000, 4096
# σ: share trapped, median, .9 and .99 quantiles (None beyond the limit), P(T > 100), censored.
_TABLE: dict[float, tuple[float, tuple[float | None, ...], float, float]] = {
    0.1: (0.0, (0, 0, 0), 0.0, 0.0),
    0.5: (0.186, (0, 12, 54), 0.001, 0.0),
    1.0: (0.420, (0, 95, 365), 0.094, 0.0),
    2.0: (0.604, (31, 1173, 12_285), 0.369, 0.005),
    3.0: (0.675, (126.5, 15_411, None), 0.523, 0.088),
    4.0: (0.715, (386, None, None), 0.594, 0.210),
}
_SLOPES = {1.0: -1.22, 2.0: -1.05, 3.0: -1.03, 4.0: -1.03}
_SHARES = (0.5, 0.9, 0.99)
_CURVE = tuple(np.geomspace(1, _LIMIT, 60).round(4).tolist())


def _starts(key: Key, size: Size) -> Findings:
    number = {"quick": 1024, "default": 4096, "full": 65_536}[size]
    draws = 200_000
    with jax.enable_x64(True):
        rewards = equal_rewards(0.2)
        study = jax.jit(
            functools.partial(spread_study, max_steps=_LIMIT, at=(100.0, *_CURVE), shares=_SHARES)
        )
        rows: list[Row] = []
        found: dict[float, SpreadStudy] = {}
        for index, spread in enumerate(_TABLE):
            own = jax.random.fold_in(key, index)
            many = initial_params(own, num_inits=draws, num_arms=_ARMS, spread=spread)
            trapped = share_of(policy_probabilities(many)[:, 0] < 0.1)
            found[spread] = study(many[:number], rewards)
            rows += _rows(spread, float(trapped.value), draws, found[spread], number)
        rows += _trends(found)
        return Findings(rows, {"gravity_survival": functools.partial(_draw, found)})


def _rows(spread: float, trapped: float, draws: int, study: SpreadStudy, number: int) -> list[Row]:
    name = f"logits ~ N(0, {spread:g}²), {number} starts"
    share, quantiles, over, censored = _TABLE[spread]

    def shared(text: str, value: float, expected: float, count: int, others: int) -> Row:
        # Where none is expected the error is that of one case.
        spread_ = max(expected * (1 - expected), 1 / others)
        source = f"{NOTES}, {others} draws"
        error = ((spread_ / count) ** 0.5, (spread_ / others + 0.0005**2) ** 0.5)
        return compare(name, text, (value, error[0]), (expected, error[1], source))

    times = np.asarray(study.times)
    rows = [
        shared("share with π(a*) < .1 (200 000 draws)", trapped, share, draws, draws),
        shared("share censored", float(study.censored.value), censored, number, _REFERENCE),
    ]
    value = float(study.survival.value[0])
    rows.append(shared("P(T > 100)", value, over, number, _REFERENCE))
    for index, (level, quantile) in enumerate(zip(_SHARES, quantiles, strict=True)):
        own = jax.tree.map(lambda leaf, index=index: leaf[index], study.quantiles)
        beyond = int(own.status) == int(Status.NOT_CONVERGED)
        text = f"{level:g} quantile of T" + (f", beyond {_LIMIT}" if beyond else "")
        rows.append(described(name, text, own))
        if not quantile:  # None, or zero: what is compared is the share of those trapped
            continue
        text = f"share of T above the reference's {level:g} quantile, {quantile:g}"
        value = float(np.mean(times > quantile))
        rows.append(shared(text, value, 1 - level, number, _REFERENCE))
    if spread not in _SLOPES:
        return rows
    long = log_slope(
        study.start, study.times.astype(study.start.dtype), study.observed & (times > 50)
    )
    pair = (float(long.value), float(long.stderr))
    text = "slope of ln T over ln π₁ among T > 50 (chosen by T)"
    rows.append(about(name, text, pair, _SLOPES[spread], 0.03, NOTES))
    chosen = (float(study.slope.value), float(study.slope.stderr))
    text = "slope of ln T over ln π₁, starts chosen by π₁"
    if spread >= 2:
        source = "law: -1 as π₁ → 0; (1 - 10π₁) makes it steeper"
        rows.append(about(name, text, chosen, -1.0, 0.06, source))
    else:
        rows.append(describe(name, f"{text}; short times only", chosen))
    rows += [
        describe(name, f"{end} T η Δ π₁ (1 + Σw²), law 1", (float(each), 0.0))
        for end, each in zip(("smallest", "largest"), study.constants, strict=True)
    ]
    return rows


def _trends(found: dict[float, SpreadStudy]) -> list[Row]:
    rows = []
    for text, values in (
        ("share trapped", [float(each.trapped.value) for each in found.values()]),
        ("share censored", [float(each.censored.value) for each in found.values()]),
        ("P(T > 100)", [float(each.survival.value[0]) for each in found.values()]),
    ):
        falls = int(np.sum(np.diff(values) < 0))
        source = "law: a larger spread of logits traps more"
        rows.append(
            compare("over σ = .1 to 4", f"times that the {text} falls", (falls, 0), (0, 0, source))
        )
    return rows


def _draw(found: dict[float, SpreadStudy]) -> Any:
    from fracjax.plotting import gravity_wells
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.6, 4.2)
        curves = {
            f"σ = {spread:g}": jax.tree.map(lambda leaf: leaf[1:], study.survival)
            for spread, study in found.items()
            if spread >= 0.5
        }
        gravity_wells.survival_by_spread(
            figure.subplots(), np.asarray(_CURVE), curves, limit=_LIMIT
        )
    return figure


PARTS: dict[str, Part] = {"initial spread": _starts}
