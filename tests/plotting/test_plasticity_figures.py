"""Figures of plasticity show what they are given."""

import jax.numpy as jnp
import numpy as np

from fracjax import Estimate
from fracjax.plotting import plasticity
from fracjax.plotting.style import DISCOUNT_COLORS, new_figure


def estimate(value, margin=0.1):
    value = jnp.asarray(value)
    margin = jnp.full(value.shape, margin)
    return Estimate(value, margin / 2, value - margin, value + margin, jnp.zeros(value.shape))


def test_estimates_along_runs_leave_out_what_is_not_finite():
    axes = new_figure(3.0, 3.0).subplots()
    found = {"a": (np.arange(1, 5), estimate([1.0, jnp.nan, 3.0, 4.0]))}
    plasticity.estimates_along_runs(
        axes,
        found,
        along="width",
        label="loss",
        logarithmic=(True, True),
        reference=("best constant", 0.5),
    )
    line, curve = axes.lines
    assert line.get_ydata()[0] == 0.5
    np.testing.assert_array_equal(curve.get_xdata(), [1, 3, 4])
    np.testing.assert_array_equal(curve.get_ydata(), [1, 3, 4])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_xlabel() == "width"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best constant", "a"]


def test_a_cosine_matrix_is_put_into_order():
    axes = new_figure(3.0, 3.0).subplots()
    matrix = np.array([[1, -0.5, np.nan], [-0.5, 1, 0.2], [np.nan, 0.2, 1]])
    image = plasticity.cosine_matrix(axes, matrix, np.array([2, 0, 1]), title="C")
    shown = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_array_equal(shown, matrix[np.ix_([2, 0, 1], [2, 0, 1])])
    assert image.get_clim() == (-1, 1)
    assert axes.get_title() == "C"


def test_interventions_stand_from_top_to_bottom():
    axes = new_figure(3.0, 3.0).subplots()
    table = {
        "none": {"easy": estimate(0.3), "hard": estimate(0.1)},
        "two-hot": {"easy": estimate(jnp.nan), "hard": estimate(0.0, 0.2)},
    }
    plasticity.changes_by_intervention(axes, table, label="change")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["none", "two-hot"]
    assert axes.get_ylim() == (1.5, -0.5)
    easy, hard = axes.containers
    np.testing.assert_allclose(easy.lines[0].get_xdata(), [0.3], rtol=1e-6)
    np.testing.assert_allclose(hard.lines[0].get_xdata(), [0.1, 0.0], rtol=1e-6)
    ends = hard.lines[2][0].get_segments()
    np.testing.assert_allclose(ends[1][:, 0], [-0.2, 0.2], rtol=1e-6)
    assert easy.lines[0].get_color() == DISCOUNT_COLORS[0]
