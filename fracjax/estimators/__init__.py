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
from fracjax.estimators.diffusion.displacements import (
    displacement_from,
    ensemble_displacement,
    mean_squared_displacement,
    segment_displacements,
)
from fracjax.estimators.diffusion.distributions import (
    displacement_density,
    non_gaussian_parameter,
)
from fracjax.estimators.diffusion.exponents import (
    diffusion_exponent,
    local_diffusion_exponents,
)
from fracjax.estimators.diffusion.nulls import (
    drift_noise_surrogate,
    null_exponents,
    relaxation_surrogate,
)
from fracjax.estimators.diffusion.over_time import exponent_change, exponents_over_time
from fracjax.estimators.diffusion.streams import stream_displacements
from fracjax.estimators.diffusion.typical import (
    typical_displacement_exponent,
)
from fracjax.estimators.dimensions.fractal_dimensions import (
    box_counting_dimension,
    correlation_dimension,
    generalized_dimension,
    information_dimension,
)
from fracjax.estimators.dimensions.linear_region import linear_region
from fracjax.estimators.dimensions.takens import takens_dimension
from fracjax.estimators.heavy_tails.characteristic import (
    characteristic_stability,
)
from fracjax.estimators.heavy_tails.largest_values import hill_tail_index
from fracjax.estimators.heavy_tails.log_moments import block_sum_stability, flattened_stability
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
    "block_sum_stability",
    "box_counting_dimension",
    "characteristic_stability",
    "correlation_dimension",
    "covariant_vectors",
    "delay_embedding",
    "detrended_fluctuation",
    "diffusion_exponent",
    "displacement_density",
    "displacement_from",
    "drift_noise_surrogate",
    "ensemble_displacement",
    "ensemble_exponent",
    "entropy_bound",
    "exponent_change",
    "exponent_from_lines",
    "exponents_over_time",
    "finite_time_growth",
    "flattened_stability",
    "generalized_dimension",
    "graph_box_dimension",
    "graph_dimension",
    "higuchi_fractal_dimension",
    "hill_tail_index",
    "holder_exponent",
    "information_dimension",
    "kaplan_yorke_dimension",
    "katz_fractal_dimension",
    "linear_region",
    "local_diffusion_exponents",
    "local_exponents",
    "local_holder_exponents",
    "log_cumulants",
    "lyapunov_spectrum",
    "mean_squared_displacement",
    "multifractal_detrended_fluctuation",
    "non_gaussian_parameter",
    "null_exponents",
    "onto_span",
    "perturbation_exponent",
    "recorded_exponent",
    "relaxation_surrogate",
    "reward_exponent",
    "second_moment_exponent",
    "segment_displacements",
    "series_holder_exponent",
    "smaller_alignment_index",
    "spectrum_of_jacobians",
    "stream_displacements",
    "subspace_angles",
    "synchronised",
    "takens_dimension",
    "transversal_exponents",
    "typical_displacement_exponent",
    "vector_angles",
    "worst_finite_time_exponent",
    "zero_one_test",
]
