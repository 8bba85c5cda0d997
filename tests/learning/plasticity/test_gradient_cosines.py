"""C_k where it is known: linear regression, and the two kinds of noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.learning.plasticity.gradient_cosines import (
    cluster_order,
    gradient_cosines,
    probe_cosines,
    probe_noise,
)
from fracjax.learning.plasticity.toy_networks import ToyNetwork

KEY = jax.random.key(0)
NETWORK = ToyNetwork((4, 4), (64,), 3)
IMAGES = jax.random.uniform(jax.random.key(1), (48, 4, 4))


def squared(params, sample):
    x, y = sample
    return (x @ params - y) ** 2


def test_linear_regression_is_exact(x64):
    """cos(g_i, g_j) = sign(r_i r_j) cos(x_i, x_j); diagonal 1; no negative eigenvalue."""
    draws = np.random.default_rng(0)
    x, y, params = draws.normal(size=(20, 6)), draws.normal(size=20), draws.normal(size=6)
    found = jax.jit(functools.partial(gradient_cosines, squared))(params, (x, y))
    sign = np.sign(x @ params - y)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.outer(sign, sign) * (unit @ unit.T)
    np.testing.assert_allclose(found.matrix, expected, atol=1e-12)
    np.testing.assert_allclose(np.diagonal(found.matrix), 1, atol=1e-12)
    assert np.linalg.eigvalsh(found.matrix).min() > -1e-12
    pairs = expected[np.triu_indices(20, 1)]
    np.testing.assert_allclose(found.mean_off_diagonal, pairs.mean())
    np.testing.assert_allclose(found.fraction_negative, (pairs < 0).mean())
    assert found.num_silent == 0


def test_silent_and_tiny_gradients():
    """A residual of zero has no direction; one of 1e-25 has, also in float32."""
    x = jnp.asarray([[1.0, 0], [0, 1], [1, 1], [1, -1]], jnp.float32)
    y = jnp.asarray([0, 1e-25, 1, 1], jnp.float32)
    found = gradient_cosines(squared, jnp.zeros(2, jnp.float32), (x, y))
    assert found.num_silent == 1
    assert np.isnan(found.matrix[0]).all()
    np.testing.assert_allclose(
        found.matrix[1:, 1:],
        [[1, 0.5**0.5, -(0.5**0.5)], [0.5**0.5, 1, 0], [-(0.5**0.5), 0, 1]],
        atol=1e-6,
    )
    np.testing.assert_allclose(found.fraction_negative, 1 / 3)
    broken = gradient_cosines(squared, jnp.zeros(2), (x.at[1, 0].set(jnp.nan), y))
    assert broken.num_silent == 2


@pytest.mark.slow
def test_the_kind_of_noise_decides_the_sign_at_the_start():
    """Shared noise: hardly a negative pair. Independent noise: half of them, and mean 0.

    Pairs of 48 samples with 3 outputs: SD of the share .5 about .03, of the mean about .02.
    """
    params = NETWORK.init(KEY)
    run = functools.partial(
        probe_cosines, NETWORK.apply, optimizer=optax.sgd(0.05), iterations=(0, 1, 20)
    )
    shared = jax.jit(functools.partial(run, noise="shared"))(params, IMAGES, KEY)
    apart = jax.jit(functools.partial(run, noise="independent"))(params, IMAGES, KEY)
    assert shared.matrix.shape == (3, 48, 48)
    assert shared.fraction_negative[0] < 0.01
    assert shared.mean_off_diagonal[0] > 0.3
    assert 0.4 < apart.fraction_negative[0] < 0.6
    assert abs(apart.mean_off_diagonal[0]) < 0.15
    # The fit goes on in between.
    assert np.abs(np.diff(shared.mean_off_diagonal)).min() > 1e-5
    direct = gradient_cosines(
        lambda p, x: (
            NETWORK.apply(p, x[None])[0] @ probe_noise(KEY, jnp.zeros((1, 3)), "shared")[0]
        ),
        params,
        IMAGES,
    )
    np.testing.assert_allclose(shared.matrix[0], direct.matrix, atol=1e-4)


def test_a_kind_of_noise_that_is_not_there_is_named():
    with pytest.raises(Exception, match="noise"):
        probe_noise(KEY, jnp.zeros((2, 3)), "none")


def test_rows_are_put_together_by_cluster():
    labels = np.arange(60) % 3
    matrix = (labels[:, None] == labels).astype(float)
    matrix[7] = matrix[:, 7] = np.nan
    order = cluster_order(matrix, num_clusters=3)
    assert sorted(order) == list(range(60))
    assert order[-1] == 7
    assert np.count_nonzero(np.diff(labels[order[:-1]])) == 2
    np.testing.assert_array_equal(cluster_order(matrix[:2, :2]), [0, 1])
