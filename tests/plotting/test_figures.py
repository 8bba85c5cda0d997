"""Figures show the data they were given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators import exponent_from_lines
from fracjax.plotting import variogram


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
