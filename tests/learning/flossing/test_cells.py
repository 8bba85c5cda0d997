"""The tanh network is the formula, and Flax cells are steps whose carry is the state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.flossing.cells import cell_step, driven_tanh_step, initial_tanh_network

KEY = jax.random.key(0)


def test_the_network_is_its_formula():
    params = {**initial_tanh_network(KEY, 5, 2), "readout": jnp.ones(5)}
    state, given = jnp.linspace(-1, 1, 5), jnp.array([1.0, -2.0])
    moved = driven_tanh_step(params, state, given)
    rest = params["recurrent"] @ jnp.tanh(state) + params["bias"]
    np.testing.assert_allclose(moved, rest + params["input"] @ given, rtol=1e-6)
    np.testing.assert_allclose(driven_tanh_step(params, state, None), rest, rtol=1e-6)


def test_initial_weights_have_their_moments():
    """Standard errors of variances over 200² entries are .7 %: bounds at five of them."""
    params = initial_tanh_network(KEY, 200, 200, gain=1.5, input_scale=0.5, largest_bias=0.2)
    assert np.var(params["recurrent"]) * 200 / 1.5**2 == pytest.approx(1, abs=0.035)
    assert np.var(params["input"]) / 0.25 == pytest.approx(1, abs=0.035)
    assert 0 <= params["bias"].min() < 0.01
    assert 0.19 < params["bias"].max() <= 0.2
    turned = initial_tanh_network(KEY, 20, 1, gain=2.0, orthogonal=True)["recurrent"]
    np.testing.assert_allclose(turned @ turned.T, 4 * np.eye(20), atol=1e-5)
    with pytest.raises(ValueError, match="`size` must be at least 1"):
        initial_tanh_network(KEY, 0, 1)


@pytest.mark.parametrize("name", ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"])
def test_flax_cells_are_steps(name):
    from flax import linen

    cell = getattr(linen, name)(3)
    given = jnp.ones(2)
    state = cell.initialize_carry(KEY, (2,))
    variables = cell.init(KEY, state, given)
    moved = cell_step(cell)(variables, state, given)
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    np.testing.assert_array_equal(
        jnp.concatenate(jax.tree.leaves(moved)),
        jnp.concatenate(jax.tree.leaves(cell.apply(variables, state, given)[0])),
    )
