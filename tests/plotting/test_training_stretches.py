"""Figures of training runs show the numbers they were given."""

import numpy as np

from fracjax import Estimate
from fracjax.plotting import training_stretches


def estimate(value, error, **details):
    value, error = np.asarray(value, float), np.asarray(error, float)
    return Estimate(
        value, error, value - 2 * error, value + 2 * error, np.zeros(value.shape, int), details
    )


def test_stretches_start_at_their_snapshot(axes):
    steps = np.array([0, 100, 200, 300])
    returns = estimate([1.0, 2.0, 0.5, 3.0], [0.1] * 4)
    rough = np.array([False, True, False, True])
    unknown = np.array([True, False, False, False])
    failed = np.array([False, True, False])
    training_stretches.returns_and_stretches(axes, steps, returns, rough, failed, unknown=unknown)
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    assert spans == [(100, 200), (0, 100)]  # nothing follows the last snapshot
    thick = [line for line in axes.lines if line.get_linewidth() == 2.5]
    assert len(thick) == 1
    assert thick[0].get_xydata().tolist() == [[100, 2.0], [200, 0.5]]


def test_contingency_shows_shares(axes):
    tables = {"γ = 0.9": np.array([[0, 0], [1, 9]]), "γ = 0.99": np.array([[3, 1], [2, 6]])}
    training_stretches.contingency(axes, tables)
    heights = [patch.get_height() for patch in axes.patches if patch.get_width() < 0.5]
    np.testing.assert_allclose(heights, [0, 0.1, 0.75, 0.25])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0/0", "1/10", "3/4", "2/8"]


def test_null_counts_mark_what_was_found(axes):
    nulls = {"within runs": np.array([0.25, 0.5, 0.25]), "at equal times": np.array([0.6, 0.4])}
    training_stretches.null_counts(axes, nulls, 4)
    assert [patch.get_height() for patch in axes.patches] == [0.25, 0.5, 0.25, 0.6, 0.4]
    assert axes.lines[0].get_xdata() == [4, 4]
    assert axes.get_xlim()[1] > 4


def test_variances_with_two_laws(axes):
    scales = np.array([1e-2, 1e-4, 1e-6])
    found = estimate(0.5, 0.01, scales=scales, variance=scales)
    training_stretches.variance_and_laws(axes, {"γ = 0.99": found}, {"γ = 0.99": 1.2})
    points, smooth, law = axes.lines
    np.testing.assert_allclose(points.get_ydata(), scales)
    slopes = [np.polyfit(np.log(scales), np.log(line.get_ydata()), 1)[0] for line in (smooth, law)]
    np.testing.assert_allclose(slopes, [2.0, 1.2])
    assert "slope 1.00 ± 0.02, law 1.20" in points.get_label()


def test_a_slice_leaves_gaps_where_nothing_is_finite(axes):
    training_stretches.zoomed_line(axes, np.arange(3.0), np.array([1.0, np.inf, 2.0]))
    assert np.isnan(axes.lines[0].get_ydata()[1])
