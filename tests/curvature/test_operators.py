"""Operators of losses: closed forms, dense matrices, batches, blocks, checkpoints."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fracjax import tree
from fracjax.curvature import (
    empirical_fisher,
    gauss_newton,
    hessian,
    in_batches,
    layer_masks,
    symmetric_operator,
    top_eigenpairs,
)
from fracjax.curvature.operators import flat_operator

KEY = jax.random.key(0)
DRAWS = np.random.default_rng(0)
INPUTS = DRAWS.normal(size=(23, 4))
LABELS = DRAWS.integers(0, 3, 23)
TARGETS = DRAWS.normal(size=(23, 3))


@functools.partial(jax.jit, static_argnums=1)
def dense(operator, linearize=None):
    """All products with unit vectors."""
    _, unravel = ravel_pytree(operator.params)
    product = operator.linear_map(linearize=linearize)
    rows = jax.vmap(lambda unit: ravel_pytree(product(unravel(unit)))[0])(jnp.eye(operator.size))
    return rows.T


def linear(weights, inputs):
    return inputs @ weights


def squares(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def logistic(outputs, targets):
    return jnp.mean(jax.nn.softplus(outputs) - targets * outputs)


def softmax(outputs, labels):
    chosen = jnp.take_along_axis(outputs, labels[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(outputs, axis=1) - chosen)


def closed_forms():
    """Model of one vector or matrix of weights, loss, data, parameters, Hessian."""
    weights = DRAWS.normal(size=4)
    count = len(INPUTS)
    yield "linear", squares, TARGETS[:, 0], weights, 2 / count * INPUTS.T @ INPUTS
    odds = 1 / (1 + np.exp(-INPUTS @ weights))
    by_class = (INPUTS * (odds * (1 - odds))[:, None]).T @ INPUTS / count
    yield "logistic", logistic, (LABELS > 0).astype(float), weights, by_class
    matrix = DRAWS.normal(size=(4, 3))
    shares = np.exp(INPUTS @ matrix)
    shares /= shares.sum(axis=1, keepdims=True)
    inner = shares[:, :, None] * np.eye(3) - shares[:, :, None] * shares[:, None, :]
    blocks = np.einsum("nab,ni,nj->iajb", inner, INPUTS, INPUTS) / count
    yield "softmax", softmax, LABELS, matrix, blocks.reshape(12, 12)


@pytest.mark.parametrize("case", list(closed_forms()), ids=lambda case: case[0])
def test_hessian_and_gauss_newton_matrix_in_closed_form(case, x64):
    _, loss, targets, weights, expected = case
    data = jnp.asarray(INPUTS), jnp.asarray(targets)

    def whole(weights, batch):
        return loss(linear(weights, batch[0]), batch[1])

    weights = jnp.asarray(weights)
    atol = 1e-15 * np.abs(expected).max()
    for operator in (
        hessian(whole, weights, data),
        gauss_newton(linear, loss, weights, data),
        hessian(whole, weights, in_batches(data, 5)),  # 5, 5, 5, 5, 3
        gauss_newton(linear, loss, weights, in_batches(data, 9)),
    ):
        np.testing.assert_allclose(dense(operator), expected, rtol=1e-8, atol=100 * atol)


def test_empirical_fisher_matrix_in_closed_form(x64):
    """(4/n) Σ r_i² x_i x_iᵀ for squares of residuals r, of one number or of one per sample."""
    weights = jnp.asarray(DRAWS.normal(size=4))
    data = {"x": jnp.asarray(INPUTS), "y": jnp.asarray(TARGETS[:, 0])}
    residuals = INPUTS @ np.asarray(weights) - TARGETS[:, 0]
    expected = 4 / len(INPUTS) * (INPUTS * residuals[:, None] ** 2).T @ INPUTS

    def each(weights, batch):
        return (batch["x"] @ weights - batch["y"]) ** 2

    for loss in (each, lambda weights, batch: each(weights, batch).mean()):
        for batches in (data, in_batches(data, 10)):
            found = dense(empirical_fisher(loss, weights, batches))
            np.testing.assert_allclose(found, expected, rtol=1e-8)


def network(seed=0):
    draws = np.random.default_rng(seed)
    return {
        "first": {"kernel": jnp.asarray(draws.normal(size=(4, 5))), "bias": jnp.zeros(5)},
        "second": {"kernel": jnp.asarray(draws.normal(size=(5, 3))), "bias": jnp.ones(3)},
    }


def model(params, inputs):
    hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"])
    return hidden @ params["second"]["kernel"] + params["second"]["bias"]


def loss(params, batch):
    return squares(model(params, batch[0]), batch[1])


def slow_loss(params, batch):
    """The same, where reverse mode does not exist: a loop of a length that nobody knows."""
    count = jnp.where(batch[0][0, 0] < 1e9, 2, 3)

    def body(carry):
        return carry[0] + 1, carry[1] + loss(params, batch) / 2

    begin = (0, jnp.zeros((), batch[1].dtype))
    return jax.lax.while_loop(lambda carry: carry[0] < count, body, begin)[1]


def data():
    return jnp.asarray(INPUTS), jnp.asarray(TARGETS)


def exact():
    flat, unravel = ravel_pytree(network())
    return jax.jit(jax.hessian(lambda point: loss(unravel(point), data())))(flat)


@pytest.mark.parametrize("batch_size", [pytest.param(23, marks=pytest.mark.slow), 6])
def test_hessian_of_a_network_in_batches(batch_size, x64):
    """Whole, and in three equal batches with one of five; symmetric; linearised or not."""
    batches = in_batches(data(), batch_size)
    assert (batches.last is None) == (batch_size == 23)
    operator = hessian(loss, network(), batches)
    found = dense(operator)
    np.testing.assert_allclose(found, exact(), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found, found.T, atol=1e-13)
    whole = hessian(loss, network(), data())
    np.testing.assert_allclose(dense(whole, True), found, atol=1e-13)
    direction = tree.random_normal(KEY, network())
    product = ravel_pytree(jax.jit(lambda operator: operator(direction))(whole))[0]
    np.testing.assert_allclose(product, exact() @ ravel_pytree(direction)[0], atol=1e-12)


@pytest.mark.parametrize(("method", "tolerance"), [("auto", 1e-7), ("forward over forward", 1e-12)])
def test_a_loss_without_reverse_mode(method, tolerance, x64):
    operator = hessian(slow_loss, network(), data(), method=method)
    np.testing.assert_allclose(dense(operator), exact(), atol=tolerance)


@pytest.mark.slow
def test_gauss_newton_and_fisher_matrix_without_reverse_mode(x64):
    def slow_model(params, inputs):
        count = jnp.where(inputs[0, 0] < 1e9, 1, 2)
        begin = (0, jnp.zeros((len(inputs), 3)))

        def step(carry):
            return carry[0] + 1, carry[1] + model(params, inputs)

        return jax.lax.while_loop(lambda carry: carry[0] < count, step, begin)[1]

    found = dense(gauss_newton(slow_model, squares, network(), data()))
    flat, unravel = ravel_pytree(network())
    slopes = jax.jacobian(lambda point: model(unravel(point), data()[0]).ravel())(flat)
    np.testing.assert_allclose(found, 2 / slopes.shape[0] * slopes.T @ slopes, atol=1e-12)
    slow = dense(empirical_fisher(slow_loss, network(), data()))
    np.testing.assert_allclose(slow, dense(empirical_fisher(loss, network(), data())), atol=1e-12)


def test_blocks_are_submatrices_with_their_own_eigenvalues(x64):
    whole = exact()
    ends = {"first": slice(0, 25), "second": slice(25, 43)}
    for name, mask in layer_masks(network()).items():
        block = hessian(loss, network(), in_batches(data(), 6), mask=mask)
        expected = whole[ends[name], ends[name]]
        np.testing.assert_allclose(dense(block), expected, atol=1e-12)
        other = {"first": "second", "second": "first"}[name]
        assert block.params[other] == {"kernel": None, "bias": None}
    values = np.linalg.eigvalsh(whole[25:, 25:])[::-1][:3]
    pairs = top_eigenpairs(block, KEY, num_eigenvectors=3, num_iterations=18)
    np.testing.assert_allclose(pairs.values, values, rtol=1e-9)
    assert pairs.vectors["first"] == {"kernel": None, "bias": None}
    assert pairs.vectors["second"]["bias"].shape == (3, 3)


def test_all_operators_share_their_masks(x64):
    """A predicate of paths; (1/n) JᵀJ of the biases of the last layer is 2/3 of the identity."""
    mask = "second/bias".__eq__
    found = dense(gauss_newton(model, squares, network(), data(), mask=mask))
    np.testing.assert_allclose(found, 2 / 3 * np.eye(3), atol=1e-14)
    found = dense(hessian(loss, network(), data(), mask={"first": False, "second": True}))
    np.testing.assert_allclose(found, exact()[25:, 25:], atol=1e-12)
    residuals = model(network(), data()[0]) - TARGETS
    slopes = 2 / 3 * residuals
    expected = slopes.T @ slopes / 23
    found = dense(empirical_fisher(loss, network(), data(), mask=mask))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.slow
def test_checkpoints_in_a_batch_are_as_one_by_one(x64):
    seeds = [network(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)

    def top(params):
        return top_eigenpairs(hessian(loss, params, data()), KEY, num_iterations=20).values

    together = jax.vmap(top)(stacked)
    alone = jnp.stack([top(params) for params in seeds])
    np.testing.assert_allclose(together, alone, rtol=1e-10)


@pytest.mark.slow
def test_a_given_matrix_in_the_dtype_of_its_like():
    operator = symmetric_operator(lambda v, d: d * v, jnp.zeros(3), jnp.array([1.0, 5.0, 2.0]))
    apply, _, _ = flat_operator(operator)
    np.testing.assert_array_equal(apply(jnp.ones(3)), [1, 5, 2])
    assert top_eigenpairs(operator, KEY, num_iterations=3).values.dtype == jnp.float32


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_marked_on_all_routes():
    """A constant NaN has derivatives of zero."""

    def lost(params, batch):
        return jnp.where(batch[0, 0] < 1e9, jnp.nan, jnp.sum(params**2))

    inputs = jnp.ones((4, 2))
    for operator in (
        hessian(lost, jnp.ones(3), inputs),
        hessian(lost, jnp.ones(3), in_batches(inputs, 2)),
        empirical_fisher(lost, jnp.ones(3), inputs),
        gauss_newton(lambda p, x: p, lambda p, y: lost(p, y), jnp.ones(3), (inputs, inputs)),
    ):
        assert jnp.isnan(operator.linear_map()(jnp.ones(3))).all()
        assert jnp.isnan(operator(jnp.ones(3))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hessian(model, network(), INPUTS), "one number"),
        (lambda: hessian(loss, network(), data(), mask=lambda path: "third" in path), "at least"),
        (lambda: hessian(loss, network(), data(), mask={"first": True}), "structure"),
        (lambda: hessian(loss, network(), data(), mask={"first": 1, "second": 0}), "bools"),
        (lambda: gauss_newton(model, squares, network(), INPUTS), "pairs"),
        (lambda: in_batches(data(), 0), "batch_size"),
        (lambda: in_batches((INPUTS, TARGETS[:3]), 2), "leading axis"),
        (lambda: layer_masks(network(), depth=0), "depth"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
