"""Penalties on Lyapunov exponents, training with them, and smoothed objectives."""

from fracjax.learning.exponent_regularization.closed_loops import (
    closed_loop_penalty,
    regularized_loss,
)
from fracjax.learning.exponent_regularization.parameter_smoothing import smoothed_objective
from fracjax.learning.exponent_regularization.penalties import (
    ExponentPenalty,
    exponent_penalty,
    spread_penalty,
)
from fracjax.learning.exponent_regularization.runs import fine_tune, train_policies

__all__ = [
    "ExponentPenalty",
    "closed_loop_penalty",
    "exponent_penalty",
    "fine_tune",
    "regularized_loss",
    "smoothed_objective",
    "spread_penalty",
    "train_policies",
]
