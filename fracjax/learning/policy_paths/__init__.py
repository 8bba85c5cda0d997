"""How a policy's parameters move while it learns, beside how a random walk would."""

from fracjax.learning.policy_paths.analysis import PolicyPath, policy_path
from fracjax.learning.policy_paths.changes import PathChanges, detour_ratio, path_changes
from fracjax.learning.policy_paths.path_matrix import path_matrices
from fracjax.learning.policy_paths.temporal_svd import (
    TemporalSvd,
    major_dimensionality,
    path_directions,
    temporal_svd,
)
from fracjax.learning.policy_paths.walk_nulls import WalkNull, walk_null

__all__ = [
    "PathChanges",
    "PolicyPath",
    "TemporalSvd",
    "WalkNull",
    "detour_ratio",
    "major_dimensionality",
    "path_changes",
    "path_directions",
    "path_matrices",
    "policy_path",
    "temporal_svd",
    "walk_null",
]
