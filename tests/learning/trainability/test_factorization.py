"""Descent on a product: its unregularised basin is an ellipse, its quotient the same descent."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes
from fracjax.landscapes.refinement.published_box_counts import label_edges, published_dimension
from fracjax.landscapes.refinement.resolution_refinement import (
    boundary_refinement,
    classified_plane,
    refined_boundary_dimension,
)
from fracjax.learning.trainability.factorization import (
    factorization_objective,
    inside_unregularized_basin,
)

KEY = jax.random.key(0)
SETTINGS = {
    "factors": (("u", "v"), (0.0, 0.0), 4.0),
    "quotient": (("product", "squares"), (1.0, 8.0), (5.0, 8.0)),
}


def window(coordinates, num_points):
    (first, second), centre, span = SETTINGS[coordinates]
    params = {name: jnp.asarray(x) for name, x in zip((first, second), centre, strict=True)}
    directions = {first: jnp.asarray([1.0, 0.0]), second: jnp.asarray([0.0, 1.0])}
    return params, landscapes.along(directions, span=span, num_points=num_points)


def refined(coordinates, penalty, num_points, num_doublings):
    objective = factorization_objective(coordinates, penalty=penalty)
    params, grid = window(coordinates, num_points)
    return boundary_refinement(
        objective, params, grid, KEY, num_doublings=num_doublings, chunk_size=1024
    )


@pytest.mark.usefixtures("x64")
def test_without_a_penalty_the_basin_is_the_ellipse():
    params, grid = window("factors", 257)
    axes = tuple(axis + shift for axis, shift in zip(grid.axes, (0.0123, 0.0456), strict=True))
    grid = dataclasses.replace(grid, axes=axes)  # no point on the border itself
    objective = factorization_objective(penalty=0.0)
    inside = classified_plane(objective, params, grid, KEY, chunk_size=1024)
    expected = inside_unregularized_basin(grid.axes[0][:, None], grid.axes[1])
    assert 0.1 < expected.mean() < 0.9
    # Starts next to the border may take longer than the steps to leave: none does here.
    np.testing.assert_array_equal(inside, expected)


@pytest.mark.usefixtures("x64")
def test_the_quotient_has_the_labels_of_the_factors():
    draws = np.random.default_rng(0)
    u, v = jnp.asarray(draws.uniform(-2, 2, (2, 500)))
    key = jnp.zeros(500)
    factors, quotient = (factorization_objective(name) for name in SETTINGS)
    first = jax.vmap(factors)({"u": u, "v": v}, key)
    second = jax.vmap(quotient)({"product": u * v, "squares": u**2 + v**2}, key)
    assert 0.1 < float(jnp.mean(first < 0)) < 0.9
    # Single starts whose descent is chaotic for long may differ by rounding.
    assert float(jnp.mean((first < 0) != (second < 0))) < 0.01


@pytest.mark.usefixtures("x64")
def test_the_regularised_border_is_rougher_than_the_ellipse():
    """Intervals of three doublings to 512 pixels: 1.25 is inside one, 1 inside the other only."""
    rough, smooth = (refined("factors", penalty, 65, 3) for penalty in (0.2, 0.0))
    assert float(rough.low) < 1.25 < float(rough.high)
    assert float(rough.low) > 1.1
    assert float(smooth.value) == pytest.approx(1, abs=0.02)
    assert float(smooth.low) < 1 < float(smooth.high) < 1.1


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("coordinates", ["factors", "quotient"])
def test_slopes_and_the_gap_to_box_counting_at_4096_squared(coordinates):
    params, grid = window(coordinates, 4097)
    inside = {
        penalty: classified_plane(
            factorization_objective(coordinates, penalty=penalty),
            params,
            grid,
            KEY,
            chunk_size=1024,
        )
        for penalty in (0.2, 0.0)
    }
    rough, smooth = (refined_boundary_dimension(part, num_doublings=3) for part in inside.values())
    assert float(rough.value) == pytest.approx(1.25, abs=0.05)
    assert float(smooth.value) == pytest.approx(1.00, abs=0.05)
    # One picture's boxes see at large scales spikes that pixels are too coarse for.
    published = published_dimension([label_edges(np.where(inside[0.2], -1.0, 1.0))])
    assert 1.08 < float(published.value) < 1.19
    assert float(published.value) < float(rough.low)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="coordinates"):
        inspect.unwrap(factorization_objective)("polar")
    with pytest.raises(ValueError, match="penalty"):
        factorization_objective(penalty=-0.1)
    with pytest.raises(ValueError, match="rate"):
        inside_unregularized_basin(jnp.zeros(()), jnp.zeros(()), rate=5.0)
