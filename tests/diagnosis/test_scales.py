"""Scales stay above what a finite horizon makes smooth, while there is room for them."""

import math

import pytest

from fracjax.diagnosis.scales import above_horizon


@pytest.mark.parametrize("rate", [0.0, -0.3, math.nan])
def test_without_growth_nothing_is_smoothed(rate):
    assert above_horizon(1.0, 1e-6, rate=rate, steps=100) == (1e-6, 0.0, False)


def test_the_smallest_spacing_is_ten_times_the_scale_of_the_horizon():
    reach = above_horizon(1.0, 1e-6, rate=0.1, steps=100)
    assert reach.smooth_below == pytest.approx(math.exp(-10))
    assert reach.smallest == pytest.approx(10 * math.exp(-10))
    assert not reach.too_short


def test_a_spacing_that_precision_asks_for_is_not_lowered():
    assert above_horizon(1.0, 1e-3, rate=0.1, steps=100).smallest == 1e-3


def test_a_horizon_that_leaves_no_decade_is_too_short_and_raises_nothing():
    # Spacings begin at 1/8: a decade below lies 1/80 = 10 e^{-λT} at λT = ln 800.
    limit = math.log(800)
    assert not above_horizon(1.0, 1e-6, rate=1.0, steps=limit + 1e-6).too_short
    short = above_horizon(1.0, 1e-6, rate=1.0, steps=limit - 1e-6)
    assert short.too_short
    assert short.smallest == 1e-6
