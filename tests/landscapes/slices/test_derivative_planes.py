"""Slices along gradients and eigenvectors show what the derivatives say."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes, tree
from fracjax.landscapes.slices.derivative_planes import gradient_line, gradient_plane, hessian_plane

KEY = jax.random.key(0)
EIGENVALUES = np.concatenate([[6.0, -9.0, 4.0], np.linspace(-1, 1, 17)])
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
SLOPE = np.linspace(-0.5, 1.0, 20)


def centre():
    return {"w": jnp.full((4, 4), 0.3), "b": jnp.full(4, -0.2)}


def quadratic(params, key):
    """A second-degree polynomial around the centre: value 5, slope and Hessian as above."""
    x = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])
    x = x - jnp.concatenate([jnp.full(4, -0.2), jnp.full(16, 0.3)])
    return 5 + jnp.sum(SLOPE * x) + 0.5 * jnp.sum(EIGENVALUES * (x @ BASIS) ** 2)


def looped(params, key):
    """The same where reverse mode does not exist."""
    count = jax.random.randint(key, (), 2, 3)

    def body(carry):
        return carry[0] + 1, carry[1] + quadratic(params, key) / 2

    begin = (0, jnp.zeros((), params["b"].dtype))
    return jax.lax.while_loop(lambda carry: carry[0] < count, body, begin)[1]


def rows(grid):
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(grid.directions)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


@pytest.mark.parametrize(("objective", "method"), [(quadratic, "reverse"), (looped, "forward")])
def test_the_gradient_line_rises_as_its_slope_says(objective, method, x64):
    grid = gradient_line(objective, centre(), KEY, span=0.1, num_points=5)
    assert grid.kind == "gradient"
    details = json.loads(json.dumps(grid.details))
    assert (details["method"], details["status"]) == (method, "ok")
    assert details["value"] == pytest.approx(5, rel=1e-12)
    assert details["gradient_norm"] == pytest.approx(np.linalg.norm(SLOPE), rel=1e-12)
    assert details["slope"] == pytest.approx(np.linalg.norm(SLOPE) * 20**0.5, rel=1e-12)
    unit = SLOPE / np.linalg.norm(SLOPE)
    np.testing.assert_allclose(rows(grid), 20**0.5 * unit[None], rtol=1e-12)
    values = landscapes.scan(objective, centre(), grid, KEY)["value"]
    bend = 20 * np.sum(EIGENVALUES * (unit @ BASIS) ** 2)
    expected = 5 + details["slope"] * grid.axes[0] + 0.5 * bend * grid.axes[0] ** 2
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_the_gradient_plane_is_flat_across_the_gradient(x64):
    grid = gradient_plane(quadratic, centre(), KEY, span=(0.1, 1e-4), num_points=(3, 5))
    assert grid.shape == (3, 5)
    assert grid.kind == "gradient and random"
    found = rows(grid)
    np.testing.assert_allclose(found @ found.T / 20, np.eye(2), atol=1e-14)
    assert found[0] @ SLOPE == pytest.approx(grid.details["slope"], rel=1e-12)
    assert abs(found[1] @ SLOPE) < 1e-12
    other = gradient_plane(quadratic, centre(), jax.random.key(1), num_points=2)
    assert abs(rows(other)[1] @ found[1]) < 0.9 * 20  # another key, another direction


@pytest.mark.parametrize(
    ("which", "expected"),
    [("magnitude", [-9, 6]), ("both ends", [6, -9])],
)
def test_the_hessian_plane_bends_as_its_eigenvalues_say(which, expected, x64):
    grid = hessian_plane(quadratic, centre(), KEY, which=which, span=0.1, num_points=5)
    details = json.loads(json.dumps(grid.details))
    np.testing.assert_allclose(details["eigenvalues"], expected, rtol=1e-12)
    np.testing.assert_allclose(details["curvatures"], 20 * np.array(expected), rtol=1e-12)
    assert max(details["residuals"]) < 1e-12
    assert details["statuses"] == ["ok", "ok"]
    assert (details["which"], details["method"]) == (which, "forward over reverse")
    values = landscapes.scan(quadratic, centre(), grid, KEY)["value"]
    a, b = np.meshgrid(*grid.axes, indexing="ij")
    first, second = rows(grid) @ SLOPE
    bends = details["curvatures"]
    polynomial = 5 + first * a + second * b + 0.5 * (bends[0] * a**2 + bends[1] * b**2)
    np.testing.assert_allclose(values, polynomial, rtol=1e-11)


def test_without_reverse_mode_differences_are_taken_and_named(x64):
    grid = hessian_plane(looped, centre(), KEY, num_axes=3, num_points=3)
    assert grid.shape == (3, 3, 3)
    np.testing.assert_allclose(grid.details["eigenvalues"], [-9, 6, 4], rtol=1e-8)
    assert grid.details["method"] == "differences of forward-mode gradients"
    assert grid.details["step"] == pytest.approx(np.finfo(float).eps ** (1 / 3))
    np.testing.assert_allclose(np.mean(rows(grid) ** 2, axis=1), 1, rtol=1e-12)


def test_too_few_iterations_are_admitted(x64):
    grid = hessian_plane(quadratic, centre(), KEY, num_iterations=4)
    assert "not_converged" in grid.details["statuses"]
    assert grid.details["num_iterations"] == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradient_line(lambda p, k: jnp.sum(p["b"]) / 0, centre(), KEY), "value there is"),
        (
            lambda: gradient_line(lambda p, k: jnp.sqrt(tree.norm(p) * 0), centre(), KEY),
            "gradient there",
        ),
        (lambda: gradient_plane(lambda p, k: jnp.float32(1), centre(), KEY), "is zero"),
        (lambda: gradient_plane(lambda p, k: p, jnp.ones(()), KEY), "two numbers"),
        (
            lambda: hessian_plane(
                lambda p, k: jnp.sum(jnp.abs(p["b"] + 0.2) ** 1.5), centre(), KEY
            ),
            "Hessian",
        ),
        (lambda: hessian_plane(quadratic, centre(), KEY, num_axes=21), "num_eigenvectors"),
    ],
)
def test_what_has_no_such_directions_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
