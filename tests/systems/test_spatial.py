"""Kuramoto–Sivashinsky: dispersion, aliasing, conservation, order, symmetry."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.systems import spatial
from fracjax.systems.integrators import rk4

LENGTH, POINTS, MODES = 22.0, 32, 10


def smooth_state(scale=1.0):
    draws = np.random.default_rng(0).normal(size=(2, MODES))
    return jnp.asarray((scale * draws * np.exp(-0.5 * np.arange(MODES))).reshape(-1))


def test_small_waves_grow_at_their_linear_rate(x64):
    """Derivative of the step at rest; also the largest growth, near q² = 1/2."""
    step = spatial.kuramoto_sivashinsky(LENGTH, 0.1, num_points=POINTS)
    jacobian = jax.jacfwd(step)(jnp.zeros(2 * MODES))
    rates = spatial.kuramoto_sivashinsky_rates(LENGTH, POINTS)
    chex.assert_trees_all_close(jacobian, jnp.diag(jnp.exp(0.1 * rates)), atol=1e-15)
    wave = 2 * np.pi * np.arange(1, MODES + 1) / LENGTH
    np.testing.assert_allclose(rates[:MODES], wave**2 * (1 - wave**2), rtol=1e-13)


def test_advection_is_the_product_without_aliasing(x64):
    """Against -u u_x on a grid eight times finer."""
    state = smooth_state()
    fine = 8 * POINTS
    slopes = np.asarray(state.reshape(2, -1))
    modes = slopes[0] + 1j * slopes[1]
    wave = 2 * np.pi * np.arange(1, MODES + 1) / LENGTH
    points = LENGTH * np.arange(fine) / fine
    waves = np.exp(1j * np.outer(points, wave))
    values = 2 * np.real(waves @ modes)
    product = -values * 2 * np.real(waves @ (1j * wave * modes))
    exact = np.conj(waves).T @ product / fine
    advected = spatial.kuramoto_sivashinsky_advection(LENGTH, POINTS)(state)
    np.testing.assert_allclose(advected, np.concatenate([exact.real, exact.imag]), atol=1e-13)
    np.testing.assert_allclose(spatial.on_grid(state, fine), values, atol=1e-13)


def test_advection_conserves_energy_and_volume(x64):
    state = smooth_state()
    advect = spatial.kuramoto_sivashinsky_advection(LENGTH, POINTS)
    assert abs(float(state @ advect(state))) < 1e-14
    assert abs(float(jnp.trace(jax.jacfwd(advect)(state)))) < 1e-14


def test_step_converges_with_order_four(x64):
    """Hypothesis: halving the step divides the error by 16. The truth is small steps of it."""
    state = 2 * smooth_state()

    def run(dt):
        step = spatial.kuramoto_sivashinsky(LENGTH, dt, num_points=POINTS)
        return jax.lax.fori_loop(0, round(1 / dt), lambda _, s: step(s), state)

    exact = run(1 / 1024)
    errors = [float(jnp.linalg.norm(run(dt) - exact)) for dt in (1 / 32, 1 / 64, 1 / 128)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 4) < 0.3)


def test_step_solves_the_equation(x64):
    """Against explicit Runge–Kutta with steps that resolve the stiffest mode."""
    rates = spatial.kuramoto_sivashinsky_rates(LENGTH, POINTS)
    advect = spatial.kuramoto_sivashinsky_advection(LENGTH, POINTS)
    explicit = rk4(lambda s: rates * s + advect(s), 1 / 512)
    state = smooth_state()
    exact = jax.lax.fori_loop(0, 512, lambda _, s: explicit(s), state)
    step = spatial.kuramoto_sivashinsky(LENGTH, 1 / 128, num_points=POINTS)
    moved = jax.lax.fori_loop(0, 128, lambda _, s: step(s), state)
    chex.assert_trees_all_close(moved, exact, atol=1e-8)


def test_step_commutes_with_translation(x64):
    """A shift by length/5 turns mode k by 2πk/5."""

    def shift(state):
        real, imaginary = state.reshape(2, -1)
        turned = (real + 1j * imaginary) * np.exp(-2j * np.pi * np.arange(1, MODES + 1) / 5)
        return jnp.concatenate([turned.real, turned.imag])

    step = spatial.kuramoto_sivashinsky(LENGTH, 0.1, num_points=POINTS)
    state = smooth_state()
    chex.assert_trees_all_close(step(shift(state)), shift(step(state)), atol=1e-13)


def test_float32_agrees_with_float64(x64):
    step = jax.jit(spatial.kuramoto_sivashinsky())
    state = jnp.pad(smooth_state().reshape(2, -1), ((0, 0), (0, 11))).reshape(-1)
    single = step(state.astype(jnp.float32))
    assert single.dtype == jnp.float32
    chex.assert_trees_all_close(single, step(state).astype(jnp.float32), atol=1e-5)


def test_volume_shrinks_by_the_sum_of_rates_as_steps_shrink(x64):
    """Along 40 units of time: 3.0 off at a step of .1, .05 at .05, .002 at .025 (measured)."""
    total = spatial.kuramoto_sivashinsky_rates(LENGTH, POINTS).sum()

    def excess(dt):
        step = spatial.kuramoto_sivashinsky(LENGTH, dt, num_points=POINTS)

        def move(state, _):
            return step(state), jnp.linalg.slogdet(jax.jacfwd(step)(state))[1] / dt

        start = jax.lax.fori_loop(0, round(20 / dt), lambda _, s: step(s), smooth_state())
        return float(jax.lax.scan(move, start, length=round(40 / dt))[1].mean() - total)

    coarse, fine = excess(0.05), excess(0.025)
    assert abs(fine) < 0.01
    assert coarse / fine > 10


@pytest.mark.parametrize(
    ("settings", "name"), [({"num_points": 3}, "num_points"), ({"length": 0.0}, "length")]
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        spatial.kuramoto_sivashinsky(**settings)
