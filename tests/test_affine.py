"""The affine evaluation is the plain one to rounding, and never forms a point's kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from fracjax import directions, tree
from fracjax.affine import along_affine_family

KEY = jax.random.key(0)
SIZE = 8
PARAMS = {
    "kernel": jax.random.normal(KEY, (SIZE, SIZE)) / 2,
    "out": jax.random.normal(jax.random.fold_in(KEY, 1), (SIZE, 5)),
    "bias": jnp.linspace(-1, 1, SIZE),
    "scale": jnp.float32(0.5),
}
X = jax.random.normal(jax.random.fold_in(KEY, 2), (SIZE,))


def dense(p, x):
    return jax.nn.relu(x @ p["kernel"] + p["bias"]) @ p["out"]


def transposed(p, x):
    return p["out"].T @ jnp.tanh(p["kernel"].reshape(SIZE, 2, 4).reshape(SIZE, SIZE).T @ x)


def scanned(p, x):
    """A recurrent network: products in a loop, its output in every step."""

    def body(state, noise):
        state = jnp.tanh(state @ p["kernel"] + p["bias"] + noise)
        return state, state @ p["out"]

    return jax.lax.scan(body, x, 0.1 * jnp.ones((7, SIZE)), reverse=True)


def while_loop(p, x):
    """As many steps as the parameters say."""

    def body(carry):
        step, state = carry
        return step + 1, jnp.tanh(p["kernel"] @ state) * p["scale"] + state

    def go_on(carry):
        return (carry[0] < 20) & (jnp.sum(p["out"].T @ carry[1]) < 3)

    return jax.lax.while_loop(go_on, body, (0, x))[1]


def branches(p, x):
    index = (jnp.sum(x) > 0).astype(int)
    return jax.lax.switch(index, [lambda: p["kernel"] @ x, lambda: p["bias"] * x])


def custom_rules(p, x):
    @jax.custom_vjp
    def twice(x):
        return 2 * x

    twice.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))
    inner = jax.checkpoint(lambda x: jax.nn.softplus(twice(p["kernel"] @ x)))
    return jax.jit(inner)(x)


def both_sides(p, x):
    return p["kernel"] @ p["out"], jnp.linalg.norm(p["kernel"]), p["bias"]


def derivatives(p, x):
    return jax.jacfwd(lambda x: dense(p, x))(x), jax.grad(lambda x: dense(p, x).sum())(x)


def many_columns(p, x):
    """A data set of its own at every point: products are formed the plain way."""
    rows = jnp.outer(jnp.arange(40.0), x * p["scale"])
    return jnp.mean(jnp.tanh(rows @ p["kernel"]), axis=0)


def shared_data(p, x):
    """A data set that all points share."""
    rows = jnp.outer(jnp.linspace(0, 1, 40), x)
    return jnp.mean(jax.nn.gelu(rows @ p["kernel"]) @ p["out"], axis=0)


def casts(p, x):
    kernel = p["kernel"].astype(jnp.bfloat16).astype(jnp.float32)
    return kernel.astype(int).sum() + (p["kernel"].astype(jnp.float16) @ x).astype(jnp.float32)


def stacked_layers(p, x):
    layers = jnp.stack([p["kernel"], 0.5 * p["kernel"]])
    return jax.lax.scan(lambda state, w: (jnp.tanh(w @ state), None), x, layers)[0]


FUNCTIONS = (
    dense,
    transposed,
    scanned,
    while_loop,
    branches,
    custom_rules,
    both_sides,
    derivatives,
    many_columns,
    shared_data,
    stacked_layers,
)


def compare(function, params, *rest, tolerance=2e-5):
    table = directions.draw("gaussian", jax.random.key(7), params, 3)
    rows = 0.1 * np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)

    def plain(row):
        point = params
        for index in range(3):
            along = jax.tree.map(lambda leaf, index=index: leaf[index], table)
            point = tree.add_scaled(point, row[index], along)
        return function(point, *rest)

    def affine(row):
        return along_affine_family(function)(params, table, row, *rest)

    expected, got = jax.jit(jax.vmap(plain))(rows), jax.jit(jax.vmap(affine))(rows)
    assert jax.tree.structure(expected) == jax.tree.structure(got)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    one = jax.tree.leaves(got)[0]
    assert not np.allclose(one[0], one[1], rtol=1e-3)  # and it does depend on the point


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_equal_to_the_plain_evaluation(function):
    compare(function, PARAMS, X)


def test_low_precision_and_integers_in_between():
    single = jax.tree.map(jnp.float32, PARAMS)  # other draws round to other integers
    compare(casts, single, jnp.float32(X), tolerance=2e-2)


@pytest.mark.slow
def test_flax_convolutions():
    class Network(linen.Module):
        @linen.compact
        def __call__(self, image):
            hidden = linen.LayerNorm()(linen.relu(linen.Conv(4, (3, 3))(image)))
            return linen.Dense(3)(hidden.ravel())

    image = jax.random.normal(KEY, (6, 6, 2))
    params = Network().init(KEY, image)
    compare(lambda p, x: Network().apply(p, x), params, image)


def test_arguments_that_differ_between_points():
    """Only what is declared as shared is taken so."""
    table = directions.draw("gaussian", jax.random.key(7), PARAMS, 2)
    run = along_affine_family(lambda p, x, y: dense(p, x) + y, num_varying=1)
    xs = jax.random.normal(KEY, (5, SIZE))
    coordinates = jnp.zeros((5, 2))
    got = jax.vmap(run, in_axes=(None, None, 0, 0, None))(PARAMS, table, coordinates, xs, 1.0)
    expected = jax.vmap(lambda x: dense(PARAMS, x) + 1.0)(xs)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("function", [dense, transposed, scanned, shared_data])
def test_kernels_are_never_formed(function):
    """No value in the program for 6 points has a kernel for each of them."""
    points = 6
    table = directions.draw("gaussian", jax.random.key(7), PARAMS, 2)
    run = functools.partial(along_affine_family(function), PARAMS, table)
    traced = jax.make_jaxpr(jax.vmap(lambda row: run(row, X)))(jnp.zeros((points, 2)))
    # Behind the first layer of a data set forming the kernel is the smaller work.
    names = ("kernel",) if function is shared_data else ("kernel", "out")
    kernels = {PARAMS[name].shape for name in names}
    forbidden = {(points, *shape[::order]) for shape in kernels for order in (1, -1)}
    found = {variable.aval.shape for variable in _variables(traced.jaxpr)}
    assert not forbidden & found
    plain = jax.make_jaxpr(
        jax.vmap(lambda row: function(tree.add_scaled(PARAMS, row[0], PARAMS), X))
    )(jnp.zeros((points, 2)))
    assert forbidden & {variable.aval.shape for variable in _variables(plain.jaxpr)}


def _variables(jaxpr):
    for equation in jaxpr.eqns:
        yield from equation.outvars
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _variables(inner)
