"""Slices through parameter space."""

from fracjax.landscapes.grids import Grid as Grid
from fracjax.landscapes.grids import line as line
from fracjax.landscapes.grids import plane as plane
from fracjax.landscapes.grids import zoom as zoom
from fracjax.landscapes.planes import PlacedGrid as PlacedGrid
from fracjax.landscapes.planes import principal_plane as principal_plane
from fracjax.landscapes.planes import slice_through as slice_through
from fracjax.landscapes.scan import scan as scan
from fracjax.landscapes.store import open_scan as open_scan

__all__ = [
    "Grid",
    "PlacedGrid",
    "line",
    "open_scan",
    "plane",
    "principal_plane",
    "scan",
    "slice_through",
    "zoom",
]
