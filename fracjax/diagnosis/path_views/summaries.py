"""What a path shows, as one JSON document."""

import math
from typing import Any

import numpy as np

from fracjax._types import Estimate, Status
from fracjax.diagnosis.path_views.views import Diffusion, PathView
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
        "metrics": {name: _number(last_finite(kept)) for name, kept in path.metrics.items()},
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
            "accumulated": _number(np.mean(found.changes.accumulated)),
            "final": _number(np.mean(found.changes.final)),
            "detour_median": _number(found.changes.detour_median),
            "detour_median_of_a_walk": _number(
                coordinate_detour_median(steps) if steps > 1 else math.nan
            ),
            "gini": _number(found.changes.gini),
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
                "directions": _number(value),
                "null_low": _number(low),
                "null_high": _number(high),
            }
            for share, value, low, high in zip(
                found.svd.shares, found.svd.dimensionality, band.low, band.high, strict=True
            )
        ],
        "detours_of_directions": [
            {"detour": _number(value), "null_low": _number(low), "null_high": _number(high)}
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
            {"waiting_time": int(step), **_estimate(Estimate(*entries))}
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
        "exponent": _estimate(found.exponent),
        "lags": [_number(lag) for lag in found.lags],
        "mean_squared_displacement": [_number(value) for value in found.displacement],
        "by_waiting_time": segments,
        "change": None if found.change is None else _estimate(found.change),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    names = ("value", "stderr", "low", "high")
    numbers = {name: _number(getattr(estimate, name)) for name in names}
    return {**numbers, "status": Status(int(estimate.status)).label}


def _number(value: Any) -> float | None:
    found = float(value)
    return found if math.isfinite(found) else None
