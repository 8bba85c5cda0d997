"""Warnings on made-up runs: when they come, when they go, and how often for nothing."""

import math

import numpy as np
import pytest
from scipy.stats import t as student
from watched_runs import (
    FRACTAL,
    JUMPY,
    SILENT,
    SMOOTH,
    UNDECIDED,
    finding,
    record,
)

from fracjax.diagnosis.watching import Stretch, messages, stretches


def told(*found):
    rows = [record(10 * index, one) for index, one in enumerate(found)]
    return [(m.step, m.kind, m.entered) for m in messages(rows)]


def test_two_successive_records_make_a_stretch_and_two_end_it():
    assert told(SMOOTH, FRACTAL, SMOOTH, FRACTAL, SMOOTH) == []
    assert told(SMOOTH, FRACTAL, FRACTAL, FRACTAL) == [(20, "fractal", True)]
    run = (FRACTAL, FRACTAL, SMOOTH, FRACTAL, SMOOTH, SMOOTH, FRACTAL)
    assert told(*run) == [(10, "fractal", True), (50, "fractal", False)]


def test_records_that_cannot_tell_do_not_confirm_and_do_not_end():
    assert told(FRACTAL, UNDECIDED, FRACTAL) == []
    assert told(FRACTAL, UNDECIDED, UNDECIDED) == []
    run = (FRACTAL, FRACTAL, SMOOTH, UNDECIDED, SMOOTH)
    assert told(*run) == [(10, "fractal", True), (40, "fractal", False)]
    assert told(FRACTAL, FRACTAL, UNDECIDED, UNDECIDED) == [(10, "fractal", True)]


def test_the_law_counts_where_the_measured_exponent_agrees():
    """Measured .7 [.3, 1.1] decides nothing by itself; -ln γ/λ = .5 [.45, .55] does."""
    rate = -math.log(0.9) / 0.5
    agreeing = finding(0.7, "undecided", half=0.4, rate=rate)
    assert told(agreeing, agreeing) == [(10, "fractal", True)]
    smooth_law = finding(0.7, "undecided", half=0.4, rate=-0.1)
    assert told(smooth_law, smooth_law) == []
    apart = finding(0.95, "undecided", half=0.1, rate=rate)
    assert told(apart, apart) == []
    untrusted = finding(0.7, "undecided", half=0.4, rate=rate, status="not_converged")
    assert told(untrusted, untrusted) == []


def test_jumps_and_silence_have_stretches_of_their_own():
    assert told(JUMPY, JUMPY) == [(10, "discontinuous", True)]
    found = told(FRACTAL, FRACTAL, JUMPY, JUMPY)
    assert sorted(found[1:]) == [(30, "discontinuous", True), (30, "fractal", False)]
    assert told(SILENT, SILENT, SMOOTH, SMOOTH) == [
        (10, "noise floor", True),
        (30, "noise floor", False),
    ]


def test_discounts_are_judged_apart():
    other = finding(2.0, discount=0.5)
    rows = [record(step, FRACTAL, other) for step in range(3)]
    assert [(m.kind, m.discount) for m in messages(rows)] == [("fractal", 0.9)]
    assert "0.40 [0.30, 0.50]" in messages(rows)[0].text


def collapse(values, *, half=0.5, maximize=True):
    rows = [record(i, SMOOTH, value=float(value), half=half) for i, value in enumerate(values)]
    return [(m.step, m.entered) for m in messages(rows, maximize=maximize)]


def test_a_return_collapses_when_half_of_the_gain_is_lost_and_the_intervals_agree():
    assert collapse([0, 5, 10, 6]) == []
    assert collapse([0, 5, 10, 4]) == [(3, True)]
    assert collapse([0, 5, 10, 4, 4, 6, 9]) == [(3, True), (5, False)]
    assert collapse([0, 5, 10, 4], half=4.0) == []  # the intervals [6, 14] and [0, 8] meet
    assert collapse([10, 5, 0, 6], maximize=False) == [(3, True)]
    assert collapse([0, -1, -2]) == []  # nothing was gained yet


def test_stretches_reach_from_the_first_record_that_says_so():
    run = (SMOOTH, FRACTAL, FRACTAL, SMOOTH, SMOOTH, FRACTAL, FRACTAL)
    rows = [record(10 * index, one) for index, one in enumerate(run)]
    assert stretches(rows) == [Stretch("fractal", 0.9, 10, 30), Stretch("fractal", 0.9, 50, None)]
    assert stretches([]) == []


def test_false_alarms_at_the_border_are_as_rare_as_two_flukes():
    """α = 1 exactly, 8 lines, 95 % intervals: 20 records make 19 pairs of chance .025².

    1.2 % of 2000 runs are expected (a little less, as pairs overlap); bounds at 4 errors.
    """
    generator = np.random.default_rng(0)
    runs, alarms = 2000, 0
    lines = 1 + 0.3 * generator.normal(size=(runs, 20, 8))
    means = lines.mean(axis=2)
    halves = student.ppf(0.975, 7) * lines.std(axis=2, ddof=1) / math.sqrt(8)
    table = [[record(step, one) for step in range(20)] for one in (UNDECIDED, FRACTAL, SMOOTH)]
    says = np.where(means + halves < 1, 1, np.where(means - halves > 1, 2, 0))
    for run in says:
        alarms += bool(messages([table[which][step] for step, which in enumerate(run)]))
    expected = 19 * 0.025**2
    assert abs(alarms / runs - expected) < 4 * math.sqrt(expected / runs)


@pytest.mark.parametrize("kind", ["fractal", "discontinuous"])
def test_leaving_says_what_it_is_now(kind):
    inside = FRACTAL if kind == "fractal" else JUMPY
    rows = [record(i, one) for i, one in enumerate((inside, inside, SMOOTH, SMOOTH))]
    assert messages(rows)[-1].text == f"γ = 0.9: left the {kind} stretch (smooth: made up)"
