"""Linear regression converges where eigenvalues say so, and the boundary is a smooth curve."""

import jax
import numpy as np
import pytest

from fracjax import landscapes
from fracjax.landscapes.refinement.resolution_refinement import refined_boundary_dimension
from fracjax.learning.trainability.linear_regression import (
    linear_regression_converges,
    linear_regression_objective,
)
from fracjax.learning.trainability.planes import hyperparameter_plane
from fracjax.learning.trainability.problems import regression_problem

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
def test_the_boundary_is_where_eigenvalues_say_and_has_dimension_one():
    problem = regression_problem(KEY, width=4, data="full")
    objective = linear_regression_objective(problem, num_steps=150)
    middle, directions = hyperparameter_plane(centre=(0.3, 0.3))
    grid = landscapes.along(directions, span=1.0, num_points=129)
    found = landscapes.scan(objective, middle, grid, KEY, evaluator="plain")["value"].values
    inside = found < 0
    first, second = (10 ** (0.3 + axis) for axis in grid.axes)
    expected = np.array(
        [[linear_regression_converges(problem, a, b) for b in second[::8]] for a in first[::8]]
    )
    assert 0.1 < expected.mean() < 0.9
    # A pixel off at most, where 150 steps decide too little.
    assert (inside[::8, ::8] != expected).mean() < 0.02
    estimate = refined_boundary_dimension(inside, num_doublings=3)
    assert float(estimate.value) == pytest.approx(1, abs=0.03)
    assert float(estimate.low) < 1 < float(estimate.high) < 1.15
    with pytest.raises(ValueError, match="num_steps"):
        linear_regression_objective(problem, num_steps=0)
