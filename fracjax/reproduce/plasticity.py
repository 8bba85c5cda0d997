"""Plasticity: exact laws, Adam, random walks, small agents, and what interventions change."""

from fracjax.reproduce import (
    plasticity_adam,
    plasticity_agents,
    plasticity_exact,
    plasticity_interventions,
    plasticity_walks,
)
from fracjax.reproduce.experiments import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = (
    plasticity_exact.PARTS
    | plasticity_adam.PARTS
    | plasticity_walks.PARTS
    | plasticity_agents.PARTS
    | plasticity_interventions.PARTS
)
