"""Gravity wells: escape laws, what changing rewards do to them, starts, samplers, diagnosis."""

from fracjax.reproduce import (
    gravity_diagnosis,
    gravity_laws,
    gravity_processes,
    gravity_samplers,
    gravity_starts,
)
from fracjax.reproduce.experiments import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = (
    gravity_laws.PARTS
    | gravity_processes.PARTS
    | gravity_starts.PARTS
    | gravity_samplers.PARTS
    | gravity_diagnosis.PARTS
)
