"""Directions: their lengths, their angles, and the published rule for filters."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import directions, tree

PARAMS = {"w": jnp.arange(6.0).reshape(3, 2), "v": jnp.ones((3, 2)), "b": jnp.zeros(2)}
KEY = jax.random.key(0)


def rows(stacked):
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(stacked)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def test_gaussian_directions_have_unit_root_mean_square_on_average():
    drawn = directions.draw("gaussian", KEY, {"a": jnp.zeros(50)}, 400)
    assert float(jnp.mean(drawn["a"] ** 2)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("kind", ["gaussian", "filter", "orthonormal"])
def test_direction_i_does_not_depend_on_how_many_are_drawn(kind):
    few = directions.draw(kind, KEY, PARAMS, 2)
    many = directions.draw(kind, KEY, PARAMS, 5)
    np.testing.assert_allclose(rows(few), rows(many)[:2], atol=2e-6)


def test_filter_normalised_directions_copy_the_norms_of_filters():
    drawn = directions.filter_normalized(jax.random.key(1), PARAMS)
    np.testing.assert_allclose(
        jnp.linalg.norm(drawn["w"], axis=0), jnp.linalg.norm(PARAMS["w"], axis=0), rtol=1e-6
    )
    np.testing.assert_array_equal(drawn["b"], 0.0)


def published_rule(direction, weight):
    """Li et al. in PyTorch's layout: outputs along the first axis; vectors are not moved."""
    if weight.ndim < 2:
        return np.zeros_like(direction)
    scaled = [
        d * np.linalg.norm(w) / np.linalg.norm(d) for d, w in zip(direction, weight, strict=True)
    ]
    return np.stack(scaled)


def test_filters_are_those_of_the_published_rule_after_transposing():
    generator = np.random.default_rng(0)
    shapes = {
        "dense": (7, 5),  # (inputs, outputs)
        "convolution": (3, 2, 4, 6),  # (height, width, inputs, outputs)
        "bias": (5,),
    }
    params = {name: jnp.float32(generator.normal(size=size)) for name, size in shapes.items()}
    to_torch = {"dense": (1, 0), "convolution": (3, 2, 0, 1), "bias": (0,)}
    drawn = directions.gaussian(KEY, params)
    found = jax.jit(lambda p: directions.filter_normalized(KEY, p, vectors="zeroed"))(params)
    for name, axes in to_torch.items():
        weight, direction = (np.transpose(np.asarray(each[name]), axes) for each in (params, drawn))
        expected = published_rule(direction, weight)
        np.testing.assert_allclose(np.transpose(found[name], axes), expected, rtol=1e-6)
    kept = directions.draw("filter", KEY, params, 1, vectors="scaled")["bias"][0]
    np.testing.assert_allclose(jnp.linalg.norm(kept), jnp.linalg.norm(params["bias"]), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthonormal_directions_are_orthogonal_to_rounding(x64, dtype):
    params = {"w": jnp.zeros((300, 9), dtype), "b": jnp.zeros(300, dtype)}
    drawn = directions.draw("orthonormal", KEY, params, 6)
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype(dtype)}
    found = rows(drawn)
    rounding = float(10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(found @ found.T / 3000, np.eye(6), atol=rounding)
    # The unit is that of Gaussian directions: root mean square 1 per parameter, exactly.
    np.testing.assert_allclose(np.mean(found**2, axis=1), 1, atol=rounding)
    gaussian = rows(directions.draw("gaussian", KEY, params, 6))
    cosine = np.sum(found[0] * gaussian[0]) / np.linalg.norm(found[0]) / np.linalg.norm(gaussian[0])
    assert cosine == pytest.approx(1, abs=rounding)


def test_as_many_orthonormal_directions_as_parameters_are_a_basis(x64):
    params = tree.astype(PARAMS, "float64")
    found = rows(directions.draw("orthonormal", KEY, params, 14))
    np.testing.assert_allclose(found.T @ found / 14, np.eye(14), atol=1e-13)


def test_orthonormalising_keeps_the_first_direction_and_its_sign(x64):
    pair = jnp.array([[-3.0, 4.0, 0.0], [-3.0, 4.0, 1e-9]])  # all but parallel
    found = directions.orthonormalize({"x": pair})["x"] / 3**0.5
    np.testing.assert_allclose(found, [[-0.6, 0.8, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-15)


def test_normalising_survives_tiny_numbers_and_keeps_zeros():
    stacked = {"x": jnp.array([[3e-30, 0.0], [0.0, 0.0]]), "y": jnp.array([[4e-30], [0.0]])}
    found = rows(directions.normalize(stacked))
    np.testing.assert_allclose(found, 3**0.5 * np.array([[0.6, 0, 0.8], [0, 0, 0]]), rtol=1e-6)


def test_half_precision_comes_back_as_such():
    stacked = {"x": jnp.array([[1.0, 1.0], [1.0, 0.0]], jnp.bfloat16)}
    for function in (directions.normalize, directions.orthonormalize):
        assert function(stacked)["x"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("hessian", KEY, PARAMS, 1), {}, "gaussian"),
        (("filter", KEY, PARAMS, 1), {"vectors": "ignored"}, "zeroed"),
        (("filter", KEY, {"b": jnp.ones(3)}, 1), {"vectors": "zeroed"}, "no matrix"),
        (("orthonormal", KEY, {"b": jnp.ones(3)}, 4), {}, "4 of 3"),
    ],
)
def test_bad_settings_are_named(arguments, settings, message):
    unchecked = inspect.unwrap(directions.draw)  # past the tests' own type checks
    with pytest.raises(ValueError, match=message):
        unchecked(*arguments, **settings)
