"""Plasticity: how well a network that has learned can still learn something else."""

from fracjax.learning.plasticity.gradient_cosines import (
    GradientCosines,
    gradient_cosines,
    probe_cosines,
)
from fracjax.learning.plasticity.probes import (
    PlasticityLoss,
    Probe,
    fresh_probe,
    loss_of_plasticity,
    plasticity_probe,
    probe_sines,
    probe_targets,
)
from fracjax.learning.plasticity.random_walks import displacement_matched, step_matched_walk
from fracjax.learning.plasticity.relabelling import train_on_relabelled
from fracjax.learning.plasticity.run_curvature import (
    condition_number,
    geometry_probe,
    sharpness_along_run,
)
from fracjax.learning.plasticity.toy_agents import train_dqn
from fracjax.learning.plasticity.toy_mdps import (
    ToyMDP,
    digit_observations,
    prototype_observations,
    toy_mdp,
)
from fracjax.learning.plasticity.toy_networks import ToyNetwork

__all__ = [
    "GradientCosines",
    "PlasticityLoss",
    "Probe",
    "ToyMDP",
    "ToyNetwork",
    "condition_number",
    "digit_observations",
    "displacement_matched",
    "fresh_probe",
    "geometry_probe",
    "gradient_cosines",
    "loss_of_plasticity",
    "plasticity_probe",
    "probe_cosines",
    "probe_sines",
    "probe_targets",
    "prototype_observations",
    "sharpness_along_run",
    "step_matched_walk",
    "toy_mdp",
    "train_dqn",
    "train_on_relabelled",
]
