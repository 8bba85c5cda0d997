"""The page of a recorded path, written again while the run goes on."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracjax.diagnosis.path_views.summaries import summarise_path
from fracjax.diagnosis.path_views.views import PathView
from fracjax.plotting.path_views import path_figure
from fracjax.reports import page
from fracjax.reports.files import write_files

__all__ = ["PATH_PAGE", "PATH_PICTURE", "write_path"]

PATH_PAGE = "path.html"
PATH_PICTURE = "path.png"
_SHARES = (0.5, 0.8, 0.95, 0.99)


def write_path(folder: Path, view: PathView, *, title: str, state: str) -> list[Path]:
    """Write `path.html` and `path.png`, each whole or not at all.

    Args:
        folder: Folder of the run.
        view: Of its path.
        title: Heading.
        state: How the run stands; a page of a "running" one loads itself again.

    Returns:
        The files written, the page first.

    Raises:
        OutputError: If the disk is full or the folder has vanished.
    """
    picture = page.png(path_figure(view, title=title))
    text = _render(view, picture, title=title, state=state)
    return write_files(folder, {PATH_PAGE: text.encode(), PATH_PICTURE: picture})


_CAPTION = (
    "Grey bands hold 95 % of random walks with the path's own step lengths and net displacement: a"
    " path is more than a walk with a drift only where it leaves them. Bars are 95 % intervals;"
    " hollow where the estimate does not deserve trust."
)


def _render(view: PathView, picture: bytes, *, title: str, state: str) -> str:
    summary = summarise_path(view)
    parts = []
    if summary["notes"]:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in summary["notes"])
        parts.append(f'<div class="banner open"><ul>{items}</ul></div>')
    parts.append(page.image(picture, alt=title, caption=_CAPTION))
    if summary["layers"]:
        parts += ["<h2>Directions D(β), with a random walk's band</h2>", _directions(summary)]
        if not summary["projected"]:
            parts += ["<h2>Changes of parameters</h2>", _changes(summary)]
    if summary["diffusion"] is not None:
        parts += ["<h2>Diffusion</h2>", _diffusion(summary["diffusion"])]
    settings = [(name, str(value)) for name, value in sorted(view.path.settings.items())]
    metrics = [(f"last {name}", _short(value)) for name, value in summary["metrics"].items()]
    parts += ["<h2>Run</h2>", page.definitions([*metrics, *settings])]
    return page.document(
        title,
        parts,
        lead=html.escape(_lead(summary, state)),
        foot="fracjax watch",
        reloads=state == "running",
    )


def _lead(summary: Mapping[str, Any], state: str) -> str:
    steps = summary["steps"]
    between = f" from step {steps[0]:,} to {steps[-1]:,}" if steps else ""
    return (
        f"{summary['snapshots']:,} snapshots of {summary['parameters']:,} parameters{between}; the"
        f" run is {state}."
    )


def _directions(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, layer in summary["layers"].items():
        by_share = {found["share"]: found for found in layer["dimensionality"]}
        cells = [_banded(by_share[share], "directions") for share in _SHARES]
        courses = [_banded(found, "detour") for found in layer["detours_of_directions"][:2]]
        courses += ["–"] * (2 - len(courses))
        rows.append([name, f"{layer['parameters']:,}", *cells, *courses, layer["status"]])
    headings = [
        "layer",
        "columns",
        *(f"D({share:g})" for share in _SHARES),
        "detour of direction 1",
        "of direction 2",
        "status",
    ]
    return page.table(headings, rows)


def _changes(summary: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            _short(layer["changes"]["accumulated"]),
            _short(layer["changes"]["final"]),
            _short(layer["changes"]["detour_median"]),
            _short(layer["changes"]["detour_median_of_a_walk"]),
            _short(layer["changes"]["gini"]),
        ]
        for name, layer in summary["layers"].items()
    ]
    headings = [
        "layer",
        "accumulated (mean)",
        "final (mean)",
        "median detour",
        "of a random walk",
        "Gini of accumulated",
    ]
    return page.table(headings, rows)


def _diffusion(found: Mapping[str, Any]) -> str:
    rows = [["whole path", page.interval(found["exponent"])]]
    rows += [
        [f"from step {part['waiting_time']:,}", page.interval(part)]
        for part in found["by_waiting_time"]
    ]
    if found["change"] is not None:
        rows.append(["last third minus first", page.interval(found["change"])])
    return page.table(["stretch", "exponent of the mean squared displacement"], rows)


def _banded(found: Mapping[str, Any], name: str) -> str:
    if found[name] is None:
        return "–"
    low, high = _short(found["null_low"]), _short(found["null_high"])
    return f"{found[name]:.3g}  ({low} to {high})"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
