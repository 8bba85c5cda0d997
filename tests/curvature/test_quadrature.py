"""Stochastic Lanczos quadrature and the densities made from it, on spectra that are known."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.curvature import (
    hessian,
    lanczos_quadrature,
    smooth_quadrature,
    spectral_density,
    spectral_mean,
    symmetric_operator,
)

KEY = jax.random.key(0)
CLUSTERS = np.concatenate([np.linspace(-1.0, -0.9, 150), np.linspace(2.0, 2.1, 150)])


def times(vector, spectrum):
    return spectrum * vector


def diagonal(spectrum, dtype="float64"):
    spectrum = jnp.asarray(spectrum, dtype)
    return symmetric_operator(times, jnp.zeros_like(spectrum), spectrum)


def test_masses_of_two_clusters_and_all_that_holds_in_general(x64):
    found = spectral_density(diagonal(CLUSTERS), KEY, kernel="papyan", num_iterations=30)
    quadrature, density = found.quadrature, np.asarray(found.density.value)
    assert quadrature.nodes.shape == quadrature.weights.shape == (10, 30)
    np.testing.assert_allclose(quadrature.weights.sum(axis=1), 1, rtol=1e-14)
    assert density.sum() * found.width == pytest.approx(1, abs=1e-8)
    below = float(density[np.asarray(found.grid) < 0.5].sum() * found.width)
    assert below == pytest.approx(0.5, abs=0.05)  # SD of 10 draws in 300 dimensions .013
    share = spectral_mean(quadrature, lambda x: (x < 0.5).astype(x.dtype))
    assert share.value == pytest.approx(below, abs=1e-6)
    np.testing.assert_array_equal(found.density.status, Status.OK)
    assert np.all(found.density.low >= 0)
    assert np.all(found.density.low <= density)
    assert np.all(found.density.high >= density)


def test_as_many_iterations_as_dimensions_recover_the_ends(x64):
    spectrum = np.linspace(-3.0, 7.0, 40) ** 3
    nodes = lanczos_quadrature(diagonal(spectrum), KEY, num_draws=2, num_iterations=40).nodes
    np.testing.assert_allclose(nodes, np.broadcast_to(spectrum, (2, 40)), rtol=1e-5, atol=1e-7)


def tanh_loss(params, batch):
    hidden = jnp.tanh(batch[0] @ params["in"])
    return jnp.mean((hidden @ params["out"] - batch[1]) ** 2)


@pytest.mark.slow
def test_moments_of_a_network_against_its_dense_hessian(x64):
    draws = np.random.default_rng(0)
    params = {
        "in": jnp.asarray(draws.normal(size=(4, 8))),
        "out": jnp.asarray(draws.normal(size=8)),
    }
    data = jnp.asarray(draws.normal(size=(20, 4))), jnp.asarray(draws.normal(size=20))
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    matrix = np.asarray(jax.hessian(lambda x: tanh_loss(unravel(x), data))(flat))
    found = lanczos_quadrature(hessian(tanh_loss, params, data), KEY, num_draws=200)
    exact = {1: np.trace(matrix) / 40, 2: np.sum(matrix**2) / 40}
    for power, moment in exact.items():
        estimate = spectral_mean(found, lambda x, power=power: x**power)
        assert abs(estimate.value - moment) < 3 * estimate.stderr
        assert estimate.stderr < 0.2 * abs(moment)


@pytest.mark.slow
@pytest.mark.parametrize("keep_basis", [True, False])
def test_intervals_of_moments_cover(keep_basis, x64):
    """Nominal 95 %: 400 keys, bounds three standard errors (.011) away."""
    spectrum = np.concatenate([np.linspace(0, 1, 190), np.linspace(5, 20, 10)])
    operator = diagonal(spectrum)

    @jax.jit
    @jax.vmap
    def moments(key):
        found = lanczos_quadrature(
            operator, key, num_draws=8, num_iterations=12, keep_basis=keep_basis
        )
        return [spectral_mean(found, lambda x, k=k: x**k) for k in (1, 2)]

    for power, estimate in enumerate(moments(jax.random.split(KEY, 400)), 1):
        truth = np.mean(spectrum**power)
        inside = (estimate.low <= truth) & (truth <= estimate.high)
        assert 0.917 < np.mean(inside) < 0.983
        gaps = np.asarray(estimate.value) - truth
        assert abs(gaps.mean()) < 3 * gaps.std() / 20
        assert np.sqrt(np.mean(np.square(estimate.stderr))) == pytest.approx(gaps.std(), rel=0.12)


@pytest.mark.slow
def test_without_a_basis_ghosts_share_the_weight_of_one_eigenvalue():
    """Ten outliers of 2000 in single precision: copies come, their shares do not change."""
    outliers = np.linspace(20, 60, 10)
    operator = diagonal(np.concatenate([np.linspace(0, 1, 1990), outliers]), "float32")
    settings = {"num_draws": 4, "num_iterations": 100, "probe": "rademacher"}
    full, none = (
        lanczos_quadrature(operator, KEY, keep_basis=keep, **settings) for keep in (True, False)
    )
    copies = [np.sum(np.asarray(q.nodes) > 59.9, axis=1) for q in (full, none)]
    np.testing.assert_array_equal(copies[0], 1)
    assert np.all(copies[1] > 3)
    for quadrature in (full, none):
        above = spectral_mean(quadrature, lambda x: (x > 1.5).astype(x.dtype))
        # A start of entries ±1 gives every eigenvalue the weight 1/2000.
        assert above.value == pytest.approx(10 / 2000, rel=1e-3)


@pytest.mark.parametrize(
    "kernel",
    [
        "ghorbani",
        *(pytest.param(kernel, marks=pytest.mark.slow) for kernel in ("papyan", "range/m", 1e-3)),
    ],
)
def test_no_outlier_falls_off_the_grid_or_between_its_points(kernel, x64):
    """One eigenvalue of 50 at 10⁶; peaks far narrower than a cell keep their mass."""
    spectrum = np.concatenate([np.linspace(0, 1, 49), [1e6]])
    found = spectral_density(
        diagonal(spectrum), KEY, num_draws=3, num_iterations=20, kernel=kernel, probe="rademacher"
    )
    mass = np.asarray(found.density.value) * found.width
    assert mass.sum() == pytest.approx(1, abs=1e-8)
    assert mass[np.asarray(found.grid) > 5e5].sum() == pytest.approx(1 / 50, rel=1e-6)
    assert found.grid[-1] + found.width / 2 >= 1e6 + 5.9 * found.sigma


@pytest.mark.slow
def test_widths_of_the_kernels(x64):
    """Range 60, 20 nodes; and a range below 1, of which the first keeps no account."""
    spectrum = np.linspace(-20, 40, 200)
    quadrature = lanczos_quadrature(diagonal(spectrum), KEY, num_iterations=20)
    extent = float(quadrature.nodes.max() - quadrature.nodes.min())
    expected = {
        "ghorbani": (1e-5 * extent) ** 0.5,
        "papyan": 2 / (19 * (8 * np.log(3)) ** 0.5) * 1.1 * extent / 2,
        "range/m": extent / 20,
        0.25: 0.25,
    }
    for kernel, sigma in expected.items():
        found = smooth_quadrature(quadrature, kernel=kernel)
        assert found.sigma == pytest.approx(sigma, rel=1e-12)
    small = lanczos_quadrature(diagonal(spectrum / 1e3), KEY, num_iterations=20)
    assert smooth_quadrature(small).sigma == pytest.approx(1e-5**0.5)


@pytest.mark.slow
def test_a_density_smoothed_by_hand(x64):
    """Averages of the kernel over cells, from its distribution function."""
    operator = diagonal(np.array([0.0, 1.0]))
    found = spectral_density(
        operator, KEY, num_iterations=2, kernel=0.1, probe="rademacher", num_cells=50
    )
    from scipy.stats import norm

    centres = np.asarray(found.grid)
    edges = np.append(centres - found.width / 2, centres[-1] + found.width / 2)
    expected = np.diff(norm.cdf(edges, 0, 0.1) + norm.cdf(edges, 1, 0.1)) / 2 / found.width
    np.testing.assert_allclose(found.density.value, expected, atol=1e-10)
    np.testing.assert_allclose(found.density.stderr, 0, atol=1e-10)


@pytest.mark.slow
def test_logarithms_resolve_what_is_near_zero(x64):
    spectrum = np.concatenate([np.full(100, 1e-3), np.full(60, -1.0), np.full(40, 100.0)])
    found = spectral_density(
        diagonal(spectrum), KEY, num_iterations=3, kernel=0.1, axis="log", probe="rademacher"
    )
    assert found.floor == pytest.approx(1e-3)
    mass = np.asarray(found.density.value) * found.width
    grid = np.asarray(found.grid)
    masses = [mass[grid < -3].sum(), mass[(grid > -3) & (grid < 2)].sum(), mass[grid > 2].sum()]
    np.testing.assert_allclose(masses, [0.5, 0.3, 0.2], atol=1e-6)


@pytest.mark.slow
def test_batches_precisions_and_one_draw(x64):
    spectra = jnp.stack([jnp.linspace(0, 1, 30), jnp.linspace(-2, 5, 30)])
    measure = functools.partial(spectral_density, num_draws=2, num_iterations=10, num_cells=16)
    together = jax.jit(jax.vmap(lambda s: measure(diagonal(s), KEY).density.value))(spectra)
    alone = jnp.stack([measure(diagonal(s), KEY).density.value for s in spectra])
    np.testing.assert_allclose(together, alone, atol=1e-12)
    single = measure(diagonal(spectra[0], "float32"), KEY)
    assert single.density.value.dtype == single.grid.dtype == jnp.float32
    one = measure(diagonal(spectra[0]), KEY, num_draws=1)
    np.testing.assert_array_equal(one.density.status, Status.TOO_FEW_POINTS)
    assert np.isfinite(one.density.value).all()
    assert np.isnan(one.density.stderr).all()


@pytest.mark.slow
def test_what_is_not_finite_gets_a_status_and_no_number():
    found = spectral_density(diagonal([1.0, jnp.nan, 2.0], "float32"), KEY, num_draws=2)
    assert found.quadrature.status == Status.NONFINITE_TANGENT
    np.testing.assert_array_equal(found.density.status, Status.NONFINITE_TANGENT)
    assert np.isnan(found.density.value).all()
    mean = spectral_mean(found.quadrature, jnp.square)
    assert np.isnan(mean.value)
    assert mean.status == Status.NONFINITE_TANGENT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_iterations": 4}, "from 1 to 3"),
        ({"num_draws": 0}, "num_draws"),
        ({"kernel": "gauss"}, "papyan"),
        ({"kernel": 0.0}, "positive"),
        ({"axis": "log10"}, "axis"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_bad_settings_are_named(settings, message):
    unchecked = inspect.unwrap(spectral_density)
    with pytest.raises(ValueError, match=message):
        unchecked(diagonal([1.0, 2.0, 3.0], "float32"), KEY, **settings)
