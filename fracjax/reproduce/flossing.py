"""Gradient flossing: its gradient, a golden run, a law, tasks by delay, cells and costs."""

from fracjax.reproduce import flossing_cells, flossing_exact, flossing_tasks
from fracjax.reproduce.experiments import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = flossing_exact.PARTS | flossing_tasks.PARTS | flossing_cells.PARTS
