"""The flossing loss: exact where exponents are, and its gradient is that of differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fracjax import Status
from fracjax.learning.flossing.cells import cell_step, driven_tanh_step, initial_tanh_network
from fracjax.learning.flossing.losses import flossing_loss, mean_flossing_loss

KEY = jax.random.key(0)


def linear_step(params, state, given):
    return params @ state


def drive(seed, window=55):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(window, 1)))


def directional_error(loss, params, direction_seed=0, size=1e-5):
    """Compare the gradient along a random direction with central differences of order four."""
    flat, rebuild = ravel_pytree(params)
    direction = np.random.default_rng(direction_seed).normal(size=flat.shape)
    direction /= np.linalg.norm(direction)
    value, gradient = jax.jit(jax.value_and_grad(lambda v: loss(rebuild(v))))(flat)
    at = jax.jit(lambda h: loss(rebuild(flat + h * direction)))
    near, far = (float(at(s) - at(-s)) / (2 * s) for s in (size, 2 * size))
    assert np.isfinite(value)
    expected = (4 * near - far) / 3
    return abs(float(gradient @ direction) - expected) / abs(expected)


def test_an_orthogonal_step_has_nothing_to_floss(x64):
    """All exponents are 0 whatever the frame: loss 0, gradient 0."""
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        settings = {"num_exponents": 4, "window": 12, "discard": 3, "key": KEY}
        return flossing_loss(linear_step, params, jnp.ones(6), None, **settings).value

    value, gradient = loss(jnp.asarray(matrix))
    assert value < 1e-28
    np.testing.assert_allclose(gradient, 0, atol=1e-13)


@pytest.mark.parametrize("derivative", ["adjoint", "automatic"])
def test_scaling_by_a_number_is_exact(x64, derivative):
    """x' = a x: (ln a − target)², of gradient 2 (ln a − target)/a, on either side of it."""

    @jax.jit
    @jax.value_and_grad
    def loss(a):
        return flossing_loss(
            lambda params, state, given: params * state,
            a,
            jnp.ones(()),
            None,
            num_exponents=1,
            window=8,
            discard=2,
            target=0.1,
            key=KEY,
            derivative=derivative,
        ).value

    for a in (0.7, 1.8):
        value, slope = loss(a)
        np.testing.assert_allclose(value, (math.log(a) - 0.1) ** 2, rtol=1e-12)
        np.testing.assert_allclose(slope, 2 * (math.log(a) - 0.1) / a, rtol=1e-12)


BLOCKS = {"rates": [1.3, 1.02, 0.8, 0.6], "angles": [0.7, 2.1]}


def block_diagonal(rates):
    """Two rotations of two coordinates each and two numbers: exponents in pairs and alone."""
    matrix = jnp.zeros((6, 6))
    for index, angle in enumerate(BLOCKS["angles"]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        at = slice(2 * index, 2 * index + 2)
        matrix = matrix.at[at, at].set(rates[index] * turn)
    return matrix.at[4, 4].set(rates[2]).at[5, 5].set(rates[3])


def block_loss(rates, **settings):
    given = {"num_exponents": 5, "window": 130, "discard": 100, "key": KEY, **settings}
    return flossing_loss(linear_step, block_diagonal(rates), jnp.ones(6), None, **given)


def test_blocks_have_known_exponents_targets_and_sides(x64):
    """ln of (1.3, 1.3, 1.02, 1.02, .8); the gradient of the loss is known in the rates."""
    rates = jnp.asarray(BLOCKS["rates"])
    exponents = np.log([1.3, 1.3, 1.02, 1.02, 0.8])
    target = jnp.array([0.3, 0.2, 0.1, -0.1, -0.3])

    @jax.jit
    def everything(rates):
        found = block_loss(rates)
        two_sided = jax.grad(lambda r: block_loss(r, target=target, reduce="sum").value)(rates)
        one_sided = jax.value_and_grad(
            lambda r: block_loss(r, target=target, one_sided=True).value
        )(rates)
        return found, two_sided, one_sided

    found, two_sided, (value, one_sided) = everything(rates)
    np.testing.assert_allclose(found.exponents, exponents, atol=1e-7)
    np.testing.assert_allclose(found.value, np.mean(exponents**2), rtol=1e-6)
    assert found.steps == 30
    assert found.status.tolist() == [Status.OK] * 5
    gaps = exponents - np.asarray(target)
    expected = np.array([2 * gaps[:2].sum(), 2 * gaps[2:4].sum(), 2 * gaps[4], 0])
    np.testing.assert_allclose(two_sided, expected / BLOCKS["rates"], rtol=1e-5, atol=1e-7)
    above = np.maximum(gaps, 0)
    expected = np.array([2 * above[:2].sum(), 2 * above[2:4].sum(), 2 * above[4], 0]) / 5
    np.testing.assert_allclose(one_sided, expected / BLOCKS["rates"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(value, np.mean(above**2), rtol=1e-6)
    below = block_loss(rates, target=0.5, one_sided=True)
    assert below.value == 0


def driven_slopes(**settings):
    """Value and gradients in params, state and inputs; 10 exponents take the Cholesky path."""
    params = initial_tanh_network(KEY, 12, 1)

    def loss(params, state, inputs):
        given = {"num_exponents": 10, "window": 24, "discard": 6, "key": KEY, **settings}
        found = flossing_loss(driven_tanh_step, params, state, inputs, **given)
        return found.value + 0.1 * jnp.sum(found.state**2)

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    return both(params, 0.3 * jnp.arange(12.0) / 12, drive(0, 24))


def assert_close(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)


def test_the_adjoint_is_the_automatic_derivative(x64):
    """With checkpoints, next to everything stored."""
    assert_close(driven_slopes(checkpoint_every=4), driven_slopes(derivative="automatic"))


@pytest.mark.slow
def test_checkpoints_and_intervals_change_nothing(x64):
    reference = driven_slopes()
    assert_close(driven_slopes(renormalize_every=3), reference)
    assert_close(driven_slopes(renormalize_every=2, checkpoint_every=3), reference)
    settings = {"derivative": "automatic", "renormalize_every": 2, "checkpoint_every": 3}
    assert_close(driven_slopes(**settings), reference)


@pytest.mark.slow
def test_a_given_orbit_leaves_its_sensitivity_out(x64):
    params = initial_tanh_network(KEY, 8, 1)

    def slope(derivative):
        def loss(params, state):
            settings = {"num_exponents": 3, "window": 15, "discard": 5, "key": KEY}
            return flossing_loss(
                driven_tanh_step,
                params,
                state,
                drive(1, 15),
                through_state=False,
                derivative=derivative,
                **settings,
            ).value

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, 0.2 * jnp.ones(8))

    (ours, first), (automatic, _) = slope("adjoint"), slope("automatic")
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(automatic), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)
    assert (first == 0).all()
    assert (ours["bias"] == 0).all()


def test_a_tanh_network_agrees_with_differences(x64):
    """V15 in small: rtol 1e-6 along a random direction of all parameters."""
    params = initial_tanh_network(KEY, 16, 1)
    settings = {"num_exponents": 5, "window": 30, "discard": 8, "key": KEY}

    def loss(params):
        return flossing_loss(
            driven_tanh_step, params, jnp.zeros(16), drive(2, 30), **settings
        ).value

    assert directional_error(loss, params) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16, 75])
