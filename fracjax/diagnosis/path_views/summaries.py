"""What a path shows, as one JSON document."""

import math
from typing import Any

import numpy as np

from fracjax._types import Estimate, Status
from fracjax.diagnosis.path_views.views import Diffusion, PathView
from fracjax.diagnosis.plain_numbers import plain_estimate, plain_number, plain_numbers
from fracjax.learning.policy_paths.analysis import PolicyPath
from fracjax.learning.policy_paths.walks import coordinate_detour_median

__all__ = ["summarise_path"]


def summarise_path(view: PathView) -> dict[str, Any]:
    """Make a document of a view; numbers that are not finite are None.

    Every band is that of a random walk like the path, `null` names which.
    """
    path = view.path
    return {
        "snapshots": len(path),
        "steps": [int(step) for step in (path.steps[[0, -1]] if len(path) else [])],
        "parameters": sum(leaf.size for leaf in path.layout.leaves),
        "projected": path.projected,
        "seeds": view.seeds,
        "metrics": {name: plain_number(last_finite(kept)) for name, kept in path.metrics.items()},
        "decomposed_snapshots": view.num_decomposed,
        "steps_between": view.spacing,
        "layers": {
            name: _layer(found, projected=path.projected) for name, found in view.layers.items()
        },
        "diffusion": None if view.diffusion is None else _diffusion(view.diffusion),
        "notes": list(view.notes),
    }


def last_finite(values: np.ndarray) -> float:
    """Last number that is one; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def _layer(found: PolicyPath, *, projected: bool) -> dict[str, Any]:
    changes = None
    if not projected:
        steps = float(found.changes.effective_steps)
        changes = {
            "accumulated": plain_number(np.mean(found.changes.accumulated)),
            "final": plain_number(np.mean(found.changes.final)),
            "detour_median": plain_number(found.changes.detour_median),
            "detour_median_of_a_walk": plain_number(
                coordinate_detour_median(steps) if steps > 1 else math.nan
            ),
            "gini": plain_number(found.changes.gini),
        }
    band = found.null.dimensionality
    return {
        "parameters": int(np.size(found.changes.accumulated)),
        "status": Status(int(found.svd.status)).label,
        "changes": changes,
        "null": found.null.walk,
        "dimensionality": [
            {
                "share": share,
                "directions": plain_number(value),
                "null_low": plain_number(low),
                "null_high": plain_number(high),
            }
            for share, value, low, high in zip(
                found.svd.shares, found.svd.dimensionality, band.low, band.high, strict=True
            )
        ],
        "detours_of_directions": [
            {
                "detour": plain_number(value),
                "null_low": plain_number(low),
                "null_high": plain_number(high),
            }
            for value, low, high in zip(
                found.svd.detour, found.null.detour.low, found.null.detour.high, strict=True
            )
        ],
    }


def _diffusion(found: Diffusion) -> dict[str, Any]:
    segments = []
    if found.segment_exponents is not None:
        parts = found.segment_exponents
        segments = [
            {"waiting_time": int(step), **plain_estimate(Estimate(*entries))}
            for step, *entries in zip(
                found.waiting_times,
                parts.value,
                parts.stderr,
                parts.low,
                parts.high,
                parts.status,
                strict=True,
            )
        ]
    return {
        "exponent": plain_estimate(found.exponent),
        "lags": plain_numbers(found.lags),
        "mean_squared_displacement": plain_numbers(found.displacement),
        "by_waiting_time": segments,
        "change": None if found.change is None else plain_estimate(found.change),
    }
