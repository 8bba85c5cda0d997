"""Pictures of large steps show the numbers that they were given."""

import numpy as np
from matplotlib.figure import Figure

from fracjax import Estimate, Status
from fracjax.curvature import Descent, Sharpness
from fracjax.plotting import training_maps
from fracjax.systems.training_maps.phases import Phase

SIZES = np.linspace(0.5, 2.0, 7)


def test_a_bifurcation_diagram_has_a_column_of_points_per_step_size(axes):
    orbits = np.arange(21.0).reshape(7, 3)
    training_maps.bifurcation_diagram(axes, SIZES, orbits, thresholds={"one": 1.0})
    points = axes.lines[0]
    np.testing.assert_allclose(points.get_xdata(), np.repeat(SIZES, 3))
    np.testing.assert_allclose(points.get_ydata(), orbits.ravel())
    assert axes.lines[1].get_xdata() == [1.0, 1.0]
    assert axes.get_legend().get_texts()[0].get_text() == "one"


def test_exponents_are_drawn_with_intervals_and_gaps(axes):
    value = np.array([-1.0, -np.inf, 0.0, 0.1, np.nan, 0.5, 1.0])
    found = Estimate(value, np.zeros(7), value - 0.1, value + 0.1, np.zeros(7, int))
    training_maps.exponents_over_step_size(axes, SIZES, {"map": found})
    shown = axes.lines[1].get_ydata()
    assert np.isnan(shown[[1, 4]]).all()
    np.testing.assert_allclose(shown[[0, 2, 3, 5, 6]], value[[0, 2, 3, 5, 6]])
    assert axes.get_ylim()[0] == -1.5


def test_phases_have_their_colours_and_only_those_seen_are_named(axes):
    phases = np.full((4, 3), int(Phase.MONOTONE))
    phases[2:] = int(Phase.DIVERGENT)
    y = np.array([0.0, 1.0, 2.0])
    curve = np.array([0.5, 1.0]), np.array([0.0, 2.0])
    image = training_maps.phase_diagram(
        axes, np.linspace(0, 3, 4), y, phases, boundaries={"E = 0": curve}
    )
    np.testing.assert_allclose(image.get_array(), phases.T)
    assert image.get_extent() == [-0.5, 3.5, -0.5, 2.5]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["monotone", "divergent", "E = 0"]
    colors = image.cmap(image.norm(np.array([int(Phase.MONOTONE), int(Phase.DIVERGENT)])))
    assert not np.allclose(*colors)


def test_basins_leave_out_what_has_no_value(axes):
    values = np.array([[0.1, np.nan], [0.3, 0.4], [0.5, 0.6]])
    image = training_maps.basin_picture(
        axes, np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0]), values, step_size=1.0, label="s"
    )
    assert image.get_array().mask.tolist() == [[False] * 3, [True, False, False]]
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(x**2 + y**2 - x * y, 3, rtol=1e-5)
    signs = training_maps.basin_picture(
        axes, np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0]), values, label="s", centre=0.0
    )
    assert signs.get_clim() == (-0.6, 0.6)


def test_the_ellipse_lies_beside_its_orbit_and_stable_minima_are_thick(axes):
    orbit = np.array([[1.0, 1.0], [0.5, 2.0]])
    training_maps.ellipse_and_orbit(axes, 0.6, {"orbit": orbit})
    np.testing.assert_allclose(axes.lines[-1].get_xydata(), orbit)
    thick = [line for line in axes.lines if line.get_linewidth() == 3]
    x, y = thick[0].get_data()
    np.testing.assert_allclose(x * y, 1)
    assert np.max(x**2 + y**2) < 2 / 0.6
    other = Figure().subplots()
    training_maps.ellipse_and_orbit(other, 1.5, {})
    assert not [line for line in other.lines if line.get_linewidth() == 3]


def test_sharpness_is_drawn_in_units_of_the_threshold(axes):
    status = np.array([Status.OK, Status.NOT_CONVERGED, Status.OK])
    value = np.array([4.0, 8.0, 10.0])
    run = Descent(
        np.arange(3), value, Sharpness(value, None, 0 * value, status), np.array(10.0), None
    )
    training_maps.sharpness_over_threshold(axes, {"run": run})
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.4, 0.8, 1.0])
    np.testing.assert_allclose(axes.lines[2].get_xydata(), [[1, 0.8]])
