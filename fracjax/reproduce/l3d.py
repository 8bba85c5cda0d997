"""Local loss landscape decomposition: toy models, networks, and policies."""

from fracjax.reproduce import l3d_circuits, l3d_networks, l3d_policies, l3d_superposition
from fracjax.reproduce.experiments import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = (
    l3d_superposition.PARTS | l3d_circuits.PARTS | l3d_networks.PARTS | l3d_policies.PARTS
)
