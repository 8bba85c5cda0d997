"""Exponents and dimensions with their uncertainty: callables or arrays in, `Estimate` out."""

from fracjax.estimators.chaos.alignment import Motion, alignment_index, smaller_alignment_index
from fracjax.estimators.chaos.angles import subspace_angles, vector_angles
from fracjax.estimators.chaos.covariant import covariant_vectors
from fracjax.estimators.chaos.embedding import delay_embedding
from fracjax.estimators.chaos.ensembles import (
    ensemble_exponent,
    reward_exponent,
    second_moment_exponent,
    worst_finite_time_exponent,
)
from fracjax.estimators.chaos.exterior import spectrum_of_jacobians
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.chaos.kaplan_yorke import entropy_bound, kaplan_yorke_dimension
from fracjax.estimators.chaos.local_exponents import local_exponents
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.estimators.chaos.recorded import recorded_exponent
from fracjax.estimators.chaos.transversal import onto_span, synchronised, transversal_exponents
from fracjax.estimators.chaos.zero_one import zero_one_test
from fracjax.estimators.dimensions.fractal_dimensions import (
    box_counting_dimension,
    correlation_dimension,
    generalized_dimension,
    information_dimension,
)
from fracjax.estimators.dimensions.linear_region import linear_region
from fracjax.estimators.dimensions.takens import takens_dimension
from fracjax.estimators.multifractals.fluctuation import detrended_fluctuation
from fracjax.estimators.multifractals.log_cumulants import log_cumulants
from fracjax.estimators.multifractals.multifractal_fluctuation import (
    multifractal_detrended_fluctuation,
)
from fracjax.estimators.roughness.classical import (
    graph_box_dimension,
    higuchi_fractal_dimension,
    katz_fractal_dimension,
)
from fracjax.estimators.roughness.from_lines import exponent_from_lines
from fracjax.estimators.roughness.graph_dimension import graph_dimension
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.estimators.roughness.pointwise import local_holder_exponents
from fracjax.estimators.roughness.series import series_holder_exponent

__all__ = [
    "Motion",
    "alignment_index",
    "box_counting_dimension",
    "correlation_dimension",
    "covariant_vectors",
    "delay_embedding",
    "detrended_fluctuation",
    "ensemble_exponent",
    "entropy_bound",
    "exponent_from_lines",
    "finite_time_growth",
    "generalized_dimension",
    "graph_box_dimension",
    "graph_dimension",
    "higuchi_fractal_dimension",
    "holder_exponent",
    "information_dimension",
    "kaplan_yorke_dimension",
    "katz_fractal_dimension",
    "linear_region",
    "local_exponents",
    "local_holder_exponents",
    "log_cumulants",
    "lyapunov_spectrum",
    "multifractal_detrended_fluctuation",
    "onto_span",
    "perturbation_exponent",
    "recorded_exponent",
    "reward_exponent",
    "second_moment_exponent",
    "series_holder_exponent",
    "smaller_alignment_index",
    "spectrum_of_jacobians",
    "subspace_angles",
    "synchronised",
    "takens_dimension",
    "transversal_exponents",
    "vector_angles",
    "worst_finite_time_exponent",
    "zero_one_test",
]
