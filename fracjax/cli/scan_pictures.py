"""Scans that choose their points: adaptive pictures and zooms, as `fracjax scan` makes them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax import safe_files
from fracjax.cli.runtime import Report
from fracjax.cli.scan_evaluation import ScanEvaluation
from fracjax.cli.scan_request import ScanRequest

if TYPE_CHECKING:
    import xarray

    from fracjax._types import Key, PyTree
    from fracjax.landscapes import Grid
    from fracjax.landscapes.scans.store import ScanStore

__all__ = ["adaptive", "zoom"]

_PANELS = 6
_BATCHES = 32
_BATCHES_FOLDER = "batches"


def adaptive(
    request: ScanRequest,
    objective: Callable,
    params: "PyTree",
    grid: "Grid",
    key: "Key",
    folder: Path,
    evaluation: ScanEvaluation,
    *,
    report: Report,
) -> "xarray.Dataset":
    """Evaluate where interpolation fails, and keep the picture as a scan."""
    from fracjax import landscapes
    from fracjax.landscapes.refinement.adaptive import adaptive_batches
    from fracjax.landscapes.refinement.batches import default_batch_size
    from fracjax.landscapes.scans.store import save_scan

    chunk = _chunk_size(objective, params, grid, key, folder, evaluation)
    budget = min(int(request.adaptive or 0), grid.size)
    # A small budget is spent in several batches, or nothing is left to choose.
    size = min(default_batch_size(chunk), chunk * max(1, budget // _BATCHES // chunk))
    manifest, journal = _journal(
        request,
        objective,
        params,
        grid,
        key,
        folder,
        chunk_size=chunk,
        num_batches=adaptive_batches(budget, size),
        batch_size=size,
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
    notes = {name: value for name, value in picture.attrs.items() if name != "directions"}
    save_scan(folder / "values", picture, {**manifest, "notes": notes})
    return landscapes.open_scan(folder / "values").assign_attrs(notes)


def zoom(
    request: ScanRequest,
    objective: Callable,
    params: "PyTree",
    grid: "Grid",
    key: "Key",
    folder: Path,
    evaluation: ScanEvaluation,
    *,
    title: str,
    report: Report,
) -> list[dict[str, Any]]:
    """Zoom in frame by frame; write the film, a picture of some frames, and their numbers."""
    from fracjax import landscapes
    from fracjax.landscapes.refinement.batches import default_batch_size
    from fracjax.landscapes.refinement.zooms import zoom_batches
    from fracjax.plotting.movies import write_movie
    from fracjax.plotting.zooms import zoom_figure

    chunk = _chunk_size(objective, params, grid, key, folder, evaluation)
    size = default_batch_size(chunk)
    frames, side = int(request.zoom or 0), request.grid[0]
    _, journal = _journal(
        request,
        objective,
        params,
        grid,
        key,
        folder,
        chunk_size=chunk,
        num_batches=zoom_batches(frames, side, len(grid.axes), size),
        batch_size=size,
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
    with safe_files.written_whole(folder / "scan.png") as file:
        figure.savefig(file, format="png", dpi=110)
    with safe_files.written_whole(folder / "zoom.json") as file:
        file.write((json.dumps({"frames": numbers}, indent=1) + "\n").encode())
    return numbers


def _chunk_size(
    objective: Callable,
    params: "PyTree",
    grid: "Grid",
    key: "Key",
    folder: Path,
    evaluation: ScanEvaluation,
) -> int:
    """Say how many points a device evaluates together: as before, where there are values already.

    Raises:
        ValueError: If that needs more memory than there may be.
    """
    from fracjax.evaluation import check_memory, combination_bytes
    from fracjax.landscapes.refinement.batches import chunk_size_for
    from fracjax.landscapes.scans.store import existing_manifest

    memory = evaluation.memory
    found = existing_manifest(folder / _BATCHES_FOLDER)
    if found is None:
        asked = evaluation.chunk_size
        return chunk_size_for(objective, params, grid, key, chunk_size=asked, memory=memory)
    before = found.get("chunk size")
    size = before if evaluation.chunk_size is None else evaluation.chunk_size
    if not isinstance(size, int) or size < 1:
        msg = f"{folder} does not say how it was evaluated; choose another --out."
        raise ValueError(msg)
    if memory is not None:
        needed = combination_bytes(objective, params, grid.directions, key, chunk_size=size)
        check_memory(memory, needed, chunk_size=size)
    return size


def _journal(
    request: ScanRequest,
    objective: Callable,
    params: "PyTree",
    grid: "Grid",
    key: "Key",
    folder: Path,
    *,
    chunk_size: int,
    num_batches: int,
    batch_size: int,
) -> "tuple[dict[str, Any], ScanStore]":
    """Describe the picture, and open the store of the batches that it is made of."""
    import jax

    from fracjax.landscapes.scans.manifests import describe
    from fracjax.landscapes.scans.store import open_journal

    manifest = describe(
        params, grid, key, evaluator="plain", chunk_size=chunk_size, config=request.document()
    )
    journal = open_journal(
        folder / _BATCHES_FOLDER,
        manifest,
        num_batches=num_batches,
        batch_size=batch_size,
        output=jax.eval_shape(objective, params, key),
    )
    return manifest, journal
