"""Integrators: orders of convergence, what the symplectic ones keep, and Diffrax's tangents."""

import functools
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import flows
from fracjax.systems.integrators import diffrax_step, leapfrog, rk4, yoshida4

LORENZ = np.array([1.0, 2.0, 20.0])
CHAOTIC = np.array([0.0, -0.25, 0.42081, 0.0])
KEPLER = np.array([1.0, 0.0, 0.0, 1.1])


def run(step, state, time, dt):
    return jax.lax.fori_loop(0, round(time / dt), lambda _, s: step(s), jnp.asarray(state))


def orders(make, state, time, steps, finest):
    exact = run(make(finest), state, time, finest)
    errors = [float(jnp.linalg.norm(run(make(dt), state, time, dt) - exact)) for dt in steps]
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def kepler_force(position):
    return -position / jnp.sum(position**2) ** 1.5


@pytest.mark.parametrize(
    ("make", "state", "order"),
    [
        (functools.partial(rk4, flows.lorenz63()), LORENZ, 4),
        (functools.partial(leapfrog, kepler_force), KEPLER, 2),
        (functools.partial(yoshida4, kepler_force), KEPLER, 4),
    ],
)
def test_order_of_convergence(make, state, order, x64):
    """Hypothesis: halving the step divides the error by 2^order."""
    measured = orders(make, state, 0.4, (0.02, 0.01, 0.005), 0.4 / 1024)
    assert np.all(np.abs(measured - order) < 0.3)


def test_rk4_takes_pytrees(x64):
    def oscillator(state):
        return {"q": state["p"], "p": -state["q"]}

    step = rk4(oscillator, 0.01)
    state = jax.lax.fori_loop(
        0, 100, lambda _, s: step(s), {"q": jnp.array(1.0), "p": jnp.array(0.0)}
    )
    chex.assert_trees_all_close(state["q"], jnp.cos(1.0), atol=1e-9)


@pytest.mark.parametrize("make", [leapfrog, yoshida4])
def test_symplectic_steps_keep_the_form_and_can_be_undone(make, x64):
    state = jnp.asarray(CHAOTIC)
    step = make(flows.henon_heiles_force(), 0.1)
    jacobian = jax.jacfwd(step)(state)
    form = jnp.kron(jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.eye(2))
    chex.assert_trees_all_close(jacobian.T @ form @ jacobian, form, atol=1e-14)
    back = make(flows.henon_heiles_force(), -0.1)
    chex.assert_trees_all_close(back(step(state)), state, atol=1e-14)
    assert step(jnp.asarray(CHAOTIC, jnp.float32)).dtype == jnp.float32


def test_energy_errors_stay_bounded_and_have_the_order(x64):
    """The largest error over the last tenth is that over the first, and falls as dt⁴."""
    energy = flows.henon_heiles_energy

    def error(dt):
        step = yoshida4(flows.henon_heiles_force(), dt)
        _, energies = jax.lax.scan(
            lambda s, _: (step(s), energy(s)), jnp.asarray(CHAOTIC), length=round(2000 / dt)
        )
        errors = jnp.abs(energies - energies[0])
        tenth = len(errors) // 10
        return float(errors[:tenth].max()), float(errors[-tenth:].max())

    first, last = error(0.2)
    assert 0.5 < last / first < 2
    assert 2**3.5 < last / error(0.1)[1] < 2**4.5


def test_symplectic_exponents_pair_to_rounding(x64):
    step = yoshida4(flows.henon_heiles_force(), 0.1)
    estimate = lyapunov_spectrum(step, jnp.asarray(CHAOTIC), num_steps=20_000, dt=0.1)
    assert estimate.value[0] > 0.02
    assert abs(float(estimate.value.sum())) < 1e-12
    # The singular values of the product pair exactly; the frame's exponents differ from
    # theirs by O(1/T).
    np.testing.assert_allclose(estimate.value, -estimate.value[::-1], atol=5e-3)


# --- Diffrax --------------------------------------------------------------------------------


def test_diffrax_step_is_accurate_and_so_is_its_derivative(x64):
    """The derivative of the flow to the tolerance, its own to that of central differences."""
    adaptive = diffrax_step(flows.lorenz63(), 0.2)
    fine = functools.partial(run, rk4(flows.lorenz63(), 5e-4), time=0.2, dt=5e-4)
    state, shift = jnp.asarray(LORENZ), 1e-5

    @jax.jit
    def jacobians(state):
        ends = jax.vmap(adaptive)(state + shift * jnp.concatenate([jnp.eye(3), -jnp.eye(3)]))
        return adaptive(state), jax.jacfwd(adaptive)(state), (ends[:3] - ends[3:]).T / (2 * shift)

    moved, jacobian, differences = jacobians(state)
    chex.assert_trees_all_close(moved, fine(state), atol=1e-6)
    chex.assert_trees_all_close(jacobian, jax.jacfwd(fine)(state), atol=1e-5)
    chex.assert_trees_all_close(jacobian, differences, atol=1e-6)


def test_diffrax_and_rk4_give_the_same_exponents(x64):
    """Over 5 units of time of the same orbit, before tolerances have grown to 1e-5."""
    state = jnp.asarray(LORENZ)
    settings = {"num_transient": 0, "num_blocks": 2}
    adaptive = diffrax_step(flows.lorenz63(), 0.1)
    coarse = lyapunov_spectrum(adaptive, state, num_steps=50, dt=0.1, **settings)
    fixed = rk4(flows.lorenz63(), 1e-3)
    fine = lyapunov_spectrum(fixed, state, num_steps=5000, dt=1e-3, **settings)
    np.testing.assert_allclose(coarse.value, fine.value, atol=1e-5)
    assert abs(float(coarse.value.sum()) + 41 / 3) < 1e-5


def test_diffrax_solves_stiff_pytrees_of_another_solver(x64):
    import diffrax

    def field(state):
        return {"fast": -1e4 * (state["fast"] - state["slow"]), "slow": -state["slow"]}

    step = diffrax_step(field, 0.5, solver=diffrax.Kvaerno5())
    state = {"fast": jnp.ones(2), "slow": jnp.ones(2)}
    moved, slopes = jax.jvp(step, (state,), (state,))
    chex.assert_trees_all_close(moved["slow"], jnp.full(2, np.exp(-0.5)), atol=1e-7)
    chex.assert_trees_all_close(moved["fast"], jnp.full(2, np.exp(-0.5) / (1 - 1e-4)), atol=1e-6)
    chex.assert_trees_all_close(slopes, moved, atol=1e-6)


def test_too_many_inner_steps_give_nan_to_that_member_alone():
    step = diffrax_step(flows.lorenz63(), 0.3, rtol=1e-5, atol=1e-5, max_steps=6)
    states = jnp.array([[1.0, 2.0, 20.0], [8.48, 8.49, 27.0]])  # the second is close to rest
    moved = jax.jit(jax.vmap(step))(states)
    assert np.isnan(moved).tolist() == [[True] * 3, [False] * 3]


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ImportError, match=r"fracjax\[diffrax\]"):
        diffrax_step(flows.lorenz63(), 0.1)
