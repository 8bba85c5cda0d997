"""Numbers in recommendations follow from the numbers measured."""

import dataclasses
import math

import numpy as np
import pytest
from watched_runs import FRACTAL, JUMPY, SCALES, SILENT, SMOOTH, UNDECIDED, finding, record

from fracjax.diagnosis import predict
from fracjax.diagnosis.watching import advise
from fracjax.diagnosis.watching.advice import smooth_discount, smooth_horizon, smoothing_scale


def names(found, **options):
    return [item.name for item in advise(record(0, found, **options))]


@pytest.mark.parametrize("seed", range(20))
def test_the_recommended_discount_makes_the_predicted_exponent_at_least_one(seed):
    """Exactly: rounding of the exponential is taken off. And the next larger one would not do."""
    rate = 10 ** np.random.default_rng(seed).uniform(-4, 1)
    gamma = smooth_discount(rate)
    assert predict(gamma, rate, rate, rate).value >= 1
    assert predict(gamma * (1 + 1e-9), rate, rate, rate).value < 1


def test_a_measured_exponent_below_the_law_asks_for_less():
    """α = .2 at γ = .9: growth of -ln .9/.2 was seen, whatever the mean exponent."""
    assert smooth_discount(0.2, holder=0.2, discount=0.9) == pytest.approx(0.9**5)
    assert smooth_discount(1.0, holder=0.2, discount=0.9) == pytest.approx(math.exp(-1))
    assert smooth_discount(0.2, holder=1.5, discount=0.9) == pytest.approx(math.exp(-0.2))


def test_the_recommended_horizon_ends_before_a_change_has_grown():
    assert smooth_horizon(0.0999, math.e) == 10
    steps = smooth_horizon(0.03, 1000.0)
    assert 1000 * math.exp(-0.03 * steps) >= 1 > 1000 * math.exp(-0.03 * (steps + 1))
    assert smooth_horizon(5.0, 2.0) == 1


def test_the_smoothing_scale_is_the_largest_within_the_tolerance():
    """The variogram is made as (s/S)^{2α}: the rms change at s is (s/S)^α / sqrt(4 - 4^α)."""
    found = finding(0.4, "fractal", rate=0.3)
    factor = math.sqrt(4 - 4**0.4)
    for scale in SCALES:
        change = (scale / SCALES[-1]) ** 0.4 / factor
        assert found.variation(scale) == pytest.approx(change, rel=1e-12)
        assert smoothing_scale(found, 1.01 * change) == scale
    assert math.isnan(smoothing_scale(found, 0.5 * found.variation(SCALES[0])))


def test_a_fractal_gets_all_five_with_their_numbers():
    found = {item.name: item for item in advise(record(0, FRACTAL, rate=0.3))}
    assert list(found) == [
        "lower the discount",
        "shorten the horizon",
        "smooth the parameters",
        "smooth the actions",
        "penalise the exponent",
    ]
    assert found["lower the discount"].value == pytest.approx(min(math.exp(-0.3), 0.9**2.5))
    ratio = 0.4 / SCALES[-1]
    assert found["shorten the horizon"].value == math.floor(math.log(ratio) / 0.3)
    assert found["smooth the parameters"].value == smoothing_scale(FRACTAL, 0.5)
    assert found["smooth the actions"].value == 4
    assert found["penalise the exponent"].value == pytest.approx(-math.log(0.9))
    uses = " ".join(item.use for item in found.values())
    for name in ("smoothed_actions", "smoothed_objective", "exponent_penalty", "--discount"):
        assert name in uses


def test_jumps_are_not_answered_by_discount_or_horizon():
    assert names(JUMPY, rate=0.3) == ["smooth the parameters", "smooth the actions"]


def test_what_is_smooth_or_unknown_gets_no_advice_and_silence_gets_its_own():
    assert names(SMOOTH) == names(UNDECIDED) == []
    assert names(SILENT) == ["measure above the noise"]


def test_an_objective_without_a_closed_loop_is_only_smoothed():
    bare = dataclasses.replace(FRACTAL, discount=1.0, predicted={})
    assert names(bare, rate=math.nan) == ["smooth the parameters"]
    assert advise(record(0, dataclasses.replace(bare, scales=()), rate=math.nan))[0].value is None
