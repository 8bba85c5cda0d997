"""Figures of diffusion show the numbers they were given, with nulls beside them."""

import numpy as np
from matplotlib.figure import Figure

from fracjax import Estimate
from fracjax.plotting import diffusion

LAGS = np.array([1, 2, 4, 8])


def batch(values, status=0):
    values = np.asarray(values, float)
    return Estimate(
        values, 0 * values + 0.1, values - 0.2, values + 0.2, np.full(values.shape, status)
    )


def texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_displacements(axes):
    runs = np.stack([LAGS, 4.0 * LAGS])
    nulls = {"drift + noise": 1.0 * LAGS**2}
    drawn = diffusion.displacements(axes, LAGS, {"ours": runs}, nulls=nulls, windows=[(1, 3)])
    assert drawn is axes
    shown = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(shown["ours"], 2.0 * LAGS)  # geometric mean
    np.testing.assert_allclose(shown["drift + noise"], LAGS**2)
    assert texts(axes) == ["ours", "drift + noise"]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_exponents(axes):
    estimates = {"good": batch([1.2, 0.8, 0.7]), "bent": batch([1.5, 1.0, 0.2], status=4)}
    times = np.array([0, 100, 200])
    diffusion.exponents(axes, times, estimates, nulls={"relaxation": batch([1.1, 0.9, 0.6])})
    points = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    np.testing.assert_allclose(points[0].get_ydata(), [1.2, 0.8, 0.7])
    assert points[1].get_markerfacecolor() == "none"
    assert points[0].get_markerfacecolor() != "none"
    assert set(texts(axes)) == {"good", "bent", "relaxation"}


def test_densities_and_stability(axes):
    edges = np.linspace(-4, 4, 9)
    density = np.array([0, 0.01, 0.1, 0.4, 0.4, 0.1, 0.01, 0])
    diffusion.displacement_densities(axes, edges, {"steps": density})
    line = next(line for line in axes.lines if line.get_label() == "steps")
    np.testing.assert_allclose(line.get_xdata(), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert axes.get_yscale() == "log"
    other = Figure().subplots()
    single = [batch(1.9), batch(0.9, status=4)]
    diffusion.stability_indices(other, ["proper", "strung"], single)
    assert [label.get_text() for label in other.get_yticklabels()] == ["proper", "strung"]


def test_published(axes):
    pair = (np.array([1.3]), np.array([0.7]))
    diffusion.published_beside_ours(axes, {"η 0.1": pair}, {"ours": pair})
    assert texts(axes) == ["η 0.1 (other networks)", "ours"]
