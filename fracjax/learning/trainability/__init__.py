"""Which hyperparameters let training converge, and how rough the boundary between is."""

from fracjax.learning.trainability.factorization import (
    factorization_objective,
    inside_unregularized_basin,
)
from fracjax.learning.trainability.linear_regression import (
    linear_regression_converges,
    linear_regression_objective,
)
from fracjax.learning.trainability.one_dimensional import (
    BoundaryCounts,
    boundary_counts,
    count_dimension,
    label_change_counts,
    rate_objective,
    roughness_threshold,
)
from fracjax.learning.trainability.planes import (
    hyperparameter_plane,
    learning_rates,
    trainability_objective,
)
from fracjax.learning.trainability.problems import RegressionProblem, regression_problem
from fracjax.learning.trainability.runs import convergence_speeds

__all__ = [
    "BoundaryCounts",
    "RegressionProblem",
    "boundary_counts",
    "convergence_speeds",
    "count_dimension",
    "factorization_objective",
    "hyperparameter_plane",
    "inside_unregularized_basin",
    "label_change_counts",
    "learning_rates",
    "linear_regression_converges",
    "linear_regression_objective",
    "rate_objective",
    "regression_problem",
    "roughness_threshold",
    "trainability_objective",
]
