"""Per-sample moments, and the natural gradient's metrics against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax import tree
from fracjax.learning.langevin_sampling.layers import fan_in, find_layers
from fracjax.learning.langevin_sampling.outer_products import outer_product
from fracjax.learning.langevin_sampling.preconditioners import Observation
from fracjax.learning.langevin_sampling.priors import gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import apply_dense, gradient_moments
from fracjax.learning.langevin_sampling.transformations import natural_langevin

KEY = jax.random.key(0)
INPUTS, HIDDEN, CLASSES, BATCH = 5, 4, 3, 12
moments_of = jax.jit(gradient_moments, static_argnums=0, static_argnames="route")


def network(seed=0, *, bias=True):
    """Layers at different depths of the tree; the first one without a bias if asked for."""
    draws = np.random.default_rng(seed)
    dtype = jnp.result_type(float)
    shapes = {
        "trunk": {"deep": {"kernel": (INPUTS, HIDDEN), "bias": (HIDDEN,)}},
        "head": {"kernel": (HIDDEN, CLASSES), "bias": (CLASSES,)},
    }
    if not bias:
        del shapes["trunk"]["deep"]["bias"]
    return jax.tree.map(
        lambda shape: jnp.asarray(draws.normal(size=shape), dtype),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def losses(params, batch):
    hidden = jnp.tanh(apply_dense(params["trunk"]["deep"], batch["x"]))
    logits = apply_dense(params["head"], hidden)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def data(**columns):
    x = 0.5 + np.random.default_rng(1).normal(size=(BATCH, INPUTS))
    for column, number in columns.items():
        x[:, int(column[1:])] = number
    return {"x": jnp.asarray(x, jnp.result_type(float)), "y": np.arange(BATCH) % CLASSES}


def averaged(metric, params, moments, *, rate=1.0, regularization=0.0):
    """The metric's state after one update from nothing."""

    @jax.jit
    def update(params, moments):
        floors = jax.tree.map(lambda leaf: jnp.asarray(regularization, leaf.dtype), params)
        seen = Observation(params, params, moments, jnp.asarray(rate), floors, KEY)
        return metric.update(metric.init(params), seen)

    return update(params, moments)


@pytest.mark.parametrize("bias", [True, False])
def test_both_routes_give_the_moments_of_the_samples(x64, bias):
    """Against the Jacobian of the samples' losses; under jit, and vmapped over networks."""
    params, batch = network(bias=bias), data()
    value, gradient, moments = moments_of(losses, params, batch)
    stacked = jax.tree.map(np.asarray, jax.jit(jax.jacrev(losses))(params, batch))
    layers = {"trunk": lambda t: t["trunk"]["deep"], "head": lambda t: t["head"]}
    np.testing.assert_allclose(value, losses(params, batch).mean(), rtol=1e-12)
    for name, layer in layers.items():
        g, found = layer(stacked), layer(moments.squares)
        crosses = layer(moments.crosses)
        for leaf in g:
            np.testing.assert_allclose(layer(gradient)[leaf], g[leaf].mean(0), atol=1e-14)
            np.testing.assert_allclose(found[leaf], (g[leaf] ** 2).mean(0), atol=1e-14)
        if bias or name == "head":
            expected = (g["kernel"] * g["bias"][:, None]).mean(0)
            np.testing.assert_allclose(crosses["kernel"], expected, atol=1e-14)
            assert not crosses["bias"].any()
        else:
            assert not crosses["kernel"].any()
    _, _, by_samples = moments_of(losses, params, batch, route="samples")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), moments, by_samples)
    two = jax.tree.map(lambda *leaves: np.stack(leaves), params, network(5, bias=bias))
    many = jax.jit(jax.vmap(lambda p: gradient_moments(losses, p, batch)[2]))(two)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-14), many, moments)


def test_what_the_dense_route_cannot_serve_is_named():
    params, batch = network(), data()

    def twice(params, batch):
        return losses(params, batch) + apply_dense(params["head"], batch["x"][:, :HIDDEN]).sum(
            axis=1
        )

    def sequences(params, batch):
        return losses(params, {**batch, "x": batch["x"][:, None]})

    with pytest.raises(ValueError, match=r"uses \['head'\] again; use route='samples'"):
        gradient_moments(twice, params, batch)
    with pytest.raises(ValueError, match=r"has shape \(12, 1, 5\); use route='samples'"):
        gradient_moments(sequences, params, batch)
    with pytest.raises(ValueError, match=r"has \['scale'\]; use route"):
        gradient_moments(losses, {**params, "scale": jnp.ones(3)}, batch)
    _, _, moments = moments_of(twice, params, batch, route="samples")
    assert moments.squares["head"]["kernel"].shape == (HIDDEN, CLASSES)


