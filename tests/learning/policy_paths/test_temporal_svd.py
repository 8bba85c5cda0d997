"""Temporal singular values: against NumPy's SVD, against a walk's laws, in both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.policy_paths.batching import any_member, in_float64
from fracjax.learning.policy_paths.path_gram import path_gram
from fracjax.learning.policy_paths.temporal_svd import (
    major_dimensionality,
    path_directions,
    temporal_svd,
)
from fracjax.learning.policy_paths.walks import (
    walk_courses,
    walk_detours,
    walk_dimensionality,
    walk_eigenvalues,
    walk_total,
)

KEY = jax.random.key(0)
CENTRES = ("none", "mean", "first")


def unit_walk(steps, size, radius=0.0):
    """Steps of length 1 in random directions, from a start of a given norm."""
    rng = np.random.default_rng(0)
    made = rng.standard_normal((steps, size))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    start = rng.standard_normal(size)
    return np.cumsum(made, axis=0) + radius * start / np.linalg.norm(start)


def centred(path, center):
    path = np.asarray(path, np.float64)
    return path - {"none": 0, "mean": path.mean(axis=0), "first": path[0]}[center]


@pytest.mark.parametrize("center", CENTRES)
@pytest.mark.parametrize(("number", "size"), [(40, 9000), (40, 25)])
def test_the_gram_route_equals_an_svd(center, number, size):
    """Float32 snapshots without `jax_enable_x64`, far from the origin; NumPy in float64."""
    path = jnp.asarray(unit_walk(number, size, radius=100.0), jnp.float32)
    found = temporal_svd(path, center=center, num_directions=6)
    left, values, right = np.linalg.svd(centred(path, center), full_matrices=False)
    rank = min(number - (center != "none"), size)
    assert found.singular_values.dtype == jnp.float32
    assert found.singular_values.shape == (rank,)
    np.testing.assert_allclose(found.singular_values, values[:rank], rtol=1e-6)
    shares = np.cumsum(values[:rank]) / values[:rank].sum()
    np.testing.assert_allclose(found.information, shares, rtol=1e-6)
    signs = np.sign(np.sum(left[:, :6] * np.asarray(found.courses), axis=0))
    np.testing.assert_allclose(found.courses, left[:, :6] * signs, atol=1e-6)
    directions = path_directions(path, found)
    np.testing.assert_allclose(directions, right[:6] * signs[:, None], atol=2e-6)
    assert found.status == Status.OK
    assert found.num_resolved == rank
    by_svd = temporal_svd(path, center=center, num_directions=6, method="svd")
    np.testing.assert_allclose(by_svd.singular_values, found.singular_values, rtol=1e-4)
    np.testing.assert_array_equal(by_svd.dimensionality, found.dimensionality)


@pytest.mark.parametrize("steps", [50, 200, 1000])
@pytest.mark.parametrize("centred_", [True, False])
def test_walks_have_their_exact_eigenvalues(steps, centred_):
    """Orthogonal unit steps are a walk in infinitely many dimensions: its Gram matrix is min(s, t).

    Eigenvalues, time courses, totals and D(β) against an eigendecomposition of it.
    """
    gram = np.minimum.outer(np.arange(1.0, steps + 1), np.arange(1.0, steps + 1))
    if centred_:
        gram = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    squares, vectors = np.linalg.eigh(gram)
    squares, vectors = squares[::-1][: steps - centred_], vectors[:, ::-1][:, :5]
    law = walk_eigenvalues(steps, centred=centred_)
    np.testing.assert_allclose(law, squares, rtol=1e-10)
    totals = {50: (416.5, 1275), 200: (6666.5, 20_100), 1000: (166_666.5, 500_500)}
    total = totals[steps][0 if centred_ else 1]
    assert walk_total(steps, centred=centred_) == total
    assert law.sum() == pytest.approx(total, rel=1e-12)
    courses = walk_courses(steps, 5, centred=centred_)
    np.testing.assert_allclose(np.abs(np.sum(courses * vectors, axis=0)), 1, rtol=1e-10)
    values = jnp.sqrt(jnp.asarray(squares, jnp.float32))
    published = {
        50: ([6, 23, 42, 48], [3, 19, 41, 49]),
        200: ([12, 73, 161, 192], [6, 56, 154, 191]),
        1000: ([27, 267, 760, 950], [14, 204, 720, 943]),
    }[steps][0 if centred_ else 1]
    shares = (0.5, 0.8, 0.95, 0.99)
    np.testing.assert_array_equal(walk_dimensionality(steps, shares, centred=centred_), published)
    np.testing.assert_array_equal(major_dimensionality(values, shares), published)


def test_a_walk_has_its_detours():
    """2k - 1 uncentred; k or infinite centred. Steps along the axes: exact up to 4kπ/T."""
    steps = 1000
    path = jnp.tril(jnp.ones((steps + 1, steps)), -1)
    found = temporal_svd(path, center="first", num_directions=5)
    law = walk_detours(5, centred=False)
    np.testing.assert_array_equal(law, [1, 3, 5, 7, 9])
    np.testing.assert_allclose(found.detour, law, atol=0.06)
    np.testing.assert_array_equal(walk_detours(4), [1, np.inf, 3, np.inf])
    found = temporal_svd(path, center="mean", num_directions=5)
    np.testing.assert_allclose(found.detour[::2], [1, 3, 5], atol=0.06)
    assert (found.detour[1::2] > 1000).all()
    courses = walk_courses(steps + 1, 5)
    np.testing.assert_allclose(found.courses, courses, atol=2e-6)


def test_raw_snapshots_read_the_norm_of_the_start():
    """The same walk from three places: what is uncentred changes, what is centred does not.

    Numbers of this walk (NumPy's generator) computed for this project.
    """
    expected = {
        0.0: (0.266, [6, 56, 153, 190]),
        20.0: (0.442, [2, 30, 134, 186]),
        200.0: (0.879, [1, 1, 21, 138]),
    }
    for radius, (first, dimensionality) in expected.items():
        path = jnp.asarray(unit_walk(200, 20_000, radius), jnp.float32)
        raw = temporal_svd(path, center="none", shares=(0.5, 0.8, 0.95, 0.99))
        assert raw.information[0] == pytest.approx(first, abs=0.001)
        np.testing.assert_allclose(raw.dimensionality, dimensionality, atol=1)
        moved = temporal_svd(path, shares=(0.5, 0.8, 0.95, 0.99))
        assert moved.information[0] == pytest.approx(0.164, abs=0.001)
        np.testing.assert_allclose(moved.dimensionality, [12, 72, 161, 191], atol=1)


def test_a_float32_gram_matrix_says_that_it_does_not_resolve():
    """At a start of norm 200 directions beyond √eps of the first are noise in float32."""
    path = jnp.asarray(unit_walk(200, 2000, 2000.0), jnp.float32)
    exact = temporal_svd(path, center="none", num_directions=64)
    assert exact.status == Status.OK
    narrow = path_gram(path, precision="float32")
    found = temporal_svd(narrow, center="none", num_directions=64)
    assert found.status == Status.AT_NOISE_FLOOR
    assert found.num_resolved < 64
    values = np.asarray(exact.singular_values)
    assert (values[:64] > 3.45e-4 * values[0]).sum() < 64  # √eps, what the status stands for
    few = temporal_svd(narrow, center="mean", num_directions=64)
    assert few.status == Status.OK
    np.testing.assert_allclose(few.singular_values[:64], unit_svd(path)[:64], rtol=1e-3)


def unit_svd(path):
    return np.linalg.svd(centred(path, "mean"), compute_uv=False)


def test_the_gram_matrix_is_exact_and_float64_is_kept(x64):
    path = jnp.asarray(unit_walk(30, 5000, radius=300.0))
    rows = np.concatenate([path[:1], path[1:] - path[0]])
    exact = rows @ rows.T
    wide = path_gram(path)
    np.testing.assert_allclose(wide.parts.sum(axis=0), exact, atol=1e-9)
    assert temporal_svd(wide).singular_values.dtype == jnp.float64
    with jax.enable_x64(False):
        narrow = path_gram(path.astype(jnp.float32), stride=3)
        assert narrow.parts.dtype == jnp.float32
        assert narrow.stride == 3
    rounded = np.asarray(path, np.float32).astype(float)
    rows = np.concatenate([rounded[:1], rounded[1:] - rounded[0]])
    found = np.asarray(narrow.parts, float).sum(axis=0)
    np.testing.assert_allclose(found, rows @ rows.T, atol=1e-14 * (rows[0] @ rows[0]))


def test_batches_equal_single_paths():
    paths = jnp.cumsum(jax.random.normal(KEY, (3, 20, 60)), axis=1)
    batch = jax.jit(jax.vmap(temporal_svd))(paths)
    for index in range(3):
        one = temporal_svd(paths[index])
        np.testing.assert_allclose(batch.singular_values[index], one.singular_values, rtol=1e-5)
        np.testing.assert_allclose(batch.courses[index], one.courses, atol=1e-5)
        np.testing.assert_array_equal(batch.dimensionality[index], one.dimensionality)


def test_broken_paths_have_a_status():
    path = jnp.cumsum(jax.random.normal(KEY, (10, 6)), axis=0)
    broken = temporal_svd(path.at[3, 2].set(jnp.inf))
    assert broken.status == Status.DIVERGED
    assert np.isnan(broken.singular_values).all()
    assert (broken.dimensionality == 0).all()
    assert temporal_svd(jnp.ones((10, 6))).status == Status.AT_NOISE_FLOOR
    assert temporal_svd(path).courses.shape == (10, 6)  # no more directions than parameters
    np.testing.assert_array_equal(major_dimensionality(jnp.ones(6), (1.0, 0.5)), [6, 3])


def test_settings_are_checked():
    path = jnp.ones((4, 3))
    with pytest.raises(ValueError, match="`num_directions` must be at least 1"):
        temporal_svd(path, num_directions=0)
    with pytest.raises(ValueError, match="`shares` must hold numbers"):
        temporal_svd(path, shares=(0.0,))
    with pytest.raises(ValueError, match="must be snapshots"):
        temporal_svd(path_gram(path), method="svd")
    with pytest.raises(ValueError, match="at least two rows"):
        path_gram(path[:1])


@pytest.mark.slow
def test_one_condition_for_a_batch_and_float64_in_float32():
    """Branches stay branches under vmap, nested or not, and products of float64 stay exact."""

    def exact(x):
        return (x.astype(jnp.float64)[:, None] * x @ x[:, None]).sum().astype(jnp.float32)

    def step(x, due):
        return jax.lax.cond(
            any_member(due),
            lambda x: jnp.where(due, in_float64(exact)(x), 0),
            lambda x: jnp.zeros((), x.dtype),
            x,
        )

    x = jnp.arange(6.0).reshape(2, 3)
    due = jnp.array([True, False])
    program = jax.jit(jax.vmap(step)).lower(x, due).as_text()
    assert "stablehlo.case" in program
    np.testing.assert_allclose(jax.vmap(step)(x, due), [exact_sum(x[0]), 0])
    nested = jax.jit(jax.vmap(jax.vmap(step)))(jnp.stack([x, x]), jnp.stack([due, ~due]))
    np.testing.assert_allclose(nested, [[exact_sum(x[0]), 0], [0, exact_sum(x[1])]])


def exact_sum(x):
    return float(np.asarray(x).sum() * (np.asarray(x) ** 2).sum())
