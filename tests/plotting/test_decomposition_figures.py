"""Figures of decompositions show what they are given."""

import numpy as np
import pytest

from fracjax import Estimate
from fracjax.plotting import decomposition
from fracjax.plotting.style import new_figure


@pytest.fixture
def axes():
    return new_figure(3.0, 3.0).subplots()


def test_loss_curves_have_a_line_per_run_and_a_median(axes):
    runs = np.array([[0.9, 0.3], [0.8, 0.2], [0.7, 0.7]])
    decomposition.loss_curves(axes, {"a": runs, "b": runs[0]}, reference=("published", 0.19))
    assert len(axes.lines) == 3 + 1 + 1 + 1 + 1
    np.testing.assert_allclose(axes.lines[3].get_ydata(), [0.8, 0.3])
    np.testing.assert_array_equal(axes.lines[3].get_xdata(), [1, 2])
    assert axes.lines[-1].get_ydata()[0] == 0.19
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "published"]


def test_subnetworks_stand_in_the_order_of_what_they_own(axes):
    cosines = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.95], [np.nan, np.nan]])
    image = decomposition.owner_matrix(axes, cosines, features=["x", "y"])
    shown = np.ma.filled(image.get_array(), np.nan)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    np.testing.assert_array_equal(shown, cosines[[int(label) for label in labels]])
    assert labels.index("1") < labels.index("2") < labels.index("0")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["x", "y"]
    assert image.get_clim() == (0, 1)


def test_own_outputs_rise_to_the_right(axes):
    sizes = np.linspace(-1, 1, 3)
    changes = np.zeros((2, 3, 2))
    changes[0, :, 0] = [-0.1, 0, 2]
    changes[1, :, 1] = [3, 0, -0.2]
    changes[1, :, 0] = [0.5, 0, np.nan]
    decomposition.intervention_curves(axes, sizes, changes, np.array([0, 1]))
    own = [line.get_ydata() for line in axes.lines if line.get_linewidth() > 1]
    np.testing.assert_array_equal(own, [[-0.1, 0, 2], [-0.2, 0, 3]])
    others = [line.get_ydata() for line in axes.lines if line.get_linewidth() < 1]
    np.testing.assert_array_equal(others, [[0, 0, 0], [np.nan, 0, 0.5]])
    assert len(axes.get_legend().get_texts()) == 2


def test_r_and_its_square_are_written_apart(axes):
    truth, products = np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[5.0, 10.0], [0.0, -2.0]])
    decomposition.coefficient_scatter(
        axes, truth, products, pooled=0.916, each=np.array([1.0, np.nan]), ceiling=0.97
    )
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.5, 1.0])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [0.0, -1.0])
    title = axes.get_title(loc="left") or axes.get_title()
    assert "r = 0.92, r² = 0.84" in title
    assert "one subnetwork = 1.00" in title
    assert "itself = 0.97" in title


def test_dead_subnetworks_are_marked(axes):
    decomposition.activation_frequencies(axes, np.array([0.0, 0.2, 0.01, 0.4]), threshold=0.01)
    assert [bar.get_height() for bar in axes.patches] == [0.4, 0.2]
    (marks,) = axes.lines
    np.testing.assert_array_equal(marks.get_xdata(), [2, 3])
    assert "dead (2 of 4)" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_top_of_every_row_is_marked(axes):
    scores = np.array([[1.0, 4.0, 2.0], [np.nan, np.nan, np.nan], [3.0, 0.0, 1.5]])
    image = decomposition.top_outputs(axes, scores, ["a", "b", "c"], chosen=[2, 0, 1])
    shown = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_array_equal(shown[:2], [[1, 0, 0.5], [0.25, 1, 0.5]])
    assert np.isnan(shown[2]).all()
    (marks,) = axes.lines
    np.testing.assert_array_equal(marks.get_xydata(), [[0, 0], [1, 1]])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["2", "0", "1"]


def test_returns_stand_over_the_band_of_random_directions(axes):
    sizes = np.array([-1.0, 0.0, 1.0])
    value = np.array([[-2.0, 0.0, 1.0], [np.nan, 0.0, -1.0]])
    found = Estimate(value, value * 0 + 0.1, value - 0.2, value + 0.2, np.zeros((2, 3), int))
    nulls = np.linspace(-1, 1, 101)[:, None] * np.array([1.0, 0.0, 2.0])
    decomposition.return_curves(axes, sizes, found, nulls, along="moved", linear_within=0.5)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-1.8)
    assert band[:, 1].max() == pytest.approx(1.8)
    first, second = axes.containers
    np.testing.assert_array_equal(first.lines[0].get_ydata(), value[0])
    np.testing.assert_array_equal(second.lines[0].get_xdata(), [0.0, 1.0])
    assert axes.get_xlabel() == "moved"
    assert axes.get_yscale() == "symlog"
