"""Pictures of returns after updates show the numbers they were given."""

import dataclasses

import numpy as np
import pytest

from fracjax import Estimate, Status
from fracjax.learning.return_distributions.distribution import ReturnDistribution
from fracjax.plotting import return_distributions


def estimate(value, **details):
    value = np.asarray(value, float)
    return Estimate(value, value / 10, value - 1, value + 1, np.asarray(int(Status.OK)), details)


def test_a_histogram_counts_every_update(axes):
    returns = 100 - np.random.default_rng(0).gamma(2.0, 10.0, 200)
    parts = [estimate(value) for value in (80, 14, -1.4, 0.07, 0.02, 52)]
    found = ReturnDistribution(*parts, mode=np.asarray(90.0))
    return_distributions.return_histogram(axes, returns, found, before=95.0, bins=30)
    assert sum(bar.get_height() for bar in axes.patches) == 200
    places = [line.get_xdata()[0] for line in axes.lines]
    assert places == pytest.approx([95.0, 52.0])
    assert "left-tail probability 7 %" in axes.texts[0].get_text()
    below = dataclasses.replace(found, left_tail=estimate(np.nan))  # no positive mode
    return_distributions.return_histogram(axes, returns, below)
    assert "left-tail probability" not in axes.texts[1].get_text()


def test_spreads_stand_over_their_sizes(axes):
    sizes = np.array([0.01, 0.1, 1.0])
    slope = estimate(0.5, deviation=sizes**0.5, deviation_stderr=0.05 * sizes)
    return_distributions.spread_against_size(
        axes, {"place": sizes}, {"place": slope}, holder={"place": 0.4}
    )
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["min(1, Hölder exponent) = 0.40", "place: slope 0.50"]
    dashed = next(line for line in axes.lines if line.get_ls() == "--")
    assert dashed.get_ydata()[2] / dashed.get_ydata()[1] == pytest.approx(10**0.4)
