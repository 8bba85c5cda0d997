"""Closed loops and learning runs: how robust a policy is, and what learning does on its way.

Every folder exports a part; from here all of it can be imported.
"""

from fracjax.learning import (
    decomposition,
    decomposition_models,
    exponent_regularization,
    flossing,
    gradient_estimates,
    gravity_wells,
    interventions,
    langevin_sampling,
    network_metrics,
    path_trimming,
    paths,
    plasticity,
    plasticity_monitoring,
    policy_paths,
    recurrent_training,
    return_distributions,
    robustness,
    trainability,
    weight_diffusion,
)
from fracjax.learning.decomposition import *
from fracjax.learning.decomposition_models import *
from fracjax.learning.digits import Digits, load_digits
from fracjax.learning.exponent_regularization import *
from fracjax.learning.flossing import *
from fracjax.learning.gradient_estimates import *
from fracjax.learning.gravity_wells import *
from fracjax.learning.interventions import *
from fracjax.learning.langevin_sampling import *
from fracjax.learning.network_metrics import *
from fracjax.learning.optimizer_maps import (
    TrainingMap,
    optimizer_map,
    quadratic_exponents,
    stability_threshold,
    training_sharpness,
)
from fracjax.learning.path_trimming import *
from fracjax.learning.paths import *
from fracjax.learning.plasticity import *
from fracjax.learning.plasticity_monitoring import *
from fracjax.learning.policy_paths import *
from fracjax.learning.recurrent_training import *
from fracjax.learning.return_distributions import *
from fracjax.learning.robustness import *
from fracjax.learning.trainability import *
from fracjax.learning.weight_diffusion import *

__all__ = [
    "Digits",
    "TrainingMap",
    "load_digits",
    "optimizer_map",
    "quadratic_exponents",
    "stability_threshold",
    "training_sharpness",
    *decomposition.__all__,
    *decomposition_models.__all__,
    *exponent_regularization.__all__,
    *flossing.__all__,
    *gradient_estimates.__all__,
    *gravity_wells.__all__,
    *interventions.__all__,
    *langevin_sampling.__all__,
    *network_metrics.__all__,
    *path_trimming.__all__,
    *paths.__all__,
    *plasticity.__all__,
    *plasticity_monitoring.__all__,
    *policy_paths.__all__,
    *recurrent_training.__all__,
    *return_distributions.__all__,
    *robustness.__all__,
    *trainability.__all__,
    *weight_diffusion.__all__,
]
