"""Slices through parameter space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


def objective(params, key):
    return jnp.stack([jnp.sum(params["w"]), jnp.sum(params["b"] ** 2)])


def test_values_are_those_of_the_points():
    grid = landscapes.plane(PARAMS, jax.random.key(0), span=0.5, num_points=5)
    data = landscapes.scan(objective, PARAMS, grid, jax.random.key(1), chunk_size=4)
    assert dict(data.sizes) == {"a": 5, "b": 5, "output": 2}
    u, v = (jax.tree.map(lambda leaf, i=i: leaf[i], grid.directions) for i in range(2))
    point = jax.tree.map(lambda p, x, y: p + 0.25 * x - 0.5 * y, PARAMS, u, v)
    np.testing.assert_allclose(data["value"].sel(a=0.25, b=-0.5), objective(point, None), rtol=1e-5)


def test_padding_the_directions_changes_nothing():
    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=9)
    plain = landscapes.scan(objective, PARAMS, grid, jax.random.key(1), chunk_size=4)
    padded = landscapes.scan(
        objective, PARAMS, grid, jax.random.key(1), chunk_size=4, num_directions=16
    )
    np.testing.assert_array_equal(plain["value"], padded["value"])


def test_zoom_keeps_the_centre():
    grid = landscapes.line(PARAMS, jax.random.key(0), span=1.0, num_points=9)
    closer = landscapes.zoom(grid, 10.0)
    assert closer.axes[0][-1] == pytest.approx(0.1)
    assert closer.axes[0][4] == 0.0


def test_nonfinite_values_are_kept():
    def broken(params, key):
        return jnp.where(params["b"][0] > 1.0, jnp.nan, 1.0)

    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=11)
    values = landscapes.scan(broken, PARAMS, grid, jax.random.key(1))["value"].values
    assert 0 < np.isnan(values).sum() < 11


@pytest.mark.parametrize("arguments", [{"num_points": 1}, {"span": 0.0}])
def test_bad_grids(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        landscapes.line(PARAMS, jax.random.key(0), **arguments)