def test_layers_are_found_in_any_tree():
    conv = {"kernel": np.zeros((3, 3, 2, 8)), "bias": np.zeros(8)}
    params = {"a": [conv, {"scale": np.ones(4), "bias": np.ones(4)}], "kernel": np.ones((7, 2))}
    # Flattened: conv bias, conv kernel, bias, scale, bare kernel.
    assert sorted(find_layers(params)) == [(1, 0), (4, None)]
    assert fan_in(params) == [None, 18, None, None, 7]
    with pytest.raises(ValueError, match="a/0 has a kernel of"):
        find_layers({"a": [{"kernel": np.zeros((3, 4)), "bias": np.zeros(3)}]})


def dense_metric(averages, unit):
    """The inverse metric of one unit of the head by its definition; bias first."""
    kernel = averages.squares["head"]["kernel"][:, unit]
    corner = averages.squares["head"]["bias"][unit]
    cross = averages.crosses["head"]["kernel"][:, unit]
    size = len(kernel) + 1
    inverse = np.zeros((size, size))
    inverse[0, 0] = 1 / corner
    for j, (square, product) in enumerate(zip(kernel, cross, strict=True), start=1):
        # Inverse of [[corner, product], [product, square]], without its 1/corner.
        pair = np.linalg.inv(np.array([[corner, product], [product, square]]))
        inverse[0, 0] += pair[0, 0] - 1 / corner
        inverse[0, j] = inverse[j, 0] = pair[0, 1]
        inverse[j, j] = pair[1, 1]
    return inverse


def test_the_quasi_diagonal_product_is_a_dense_matrix(x64):
    """C g and the noise's covariance, from 100 000 draws: each entry within 5 of its errors."""
    params, batch = network(), data()
    metric = outer_product()
    _, _, moments = moments_of(losses, params, batch)
    state = averaged(metric, params, moments, regularization=0.01)
    vector = network(3)
    found = jax.tree.map(np.asarray, jax.jit(metric.apply)(state, vector))
    draws = jax.jit(
        jax.vmap(lambda key: metric.root(state, tree.random_normal(key, params))["head"])
    )(jax.random.split(KEY, 100_000))
    draws = jax.tree.map(np.asarray, draws)
    state = jax.tree.map(np.asarray, state)
    for unit in range(CLASSES):
        inverse = dense_metric(state, unit)
        flat = np.concatenate(
            [vector["head"]["bias"][unit : unit + 1], vector["head"]["kernel"][:, unit]]
        )
        both = np.concatenate(
            [found["head"]["bias"][unit : unit + 1], found["head"]["kernel"][:, unit]]
        )
        np.testing.assert_allclose(both, inverse @ flat, rtol=1e-11)
        noise = np.column_stack([draws["bias"][:, unit], draws["kernel"][:, :, unit]])
        covariance = noise.T @ noise / len(noise)
        variances = np.diag(inverse)
        error = np.sqrt((np.outer(variances, variances) + inverse**2) / len(noise))
        assert np.all(abs(covariance - inverse) < 5 * error)
        assert np.all(abs(np.diag(covariance) / variances - 1) < 0.02)
        assert np.linalg.eigvalsh(inverse).min() > 0
    # Exact where it has to be: B Bᵀ = C, over all layers.
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def matrix(product):
        def column(row):
            return jax.flatten_util.ravel_pytree(product(state, unravel(row)))[0]

        return jax.jit(jax.vmap(column))(jnp.eye(len(flat)))

    root, whole = (np.asarray(matrix(p)) for p in (metric.root, metric.apply))
    np.testing.assert_allclose(root.T @ root, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("quasi_diagonal", [True, False])
def test_affine_changes_of_inputs_change_nothing(x64, quasi_diagonal):
    """Drift and noise of the units' inputs are the same to 1e-10; dop's move by order one."""
    params, batch = network(), data()
    scale = jnp.array([2.0, -0.5, 3.0, 1.0, 0.1])
    shift = jnp.array([1.0, 2.0, 0.0, -3.0, 0.5])
    first = params["trunk"]["deep"]
    moved_kernel = first["kernel"] / scale[:, None]
    moved_layer = {"kernel": moved_kernel, "bias": first["bias"] - shift @ moved_kernel}
    moved = {**params, "trunk": {"deep": moved_layer}}
    moved_batch = {**batch, "x": batch["x"] * scale + shift}
    metric = outer_product(quasi_diagonal=quasi_diagonal)

    @jax.jit
    def changes(params, batch):
        """Change of every sample's hidden pre-activations, and its noise covariance."""
        _, gradient, moments = gradient_moments(losses, params, batch)
        state = averaged(metric, params, moments)
        drift = metric.apply(state, gradient)["trunk"]["deep"]
        _, unravel = jax.flatten_util.ravel_pytree(params)
        rows = jax.vmap(lambda row: metric.root(state, unravel(row))["trunk"]["deep"])(
            jnp.eye(tree.size(params))
        )
        noise = jnp.einsum("bi,riu->rbu", batch["x"], rows["kernel"]) + rows["bias"][:, None]
        covariance = jnp.einsum("rbu,rcv->bucv", noise, noise)
        return batch["x"] @ drift["kernel"] + drift["bias"], covariance

    np.testing.assert_allclose(losses(params, batch), losses(moved, moved_batch), rtol=1e-12)
    before, after = changes(params, batch), changes(moved, moved_batch)
    worst = [float(abs(a - b).max() / abs(a).max()) for a, b in zip(before, after, strict=True)]
    if quasi_diagonal:
        assert max(worst) < 1e-10
    else:
        assert min(worst) > 0.1


@pytest.mark.usefixtures("single_precision")
def test_an_input_that_is_always_on_is_safe_in_float32():
    """Its Schur complement is rounding; regularised, what it moves stays bounded."""
    params = network()
    batch = data(x0=1.0, x1=0.0)
    metric = outer_product()
    _, gradient, moments = moments_of(losses, params, batch)
    state = averaged(metric, params, moments, regularization=1e-3)
    noise = jax.jit(metric.root)(state, jax.tree.map(np.ones_like, params))
    bound = 1.001 / np.sqrt(1e-3)
    assert np.all(abs(noise["trunk"]["deep"]["kernel"]) <= bound)
    assert noise["trunk"]["deep"]["kernel"].dtype == jnp.float32
    np.testing.assert_allclose(noise["trunk"]["deep"]["kernel"][1], 1 / np.sqrt(1e-3), rtol=1e-5)
    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(metric.apply)(state, gradient))
    )


