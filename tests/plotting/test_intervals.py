"""Error bars say what an interval says, and nothing where it says nothing."""

import numpy as np

from fracjax import Estimate
from fracjax.plotting import intervals


def test_ends_are_those_of_the_estimate():
    value, low, high = intervals.ends(Estimate(np.array([1, 2]), 0.1, [0, 1], [2, 4], 0))
    np.testing.assert_array_equal([value, low, high], [[1, 2], [0, 1], [2, 4]])


def test_margins_are_distances_and_zero_without_an_end():
    value = np.array([1.0, 1.0, np.nan, np.inf, 1.0])
    low = np.array([0.5, -np.inf, 0.0, np.inf, 1.5])  # the last does not hold its value
    high = np.array([3.0, 2.0, np.nan, np.inf, 2.0])
    found = intervals.margins(value, low, high)
    np.testing.assert_array_equal(found, [[0.5, 0, 0, 0, 0], [2, 1, 0, 0, 1]])


def test_points_without_trust_are_hollow(axes):
    x, value, good = np.arange(3.0), np.array([4.0, 5.0, 6.0]), np.array([True, False, True])
    intervals.points_by_trust(axes, x, value, np.ones((2, 3)), good=good, color="C0")
    faces = {line.get_markerfacecolor(): line for line in axes.lines if line.get_marker() == "o"}
    np.testing.assert_array_equal(faces["C0"].get_ydata(), [4, 6])
    np.testing.assert_array_equal(faces["none"].get_ydata(), [5])
