"""Slices through parameter space."""

from fracjax.landscapes.grids import Grid as Grid
from fracjax.landscapes.grids import line as line
from fracjax.landscapes.grids import plane as plane
from fracjax.landscapes.grids import zoom as zoom
from fracjax.landscapes.scan import scan as scan

__all__ = ["Grid", "line", "plane", "scan", "zoom"]
