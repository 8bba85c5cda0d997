"""Counts against closed forms, and what checkpoints save."""

import jax
import jax.numpy as jnp
import pytest

from fracjax.learning.flossing.cells import driven_tanh_step, initial_tanh_network
from fracjax.learning.flossing.costs import (
    checkpoint_costs,
    count_operations,
    flossing_cost,
    stored_bytes,
)
from fracjax.learning.flossing.losses import flossing_loss

KEY = jax.random.key(0)
PARAMS = initial_tanh_network(KEY, 12, 1)
FLOAT_BYTES = jnp.zeros(()).dtype.itemsize
PARAMETER_BYTES = FLOAT_BYTES * (12 * 12 + 12 + 12)


def loss(params, **settings):
    given = {"num_exponents": 4, "window": 20, "discard": 4, "key": KEY, **settings}
    return flossing_loss(driven_tanh_step, params, jnp.zeros(12), None, **given)


def test_operations_of_products_loops_and_factors():
    def product(a, b):
        return jax.lax.scan(lambda c, _: (c @ b, None), a, length=5)[0]

    assert count_operations(product, jnp.ones((3, 4)), jnp.ones((4, 4))) == 5 * 2 * 3 * 4 * 4
    assert count_operations(jax.vmap(jnp.matmul), jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5))) == (
        7 * 2 * 3 * 4 * 5
    )
    assert count_operations(jnp.linalg.cholesky, jnp.eye(6)) == 72
    # A Householder QR of m × n, and its basis.
    assert count_operations(lambda a: jnp.linalg.qr(a)[0], jnp.ones((8, 6))) == 2 * 2 * 36 * 6
    assert count_operations(lambda x: jax.lax.cond(x > 0, jnp.sin, jnp.cos, x), 1.0) == 0


def test_stored_bytes_are_the_residuals():
    """A loop of c → sin(w c) stores w c or its cosine, and c, at every step, and w."""

    def chain(w):
        return jax.lax.scan(lambda c, _: (jnp.sin(w * c), None), jnp.ones(3), length=10)[0].sum()

    held = stored_bytes(chain, jnp.ones(()))
    assert held == FLOAT_BYTES * (2 * 10 * 3 + 1)


def test_adjoints_store_less_than_automatic_derivatives_and_checkpoints_less_still():
    """Each of 20 steps: state, 4 tangents, and a triangular factor. √20 segments store least."""
    whole = stored_bytes(loss, PARAMS)
    every_step = FLOAT_BYTES * 20 * (12 + 4 * 12 + 4 * 4)
    assert every_step < whole < every_step + PARAMETER_BYTES + 2000
    assert stored_bytes(lambda p: loss(p, derivative="automatic"), PARAMS) > 1.5 * whole
    held = stored_bytes(lambda p: loss(p, checkpoint_every=4), PARAMS)
    assert held < PARAMETER_BYTES + FLOAT_BYTES * 5 * (12 + 4 * 12) + 2000
    assert held < whole / 2


@pytest.mark.slow
def test_the_report_adds_up():
    found = checkpoint_costs(loss, PARAMS, (None, 4), repeats=2)
    assert found[4].stored_bytes < found[None].stored_bytes
    assert found[4].operations_ratio > found[None].operations_ratio > 1
    one = found[None]
    assert one.seconds_ratio == one.backward.seconds / one.forward.seconds
    assert one.forward.operations == count_operations(lambda p: loss(p).value, PARAMS)
    assert one.backward.compiler_flops < one.backward.operations
    with pytest.raises(ValueError, match="`repeats` must be at least 1"):
        flossing_cost(loss, PARAMS, repeats=0)
