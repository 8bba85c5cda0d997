"""Random fields against their exact laws, and against an estimator along lines."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_draws import exact_covariance

from fracjax import Status
from fracjax.estimators import series_holder_exponent
from fracjax.systems import random_fields


@pytest.mark.parametrize(("shape", "hurst"), [((4, 5), 0.1), ((4, 5), 0.9), ((2, 3, 3), 0.5)])
def test_field_has_exactly_the_covariance_of_the_definition(shape, hurst, monkeypatch, x64):
    """A linear map of normal variables, hence Gaussian; both forms of the embedding."""
    covariance = exact_covariance(
        lambda: random_fields.fractional_brownian_field(
            jax.random.key(0), hurst, shape, spacing=0.5
        ),
        monkeypatch,
    )
    axes = np.meshgrid(*(0.5 * np.arange(size) for size in shape), indexing="ij")
    points = np.stack(axes, axis=-1).reshape(-1, len(shape))

    def power(difference):
        return np.linalg.norm(difference, axis=-1) ** (2 * hurst)

    apart = power(points[:, None] - points)
    exact = (power(points)[:, None] + power(points) - apart) / 2
    np.testing.assert_allclose(covariance, exact, atol=1e-12)


@pytest.mark.slow
def test_sum_of_motions_has_exactly_its_variogram(monkeypatch, x64):
    covariance = exact_covariance(
        lambda: random_fields.additive_fractional_motion(jax.random.key(0), (0.3, 0.8), (4, 5)),
        monkeypatch,
    )
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij"))
    variance = np.diagonal(covariance)
    variogram = variance[:, None] + variance - 2 * covariance
    expected = abs(x[:, None] - x) ** 0.6 + abs(y[:, None] - y) ** 1.6
    np.testing.assert_allclose(variogram, expected, atol=1e-12)
    assert variance[0] == 0


@functools.cache
def estimator():
    return jax.jit(jax.vmap(series_holder_exponent))


def lines(surface):
    """Every second row and column, and the diagonal."""
    return jnp.concatenate([surface[::2], surface.T[::2], jnp.diagonal(surface)[None]])


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("hurst", [0.3, 0.8])
def test_every_line_through_a_surface_has_its_exponent(hurst):
    """Null: 64 rows, 64 columns and a diagonal; single estimates have an SD of about 0.06."""
    surface = random_fields.fractional_brownian_field(jax.random.key(3), hurst, (128, 128))
    assert surface.dtype == jnp.float32
    estimate = estimator()(lines(surface))
    assert np.all(estimate.status == Status.OK)
    assert abs(np.median(estimate.value[:64]) - hurst) < 0.05
    assert abs(np.median(estimate.value[64:128]) - hurst) < 0.05
    assert abs(estimate.value[-1] - hurst) < 4.5 * estimate.stderr[-1]


def test_anisotropic_surface_shows_the_smallest_exponent_but_along_one_axis():
    """Along an axis all lines are one and the same motion, up to a constant."""
    surface = random_fields.additive_fractional_motion(jax.random.key(4), (0.3, 0.8), (128, 128))
    estimate = estimator()(lines(surface))
    error = estimate.stderr
    assert np.all(np.abs(estimate.value[:64] - 0.8) < 4 * error[:64])
    assert np.all(np.abs(estimate.value[64:128] - 0.3) < 4 * error[64:128])
    assert abs(estimate.value[-1] - 0.3) < 4 * error[-1] + 0.05


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda k: random_fields.fractional_brownian_field(k, 1.0, (4, 4)), "hurst"),
        (lambda k: random_fields.fractional_brownian_field(k, 0.5, (4,)), "shape"),
        (lambda k: random_fields.fractional_brownian_field(k, 0.5, (4, 1)), "shape"),
        (lambda k: random_fields.additive_fractional_motion(k, (0.5,), (4, 4)), "hursts"),
        (lambda k: random_fields.additive_fractional_motion(k, (0.5, 1.5), (4, 4)), "hurst"),
    ],
)
def test_settings_out_of_range_are_named(call, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        call(jax.random.key(0))
