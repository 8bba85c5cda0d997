"""The dual frame where one pass of Cholesky QR does not hold, and what a step closes over."""

import jax
import jax.numpy as jnp
import numpy as np

from fracjax.learning.flossing.adjoints import frame_growth

DRAWS = np.random.default_rng(0)
SIZE, COUNT = 12, 10
AXES = np.linalg.qr(DRAWS.normal(size=(SIZE, SIZE)))[0]
FRAME = np.linalg.qr(DRAWS.normal(size=(SIZE, COUNT)))[0].T


def test_nearly_dependent_rows_in_single_precision():
    """Shears of 200 in one of two networks: rows lean on others up to a share of 1e-3.

    The steps alternate S and S⁻¹, so that a pair of them leaves all tangents as they were but for
    a factor 1.5² of both: ln 1.5 each. Only one member of the batch needs the fallback.
    """
    shear = np.eye(SIZE)
    shear[0, 1:] = 200.0
    both = np.stack([np.eye(SIZE), shear]), np.stack([np.eye(SIZE), np.linalg.inv(shear)])
    there, back = (jnp.asarray(AXES @ one @ AXES.T, jnp.float32) for one in both)

    @jax.jit
    @jax.vmap
    def growth(there, back):
        def total(scale):
            def step(params, state, given):
                return params * jnp.where(given, there, back) @ state

            return frame_growth(
                step,
                scale,
                jnp.zeros(SIZE, jnp.float32),
                jnp.arange(8) % 2 == 0,
                jnp.asarray(FRAME, jnp.float32),
                num_intervals=8,
                interval=1,
            )[0]

        return total(1.5), jax.grad(lambda scale: total(scale).sum())(1.5)

    found, slope = growth(there, back)
    # Rounding of 6e-8 is enhanced by the condition 4e5 of the pair, four times.
    np.testing.assert_allclose(found[0], 8 * np.log(1.5), atol=1e-5)
    np.testing.assert_allclose(found[1], 8 * np.log(1.5), atol=0.1)
    np.testing.assert_allclose(slope, 8 * COUNT / 1.5, rtol=2e-3)


def test_gradients_reach_what_the_step_closes_over(x64):
    """Σ of all ln R is ln|det|: its gradient in a matrix M is 5 M⁻ᵀ after 5 steps."""
    matrix = jnp.asarray(AXES @ np.diag(np.linspace(0.5, 1.5, SIZE)))
    counter = {"x": jnp.ones(SIZE), "count": jnp.zeros((), int)}

    @jax.jit
    @jax.grad
    def slope(matrix):
        def step(params, state, given):
            return {"x": matrix @ state["x"], "count": state["count"] + 1}

        growth, last = frame_growth(
            step, None, counter, None, jnp.eye(SIZE), num_intervals=5, interval=1
        )
        return growth.sum() + 0.0 * last["count"]

    np.testing.assert_allclose(slope(matrix), 5 * jnp.linalg.inv(matrix).T, atol=1e-9)