@pytest.mark.usefixtures("single_precision")
def test_small_moments_replace_a_large_start_exactly():
    """At a rate of 1 the start, ones, leaves nothing, not even its rounding of 6e-8."""
    params = network()
    _, _, moments = moments_of(losses, params, data())
    small = jax.tree.map(lambda leaf: 1e-9 * leaf, moments)
    metric, none = outer_product(), jax.tree.map(jnp.zeros_like, params)
    seen = Observation(params, params, small, jnp.ones(()), none, KEY)
    state = metric.update(metric.init(params), seen)  # compiled, a rate of 1 may be folded away
    for found, expected in zip(
        jax.tree.leaves((state.squares, state.crosses)),
        jax.tree.leaves((small.squares, small.crosses)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_prior_alone_is_sampled_where_no_gradient_comes(x64):
    """A pixel that is always black: an AR(1) of variance s²/(1 - η/2), in 1500 chains.

    The rate of the metric is 1, so that its start is forgotten; 6000 squares scatter by
    √(2/6000) = 1.8 %, and 1/(1 - η/2) is 33 % from 1.
    """
    batch = data(x0=0.0)
    eta, variance = 0.5, 1 / INPUTS
    start = network()

    def chain(key):
        sampler = natural_langevin(
            eta, num_data=50, key=key, prior=gaussian_prior(), metric_rate=1.0
        )

        def step(carry, _):
            params, state = carry
            _, gradient, moments = gradient_moments(losses, params, batch)
            change, state = sampler.update(gradient, state, params, moments=moments)
            return (optax.apply_updates(params, change), state), None

        (params, _), _ = jax.lax.scan(step, (start, sampler.init(start)), length=30)
        return params["trunk"]["deep"]["kernel"][0]

    weights = jax.jit(jax.vmap(chain))(jax.random.split(KEY, 1500))
    expected = variance / (1 - eta / 2)
    assert abs(np.mean(weights**2) / expected - 1) < 4 * np.sqrt(2 / weights.size)