def test_the_papers_network_agrees_with_differences(x64, count):
    """V15: 80 units, a window of 55, in float64."""
    params = initial_tanh_network(KEY, 80, 1)

    def loss(params):
        settings = {"num_exponents": count, "key": jax.random.key(1)}
        return flossing_loss(driven_tanh_step, params, jnp.zeros(80), drive(3), **settings).value

    assert directional_error(loss, params, size=1e-4 if count == 75 else 1e-5) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"])
def test_flax_cells_agree_with_differences(x64, name):
    """An LSTM has the exponents of (c, h): 2n of them."""
    from flax import linen

    cell = getattr(linen, name)(8, param_dtype=jnp.float64)
    inputs = drive(4, 30)
    state = cell.initialize_carry(KEY, (1,))
    params = cell.init(KEY, state, inputs[0])
    count = 10 if "LSTM" in name else 5

    def loss(params):
        settings = {"num_exponents": count, "window": 30, "discard": 8, "key": KEY}
        return flossing_loss(cell_step(cell), params, state, inputs, **settings).value

    assert directional_error(loss, params) < 1e-6


@pytest.mark.slow
def test_a_batch_is_the_mean_of_its_members():
    params = initial_tanh_network(KEY, 6, 1)
    states = 0.1 * jax.random.normal(KEY, (3, 6))
    inputs = jax.random.normal(jax.random.key(1), (3, 12, 1))
    settings = {"num_exponents": 3, "window": 12, "discard": 4, "key": KEY}

    @jax.jit
    def batch(params):
        def loss(params):
            found = mean_flossing_loss(driven_tanh_step, params, states, inputs, **settings)
            return found.value, found

        return jax.grad(loss, has_aux=True)(params)

    @jax.jit
    def one(params, state, given):
        def loss(params):
            found = flossing_loss(driven_tanh_step, params, state, given, **settings)
            return found.value, found

        return jax.grad(loss, has_aux=True)(params)

    gradient, found = batch(params)
    alone = [one(params, state, given) for state, given in zip(states, inputs, strict=True)]
    gradients = jax.tree.map(lambda *leaves: sum(leaves) / 3, *(slope for slope, _ in alone))
    for left, right in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
        assert left.dtype == jnp.float32
    np.testing.assert_allclose(found.value, np.mean([f.value for _, f in alone]), rtol=1e-5)
    np.testing.assert_allclose(
        found.exponents, np.mean([f.exponents for _, f in alone], axis=0), rtol=1e-5
    )
    assert found.steps == 24
    assert found.status.shape == (3,)


def test_failures_have_a_status(x64):
    @jax.jit
    def found(matrix):
        settings = {"num_exponents": 2, "window": 6, "discard": 2, "key": KEY}
        return flossing_loss(linear_step, matrix, jnp.ones(3), None, **settings)

    vanished = found(jnp.diag(jnp.array([1.0, 0, 0])))
    assert vanished.status.tolist() == [Status.OK, Status.NONFINITE_TANGENT]
    assert (found(jnp.full((3, 3), 1e200)).status == Status.DIVERGED).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discard": 12}, "`window` must be at least 13"),
        ({"renormalize_every": 5}, "`discard` must be a multiple of 5"),
        ({"checkpoint_every": 5}, "`window` must be a multiple of 5"),
        ({"num_exponents": 4}, "`num_exponents` must be between 1 and 3"),
        ({"inputs": jnp.zeros((11, 1))}, "`inputs` must have 12 slices"),
    ],
)
def test_bad_settings_are_named(settings, message):
    given = {"num_exponents": 2, "window": 12, "discard": 4, "key": KEY, "inputs": None}
    given |= settings
    with pytest.raises(ValueError, match=message):
        flossing_loss(linear_step, jnp.eye(3), jnp.ones(3), **given)
