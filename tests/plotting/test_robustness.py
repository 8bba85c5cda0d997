"""Pictures of exponents and of returns under disturbance show the numbers they were given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fracjax import Estimate, Status
from fracjax.learning import ClosedLoopExponents, Regime, SizeScan
from fracjax.plotting import robustness

OK = np.asarray(int(Status.OK))


def estimate(value, margin=0.1):
    value = np.asarray(value, float)
    error = np.full_like(value, margin / 2)
    status = np.full(value.shape, int(Status.OK))
    return Estimate(value, error, value - margin, value + margin, status)


def exponents(largest, regime=Regime.STABLE, control=0.0):
    spectrum = estimate(np.stack([largest, np.asarray(largest) - 1], axis=-1))
    first, total = estimate(largest), estimate(2 * np.asarray(largest) - 1)
    return ClosedLoopExponents(
        first,
        spectrum,
        total,
        first,
        np.asarray(int(regime)),
        np.asarray(control),
        np.asarray(0.0),
        np.asarray(9.0),
    )


def test_bars_stand_at_their_values_and_share_tasks(axes):
    table = {
        "no action": {"cartpole": estimate(0.0), "walker": estimate(0.01)},
        "trained": {"walker": estimate(0.2), "cartpole": estimate(-0.3)},
    }
    robustness.exponent_bars(axes, table, zero=0.007)
    heights = [
        bar.get_height()
        for container in axes.containers
        for bar in container[:2]
        if hasattr(bar, "get_height")
    ]
    assert heights == pytest.approx([0.0, 0.01, 0.2, -0.3])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["cartpole", "walker"]
    bars = [bar for bar in axes.patches if bar.get_height() == pytest.approx(0.2)]
    assert round(bars[0].get_x() + bars[0].get_width() / 2 - 0.2) == 1


def test_sizes_are_drawn_beside_the_tangents(axes):
    sizes = np.array([0.0, 1e-6, 1e-4])
    scan = SizeScan(
        sizes,
        exponents(np.array([-np.inf, 0.4, 0.41]), control=np.array([0.0, 0.0, 1e-7])),
        exponents(0.42),
        estimate(np.zeros((3, 2))),
        estimate(np.zeros(3)),
    )
    robustness.exponents_against_size(axes, scan)
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points[0].get_xdata(), sizes[1:])
    np.testing.assert_allclose(points[0].get_ydata(), [0.4, 0.41])
    scan.perturbations.spectrum.status[2, 1] = Status.AT_NOISE_FLOOR
    robustness.exponents_against_size(axes, scan)
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    np.testing.assert_allclose(np.concatenate([line.get_ydata() for line in crosses]), [-0.59])
    dashed = [line.get_ydata()[0] for line in axes.lines if line.get_ls() == "--"]
    assert dashed == pytest.approx([0.42, -0.58] * 2)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "rounding" in labels


def test_curves_have_bands(axes):
    sizes = np.array([0.0, 0.1, 0.5])
    robustness.return_curve(axes, sizes, estimate([9.0, 5.0, 1.0]), label="agent")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [9, 5, 1])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(9.1)


@pytest.mark.parametrize(("count", "marker"), [(5, "None"), (500, ".")])
def test_many_pushes_are_dots(axes, count, marker):
    returns = np.random.default_rng(0).normal(size=(count, 2))
    robustness.push_band(axes, np.linspace(0, 1e-3, count), returns)
    assert [line.get_marker() for line in axes.lines] == [marker] * 2
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), returns[:, 1])


def test_policies_that_never_fail_stand_at_the_top(axes):
    found = [exponents(-0.1), exponents(0.2, Regime.CHAOTIC), exponents(0.3, Regime.CHAOTIC)]
    endless = Estimate(*(np.asarray(np.inf),) * 4, OK)
    tolerated = [endless, estimate(0.5, 0.05), estimate(0.2, 0.05)]
    robustness.tolerance_against_exponent(axes, found, tolerated, labels=("a", "b", "c"), zero=0.01)
    tops = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "^"]
    assert tops == pytest.approx([0.575])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["stable", "chaotic"]


def test_curves_take_the_colour_of_their_exponent(axes):
    sizes = np.array([0.0, 0.5, 1.0])
    returns = np.array([[9.0, 8.0, 7.0], [9.0, 2.0, 1.0], [9.0, 5.0, 4.0]])
    robustness.curves_by_exponent(axes, sizes, returns, np.array([-0.2, 0.1, np.nan]))
    decaying, growing, unknown = (np.array(to_rgb(line.get_color())) for line in axes.lines)
    assert decaying[2] > decaying[0]  # blue
    assert growing[0] > growing[2]  # red
    assert np.ptp(unknown) < 0.05  # grey
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), returns[1])


def test_what_the_recipe_misses_is_crossed_out(axes):
    bound = Estimate(*(np.asarray(-0.3),) * 4, np.asarray(int(Status.AT_NOISE_FLOOR)))
    robustness.tangents_against_recipe(
        axes, [estimate(0.4), estimate(-1.6)], [estimate(0.41), bound]
    )
    (dots,) = (line for line in axes.lines if line.get_marker() == "o")
    (crosses,) = (line for line in axes.lines if line.get_marker() == "x")
    assert (dots.get_xdata()[0], dots.get_ydata()[0]) == (0.4, 0.41)
    assert (crosses.get_xdata()[0], crosses.get_ydata()[0]) == (-1.6, -0.3)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [-1.6, 0.41])
