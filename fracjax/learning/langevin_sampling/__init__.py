"""Langevin sampling of network posteriors: natural gradients, priors, averages, calibration."""

from fracjax.learning.langevin_sampling.calibration import Calibration, calibration
from fracjax.learning.langevin_sampling.posterior_averages import posterior_average
from fracjax.learning.langevin_sampling.preconditioners import Preconditioner
from fracjax.learning.langevin_sampling.priors import Prior, conjugate_prior, gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import (
    SampleMoments,
    apply_dense,
    gradient_moments,
)
from fracjax.learning.langevin_sampling.schedules import (
    effective_temperature,
    halving_schedule,
    inverse_root_rate,
)
from fracjax.learning.langevin_sampling.transformations import (
    natural_langevin,
    preconditioned_sgld,
    sgld,
)

__all__ = [
    "Calibration",
    "Preconditioner",
    "Prior",
    "SampleMoments",
    "apply_dense",
    "calibration",
    "conjugate_prior",
    "effective_temperature",
    "gaussian_prior",
    "gradient_moments",
    "halving_schedule",
    "inverse_root_rate",
    "natural_langevin",
    "posterior_average",
    "preconditioned_sgld",
    "sgld",
]
