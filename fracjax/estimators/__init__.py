"""Exponents and dimensions with their uncertainty: callables or arrays in, `Estimate` out."""

from fracjax.estimators.alignment import Motion as Motion
from fracjax.estimators.alignment import alignment_index as alignment_index
from fracjax.estimators.alignment import smaller_alignment_index as smaller_alignment_index
from fracjax.estimators.angles import subspace_angles as subspace_angles
from fracjax.estimators.angles import vector_angles as vector_angles
from fracjax.estimators.classical import graph_box_dimension as graph_box_dimension
from fracjax.estimators.classical import higuchi_fractal_dimension as higuchi_fractal_dimension
from fracjax.estimators.classical import katz_fractal_dimension as katz_fractal_dimension
from fracjax.estimators.covariant import covariant_vectors as covariant_vectors
from fracjax.estimators.dimension import box_counting_dimension as box_counting_dimension
from fracjax.estimators.dimension import correlation_dimension as correlation_dimension
from fracjax.estimators.dimension import generalized_dimension as generalized_dimension
from fracjax.estimators.dimension import information_dimension as information_dimension
from fracjax.estimators.embedding import delay_embedding as delay_embedding
from fracjax.estimators.ensembles import ensemble_exponent as ensemble_exponent
from fracjax.estimators.ensembles import reward_exponent as reward_exponent
from fracjax.estimators.ensembles import second_moment_exponent as second_moment_exponent
from fracjax.estimators.ensembles import worst_finite_time_exponent as worst_finite_time_exponent
from fracjax.estimators.exterior import spectrum_of_jacobians as spectrum_of_jacobians
from fracjax.estimators.finite_time import finite_time_growth as finite_time_growth
from fracjax.estimators.fluctuation import detrended_fluctuation as detrended_fluctuation
from fracjax.estimators.graph_dimension import graph_dimension as graph_dimension
from fracjax.estimators.holder import holder_exponent as holder_exponent
from fracjax.estimators.kaplan_yorke import entropy_bound as entropy_bound
from fracjax.estimators.kaplan_yorke import kaplan_yorke_dimension as kaplan_yorke_dimension
from fracjax.estimators.linear_region import linear_region as linear_region
from fracjax.estimators.local_exponents import local_exponents as local_exponents
from fracjax.estimators.lyapunov import lyapunov_spectrum as lyapunov_spectrum
from fracjax.estimators.multifractal import log_cumulants as log_cumulants
from fracjax.estimators.multifractal_fluctuation import (
    multifractal_detrended_fluctuation as multifractal_detrended_fluctuation,
)
from fracjax.estimators.perturbation import perturbation_exponent as perturbation_exponent
from fracjax.estimators.pointwise import local_holder_exponents as local_holder_exponents
from fracjax.estimators.recorded import recorded_exponent as recorded_exponent
from fracjax.estimators.roughness import exponent_from_lines as exponent_from_lines
from fracjax.estimators.series import series_holder_exponent as series_holder_exponent
from fracjax.estimators.takens import takens_dimension as takens_dimension
from fracjax.estimators.transversal import onto_span as onto_span
from fracjax.estimators.transversal import synchronised as synchronised
from fracjax.estimators.transversal import transversal_exponents as transversal_exponents
from fracjax.estimators.zero_one import zero_one_test as zero_one_test

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
