"""Figures of flossing show what they are given."""

import numpy as np

from fracjax.learning.recurrent_training.success_rates import success_rate
from fracjax.plotting import flossing
from fracjax.plotting.style import DISCOUNT_COLORS, new_figure


def test_success_rates_stand_at_their_delays_with_their_intervals():
    axes = new_figure(3.0, 3.0).subplots()
    rates = {
        "none": success_rate(np.array([[True] * 8, [False] * 8])),
        "pre": success_rate(np.array([[True] * 8, [True] * 4 + [False] * 4])),
    }
    flossing.success_against_delay(axes, (10, 20), rates)
    none, pre = axes.containers
    np.testing.assert_allclose(none.lines[0].get_ydata(), [1, 0])
    np.testing.assert_allclose(pre.lines[0].get_xdata(), [10.6, 20.6])
    ends = none.lines[2][0].get_segments()
    np.testing.assert_allclose(ends[0][:, 1], [0.6306, 1], atol=1e-4)
    np.testing.assert_allclose(ends[1][:, 1], [0, 0.3694], atol=1e-4)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["none", "pre"]


def test_a_diverged_run_is_left_out_of_the_median():
    axes = new_figure(3.0, 3.0).subplots()
    table = np.array([[0.5, 0.6, np.nan], [0.5, 0.8, np.inf], [0.5, np.nan, np.nan]])
    flossing.runs_along_training(
        axes, np.array([0, 5, 10]), {"none": table}, label="accuracy", reference=("chance", 0.5)
    )
    chance, *runs, median = axes.lines
    assert chance.get_ydata()[0] == 0.5
    assert len(runs) == 3
    np.testing.assert_allclose(median.get_ydata(), [0.5, 0.7, np.nan])
    assert median.get_color() == DISCOUNT_COLORS[0]
    assert axes.get_xlabel() == "updates of the task"


def test_exponents_and_spectra():
    axes = new_figure(3.0, 3.0).subplots()
    exponents = np.array([[0.1, -0.2], [0.0, -np.inf]])
    flossing.exponents_along_training(axes, np.array([0, 10]), exponents, title="none")
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.1, 0.0])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [-0.2, np.nan])
    axes = new_figure(3.0, 3.0).subplots()
    spectra = {"before": np.array([[0.1, -0.3], [0.3, -0.5]])}
    flossing.spectra_of_networks(axes, spectra, num_flossed=1)
    assert axes.lines[1].get_xdata()[0] == 1.5
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), [0.2, -0.4])
    assert axes.get_legend().get_texts()[0].get_text() == "before"


def test_the_growth_of_condition_numbers_stands_beside_its_law():
    axes = new_figure(3.0, 3.0).subplots()
    points = {"none": (np.array([0.1, 0.4]), np.array([0.1, 0.5]))}
    flossing.condition_growth(axes, points)
    law, found = axes.lines
    np.testing.assert_allclose(law.get_xdata(), law.get_ydata())
    assert law.get_xdata()[-1] == 0.4
    np.testing.assert_allclose(found.get_ydata(), [0.1, 0.5])
