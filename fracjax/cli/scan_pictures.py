"""Scans that choose their points: adaptive pictures and zooms, as `fracjax scan` makes them."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax.cli.runtime import Report
from fracjax.cli.scan_request import ScanRequest

if TYPE_CHECKING:
    import xarray

    from fracjax._types import Key, PyTree
    from fracjax.landscapes import Grid

__all__ = ["adaptive", "zoom"]

_PANELS = 6
_BATCHES = 32


def adaptive(
    request: ScanRequest,
    objective: Callable,
    params: "PyTree",
    grid: "Grid",
    key: "Key",
    folder: Path,
    *,
    chunk_size: int | None,
    report: Report,
) -> "xarray.Dataset":
    """Evaluate where interpolation fails, and keep the picture as a scan."""
    import jax

    from fracjax import landscapes
    from fracjax.evaluation import cache_chunk_size
    from fracjax.landscapes.refinement.adaptive import adaptive_batches
    from fracjax.landscapes.refinement.batches import default_batch_size
    from fracjax.landscapes.scans.manifests import describe
    from fracjax.landscapes.scans.store import open_journal, save_scan

    chunk = chunk_size or cache_chunk_size(params)
    budget = min(int(request.adaptive or 0), grid.size)
    # A small budget is spent in several batches, or nothing is left to choose.
    size = min(default_batch_size(chunk), chunk * max(1, budget // _BATCHES // chunk))
    manifest = describe(
        params, grid, key, evaluator="plain", chunk_size=chunk, config=request.document()
    )
    journal = open_journal(
        folder / "batches",
        manifest,
        num_batches=adaptive_batches(budget, size),
        batch_size=size,
        output=jax.eval_shape(objective, params, key),
    )
    picture = landscapes.adaptive_scan(
        objective,
        params,
        grid,
        key,
        max_points=budget,
        chunk_size=chunk,
        batch_size=size,
        store=journal,
        on_progress=lambda done: report("adaptive scan", min(done, budget), budget),
    )
    notes = {name: picture.attrs[name] for name in picture.attrs if name not in ("directions",)}
    save_scan(folder / "values", picture, {**manifest, "notes": notes})
    return landscapes.open_scan(folder / "values").assign_attrs(notes)


def zoom(
    request: ScanRequest,
    objective: Callable,
    params: "PyTree",
    grid: "Grid",
    key: "Key",
    folder: Path,
    *,
    title: str,
    chunk_size: int | None,
    report: Report,
) -> list[dict[str, Any]]:
    """Zoom in frame by frame; write the film, a picture of some frames, and their numbers."""
    import jax

    from fracjax import landscapes
    from fracjax.evaluation import cache_chunk_size
    from fracjax.landscapes.refinement.batches import default_batch_size
    from fracjax.landscapes.refinement.zooms import zoom_batches
    from fracjax.landscapes.scans.manifests import describe
    from fracjax.landscapes.scans.store import open_journal
    from fracjax.plotting.movies import write_movie
    from fracjax.plotting.zooms import zoom_figure

    chunk = chunk_size or cache_chunk_size(params)
    size = default_batch_size(chunk)
    frames, side = int(request.zoom or 0), request.grid[0]
    journal = open_journal(
        folder / "batches",
        describe(params, grid, key, evaluator="plain", chunk_size=chunk, config=request.document()),
        num_batches=zoom_batches(frames, side, len(grid.axes), size),
        batch_size=size,
        output=jax.eval_shape(objective, params, key),
    )
    total = frames * side ** len(grid.axes)
    numbers: list[dict[str, Any]] = []
    shown: list[xarray.Dataset] = []
    every = -(-frames // _PANELS)

    def made() -> Iterator["xarray.Dataset"]:
        for frame in landscapes.zoom_frames(
            objective,
            params,
            grid,
            key,
            num_frames=frames,
            centre=request.zoom_at or "roughest",
            num_points=side,
            progressive=False,
            chunk_size=chunk,
            batch_size=size,
            store=journal,
            on_progress=lambda done: report("zoom", min(done, total), total),
        ):
            numbers.append(json.loads(json.dumps(frame.attrs)))
            if frame.attrs["frame"] % every == 0 or frame.attrs["frame"] == frames - 1:
                shown.append(frame)
            yield frame

    film = folder / f"zoom.{request.film}"
    if len(grid.axes) == 2:
        write_movie(made(), film, frames_per_second=8, between=7)
    else:
        list(made())
    figure = zoom_figure(shown, title=title)
    beside = folder / "scan.partial.png"
    figure.savefig(beside, dpi=110)
    os.replace(beside, folder / "scan.png")
    document = folder / "zoom.partial"
    document.write_text(json.dumps({"frames": numbers}, indent=1) + "\n")
    os.replace(document, folder / "zoom.json")
    return numbers
