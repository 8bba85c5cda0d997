"""Angles of vectors and subspaces, down to very small ones, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles as scipy_angles

from fracjax.estimators.chaos.angles import subspace_angles, vector_angles


@pytest.mark.parametrize("small", [1e-12, 1e-3, 0.7, np.pi / 2])
def test_angle_of_two_lines(small, x64):
    vectors = jnp.array([[1.0, 0.0], [-np.cos(small), np.sin(small)]])
    angles = vector_angles(vectors)
    np.testing.assert_allclose(angles[0, 1], small, rtol=1e-10)
    np.testing.assert_allclose(subspace_angles(vectors, 1), [small], rtol=1e-10)
    np.testing.assert_allclose(jnp.diagonal(angles), 0.0)


@pytest.mark.parametrize("split", [1, 2, 3, 4])
def test_principal_angles_agree_with_scipy(split, x64):
    vectors = np.random.default_rng(split).normal(size=(6, 5, 7))
    angles = jax.jit(lambda v: subspace_angles(v, split))(jnp.asarray(vectors))
    for batch, mine in zip(vectors, angles, strict=True):
        expected = scipy_angles(batch[:split].T, batch[split:].T)[::-1]
        np.testing.assert_allclose(mine, expected, rtol=1e-10)
    assert angles.shape == (6, min(split, 5 - split))


def test_a_split_out_of_range_is_named():
    with pytest.raises(ValueError, match="Argument `split` must be between 1 and 2"):
        subspace_angles(jnp.eye(3), 3)
