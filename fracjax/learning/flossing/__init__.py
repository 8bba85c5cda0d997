"""Gradient flossing: chosen Lyapunov exponents of recurrent networks, before and between tasks."""

from fracjax.learning.flossing.blocks import (
    FlossingBlock,
    FlossingLog,
    FlossingSchedule,
    FlossingState,
    flossing_block,
)
from fracjax.learning.flossing.cells import cell_step, driven_tanh_step, initial_tanh_network
from fracjax.learning.flossing.costs import FlossingCost, checkpoint_costs, flossing_cost
from fracjax.learning.flossing.jacobians import LongTermJacobian, long_term_jacobian
from fracjax.learning.flossing.losses import flossing_loss, mean_flossing_loss

__all__ = [
    "FlossingBlock",
    "FlossingCost",
    "FlossingLog",
    "FlossingSchedule",
    "FlossingState",
    "LongTermJacobian",
    "cell_step",
    "checkpoint_costs",
    "driven_tanh_step",
    "flossing_block",
    "flossing_cost",
    "flossing_loss",
    "initial_tanh_network",
    "long_term_jacobian",
    "mean_flossing_loss",
]
