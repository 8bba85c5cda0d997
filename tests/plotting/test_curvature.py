"""Figures of curvature show the numbers they were given."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Estimate, Status
from fracjax._types import Label
from fracjax.curvature import Eigenpairs, Quadrature, Sharpness, smooth_quadrature
from fracjax.plotting import curvature


def shown(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}


def test_densities_with_bands(axes):
    nodes = jnp.array([[-1.0, 0.0, 5.0], [-1.0, 0.1, 4.9], [-0.9, 0.0, 5.0]])
    weights = jnp.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.7, 0.2]])
    quadrature = Quadrature(nodes, weights, jnp.zeros((), int), 30)
    found = smooth_quadrature(quadrature, kernel=0.2, num_cells=32)
    drawn = curvature.spectral_densities(axes, {"ours": found})
    assert drawn is axes
    np.testing.assert_allclose(shown(axes)["ours"], found.density.value)
    (band,) = axes.collections
    tops = band.get_paths()[0].vertices[:, 1]
    assert tops.max() == pytest.approx(float(found.density.high.max()))
    log = dataclasses.replace(found, axis="log")
    with pytest.raises(ValueError, match="one kind"):
        curvature.spectral_densities(axes, {"a": found, "b": log})


def test_eigenvalues_of_blocks(axes):
    pairs = Eigenpairs(
        values=np.array([5.0, 2.0]),
        vectors=None,
        residuals=np.array([0.0, 0.5]),
        status=np.array([Status.OK, Status.NOT_CONVERGED]),
        ritz_values=np.array([5.0, 2.0]),
        method=Label("given operator"),
        step=None,
    )
    curvature.eigenvalues(axes, {"first": pairs, "second": pairs})
    assert [text.get_text() for text in axes.get_xticklabels()] == ["first", "second"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(float(line.get_ydata()[0]) for line in points) == [2, 2, 5, 5]
    hollow = [line for line in points if line.get_markerfacecolor() == "none"]
    assert {float(line.get_ydata()[0]) for line in hollow} == {2.0}


def test_sharpness_against_its_threshold(axes):
    value = np.array([1.0, 30.0, 41.0])
    status = np.array([Status.OK, Status.NOT_CONVERGED, Status.OK])
    found = Sharpness(value, None, 0 * value, status)
    curvature.sharpness_and_threshold(
        axes, np.array([0, 10, 20]), {"seed 0": found}, learning_rate=0.05
    )
    lines = shown(axes)
    np.testing.assert_allclose(lines["2/η = 40"], 40)
    np.testing.assert_allclose(lines["seed 0"], value)
    (hollow,) = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(hollow.get_ydata(), [30])


def test_convergence_of_a_trace(axes):
    budgets = [
        Estimate(3.0 + n, 1.0, 2.0 + n, 4.0 + n, 0, {"num_products": 10 * (n + 1)})
        for n in range(2)
    ]
    curvature.trace_convergence(axes, {"hutchinson": budgets}, truth=3.5)
    np.testing.assert_allclose(shown(axes)["exact"], 3.5)
    (container,) = axes.containers
    line, _, (bars,) = container
    np.testing.assert_allclose(line.get_xdata(), [10, 20])
    np.testing.assert_allclose(line.get_ydata(), [3, 4])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [[2, 4], [3, 5]])
