"""Predictions and verdicts on made-up measurements."""

import dataclasses
import math

import numpy as np
import pytest

from fracjax import Estimate, Status
from fracjax.diagnosis import Chaos, Prediction, Verdict, judge, predict
from fracjax.diagnosis.verdict import agrees, predictions
from fracjax.estimators.roughness.jumps import Jumps


def measured(low, high, status=Status.OK):
    value = (low + high) / 2
    return Estimate(*(np.asarray(x) for x in (value, 0.01, low, high)), np.asarray(int(status)))


def jumps(lines):
    held = np.arange(32) < lines
    return Jumps(lines, lines, held, 1.0, 1e-6)


NONE = jumps(0)
SMOOTH, ROUGH = Prediction(2.0, 2.0, 2.0), Prediction(0.5, 0.4, 0.6)


def verdict(estimate, found=NONE, rest=None, prediction=ROUGH, short=False):
    return judge(estimate, found, rest, prediction, horizon_too_short=short)


def test_prediction_is_the_law_and_swaps_the_ends():
    got = predict(0.9, 0.2, 0.3, 0.4)
    rate = -math.log(0.9)
    assert got == pytest.approx((rate / 0.3, rate / 0.4, rate / 0.2))
    assert predict(0.9, -0.2, 0.01, 0.3) == (2.0, pytest.approx(rate / 0.3), 2.0)
    assert predict(0.9, -0.3, -0.2, -0.1) == (2.0, 2.0, 2.0)
    assert math.isnan(predict(0.9, 0.1, math.nan, 0.2).value)


def test_interval_decides():
    assert verdict(measured(0.3, 0.5))[0] == Verdict.FRACTAL
    assert "though" in verdict(measured(0.3, 0.5), prediction=SMOOTH)[1]
    assert "though" not in verdict(measured(0.3, 0.5), prediction=ROUGH)[1]
    assert verdict(measured(1.2, 1.9), prediction=SMOOTH)[0] == Verdict.SMOOTH
    found, reason = verdict(measured(0.9, 1.1))
    assert found == Verdict.UNDECIDED
    assert "straddles 1" in reason


def test_a_short_horizon_that_smooths_a_chaotic_loop_is_not_smooth():
    found, reason = verdict(measured(1.9, 2.0), short=True)
    assert found == Verdict.UNDECIDED
    assert "horizon is too short" in reason
    assert verdict(measured(1.9, 2.0), prediction=SMOOTH, short=True)[0] == Verdict.SMOOTH


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (Status.AT_NOISE_FLOOR, "noise"),
        (Status.NO_SCALING_REGION, "power law"),
        (Status.DIVERGED, "finite"),
        (Status.TOO_FEW_POINTS, "too few"),
        (Status.NOT_CONVERGED, "carry the estimate"),
    ],
)
def test_no_number_no_verdict(status, word):
    found, reason = verdict(measured(0.3, 0.5, status))
    assert found == Verdict.UNDECIDED
    assert word in reason


def test_jumps_decide_unless_the_rest_is_rough_too():
    assert verdict(measured(0.3, 0.5), jumps(4))[0] == Verdict.DISCONTINUOUS
    found, reason = verdict(measured(0.3, 0.5), jumps(4), measured(1.8, 2.0))
    assert found == Verdict.DISCONTINUOUS
    assert "4 of 32 lines" in reason
    assert "without them the exponent is 1.9" in reason
    assert verdict(measured(0.3, 0.5), jumps(4), measured(0.3, 0.6))[0] == Verdict.FRACTAL
    assert verdict(measured(0.3, 0.5, Status.NO_SCALING_REGION), jumps(4))[0] == (
        Verdict.DISCONTINUOUS
    )
    assert verdict(measured(0.3, 0.5), jumps(1))[0] == Verdict.FRACTAL


def test_an_exponent_at_the_cap_is_said_as_a_bound():
    found, reason = verdict(measured(1.9999, 2.0001))
    assert found == Verdict.SMOOTH
    assert reason == "the exponent is at least 2, above 1"
    first = dataclasses.replace(measured(0.9999, 1.0001), details={"order": 1})
    assert "without them the exponent is at least 1" in verdict(first, jumps(4), first)[1]
    assert "the exponent 1.975 [1.95, 2] is above 1" in verdict(measured(1.95, 2.0))[1]


def test_jumps_of_episodes_that_end_early_are_explained():
    _, reason = judge(
        measured(0.3, 0.5), jumps(4), None, ROUGH, horizon_too_short=False, terminates=True
    )
    assert "episodes end early" in reason


def test_agreement_is_capped_at_one():
    assert agrees(Prediction(1.3, 1.2, 1.4), measured(1.8, 2.0))
    assert not agrees(Prediction(0.5, 0.4, 0.6), measured(1.8, 2.0))
    assert agrees(Prediction(0.5, 0.4, 0.6), measured(0.55, 0.8))


def test_nothing_agrees_with_no_number():
    nothing = Prediction(math.nan, math.nan, math.nan)
    assert not agrees(nothing, measured(0.3, 0.5))
    assert not agrees(SMOOTH, measured(math.nan, math.nan))


def test_predictions_look_at_windows_that_episodes_survive():
    """Half the episodes end after 20 steps; the memory of γ = .99 is 100."""
    growth = np.random.default_rng(0).normal(0.1, 0.05, (8, 200))
    alive = np.arange(200) < np.where(np.arange(8) < 4, 20, 200)[:, None]
    spectrum = Estimate(*(np.asarray([x]) for x in (0.1, 0.01, 0.08, 0.12)), np.asarray([0]))
    chaos = Chaos(spectrum, growth, alive, None, 110.0, 0)
    for found in predictions(chaos, 0.99, 1.0).values():
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(-math.log(0.99) / 0.1, rel=0.5)
