"""What the figures of gravity wells contain."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from fracjax._types import Estimate
from fracjax.plotting import gravity_wells


def test_escape_times_lie_on_their_law(axes):
    along = np.array([10.0, 100.0, 1000.0])
    gravity_wells.escape_times(axes, {"corner": (along, along / 2)}, laws={"half": 0.5})
    points, law = axes.lines
    np.testing.assert_array_equal(points.get_ydata(), along / 2)
    np.testing.assert_array_equal(law.get_xydata(), [[10, 5], [1000, 500]])
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_the_simplex_has_the_best_arm_at_the_top(axes):
    gravity_wells.simplex_paths(axes, {"run": np.eye(3)})
    _, level, path, start = axes.lines
    np.testing.assert_allclose(path.get_xydata(), [[0.5, 0.75**0.5], [0, 0], [1, 0]])
    np.testing.assert_allclose(level.get_ydata(), 0.1 * 0.75**0.5)
    np.testing.assert_allclose(start.get_xydata(), path.get_xydata()[:1])


def test_survival_has_its_intervals(axes):
    value = jnp.asarray([0.6, 0.3])
    curve = Estimate(value, 0.1 * value, value - 0.1, value + 0.1, jnp.zeros(2, int))
    gravity_wells.survival_by_spread(axes, np.array([1.0, 10.0]), {"σ = 1": curve}, limit=20.0)
    limit, line = axes.lines
    assert limit.get_xdata()[0] == 20
    np.testing.assert_allclose(line.get_ydata(), value)
    band = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [0.2, 0.7], rtol=1e-6)


def test_traces_share_their_colours():
    axes = Figure().subplots(2, 1)
    steps = np.arange(10)
    runs = {"one": (steps, np.full(10, 0.01), np.full(10, 0.2))}
    gravity_wells.probability_and_gap(axes, runs, inequality=0.18, until=4.0)
    upper, lower = axes[0].lines[-1], axes[1].lines[-1]
    assert upper.get_color() == lower.get_color()
    assert len(upper.get_xdata()) == 10
    assert len(lower.get_xdata()) == 5


def test_the_grid_shows_what_it_is_given(axes):
    values = np.array([[0.0, 1.0], [0.5, 0.25]])
    image = gravity_wells.start_grid(axes, (0.5, 1.6), (0.04, 0.2), values, title="trapped")
    np.testing.assert_array_equal(image.get_array(), values)
    assert [text.get_text() for text in axes.texts] == ["0.00", "1.00", "0.50", "0.25"]
    other = Figure().subplots()
    gravity_wells.quality_along_updates(other, {"high": np.tile([[0.4], [0.2], [0.3]], 5)})
    np.testing.assert_allclose(other.lines[0].get_ydata(), 0.3)
