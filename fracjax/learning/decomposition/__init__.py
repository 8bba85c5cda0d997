"""Local loss landscape decomposition: a few directions explain the gradient of any one sample."""

from fracjax.learning.decomposition.attributions import attributions
from fracjax.learning.decomposition.divergences import (
    detached_product,
    gaussian_kl,
    kullback_leibler,
    squared_error,
)
from fracjax.learning.decomposition.feature_owners import distinct_owners
from fracjax.learning.decomposition.fits import (
    Decomposition,
    FitState,
    continue_fit,
    decompose,
    start_fit,
)
from fracjax.learning.decomposition.matching import match_subnetworks
from fracjax.learning.decomposition.reconstruction_errors import reconstruction_error
from fracjax.learning.decomposition.sample_gradients import sample_gradients
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.subnetwork_interventions import (
    intervened_outputs,
    median_changes,
    selectivity,
)
from fracjax.learning.decomposition.toy_models import ToyModel, train_toy

__all__ = [
    "Decomposition",
    "FitSettings",
    "FitState",
    "ToyModel",
    "attributions",
    "continue_fit",
    "decompose",
    "detached_product",
    "distinct_owners",
    "gaussian_kl",
    "intervened_outputs",
    "kullback_leibler",
    "match_subnetworks",
    "median_changes",
    "reconstruction_error",
    "sample_gradients",
    "selectivity",
    "squared_error",
    "start_fit",
    "train_toy",
]
