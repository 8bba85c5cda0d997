"""Memory by counting what is alive."""

import jax
import jax.numpy as jnp

from fracjax.liveness import peak_bytes

MATRIX = jax.ShapeDtypeStruct((64, 64), jnp.float32)
SIZE = 64 * 64 * 4


def test_a_chain_holds_three():
    """The argument, which the caller keeps, and a link's input and output."""

    def chain(x):
        for _ in range(10):
            x = jnp.tanh(x)
        return x

    assert peak_bytes(chain, MATRIX) == 3 * SIZE


def test_what_is_used_late_is_kept():
    def late(x):
        parts = [x * factor for factor in range(5)]
        return parts[0] + parts[1] + parts[2] + parts[3] + parts[4]

    # The argument, five products, and the first sum beside them.
    assert peak_bytes(late, MATRIX) == 7 * SIZE


def test_a_loop_takes_its_body_once():
    def loop(length):
        def body(x, _):
            return jnp.tanh(x @ x), None

        return lambda x: jax.lax.scan(body, x, None, length=length)[0]

    assert peak_bytes(loop(1000), MATRIX) == peak_bytes(loop(2), MATRIX) < 8 * SIZE


def test_stacked_results_count():
    def steps(x):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x), x), x, None, length=100)[1]

    assert 101 * SIZE <= peak_bytes(steps, MATRIX) < 107 * SIZE


def test_a_batch_takes_as_many_times_more():
    def network(x):
        return jnp.sum(jnp.tanh(x @ x), axis=0)

    batch = jax.ShapeDtypeStruct((32, 64, 64), jnp.float32)
    one, many = peak_bytes(network, MATRIX), peak_bytes(jax.vmap(network), batch)
    assert many == 32 * one


def test_branches_take_the_larger_one():
    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda: jnp.sum(x), lambda: jnp.sum(jnp.outer(x, x)))

    assert peak_bytes(branch, MATRIX) > SIZE * 64 * 64


def test_a_constant_result_takes_nothing():
    """Inside a loop a result that does not change is a literal, which nobody keeps."""

    def loop(x):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x), 1.0), x, None, length=4)

    assert peak_bytes(loop, MATRIX) >= 2 * SIZE
