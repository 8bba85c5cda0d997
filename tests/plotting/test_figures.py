"""Figures show the data they were given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure

from fracjax.estimators import exponent_from_lines
from fracjax.plotting import line_slice, plane_slice, variogram


@pytest.fixture
def axes():
    return Figure().subplots()


def test_functions_return_their_axes_and_draw_the_values(axes):
    data = xarray.Dataset(
        {"value": (("a", "output"), np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0]]))},
        coords={"a": [-1.0, 0.0, 1.0]},
    )
    assert line_slice(axes, data, output=1, color="k") is axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [5.0, 6.0, 7.0])


def test_plane_is_not_transposed_and_masks_what_is_not_finite(axes):
    values = np.array([[0.0, 1.0, 2.0], [3.0, np.inf, 5.0]])
    data = xarray.Dataset({"value": (("a", "b"), values)}, coords={"a": [0, 1], "b": [0, 1, 2]})
    plane_slice(axes, data)
    drawn = axes.collections[0].get_array()
    assert drawn.shape == (3, 2)  # rows run along the vertical axis, direction 2
    assert drawn[2, 0] == 2.0
    assert drawn.mask[1, 1]
    assert drawn.mask.sum() == 1


def test_variogram_draws_every_scale_once_and_the_fit(axes):
    values = jnp.asarray(np.random.default_rng(0).standard_normal((16, 3, 40)).cumsum(-1))
    values = values * jnp.array([4.0, 2.0, 1.0])[None, :, None]
    estimate = jax.jit(exponent_from_lines)(
        values, jnp.array([16.0, 4.0, 1.0]), noise_variance=1e-9
    )
    variogram(axes, estimate, color="C0", label="γ")
    points = sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == ".")
    assert points == estimate.details["scales"].size
    fit = next(line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_ls() == "-")
    slope = np.diff(np.log(fit.get_ydata())) / np.diff(np.log(fit.get_xdata()))
    assert slope[0] == pytest.approx(2 * float(estimate.value), rel=1e-5)
