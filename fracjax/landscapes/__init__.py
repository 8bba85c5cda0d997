"""Slices through parameter space: made, evaluated, refined, analysed, exported."""

from fracjax.landscapes.connectivity.barriers import linear_barrier as linear_barrier
from fracjax.landscapes.connectivity.connecting import ConnectingCurve as ConnectingCurve
from fracjax.landscapes.connectivity.connecting import connecting_curve as connecting_curve
from fracjax.landscapes.exports.tables import write_csv as write_csv
from fracjax.landscapes.exports.tables import write_npz as write_npz
from fracjax.landscapes.exports.vtk import write_vts as write_vts
from fracjax.landscapes.refinement.adaptive import adaptive_scan as adaptive_scan
from fracjax.landscapes.refinement.published_box_counts import label_edges as label_edges
from fracjax.landscapes.refinement.published_box_counts import (
    published_box_counts as published_box_counts,
)
from fracjax.landscapes.refinement.published_box_counts import (
    published_dimension as published_dimension,
)
from fracjax.landscapes.refinement.resolution_refinement import (
    boundary_refinement as boundary_refinement,
)
from fracjax.landscapes.refinement.resolution_refinement import (
    refined_boundary_dimension as refined_boundary_dimension,
)
from fracjax.landscapes.refinement.zooms import zoom_frames as zoom_frames
from fracjax.landscapes.scans.scan import scan as scan
from fracjax.landscapes.scans.store import open_scan as open_scan
from fracjax.landscapes.scans.store import save_scan as save_scan
from fracjax.landscapes.slices.derivative_planes import gradient_line as gradient_line
from fracjax.landscapes.slices.derivative_planes import gradient_plane as gradient_plane
from fracjax.landscapes.slices.derivative_planes import hessian_plane as hessian_plane
from fracjax.landscapes.slices.direction_files import load_directions as load_directions
from fracjax.landscapes.slices.direction_files import save_directions as save_directions
from fracjax.landscapes.slices.grids import Grid as Grid
from fracjax.landscapes.slices.grids import along as along
from fracjax.landscapes.slices.grids import box as box
from fracjax.landscapes.slices.grids import line as line
from fracjax.landscapes.slices.grids import plane as plane
from fracjax.landscapes.slices.grids import zoom as zoom
from fracjax.landscapes.slices.planes import PlacedGrid as PlacedGrid
from fracjax.landscapes.slices.planes import principal_plane as principal_plane
from fracjax.landscapes.slices.planes import slice_through as slice_through

__all__ = [
    "ConnectingCurve",
    "Grid",
    "PlacedGrid",
    "adaptive_scan",
    "along",
    "boundary_refinement",
    "box",
    "connecting_curve",
    "gradient_line",
    "gradient_plane",
    "hessian_plane",
    "label_edges",
    "line",
    "linear_barrier",
    "load_directions",
    "open_scan",
    "plane",
    "principal_plane",
    "published_box_counts",
    "published_dimension",
    "refined_boundary_dimension",
    "save_directions",
    "save_scan",
    "scan",
    "slice_through",
    "write_csv",
    "write_npz",
    "write_vts",
    "zoom",
    "zoom_frames",
]
