"""Recorded Jacobians: exterior powers against frames, and against exact exponents."""

import inspect
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.exterior import spectrum_of_jacobians
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import flows, maps

from references import ginibre_exponents, value


def record(step, state, num_steps):
    def move(state, _):
        return step(state), jax.jacfwd(step)(state)

    return jax.lax.scan(move, state, length=num_steps)[1]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_both_methods_give_the_same_growth(size, x64):
    """The same fixed frame: block by block to rounding, for as long as a block is moderate."""
    chain = jax.random.normal(jax.random.key(0), (1300, size, size))
    settings = {"num_transient": 20, "num_blocks": 128}
    exterior = spectrum_of_jacobians(chain, method="exterior", **settings)
    frames = spectrum_of_jacobians(chain, method="qr", **settings)
    np.testing.assert_allclose(
        exterior.details["blocks"], frames.details["blocks"], rtol=1e-9, atol=1e-9
    )
    chex.assert_trees_all_close(exterior.value, frames.value, atol=1e-11)
    assert (exterior.details["method"], frames.details["method"]) == ("exterior", "qr")


@pytest.mark.parametrize("size", [3, 5])
def test_gaussian_products(size, x64):
    """Newman's exponents; 16 z-scores at the most, 4 standard errors each."""
    chain = jax.random.normal(jax.random.key(1), (40_000, size, size))
    estimate = spectrum_of_jacobians(chain, num_transient=50)
    scores = (estimate.value - np.array(ginibre_exponents(size))) / estimate.stderr
    assert np.all(np.abs(scores) < 4)
    assert np.all(estimate.stderr < 0.02)
    assert np.all(estimate.status == Status.OK)


def test_the_sum_is_exact_and_the_orbit_is_that_of_the_spectrum(x64):
    chain = record(maps.henon(), jnp.zeros(2), 10_000)
    recorded = spectrum_of_jacobians(chain, num_transient=400)
    assert abs(recorded.value.sum() - value("henon", "sum")) < 1e-12
    walked = lyapunov_spectrum(maps.henon(), jnp.zeros(2), num_steps=9600, num_transient=400)
    np.testing.assert_allclose(recorded.value, walked.value, atol=2e-3)


def test_the_neutral_exponent_of_a_flow(x64):
    chain = record(flows.rk4(flows.lorenz63(), 0.01), jnp.array([1.0, 1.0, 20.0]), 42_000)
    estimate = spectrum_of_jacobians(chain, dt=0.01, num_transient=2000)
    assert abs(estimate.value[1]) < 5e-3
    assert abs(estimate.value.sum() - value("lorenz63", "sum")) < 2e-4


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("method", ["exterior", "qr"])
def test_float32_carries_any_length(method):
    """The plain product of 300 such factors is 1e600."""
    chain = jnp.broadcast_to(jnp.diag(jnp.array([1e2, 1.0, 1e-2])), (300, 3, 3))
    estimate = spectrum_of_jacobians(chain, method=method, num_transient=20)
    np.testing.assert_allclose(estimate.value, math.log(1e2) * np.array([1, 0, -1]), atol=1e-3)
    assert estimate.value.dtype == jnp.float32


@pytest.mark.parametrize("method", ["exterior", "qr"])
@pytest.mark.parametrize("at", [5, 150])
def test_directions_that_vanish_grow_minus_infinity(method, at, x64):
    """One Jacobian of rank 1, in the transient or later, leaves one direction of three."""
    chain = jnp.broadcast_to(jnp.diag(jnp.array([2.0, 1.0, 0.5])), (300, 3, 3))
    chain = chain.at[at].set(jnp.diag(jnp.array([2.0, 0.0, 0.0])))
    estimate = spectrum_of_jacobians(chain, method=method, num_transient=20)
    np.testing.assert_allclose(estimate.value[0], math.log(2), atol=1e-9)
    assert np.all(estimate.value[1:] == -np.inf)
    assert estimate.status.tolist() == [Status.OK] + [Status.NONFINITE_TANGENT] * 2


def test_a_nonfinite_chain_is_a_status_and_batches_are_loops(x64):
    chains = jax.random.normal(jax.random.key(0), (2, 200, 2, 2)).at[1, 7, 0, 0].set(jnp.nan)
    batched = jax.vmap(spectrum_of_jacobians)(chains)
    assert batched.status[0].tolist() == [Status.OK] * 2
    assert batched.status[1].tolist() == [Status.DIVERGED] * 2
    assert np.all(np.isnan(batched.value[1]))
    single = spectrum_of_jacobians(chains[0])
    first = jax.tree.map(lambda leaf: leaf[0], batched)
    chex.assert_trees_all_close(first, single, atol=1e-12)


@pytest.mark.parametrize(
    ("chain", "settings", "name"),
    [
        (jnp.ones((10, 2)), {}, "jacobians"),
        (jnp.ones((10, 2, 3)), {}, "jacobians"),
        (jnp.ones((10, 2, 2), int), {}, "jacobians"),
        (jnp.ones((10, 5, 5)), {"method": "exterior"}, "method"),
        (jnp.ones((10, 2, 2)), {"method": "svd"}, "method"),
        (jnp.ones((10, 2, 2)), {"num_transient": 10}, "num_blocks"),
        (jnp.ones((10, 2, 2)), {"dt": 0.0}, "dt"),
    ],
)
def test_bad_input_is_named(chain, settings, name):
    with pytest.raises(ValueError, match=f"Arguments? `{name}`"):
        inspect.unwrap(spectrum_of_jacobians)(chain, **settings)
