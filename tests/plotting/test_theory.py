"""Figures of laws show the numbers they were given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from fracjax.plotting import theory

DISCOUNTS = (0.5, 0.9, 0.99)


def test_exponents_and_laws(axes):
    measured = {"measured": (np.array([1.1, 0.17, 0.02]), np.array([0.01, 0.01, 0.001]))}
    laws = {"law": np.array([1.08, 0.164, 0.0157])}
    assert theory.exponents_and_laws(axes, DISCOUNTS, measured, laws) is axes
    shown = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(np.sort(shown["law"]), np.sort(laws["law"]))
    points = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(points.get_ydata(), measured["measured"][0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.5", "0.9", "0.99"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["law", "measured"]


def test_more_curves_and_laws_than_colours_and_dashes_are_all_drawn(axes):
    values = np.array([0.1, 0.5, 1.0])
    measured = {f"measured {number}": (values, 0.1 * values) for number in range(7)}
    laws = {f"law {number}": values for number in range(5)}
    theory.exponents_and_laws(axes, DISCOUNTS, measured, laws)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(texts) == sorted([*measured, *laws])


def test_slopes_of_more_discounts_than_colours(axes):
    discounts = (0.99, 0.98, 0.97, 0.95, 0.9, 0.8)
    slopes = np.arange(12.0).reshape(2, 6)
    theory.slopes_and_exponents(axes, np.array([0.1, 0.2]), discounts, slopes)
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal([line.get_ydata() for line in points], slopes.T)


def test_estimator_errors():
    axes = Figure().subplots(1, 2)
    truth = np.array([0.3, 0.6])
    values = {"ours": truth[:, None] + np.array([[0.01, 0.03], [-0.02, 0.0]])}
    theory.estimator_errors(axes, truth, values)
    bias = next(line for line in axes[0].lines if line.get_marker() == "o")
    np.testing.assert_allclose(bias.get_ydata(), [0.02, -0.01])
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), [0.02 / 2**0.5] * 2)


def test_mollified_increments_fall_onto_one_curve_where_the_law_holds(axes):
    ratios, alpha = np.array([0.01, 0.1, 1.0, 10.0]), 0.5
    curves = {
        f"{noise}": noise ** (2 * alpha) * ratios**4 / (1 + ratios**3) for noise in (0.1, 0.001)
    }
    noises = {label: float(label) for label in curves}
    theory.mollified_increments(axes, ratios, curves, alpha, noise_scales=noises)
    first, second = (line.get_ydata() for line in axes.lines[:2])
    np.testing.assert_allclose(first, second)


def test_slopes_per_policy_and_their_mean(axes):
    slopes = {"dt = 0.05": np.array([[2.0, 1.9, 0.5], [2.0, 2.0, 0.7]])}
    theory.slopes_and_discounts(axes, DISCOUNTS, slopes)
    assert len(axes.lines[0].get_ydata()) == 6
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [2.0, 1.95, 0.6])


def test_slopes_and_exponents_draw_the_law(axes):
    exponents = np.array([-0.5, 0.2, 0.4])
    slopes = np.array([[2.0, 2.0], [2.0, 1.0], [2.0, 0.5]])
    theory.slopes_and_exponents(axes, exponents, (0.5, 0.9), slopes)
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(points[1].get_ydata(), slopes[:, 1])
    law = [line for line in axes.lines if line.get_ls() == "-" and line.get_marker() == "None"]
    x, y = law[1].get_data()
    assert y[-1] == pytest.approx(-2 * np.log(0.9) / 0.4)
    assert (y[x < -np.log(0.9)] == 2.0).all()
    assert (law[0].get_ydata() == 2.0).all()
