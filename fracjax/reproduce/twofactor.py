"""Gradient descent with large steps: a two-factor problem that is solved, and real networks."""

from fracjax.reproduce import (
    twofactor_batches,
    twofactor_edge,
    twofactor_exact,
    twofactor_pictures,
)
from fracjax.reproduce.experiments import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = (
    twofactor_exact.PARTS
    | twofactor_pictures.PARTS
    | twofactor_batches.PARTS
    | twofactor_edge.PARTS
)
