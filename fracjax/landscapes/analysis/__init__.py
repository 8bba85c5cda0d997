"""What a finished scan says: roughness, cliffs, level sets."""

from fracjax.landscapes.analysis.bisection import Bisection as Bisection
from fracjax.landscapes.analysis.bisection import bisect_changes as bisect_changes
from fracjax.landscapes.analysis.bisection import point_evaluator as point_evaluator
from fracjax.landscapes.analysis.cliffs import cliffs as cliffs
from fracjax.landscapes.analysis.gradient_cliffs import gradient_cliffs as gradient_cliffs
from fracjax.landscapes.analysis.persistence import level_set_persistence as level_set_persistence
from fracjax.landscapes.analysis.persistence import num_extrema as num_extrema
from fracjax.landscapes.analysis.roughness import graph_dimension_of_scan as graph_dimension_of_scan
from fracjax.landscapes.analysis.roughness import roughness_map as roughness_map

__all__ = [
    "Bisection",
    "bisect_changes",
    "cliffs",
    "gradient_cliffs",
    "graph_dimension_of_scan",
    "level_set_persistence",
    "num_extrema",
    "point_evaluator",
    "roughness_map",
]
