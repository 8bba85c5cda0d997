"""Transversal exponents against lattices with exact spectra and the master stability function."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.estimators.chaos.transversal import onto_span, synchronised, transversal_exponents
from fracjax.systems import flows, maps
from fracjax.systems.lattices import coupled_ring, coupled_ring_exponents

START = (1.0, 1.0, 20.0)


def coupled_pair(field, strength, seen, dt):
    """Two copies of a flow, each pulled towards the other in the variables `seen`."""

    def both(state):
        pull = strength * jnp.asarray(seen) * (state[::-1] - state)
        return jax.vmap(field)(state) + pull

    return flows.rk4(both, dt)


# --- exact values ---------------------------------------------------------------------------


def test_coupled_ring(x64):
    """ln b + ln|1 - ε + ε cos(2πk/N)|, all modes but the uniform one, which is chaotic.

    One exponent more than there are directions: it is −inf.
    """
    estimate = transversal_exponents(
        coupled_ring(maps.tent(1.9), 0.3),
        jnp.full(4, 0.3),
        synchronised([range(4)]),
        num_steps=600,
        num_transient=200,
        num_exponents=4,
    )
    exact = coupled_ring_exponents(math.log(1.9), 0.3, 4)[1:]
    np.testing.assert_allclose(estimate.value[:3], exact, atol=1e-12)
    assert estimate.status.tolist() == [Status.OK] * 3 + [Status.NONFINITE_TANGENT]
    assert estimate.value[3] == -np.inf
    assert estimate.details["departure"] < 1e-14


def test_two_coupled_maps_synchronise_beyond_the_critical_coupling(x64):
    """x' = (1 - ε) f(x) + ε f(y): λ⊥ = ln b + ln|1 - 2ε|, zero at ε = (1 - 1/b)/2 = .2368."""

    def across(coupling):
        def step(state):
            moved = jax.vmap(maps.tent(1.9))(state)
            return moved + coupling * (moved[::-1] - moved)

        project = onto_span(np.ones((1, 2)))
        return transversal_exponents(step, jnp.full(2, 0.3), project, num_steps=200).value[0]

    couplings = jnp.array([0.1, 0.2, 0.24, 0.4])
    exponents = jax.jit(jax.vmap(across))(couplings)
    exact = math.log(1.9) + jnp.log(1 - 2 * couplings)
    np.testing.assert_allclose(exponents, exact, atol=1e-12)
    assert np.sign(exponents).tolist() == [1, 1, -1, -1]


def test_two_groups_of_maps_leave_the_rest_free(x64):
    """Five uncoupled maps, two pairs held equal: one direction across each pair."""
    local = jax.vmap(maps.tent(1.7))
    estimate = transversal_exponents(
        local,
        jnp.linspace(0.1, 0.9, 5),
        synchronised([(0, 3), (1, 4)]),
        num_steps=300,
        num_exponents=2,
    )
    np.testing.assert_allclose(estimate.value, math.log(1.7), atol=1e-12)


# --- flows ----------------------------------------------------------------------------------


def test_full_coupling_of_two_lorenz_systems_shifts_the_exponent(x64):
    """λ⊥ = λ1 - 2κ along the same orbit, up to the integrator's error; too short to diverge."""
    settings = {"num_steps": 2000, "num_transient": 200, "dt": 0.01}
    step = flows.rk4(flows.lorenz63(), 0.01)
    single = lyapunov_spectrum(step, jnp.array(START), num_exponents=1, **settings)

    def across(strength):
        step = coupled_pair(flows.lorenz63(), strength, [1.0, 1.0, 1.0], 0.01)
        state = jnp.array([START, START])
        return transversal_exponents(step, state, synchronised([(0, 1)]), **settings)

    strengths = jnp.array([0.1, 0.4, 0.5, 1.0])
    estimate = jax.jit(jax.vmap(across))(strengths)
    np.testing.assert_allclose(estimate.value[:, 0], single.value - 2 * strengths, atol=1e-4)
    assert estimate.value[0, 0] > 0 > estimate.value[3, 0]


@pytest.mark.slow
def test_rossler_pair_agrees_with_the_master_stability_function(x64):
    """Coupled through x alone: stable at intermediate strength, unstable below and above it.

    The other method integrates one system with a tangent that is damped by 2κ in x.
    """
    field, seen = flows.rossler(c=9.0), jnp.array([1.0, 0.0, 0.0])
    settings = {"num_steps": 40_000, "num_transient": 3000, "dt": 0.02}

    def across(strength):
        step = coupled_pair(field, strength, seen, 0.02)
        return transversal_exponents(step, jnp.ones((2, 3)), synchronised([(0, 1)]), **settings)

    def master(strength):
        def extended(state):
            base, small = state
            flow, moved = jax.jvp(field, (base,), (small,))
            return jnp.stack([flow, moved - 2 * strength * seen * small])

        return lyapunov_spectrum(
            flows.rk4(extended, 0.02),
            jnp.stack([jnp.ones(3), jnp.zeros(3)]),
            num_exponents=1,
            coordinates=lambda state: state[1],
            **settings,
        )

    strengths = jnp.array([0.02, 0.5, 4.0])
    pair, single = jax.jit(jax.vmap(lambda s: (across(s), master(s))))(strengths)
    error = np.hypot(pair.stderr, single.stderr)
    assert np.all(np.abs(pair.value - single.value) < 4 * error)
    assert np.all(error < 0.02)
    assert np.sign(pair.value[:, 0]).tolist() == [1.0, -1.0, 1.0]


# --- failure --------------------------------------------------------------------------------


def test_a_subspace_that_is_not_invariant_is_noticed(x64):
    def step(state):  # the second map has another slope
        return jnp.array([1.9, 1.5]) * jnp.minimum(state, 1 - state)

    estimate = transversal_exponents(step, jnp.full(2, 0.3), synchronised([(0, 1)]), num_steps=100)
    assert estimate.status[0] == Status.NOT_CONVERGED
    assert estimate.details["departure"] > 0.01


def test_a_diverging_orbit():
    estimate = transversal_exponents(
        lambda s: s**2, jnp.full(2, 2.0), synchronised([(0, 1)]), num_steps=50
    )
    assert estimate.status[0] == Status.DIVERGED
    assert np.isnan(estimate.value[0])


@pytest.mark.parametrize("groups", [[], [(0,)], [(0, 1), (1, 2)]])
def test_groups_must_be_disjoint_and_not_trivial(groups):
    with pytest.raises(ValueError, match="Argument `groups` must"):
        synchronised(groups)


@pytest.mark.usefixtures("single_precision")
def test_a_step_may_be_an_object_that_cannot_be_hashed():
    @dataclasses.dataclass(frozen=True)
    class Scaling:
        factor: jax.Array

        def __call__(self, state):
            return self.factor * state

    step = Scaling(jnp.array(0.5))
    estimate = transversal_exponents(step, jnp.ones(2), synchronised([(0, 1)]), num_steps=40)
    np.testing.assert_allclose(estimate.value, math.log(0.5), atol=1e-6)
    assert estimate.value.dtype == jnp.float32
