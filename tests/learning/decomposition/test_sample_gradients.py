"""Per-sample gradients against a loop, divergences against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from fracjax.learning.decomposition.divergences import (
    detached_product,
    gaussian_kl,
    kullback_leibler,
    squared_error,
)
from fracjax.learning.decomposition.sample_gradients import (
    flat_samples,
    reference_outputs,
    sample_gradients,
)

KEY = jax.random.key(0)
DIVERGENCES = (squared_error, detached_product, kullback_leibler)


def network(params, x):
    return jnp.tanh(x @ params["kernel"]) @ params["readout"] + params["bias"]


def problem(count=7):
    draws = np.random.default_rng(1)
    shapes = {"kernel": (4, 3), "readout": (3, 5), "bias": (5,)}
    params = {name: jnp.asarray(draws.normal(size=shape)) for name, shape in shapes.items()}
    return params, jnp.asarray(draws.normal(size=(count, 4)))


def test_gradients_are_those_of_a_loop_in_any_chunks(x64):
    divergence = kullback_leibler
    params, inputs = problem()
    outputs = jax.vmap(network, in_axes=(None, 0))(params, inputs)
    references = reference_outputs(outputs, KEY)
    slope = jax.jit(jax.grad(lambda p, x, y: divergence(network(p, x), y)))
    loop = [slope(params, x, y) for x, y in zip(inputs, references, strict=True)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop)
    for chunk in (None, 3):
        found = jax.jit(
            lambda p, chunk=chunk: sample_gradients(
                network, p, inputs, references, divergence=divergence, chunk=chunk
            )
        )(params)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-13)
    assert flat_samples(found).shape == (7, 4 * 3 + 3 * 5 + 5)
    np.testing.assert_array_equal(flat_samples(found)[:, :5], found["bias"])
    with pytest.raises(ValueError, match="`chunk` must be at least 1"):
        sample_gradients(network, params, inputs, references, chunk=0)


def test_slopes_of_divergences(x64):
    f, r = np.random.default_rng(2).normal(size=(2, 6))
    steps = 1e-6 * np.eye(6)
    for divergence in DIVERGENCES:
        many = jax.jit(jax.vmap(divergence, in_axes=(0, None)))
        numeric = (many(f + steps, r) - many(f - steps, r)) / 2e-6
        np.testing.assert_allclose(jax.jit(jax.grad(divergence))(f, r), numeric, atol=1e-9)
    f, r = jnp.asarray(f), jnp.asarray(r)
    closed = {
        squared_error: 2 * (f - r) / 6,
        detached_product: (2 * f - r) / 6,
        kullback_leibler: jax.nn.softmax(f) - jax.nn.softmax(r),
    }
    for divergence, expected in closed.items():
        slope, through = jax.jit(jax.grad(divergence, argnums=(0, 1)))(f, r)
        np.testing.assert_allclose(slope, expected, atol=1e-14)
        np.testing.assert_array_equal(through, 0)  # the reference is detached
    # The direction of the divergence: written out in probabilities.
    p, q = np.asarray(jax.nn.softmax(r)), np.asarray(jax.nn.softmax(f))
    np.testing.assert_allclose(kullback_leibler(f, r), np.sum(p * np.log(p / q)), atol=1e-14)


def test_divergence_of_gaussians_against_quadrature(x64):
    mean, log_std = jnp.array([0.3, -1.0]), jnp.array([0.2, -0.4])
    other, log_other = jnp.array([-0.5, 0.1]), jnp.array([-0.3, 0.5])
    total = 0.0
    for m, s, n, t in zip(mean, jnp.exp(log_std), other, jnp.exp(log_other), strict=True):
        x = np.linspace(float(n - 12 * t), float(n + 12 * t), 20_001)
        log_p = -0.5 * ((x - n) / t) ** 2 - np.log(t)
        log_q = -0.5 * ((x - m) / s) ** 2 - np.log(s)
        density = np.exp(log_p) / np.sqrt(2 * np.pi)
        total += np.trapezoid(density * (log_p - log_q), x)
    found = gaussian_kl((mean, log_std), (other, log_other))
    np.testing.assert_allclose(found, total, rtol=1e-8)
    np.testing.assert_allclose(gaussian_kl((mean, log_std), (mean, log_std)), 0, atol=1e-15)


def test_references():
    outputs = jnp.arange(12.0).reshape(4, 3)
    draw = jax.jit(jax.vmap(lambda key: reference_outputs((outputs, -outputs), key)))
    others, negative = draw(jax.random.split(KEY, 600))
    np.testing.assert_array_equal(others, -negative)  # mean and deviation of one sample together
    chosen = np.asarray(others)[..., 0].astype(int) // 3
    for sample in range(4):
        share = np.bincount(chosen[:, sample], minlength=4) / 600
        assert share[sample] == 0
        # Binomial, 1/3 each: an SD of .019, five of them.
        assert np.all(abs(np.delete(share, sample) - 1 / 3) < 0.1)
    mean = reference_outputs(outputs, KEY, "mean")
    np.testing.assert_allclose(mean, np.tile([4.5, 5.5, 6.5], (4, 1)))
    np.testing.assert_array_equal(reference_outputs(outputs, KEY, "zero"), 0)
    uniform = reference_outputs(outputs, KEY, "uniform")
    np.testing.assert_array_equal(uniform, np.repeat([[1], [4], [7], [10]], 3, axis=1))
    with pytest.raises(ValueError, match="two samples or more"):
        reference_outputs(outputs[:1], KEY)


def test_flax_modules_work_unchanged():
    module = linen.Dense(3)
    inputs = jnp.ones((5, 2)) * jnp.arange(5.0)[:, None]
    params = module.init(KEY, inputs[0])
    references = jnp.zeros((5, 3))
    found = sample_gradients(module.apply, params, inputs, references)["params"]
    expected = 2 * (inputs @ params["params"]["kernel"]) / 3
    np.testing.assert_allclose(found["bias"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["kernel"], inputs[:, :, None] * expected[:, None], rtol=1e-5)
