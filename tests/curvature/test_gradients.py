"""Gradients: reverse mode where it exists, else forward mode, found by tracing alone."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status, curvature

KEY = jax.random.key(0)
PARAMS = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), "b": jnp.linspace(0.1, 0.5, 5)}


def smooth(params, key):
    return jnp.sum(jnp.sin(params["w"])) + jnp.sum(params["b"] ** 3)


def looped(params, key):
    """The same, summed up by a loop of unknown length."""
    count = jax.random.randint(key, (), 4, 5)  # 4, but nobody knows when compiling

    def body(carry):
        return carry[0] + 1, carry[1] + smooth(params, key) / 4

    return jax.lax.while_loop(lambda carry: carry[0] < count, body, (0, 0.0 * params["w"][0, 0]))[1]


@jax.custom_vjp
def cubed(x):
    return x**3


cubed.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))


def by_hand(params, key):
    """Reverse mode by a rule of its own, and no forward mode."""
    return jnp.sum(jnp.sin(params["w"])) + jnp.sum(cubed(params["b"]))


def exact(params):
    return {"w": jnp.cos(params["w"]), "b": 3 * params["b"] ** 2}


@pytest.mark.parametrize(
    ("objective", "method", "used"),
    [
        (smooth, "auto", "reverse"),
        (smooth, "forward", "forward"),
        (looped, "auto", "forward"),
        (by_hand, "auto", "reverse"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_exact_and_name_their_method(objective, method, used, dtype, x64):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    found = curvature.gradient(objective, params, KEY, method=method)
    assert found.method == used
    assert found.status == Status.OK
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(found.value, smooth(params, KEY), rtol=tolerance)
    for name, expected in exact(params).items():
        assert found.gradient[name].dtype == dtype
        np.testing.assert_allclose(found.gradient[name], expected, rtol=tolerance)


@pytest.mark.parametrize("chunk_size", [1, 5, 17, 100])
def test_chunks_do_not_change_the_gradient(chunk_size):
    found = curvature.gradient(looped, PARAMS, KEY, chunk_size=chunk_size)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found.gradient, exact(PARAMS)
    )


def test_forward_mode_holds_a_bounded_number_of_tangents():
    """The largest array of the program, by its compiler: not parameters × parameters."""
    params = jnp.ones(20_000)

    def objective(point, key):
        return jnp.sum(jnp.sin(point) ** 2)

    def run(point):
        return curvature.gradient(objective, point, KEY, method="forward").gradient

    memory = jax.jit(run).lower(params).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 64 * 20_000 * 4 * 6  # a few arrays of 64 tangents


def test_the_method_is_found_without_running_the_objective():
    def endless(params, key):
        return jax.lax.while_loop(lambda x: x < 3, lambda x: 0.0 * x, params["w"][0, 0])

    traced = jax.eval_shape(lambda params: curvature.gradient(endless, params, KEY), PARAMS)
    assert traced.method == "forward"


def test_it_may_be_jitted_and_vmapped():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), PARAMS)
    for objective in (smooth, looped):
        together = jax.jit(
            jax.vmap(lambda params, f=objective: curvature.gradient(f, params, KEY).gradient)
        )(batch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), together, exact(batch)
        )


@pytest.mark.parametrize(
    ("objective", "status"),
    [
        (lambda params, key: jnp.sum(params) / 0.0, Status.DIVERGED),
        (lambda params, key: jnp.sum(jnp.sqrt(params - 1.0)), Status.NONFINITE_TANGENT),
    ],
)
def test_what_is_not_finite_gets_a_status(objective, status):
    assert curvature.gradient(objective, jnp.ones(2), KEY).status == status


def test_an_error_of_the_objective_is_not_taken_for_a_missing_derivative():
    def broken(params, key):
        msg = "no such layer"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="no such layer"):
        curvature.gradient(broken, PARAMS, KEY)


@pytest.mark.parametrize(
    ("objective", "params", "settings", "message"),
    [
        (lambda params, key: params, jnp.ones(2), {}, "one number"),
        (smooth, {"w": jnp.arange(3)}, {}, "floating"),
        (smooth, PARAMS, {"chunk_size": 0}, "chunk_size"),
        (smooth, PARAMS, {"method": "backward"}, "reverse"),
    ],
)
def test_bad_settings_are_named(objective, params, settings, message):
    unchecked = inspect.unwrap(curvature.gradient)  # past the tests' own type checks
    with pytest.raises(ValueError, match=message):
        unchecked(objective, params, KEY, **settings)
