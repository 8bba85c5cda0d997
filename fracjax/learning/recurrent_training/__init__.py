"""Recurrent networks trained on tasks that need memory, with and without gradient flossing."""

from fracjax.learning.recurrent_training.networks import (
    RecurrentClassifier,
    cell_classifier,
    tanh_classifier,
)
from fracjax.learning.recurrent_training.runs import (
    FlossedRuns,
    TrainedRuns,
    floss_runs,
    train_runs,
)
from fracjax.learning.recurrent_training.success_rates import (
    paired_success,
    succeeded,
    success_rate,
)
from fracjax.learning.recurrent_training.tasks import (
    bit_accuracy,
    bit_loss,
    parity_lags,
    parity_targets,
    random_bits,
)
from fracjax.learning.recurrent_training.updates import TrainingSettings

__all__ = [
    "FlossedRuns",
    "RecurrentClassifier",
    "TrainedRuns",
    "TrainingSettings",
    "bit_accuracy",
    "bit_loss",
    "cell_classifier",
    "floss_runs",
    "paired_success",
    "parity_lags",
    "parity_targets",
    "random_bits",
    "succeeded",
    "success_rate",
    "tanh_classifier",
    "train_runs",
]
