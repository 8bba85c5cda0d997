"""Pictures of samplers show the numbers that they were given."""

import numpy as np

from fracjax import Estimate, Status
from fracjax.plotting import langevin


def estimate(value, margin=0.1):
    value = np.asarray(value, float)
    status = np.full(value.shape, int(Status.OK))
    return Estimate(value, np.full_like(value, margin / 2), value - margin, value + margin, status)


def test_moments_lie_beside_the_exact_ones(axes):
    exact = np.array([0.1, 1.0, 10.0])
    langevin.moments_against_exact(axes, exact, {"SGLD": estimate(2 * exact, 0.05)})
    points = axes.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xdata(), exact)
    np.testing.assert_allclose(points.get_ydata(), 2)
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel().endswith("/ exact")


def test_moments_may_be_negative_when_they_are_not_divided(axes):
    exact = np.array([-1.0, 0.0, 2.0])
    found = {"SGLD": estimate(exact + 0.1), "QDOP": estimate(exact)}
    langevin.moments_against_exact(axes, exact, found, label="mean", relative=False)
    np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(), exact + 0.1)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [-1, 2])


def test_scores_stand_at_their_methods_and_failures_are_left_out(axes):
    table = {
        "SGD": {"last point": estimate(0.3), "ensemble": estimate(0.2)},
        "SGLD": {"last point": estimate(np.nan), "ensemble": estimate(0.1)},
    }
    langevin.scores_by_method(axes, table, label="NLL")
    last, ensemble = (container.lines[0] for container in axes.containers)
    np.testing.assert_allclose(last.get_xdata(), [0.3])
    np.testing.assert_allclose(ensemble.get_xdata(), [0.2, 0.1])
    np.testing.assert_allclose(np.round(ensemble.get_ydata()), [0, 1])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["SGD", "SGLD"]
    low, high = axes.get_ylim()
    assert low > high  # the first method is on top


def test_a_reliability_diagram_shows_the_bins_that_are_filled(axes):
    details = {
        "members": np.array([0.0, 10.0, 30.0]),
        "confidence": np.array([np.nan, 0.5, 0.9]),
        "accuracy": np.array([np.nan, 0.4, 0.95]),
    }
    ece = Estimate(0.1, 0.01, 0.0, 0.2, int(Status.OK), details)
    langevin.reliability_diagram(axes, ece, label="SGLD")
    points = axes.collections[-1]
    np.testing.assert_allclose(points.get_offsets(), [[0.5, 0.4], [0.9, 0.95]])
    assert points.get_sizes()[1] > points.get_sizes()[0]
    scatter = 1.96 * np.sqrt([0.25 / 10, 0.09 / 30])
    bars = np.array(axes.containers[0].lines[2][0].get_segments())[..., 1]
    np.testing.assert_allclose(bars, [[0.4 - scatter[0], 0.4 + scatter[0]], [0.95 - scatter[1], 1]])
    assert axes.get_xlim() == axes.get_ylim() == (-0.05, 1.05)  # the same for every method
