"""Exponents with their uncertainty: callables or arrays in, `Estimate` out."""

from fracjax.estimators.ensembles import ensemble_exponent as ensemble_exponent
from fracjax.estimators.ensembles import reward_exponent as reward_exponent
from fracjax.estimators.ensembles import second_moment_exponent as second_moment_exponent
from fracjax.estimators.ensembles import worst_finite_time_exponent as worst_finite_time_exponent
from fracjax.estimators.exterior import spectrum_of_jacobians as spectrum_of_jacobians
from fracjax.estimators.finite_time import finite_time_growth as finite_time_growth
from fracjax.estimators.holder import holder_exponent as holder_exponent
from fracjax.estimators.holder import perturbation_exponent as perturbation_exponent
from fracjax.estimators.kaplan_yorke import entropy_bound as entropy_bound
from fracjax.estimators.kaplan_yorke import kaplan_yorke_dimension as kaplan_yorke_dimension
from fracjax.estimators.lyapunov import lyapunov_spectrum as lyapunov_spectrum
from fracjax.estimators.roughness import exponent_from_lines as exponent_from_lines
from fracjax.estimators.series import series_holder_exponent as series_holder_exponent

__all__ = [
    "ensemble_exponent",
    "entropy_bound",
    "exponent_from_lines",
    "finite_time_growth",
    "holder_exponent",
    "kaplan_yorke_dimension",
    "lyapunov_spectrum",
    "perturbation_exponent",
    "reward_exponent",
    "second_moment_exponent",
    "series_holder_exponent",
    "spectrum_of_jacobians",
    "worst_finite_time_exponent",
]
