"""Sharpness and condition number where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.plasticity.run_curvature import (
    condition_number,
    geometry_probe,
    sharpness_along_run,
)

KEY = jax.random.key(0)


@pytest.mark.slow
def test_a_quadratic(x64):
    draws = np.random.default_rng(0)
    basis, _ = np.linalg.qr(draws.normal(size=(6, 6)))
    values = np.array([-8.0, -1, 0.5, 1, 3, 4])
    matrix = jnp.asarray(basis @ np.diag(values) @ basis.T)

    def objective(params, key):
        del key
        return params["x"] @ matrix @ params["x"] / 2

    points = {"x": jnp.asarray(draws.normal(size=(3, 6)))}
    found = jax.jit(lambda points: sharpness_along_run(objective, points, KEY))(points)
    np.testing.assert_allclose(found.value, 4, rtol=1e-10)
    assert (found.status == Status.OK).all()
    assert (found.high - found.low < 1e-8).all()
    ratio = condition_number(objective, {"x": points["x"][0]}, KEY)
    np.testing.assert_allclose(ratio.value, 16, rtol=1e-10)
    flat = condition_number(lambda p, _: p["x"][0] ** 2, {"x": points["x"][0]}, KEY)
    assert flat.status == Status.AT_NOISE_FLOOR
    assert jnp.isnan(flat.value)
    assert flat.low > 1e14
    broken = condition_number(lambda p, _: jnp.nan * p["x"].sum(), {"x": points["x"][0]}, KEY)
    assert broken.status == Status.NONFINITE_TANGENT
    with pytest.raises(ValueError, match="4096"):
        condition_number(objective, {"x": jnp.zeros(5000)}, KEY)


@pytest.mark.slow
def test_the_geometry_probe_of_a_linear_network(x64):
    """Exact: Hessian (2/N) XᵀX for every output, whatever the noise and the parameters."""
    inputs = np.random.default_rng(0).normal(size=(9, 4))

    def apply(params, inputs):
        return inputs @ params

    expected = np.linalg.eigvalsh(2 / 9 * inputs.T @ inputs)[-1]
    points = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 3)))
    for noise in ("shared", "independent"):
        objective = geometry_probe(apply, jnp.asarray(inputs), noise=noise)
        found = sharpness_along_run(objective, points, KEY)
        np.testing.assert_allclose(found.value, expected, rtol=1e-9)
        values = [objective(point, KEY) for point in points]
        np.testing.assert_allclose(values[0], values[1])  # |ε|², wherever
