"""What every estimator owes its caller, whatever it estimates.

A new estimator is tested by being listed in `estimator_contracts.py`. Values lie within their own
errors of the truth; jit equals eager and vmap equals a loop; float32 and float64 agree; a NaN
gives a status and not a number; keys reproduce; shapes are as documented.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from estimator_contracts import CONTRACTS

from fracjax import Status, estimators

KEY = jax.random.key(0)
JITTED = [name for name, contract in CONTRACTS.items() if not contract.on_host]


@functools.cache
def drawn(name, seed=17):
    """Data in float64, made by one program and held in NumPy: nothing else is compiled."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(CONTRACTS[name].make)(jax.random.key(seed)))


def estimated(name, data, key=KEY):
    """Run as a user would, outside of jit unless every call would compile anew."""
    run = compiled(name) if name in FOLLOW_A_STEP else CONTRACTS[name].run
    return run(jax.tree.map(jnp.asarray, data), key)


@functools.cache
def compiled(name):
    return jax.jit(CONTRACTS[name].run)


# Their loops over time are compiled for the step of each call; one call is made outside of jit.
FOLLOW_A_STEP = {
    "alignment_index",
    "covariant_vectors",
    "local_exponents",
    "transversal_exponents",
}


def poison(data):
    """Make the first number of every floating leaf NaN."""

    def spoil(leaf):
        flat = np.array(leaf).ravel()
        flat[0] = np.nan
        return flat.reshape(leaf.shape)

    return jax.tree.map(spoil, data)


def test_every_estimator_is_listed():
    """Records of growth and figures of merit that are no estimates are named here."""
    others = {
        "Motion",
        "delay_embedding",
        "displacement_density",
        "displacement_from",
        "drift_noise_surrogate",
        "ensemble_displacement",
        "exponent_change",
        "exponents_over_time",
        "finite_time_growth",
        "flattened_stability",
        "graph_box_dimension",
        "higuchi_fractal_dimension",
        "katz_fractal_dimension",
        "linear_region",
        "local_diffusion_exponents",
        "mean_squared_displacement",
        "non_gaussian_parameter",
        "null_exponents",
        "onto_span",
        "relaxation_surrogate",
        "segment_displacements",
        "smaller_alignment_index",
        "stream_displacements",
        "subspace_angles",
        "synchronised",
        "vector_angles",
    }
    listed = {name.split(",")[0] for name in CONTRACTS}
    assert listed | others == set(estimators.__all__)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_truth_lies_within_the_error(name, x64):
    """Four standard errors; some twenty estimators, so one false alarm in 800 sets of seeds."""
    contract = CONTRACTS[name]
    estimate = estimated(name, drawn(name))
    truth = np.asarray(contract.truth)
    assert estimate.value.shape == truth.shape
    assert np.all(np.equal(estimate.status, Status.OK))
    margin = 4 * np.asarray(estimate.stderr) + contract.bias
    assert np.all(np.abs(np.asarray(estimate.value) - truth) <= margin)
    assert np.all(np.greater(estimate.stderr, 0))
    assert np.all(np.less(estimate.low, estimate.value))
    assert np.all(np.less(estimate.value, estimate.high))


@pytest.mark.parametrize("name", CONTRACTS)
def test_fields_have_one_shape_and_known_codes(name, x64):
    contract = CONTRACTS[name]
    estimate = estimated(name, drawn(name))
    shape = np.shape(contract.truth)
    fields = (estimate.value, estimate.stderr, estimate.low, estimate.high, estimate.status)
    assert all(np.shape(field) == shape for field in fields)
    assert set(np.ravel(estimate.status).tolist()) <= {int(code) for code in Status}
    assert estimate.details


@pytest.mark.parametrize("name", JITTED)
def test_jit_and_vmap_are_a_loop_of_eager_calls(name, x64):
    """One program of a batch, with every array abstract, against single calls outside of jit.

    Results of a chaotic orbit may differ by what rounding does to it: its error.
    """
    contract = CONTRACTS[name]
    samples = [drawn(name), drawn(name, 19)]
    batch = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *samples)
    batched = jax.jit(jax.vmap(contract.run, in_axes=(0, None)))(batch, KEY)
    for index, sample in enumerate(samples):
        if name in FOLLOW_A_STEP and index == 0:
            single = contract.run(jax.tree.map(jnp.asarray, sample), KEY)
        else:
            single = estimated(name, sample)
        member = jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], batched)
        chex.assert_trees_all_equal_shapes(member, jax.tree.map(np.asarray, single))
        assert np.array_equal(member.status, single.status)
        np.testing.assert_allclose(member.value, single.value, atol=contract.rounding)


@pytest.mark.parametrize("name", CONTRACTS)
def test_float32_agrees_with_float64(name):
    contract = CONTRACTS[name]
    data = drawn(name)
    with jax.enable_x64(True):
        double = estimated(name, data)
    single = estimated(name, jax.tree.map(lambda leaf: leaf.astype(np.float32), data))
    if not contract.on_host:
        assert single.value.dtype == jnp.float32
        assert double.value.dtype == jnp.float64
    np.testing.assert_allclose(single.value, double.value, atol=contract.single)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_nan_gives_a_status(name, x64):
    estimate = estimated(name, poison(drawn(name)))
    if name in LEAVES_OUT:
        assert np.all(np.isfinite(np.asarray(estimate.value)))
        return
    assert np.all(np.not_equal(estimate.status, Status.OK))
    assert np.all(np.isnan(np.asarray(estimate.value)))


# Ensembles leave the one broken member out, count it, and go on; so do surfaces.
LEAVES_OUT = {
    "graph_dimension, surface",
    "local_exponents",
    "ensemble_exponent",
    "second_moment_exponent",
    "worst_finite_time_exponent",
    "reward_exponent",
    "exponent_from_lines",
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_key_reproduces(name, x64):
    contract, data = CONTRACTS[name], drawn(name)
    first, second = estimated(name, data), estimated(name, data)
    chex.assert_trees_all_equal(first, second)
    other = estimated(name, data, jax.random.key(1))
    if contract.uses_key:
        assert not np.array_equal(first.value, other.value)
    else:
        np.testing.assert_allclose(first.value, other.value, atol=max(contract.rounding, 1e-12))
