"""Resets, decay, norms and heads, each against its formula or against Flax."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from fracjax.learning.interventions import decay, spectral_norm, two_hot
from fracjax.learning.interventions.intervene import intervene
from fracjax.learning.interventions.layer_norm import layer_norm
from fracjax.learning.interventions.layers import fresh_parameters, sequential_layers
from fracjax.learning.interventions.resets import (
    last_layer_reset,
    reset_layers,
    shrink_and_perturb,
    shrinking,
)

KEY = jax.random.key(0)
SHAPES = {
    "params": {
        "Conv_0": {"kernel": (3, 3, 1, 4), "bias": (4,)},
        "Dense_0": {"kernel": (36, 5), "bias": (5,)},
        "Dense_2": {"kernel": (5, 200), "bias": (200,)},
        "Dense_10": {"kernel": (200, 2)},
        "LayerNorm_0": {"scale": (5,), "bias": (5,)},
    }
}


@pytest.fixture(scope="module")
def params():
    drawn = jax.tree.map(jnp.ones, SHAPES, is_leaf=lambda one: isinstance(one, tuple))
    return jax.jit(fresh_parameters(drawn))(KEY)


def test_layers_of_a_network_in_a_row(params):
    """Numbers count as numbers, norms and a missing bias do not stop it, the head is no layer."""
    layers = sequential_layers({**params, "batch_stats": {"u": jnp.ones((1, 6))}})
    assert [one.name for one in layers] == ["Conv_0", "Dense_0", "Dense_2"]
    assert layers[1].kernel == "params/Dense_0/kernel"
    assert layers[1].outgoing == ("params/Dense_2/kernel",)
    assert layers[1].outgoing_biases == ("params/Dense_2/bias",)
    assert layers[2].outgoing_biases == (None,)
    plain = [(jnp.ones((2, 3)), jnp.ones(3)), (jnp.ones((3, 1)), jnp.ones(1))]
    assert sequential_layers(plain)[0][:4] == ("0", "0/0", "0/1", ("1/0",))


def test_fresh_parameters_follow_the_law_asked_for(params):
    """Standard deviation of 1000 weights of fan-in 5, error 1/√2000: within 4 of them."""
    for scheme, deviation in (("torch_uniform", 15**-0.5), ("he_normal", 0.4**0.5)):
        found = jax.jit(fresh_parameters(params, scheme))(KEY)["params"]
        kernel = np.asarray(found["Dense_2"]["kernel"])
        assert abs(kernel.std() / deviation - 1) < 4 / math.sqrt(2000)
        bias = np.asarray(found["Dense_2"]["bias"])
        assert abs(kernel).max() <= 5**-0.5 or scheme != "torch_uniform"
        assert (abs(bias).max() == 0) == (scheme == "he_normal")
        np.testing.assert_array_equal(found["LayerNorm_0"]["scale"], 1)
        np.testing.assert_array_equal(found["LayerNorm_0"]["bias"], 0)


def test_last_layer_reset_acts_when_due_and_leaves_the_rest_to_the_bit(params):
    init = jax.jit(fresh_parameters(params))
    reset = last_layer_reset(init, "Dense_10")
    plain = optax.adam(0.1)
    optimizer = intervene(plain, reset, every=3, first=2, key=KEY)
    state, own, here = optimizer.init(params), plain.init(params), params
    update, alone = jax.jit(optimizer.update), jax.jit(plain.update)
    gradient = jax.tree.map(jnp.ones_like, params)
    for number in range(1, 6):
        updates, after = update(gradient, state, here)
        expected, own = alone(gradient, state.optimizer, here)
        there = optax.apply_updates(here, updates)
        due = number in (2, 5)
        layer = updates["params"].pop("Dense_10")
        layer_alone = expected["params"].pop("Dense_10")
        jax.tree.map(np.testing.assert_array_equal, updates, expected)
        fresh = init(jax.random.fold_in(KEY, number))["params"]["Dense_10"]["kernel"]
        if due:
            kernel = there["params"]["Dense_10"]["kernel"]
            np.testing.assert_allclose(kernel, fresh, rtol=1e-6, atol=1e-7)
            moments = after.optimizer[0].mu["params"]
            np.testing.assert_array_equal(moments["Dense_10"]["kernel"], 0)
            np.testing.assert_array_equal(
                moments["Dense_0"]["kernel"], own[0].mu["params"]["Dense_0"]["kernel"]
            )
        else:
            np.testing.assert_array_equal(layer["kernel"], layer_alone["kernel"])
        here, state = there, after
    with pytest.raises(ValueError, match="`names`"):
        reset_layers(params, params, ("Dense_1",))


def test_shrink_and_perturb(params):
    """Exact: .8 θ + .3 φ; in an optimiser with the moments kept, after its own step."""
    fresh = fresh_parameters(params)(jax.random.key(1))
    found = shrink_and_perturb(params, fresh, shrink=0.8, perturb=0.3)
    expected = jax.tree.map(lambda a, b: 0.8 * a + 0.3 * b, params, fresh)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    start = {"w": jnp.arange(3.0)}
    shrinker = shrinking(lambda key: {"w": jnp.ones(3)}, shrink=0.5, perturb=2.0)
    for keep in (True, False):
        optimizer = intervene(
            optax.sgd(0.1, momentum=0.9), shrinker, every=1, key=KEY, reset_moments=not keep
        )
        updates, state = optimizer.update({"w": jnp.ones(3)}, optimizer.init(start), start)
        landed = optax.apply_updates(start, updates)["w"]
        np.testing.assert_allclose(landed, 0.5 * (np.arange(3.0) - 0.1) + 2, rtol=1e-6)
        np.testing.assert_array_equal(state.optimizer[0].trace["w"], float(keep))


def test_interventions_nest_and_find_the_moments_of_any_chain():
    """Two of them with clocks of their own around a masked, clipped, scheduled optimiser."""
    start = {"0": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "1": {"w": jnp.ones((3, 1))}}
    init = jax.jit(fresh_parameters(start))
    mask = {"0": {"w": True, "b": False}, "1": {"w": True}}
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.masked(optax.scale_by_adam(), mask),
        optax.scale_by_learning_rate(optax.linear_schedule(0.1, 0.0, 100)),
    )
    first = intervene(adam, last_layer_reset(init, "0"), every=2, key=KEY)
    both = intervene(first, last_layer_reset(init, "1"), every=3, key=KEY, reset_count=True)
    state, update, here = both.init(start), jax.jit(both.update), start
    seen = []
    for _ in range(3):
        updates, state = update(jax.tree.map(jnp.ones_like, start), state, here)
        here = optax.apply_updates(here, updates)
        _, masked, schedule = state.optimizer.optimizer
        moments = masked.inner_state.mu
        assert isinstance(moments["0"]["b"], optax.MaskedNode)
        fresh = [name for name in "01" if not np.any(moments[name]["w"])]
        seen.append((fresh, int(state.optimizer.updates), int(schedule.count)))
    assert seen == [([], 1, 1), (["0"], 2, 2), (["1"], 3, 0)]


def test_decay_to_zero_and_to_the_start():
    """Exact: decoupled by lr · strength, coupled through the gradient, biases left alone."""
    start = {"w": jnp.full((2, 2), 3.0), "b": jnp.full(2, 3.0)}
    here = {"w": jnp.full((2, 2), 4.0), "b": jnp.full(2, 5.0)}
    zero = jax.tree.map(jnp.zeros_like, start)
    for pull, w, b in (
        (decay.weight_decay(0.5), -0.1 * 0.5 * 4, 0),
        (decay.weight_decay(0.5, kernels_only=False), -0.1 * 0.5 * 4, -0.1 * 0.5 * 5),
        (decay.l2_to_init(0.5), -0.1 * 0.5 * 1, -0.1 * 0.5 * 2),
        (decay.l2_to_init(0.5, kernels_only=True), -0.1 * 0.5 * 1, 0),
    ):
        parts = optax.scale_by_adam(), pull, optax.scale_by_learning_rate(0.1)
        optimizer = optax.chain(*parts)
        updates, _ = optimizer.update(zero, optimizer.init(start), here)
        np.testing.assert_allclose(updates["w"], w, rtol=1e-6)
        np.testing.assert_allclose(updates["b"], b, rtol=1e-6)
    # Before the optimiser it is the gradient of the penalty.
    coupled = optax.chain(decay.l2_to_init(0.5), optax.sgd(1.0))
    updates, _ = coupled.update(zero, coupled.init(start), here)
    penalty = jax.grad(lambda p: 0.25 * sum(jnp.sum((p[k] - start[k]) ** 2) for k in p))(here)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b), updates, penalty)


def test_the_largest_steps_of_adam():
    """Exact: after silence a jump makes 6.57 learning rates of the plain one in 12 updates.

    Cauchy and Schwarz allow 7.27. With b1 = b2 it is Jensen's inequality, and a step is at most 1.
    """
    times = np.arange(1, 40)
    largest = ((1 - 0.9**times) / np.sqrt(1 - 0.999**times)).max()
    bound = 0.1 / math.sqrt(0.001 * (1 - 0.81 / 0.999))
    assert math.isclose(bound, 7.27, abs_tol=0.01)

    def steps(optimizer, gradients):
        def step(state, gradient):
            updates, state = optimizer.update(gradient, state)
            return state, updates

        return jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]

    silence = jnp.concatenate([jnp.full(15_000, 1e-12), jnp.ones(39)])
    plain = jax.jit(lambda g: steps(decay.plain_adam(1.0), g))(silence)[-39:]
    assert np.argmin(plain) + 1 == 12
    np.testing.assert_allclose(-plain.min(), largest, rtol=1e-3)
    assert math.isclose(largest, 6.57, abs_tol=0.01)
    tuned = jax.jit(lambda g: steps(decay.tuned_adam(1.0), g))
    wild = jnp.exp(5 * jax.random.normal(KEY, (500,)))
    assert abs(tuned(wild)).max() <= 1 + 1e-5
    np.testing.assert_allclose(tuned(jnp.full(500, 100.0)), -1, rtol=1e-5)
    # A gradient of .001, far below √eps_root = .0316, makes a small step.
    settled = tuned(jnp.full(500, 1e-3))[-1]
    np.testing.assert_allclose(-settled, 1e-3 / math.sqrt(1e-6 + 1e-3), rtol=1e-4)


def test_spectral_norm_of_kernels():
    """σ from an SVD, its gradient v uᵀ, kernels of norm 1, and one iteration as Flax makes it."""
    kernel = jax.random.normal(KEY, (3, 3, 4, 6))
    matrix = np.asarray(kernel).reshape(-1, 6)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    params = {"first": {"kernel": kernel}, "head": {"kernel": jnp.ones((6, 2))}}
    vectors = spectral_norm.spectral_vectors(params, ("first/kernel",), KEY)
    run = jax.jit(lambda k, u: spectral_norm.power_iteration(k, u, num_iterations=200))
    sigma, vector = run(kernel, vectors["first/kernel"])
    np.testing.assert_allclose(sigma, values[0], rtol=1e-5)
    np.testing.assert_allclose(abs(vector @ right[0]), 1, rtol=1e-5)
    slope = jax.jit(jax.grad(lambda k: run(k, vector)[0]))(kernel)
    np.testing.assert_allclose(slope.reshape(-1, 6), np.outer(left[:, 0], right[0]), atol=1e-3)
    normed, _ = spectral_norm.normalize_kernels(params, {"first/kernel": vector})
    top = np.linalg.norm(np.asarray(normed["first"]["kernel"]).reshape(-1, 6), 2)
    np.testing.assert_allclose(top, 1, rtol=1e-5)
    np.testing.assert_array_equal(normed["head"]["kernel"], 1)
    loose = spectral_norm.normalize_kernels(params, {"first/kernel": vector}, limit=1e3)[0]
    np.testing.assert_array_equal(loose["first"]["kernel"], kernel)
    with pytest.raises(ValueError, match="`names`"):
        spectral_norm.spectral_vectors(params, ("second",), KEY)

    module = linen.SpectralNorm(linen.Dense(6, use_bias=False))
    inputs = jax.random.normal(KEY, (2, 5))
    variables = jax.jit(lambda: module.init(KEY, inputs, update_stats=False))()
    (start,) = (
        one
        for name, one in jax.tree_util.tree_leaves_with_path(variables["batch_stats"])
        if one.ndim
    )
    outputs, _ = jax.jit(
        lambda v: module.apply(v, inputs, update_stats=True, mutable=["batch_stats"])
    )(variables)
    (dense,) = jax.tree.leaves(variables["params"])
    ours, _ = spectral_norm.power_iteration(dense, start[0])
    np.testing.assert_allclose(inputs @ dense / ours, outputs, rtol=2e-4, atol=1e-5)


def test_layer_norm_is_that_of_flax():
    values = 3 + 2 * jax.random.normal(KEY, (4, 7))
    scale, bias = jnp.arange(7.0), jnp.ones(7)
    module = linen.LayerNorm()
    expected = module.apply({"params": {"scale": scale, "bias": bias}}, values)
    np.testing.assert_allclose(layer_norm(values, scale, bias), expected, rtol=1e-4, atol=1e-5)
    plain = np.asarray(layer_norm(values))
    np.testing.assert_allclose(plain.mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(plain.std(axis=-1), 1, rtol=1e-5)


def test_a_categorical_head(x64):
    """Exact: decoding the weights gives the value; least loss is their entropy; bounded slope."""
    support = two_hot.linear_support(-2.0, 3.0, 11)
    assert support.name == "11 on [-2, 3]"

    def use(values):
        weights = two_hot.encode(support, values)
        logits = jnp.log(jnp.maximum(weights, 1e-300))
        loss = two_hot.categorical_loss(support, logits, values)
        slope = jax.grad(lambda z: two_hot.categorical_loss(support, z, values).sum())(weights)
        return weights, two_hot.decode(support, logits), loss, slope

    values = jnp.array([-2.0, -0.3, 0.25, 1.0, 2.9, 7.0])
    weights, decoded, loss, slope = jax.jit(use)(values)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-14)
    assert np.all((weights > 0).sum(axis=-1) <= 2)
    np.testing.assert_allclose(decoded, np.clip(values, -2, 3), atol=1e-12)
    np.testing.assert_allclose(loss[2], math.log(2), rtol=1e-12)  # halfway between two
    np.testing.assert_allclose(loss[3], 0, atol=1e-12)
    np.testing.assert_allclose(slope, jax.nn.softmax(weights, axis=-1) - weights, atol=1e-14)
    wide = two_hot.symlog_support(20.0, 255)
    # The largest value is 5e8, and its weights of either sign differ by rounding at most.
    np.testing.assert_allclose(two_hot.decode(wide, jnp.zeros((3, 255))), 0, atol=1e-8)
    for low, high, number in ((1.0, 0.0, 5), (0.0, 1.0, 1)):
        with pytest.raises(ValueError, match="`number`"):
            two_hot.linear_support(low, high, number)
