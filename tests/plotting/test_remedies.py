"""Pictures of remedies show the numbers they were given."""

import numpy as np
import pytest

from fracjax import Estimate
from fracjax.plotting import remedies


def test_slices_are_drawn_in_their_own_units(axes):
    places = np.linspace(-1, 1, 50)
    slices = {"before": 3 + 2 * np.sin(30 * places), "after": np.zeros(50)}
    remedies.before_and_after(axes, places, slices)
    first, second = (line.get_ydata() for line in axes.lines)
    assert first.std() == pytest.approx(1)
    np.testing.assert_allclose(second, -5)
    assert "SD 1.4" in axes.get_legend().get_texts()[0].get_text()


def test_pairs_are_joined_and_predictions_capped(axes):
    measured = np.array([[0.2, 1.0], [0.4, np.nan]])
    remedies.exponent_pairs(axes, ["before", "after"], measured, np.array([[0.3, 9.0]] * 2))
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.2, 1.0])
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), [0.3, 2.0])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["before", "after"]
    assert len(axes.get_legend().get_texts()) == 2


def test_curves_stand_beside_their_laws(axes):
    scales = np.geomspace(1e-3, 1, 4)
    curves = {"R = 4": (scales, 0.1 * scales), "R = 8": (2 * scales, 0.1 * scales)}
    remedies.roughness_curves(axes, scales, curves, {"R = 8": 3 * scales}, marks={"σ": 0.1})
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 4]
    assert any(np.allclose(values, 3 * scales) for values in drawn)
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_training_is_a_line_with_a_band(axes):
    value = np.linspace(0, 1, 6)
    status = np.zeros(6, int)
    curve = Estimate(value, 0 * value, value - 0.1, value + 0.1, status)
    remedies.training_curves(axes, {"weight 0": curve})
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), value)
    assert len(axes.collections) == 1
