"""What `fracjax scan` shows: progress, the picture, and a summary."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax import safe_files
from fracjax.cli.runtime import Report
from fracjax.cli.scan_request import ScanRequest

if TYPE_CHECKING:
    import xarray

    from fracjax.landscapes import PlacedGrid

__all__ = ["draw", "progress", "statuses", "summarize"]

# Points of a picture along each axis: more than a page shows.
_PICTURE = 512
_POINTS_AT_ONCE = 1_000_000
_OF_ADAPTIVE = (
    "num_evaluated",
    "evaluated_share",
    "interpolation_error",
    "interpolation_error_stderr",
    "mistaken_share",
)


def statuses(directions: dict[str, Any]) -> list[str]:
    """How the computation of the directions went, where there was one."""
    found = directions.get("statuses", directions.get("status", []))
    return [found] if isinstance(found, str) else list(found)


def progress(
    request: ScanRequest, report: Report, num_processes: int, *, counts_steps: bool
) -> Callable[[int], None]:
    """Show points, points per second and steps per second; of all processes, if there are more."""
    steps = request.horizon * request.return_states * request.replicates
    total = -(-request.num_points // num_processes)
    start: list[tuple[int, float]] = []  # points found on disk, and when

    def show(done: int) -> None:
        if not start:
            start.append((done, time.monotonic()))
        before, begin = start[0]
        elapsed = time.monotonic() - begin
        rate = num_processes * (done - before) / elapsed if done > before else 0.0
        extra = f"{rate:,.3g} points/s" if rate else ""
        if rate and counts_steps:
            extra = f"{rate:,.0f} points/s, {rate * steps:,.0f} steps/s"
        report("scan", min(done, total), total, extra)

    return show


def draw(
    data: "xarray.Dataset",
    placed: "PlacedGrid | None",
    request: ScanRequest,
    title: str,
    path: Path,
) -> None:
    """Draw the picture, of every so many points where there are more than it can show."""
    from fracjax.plotting import fractality_figure, path_on_plane, scan_figure

    every = {name: slice(None, None, -(-size // _PICTURE)) for name, size in data.sizes.items()}
    shown = data.isel({name: every[name] for name in data["done"].dims})
    if request.measure == "exponents" and len(request.grid) == 2:
        names = ("value", "exponent", "holder")
        figure = fractality_figure(shown, shown, shown, title=title, variables=names)
    else:
        figure = scan_figure(shown, request.gamma, title=title)
        if placed is not None and len(request.grid) == 2:
            path_on_plane(figure.axes[0], placed)
    with safe_files.written_whole(path) as file:
        figure.savefig(file, format="png", dpi=110)


def summarize(data: "xarray.Dataset", request: ScanRequest, folder: Path) -> dict[str, Any]:
    """Give numbers of a finished scan, in JSON's types; reads a part of it at a time."""
    import numpy as np

    first, *others = data["done"].dims
    rows = max(1, _POINTS_AT_ONCE // int(np.prod([data.sizes[name] for name in others], initial=1)))
    smallest = np.full(len(request.gamma), np.inf)
    largest = -smallest
    broken = 0
    for start in range(0, data.sizes[first], rows):
        part = data["value"].isel({first: slice(start, start + rows)}).values
        if "output" not in data["value"].dims:  # of one discount alone
            part = part[..., None]
        finite = np.isfinite(part)
        axes = tuple(range(part.ndim - 1))
        smallest = np.minimum(smallest, np.where(finite, part, np.inf).min(axis=axes))
        largest = np.maximum(largest, np.where(finite, part, -np.inf).max(axis=axes))
        broken += int((~finite.all(axis=-1)).sum())
    ends = zip(request.gamma, smallest, largest, strict=True)
    return {
        "folder": str(folder),
        "points": request.num_points,
        "without_a_finite_value": broken,
        "returns": [
            {
                "gamma": gamma,
                "smallest": float(low) if np.isfinite(low) else None,
                "largest": float(high) if np.isfinite(high) else None,
            }
            for gamma, low, high in ends
        ],
        **{name: data.attrs[name] for name in _OF_ADAPTIVE if name in data.attrs},
        "directions": json.loads(data.attrs["details"]),
        "evaluator": data.attrs["evaluator"],
        "chunk_size": int(data.attrs["chunk_size"]),
        "request": request.document(),
    }
