"""How the parameters of a network diffuse while it learns, beside simpler explanations."""

from fracjax.learning.weight_diffusion.loss_along_path import (
    LossChanges,
    loss_changes_by_distance,
    loss_exponent_along_path,
    moving_variance,
)
from fracjax.learning.weight_diffusion.noise_tails import NoiseTails, gradient_noise_tails
from fracjax.learning.weight_diffusion.path_geometry import PathPairs, contour_exponent, path_pairs
from fracjax.learning.weight_diffusion.path_topology import persistent_homology_dimension
from fracjax.learning.weight_diffusion.surface_walks import walk_on_surface
from fracjax.learning.weight_diffusion.two_exponents import (
    TwoExponents,
    null_two_exponents,
    two_exponents,
    two_exponents_of_segments,
)

__all__ = [
    "LossChanges",
    "NoiseTails",
    "PathPairs",
    "TwoExponents",
    "contour_exponent",
    "gradient_noise_tails",
    "loss_changes_by_distance",
    "loss_exponent_along_path",
    "moving_variance",
    "null_two_exponents",
    "path_pairs",
    "persistent_homology_dimension",
    "two_exponents",
    "two_exponents_of_segments",
    "walk_on_surface",
]
