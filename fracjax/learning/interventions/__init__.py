"""What people do to keep a network able to learn: resets, decay, norms, heads, recycled units."""

from fracjax.learning.interventions.continual_backprop import continual_backprop
from fracjax.learning.interventions.decay import l2_to_init, plain_adam, tuned_adam, weight_decay
from fracjax.learning.interventions.intervene import Intervention, intervene
from fracjax.learning.interventions.layers import UnitLayer, fresh_parameters, sequential_layers
from fracjax.learning.interventions.redo import recycle_dormant, redo
from fracjax.learning.interventions.resets import (
    last_layer_reset,
    reset_layers,
    shrink_and_perturb,
    shrinking,
)
from fracjax.learning.interventions.spectral_norm import normalize_kernels
from fracjax.learning.interventions.two_hot import (
    CategoricalSupport,
    linear_support,
    symlog_support,
)

__all__ = [
    "CategoricalSupport",
    "Intervention",
    "UnitLayer",
    "continual_backprop",
    "fresh_parameters",
    "intervene",
    "l2_to_init",
    "last_layer_reset",
    "linear_support",
    "normalize_kernels",
    "plain_adam",
    "recycle_dormant",
    "redo",
    "reset_layers",
    "sequential_layers",
    "shrink_and_perturb",
    "shrinking",
    "symlog_support",
    "tuned_adam",
    "weight_decay",
]
