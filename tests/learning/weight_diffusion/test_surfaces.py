"""Walkers on surfaces: laws of the surfaces, and exact limits of the walk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.weight_diffusion import fractal_surfaces as surfaces
from fracjax.learning.weight_diffusion.surface_walks import walk_on_surface

KEY = jax.random.key(4)


def diamond_square_by_loops(noise, levels, hurst, amplitude):
    """The algorithm as it is told, point by point."""
    side = 2**levels + 1
    z = np.zeros((side, side))
    for level in range(levels):
        step, half = 2 ** (levels - level), 2 ** (levels - level - 1)
        scale = amplitude * 2.0 ** (-hurst * level)
        for i in range(half, side, step):
            for j in range(half, side, step):
                corners = [z[i + a, j + b] for a in (-half, half) for b in (-half, half)]
                z[i, j] = np.mean(corners) + scale * noise[i, j]
        for i in range(0, side, half):
            for j in range((i + half) % step, side, step):
                near = [(i - half, j), (i + half, j), (i, j - half), (i, j + half)]
                inside = [z[a, b] for a, b in near if 0 <= a < side and 0 <= b < side]
                z[i, j] = np.mean(inside) + scale * noise[i, j]
    return z


def test_diamond_square_is_the_algorithm(x64):
    """Exact: equal to the loops with the same draws; corners stay zero."""
    found = surfaces.diamond_square(KEY, 4, hurst=0.6, amplitude=2.0)
    noise = np.asarray(jax.random.uniform(KEY, (17, 17), jnp.float64, -0.5, 0.5))
    np.testing.assert_allclose(found, diamond_square_by_loops(noise, 4, 0.6, 2.0), atol=1e-12)
    assert np.all(np.asarray(found)[[0, 0, -1, -1], [0, -1, 0, -1]] == 0)
    for setting in ({"hurst": 0.0}, {"levels": 0}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            surfaces.diamond_square(KEY, **{"levels": 3, **setting})


@pytest.mark.slow
def test_controls_and_interpolation(x64):
    surface = surfaces.diamond_square(KEY, 6)
    mixed = surfaces.shuffled_surface(KEY, surface, blur=4.0)
    np.testing.assert_allclose([mixed.mean(), mixed.std()], [surface.mean(), surface.std()])
    # Correlation exp(-k²/(4 blur²)) at k points: neighbours differ by .176 standard deviations.
    assert abs(jnp.std(jnp.diff(mixed)) / jnp.std(mixed) - 0.176) < 0.03
    axis = jnp.linspace(-1, 1, 33)
    plane = 2 * axis[:, None] - 3 * axis + 1
    fields = jnp.concatenate([surfaces.force_field(plane), plane[None]])
    found = surfaces.interpolate(fields, jnp.array([0.123, -0.456]))
    np.testing.assert_allclose(found, [-2, 3, 2 * 0.123 + 3 * 0.456 + 1], atol=1e-12)
    well = surfaces.bowl(33)
    assert np.unravel_index(np.argmin(well), well.shape) == (16, 16)


@pytest.mark.slow
def test_walks_on_a_plane_and_in_a_bowl(x64):
    """Exact: drift η times the slope on a plane; on no slope, a random walk of variance σ²."""
    axis = jnp.linspace(-1, 1, 65)
    tilted = walk_on_surface(
        KEY,
        0.02 * jnp.broadcast_to(axis[:, None], (65, 65)),
        num_walkers=8,
        num_steps=50,
        learning_rate=0.1,
        noise=0.0,
        reach=0.5,
    )
    np.testing.assert_allclose(jnp.diff(tilted.paths, axis=1)[..., 0], -0.002, atol=1e-12)
    np.testing.assert_allclose(tilted.heights, 0.02 * tilted.paths[..., 0], atol=1e-12)
    assert not tilted.border.any()
    flat = walk_on_surface(
        KEY, jnp.zeros((9, 9)), num_walkers=200, num_steps=20, noise=0.005, reach=0.5
    )
    change = np.asarray(flat.paths[:, -1] - flat.paths[:, 0])
    expected = 20 * 0.005**2
    # 400 squares of Gaussians: relative error .07.
    assert abs(np.mean(change**2) / expected - 1) < 5 * 0.071
    well = walk_on_surface(KEY, surfaces.bowl(65), num_walkers=16, num_steps=400)
    # Curvature 12 at the bottom: variance σ²/(1 - (1 - η 12)²) = 2.4e-4 in either direction.
    late = np.asarray(well.paths[:, 300:])
    assert np.all(abs(late) < 0.2)
    assert 0.5 < np.mean(late**2) / 2.4e-4 < 2
    with pytest.raises(ValueError, match="surface"):
        walk_on_surface(KEY, jnp.zeros((4, 5)))


@pytest.mark.slow
def test_walkers_stay_inside():
    steep = 1e3 * surfaces.diamond_square(KEY, 5)
    found = jax.jit(lambda key: walk_on_surface(key, steep, num_walkers=4, num_steps=30))(KEY)
    assert np.all(abs(found.paths) <= 1)
    assert found.border.any()
    assert found.paths.shape == (4, 31, 2)
