"""Programs on several CPU devices end, whatever LAPACK calls they hold, with the same values."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from fracjax.evaluation import map_points
from fracjax.sequential_lapack import after, one_matrix_at_a_time

pytestmark = pytest.mark.usefixtures("x64")


def in_a_scan(matrix):
    def step(carry, _):
        basis, upper = jnp.linalg.qr(carry)
        return basis + 0.1 * carry, jnp.diagonal(upper)

    return jax.lax.scan(step, matrix, None, length=3)


def in_a_loop(matrix):
    return jax.lax.while_loop(
        lambda carry: jnp.linalg.svd(carry, compute_uv=False)[0] > 1,
        lambda carry: jnp.linalg.qr(carry)[0] / 2,
        matrix,
    )


def in_a_branch(matrix):
    spd = matrix @ matrix.T + jnp.eye(len(matrix))
    return jax.lax.cond(
        matrix[0, 0] > 0, jnp.linalg.cholesky, lambda given: jnp.linalg.eigh(given)[1], spd
    )


def solved(matrix):
    right = jnp.arange(float(len(matrix)))
    lower = jnp.tril(matrix) + 5 * jnp.eye(len(matrix))
    diagonal = jnp.abs(jnp.diagonal(matrix)) + 4
    return {
        "general": jnp.linalg.solve(matrix, right),
        "triangular": jax.scipy.linalg.solve_triangular(lower, right, lower=True),
        "tridiagonal": jax.lax.linalg.tridiagonal_solve(
            right.at[0].set(0) / 5, diagonal, jnp.ones_like(right), matrix
        ),
        "determinant": jnp.linalg.slogdet(matrix),
        "gradient": jax.grad(lambda given: jnp.linalg.inv(given).sum())(matrix),
    }


@jax.custom_jvp
def behind_a_rule(matrix):
    return jax.checkpoint(lambda given: jnp.linalg.qr(given)[1])(matrix)


behind_a_rule.defjvp(lambda primals, tangents: (behind_a_rule(*primals), tangents[0]))


def beside_a_rule(matrix):
    return jax.nn.relu(jnp.linalg.qr(matrix)[1]) + jax.nn.silu(matrix), kept(matrix)


@jax.custom_vjp
def kept(matrix):
    return jnp.sin(matrix)


kept.defvjp(lambda matrix: (kept(matrix), None), lambda _, given: (given,))

CASES = (beside_a_rule, in_a_scan, in_a_loop, in_a_branch, solved, behind_a_rule, jnp.linalg.eig)


@pytest.mark.parametrize("function", CASES, ids=lambda case: case.__name__)
def test_values_are_those_of_the_batched_calls(function):
    matrices = np.random.default_rng(0).normal(size=(3, 2, 5, 5))
    batched = jax.vmap(jax.vmap(function))
    sequential = jax.jit(one_matrix_at_a_time(batched))
    jax.tree.map(
        lambda expected, got: np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13),
        jax.jit(batched)(matrices),
        sequential(matrices),
    )
    assert largest_batch(jax.make_jaxpr(batched)(matrices).jaxpr) == 6
    assert largest_batch(jax.make_jaxpr(sequential)(matrices).jaxpr) == 1


def largest_batch(jaxpr):
    """The largest number of matrices in one call, in a listing that knows nothing of the code."""
    sizes = [0]
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("qr", "svd", "eigh", "eig", "cholesky", "lu", "geqrf"):
            sizes.append(int(np.prod(equation.invars[0].aval.shape[:-2])))
        for part in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda part: hasattr(part, "eqns")
        ):
            if isinstance(part, core.Jaxpr | core.ClosedJaxpr):
                inner = part.jaxpr if isinstance(part, core.ClosedJaxpr) else part
                sizes.append(largest_batch(inner))
    return max(sizes)


def test_a_function_without_such_calls_is_traced_once_and_kept():
    traces = []

    def function(rows):
        traces.append(1)
        return {"twice": 2 * rows, "norm": jnp.linalg.qr(jnp.eye(3))[0]}

    got = one_matrix_at_a_time(function)(np.arange(4.0))
    np.testing.assert_array_equal(got["twice"], 2 * np.arange(4.0))
    assert len(traces) == 1


def test_devices_change_no_bit_of_a_factorisation():
    matrices = np.random.default_rng(1).normal(size=(8, 20, 20))
    devices = jax.local_devices()
    assert len(devices) > 1
    one = map_points(in_a_scan, matrices, chunk_size=4, devices=devices[:1])
    all_ = map_points(in_a_scan, matrices, chunk_size=4, devices=devices)
    jax.tree.map(np.testing.assert_array_equal, one, all_)


TWO_DEVICES = """
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_num_cpu_devices", 2)
from fracjax import devices


def factor(rows):
    step = lambda carry, _: (jnp.linalg.qr(carry)[0] + 0.01 * carry, None)
    return jax.lax.scan(step, rows, None, length=100)[0]


rows = np.random.default_rng(0).normal(size=(16, 80, 80)).astype(np.float32)
program = jax.jit(devices.spread(factor, jax.local_devices()))
for _ in range(10):
    jax.block_until_ready(program(rows))
print("ended")
"""

INDEPENDENT = """
import jax
import jax.numpy as jnp
import numpy as np

from fracjax.sequential_lapack import after


def factor(parts):
    found, earlier = [], jnp.zeros(())
    for part in parts:
        part = after(part, earlier)
        found.append(jnp.linalg.qr(part)[0] + 0.01 * part)
        earlier = found[-1]
    return found


parts = list(np.random.default_rng(0).normal(size=(4, 16, 80, 80)).astype(np.float32))
program = jax.jit(lambda p: jax.lax.scan(lambda c, _: (factor(c), None), p, None, length=100)[0])
for _ in range(3):
    jax.block_until_ready(program(parts))
print("ended")
"""


@pytest.mark.parametrize("program", [TWO_DEVICES, INDEPENDENT], ids=["devices", "batches"])
def test_batched_qr_does_not_wait_for_batched_qr(program):
    """Without the loop, and without `after`, both hung in every run on two cores."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    assert ended.stdout.strip() == "ended"


@pytest.mark.parametrize("earlier", [np.nan, np.inf, 1e30])
def test_what_waits_is_unchanged_whatever_it_waits_for(earlier):
    array = jnp.asarray([[2.0, -1.0], [0.5, 3.0]])
    np.testing.assert_array_equal(jax.jit(after)(array, jnp.full(3, earlier)), array)
