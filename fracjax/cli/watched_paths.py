"""A recorded path in the terminal and as a page, followed while its run goes on."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fracjax.cli.sparklines import sparkline

if TYPE_CHECKING:
    from fracjax.diagnosis.path_views.views import PathView
    from fracjax.learning.paths.reading import Path as RecordedPath

__all__ = ["FollowedPath", "find_path", "path_lines", "path_panel"]

_GROWTH = 1.25  # a path is analysed again once it has so many times the snapshots
_SHARES = (0.5, 0.95)


class FollowedPath:
    """The path of a run, analysed again whenever it has grown enough to show something new.

    Every analysis costs the compilation of a new size; growing by quarters, a run is
    analysed a number of times that goes with the logarithm of its length.

    Args:
        folder: Folder of the run, where page and picture are written.
        store: Folder of the path.
        seed: Draws the random walks behind the bands.
        member: Which of several runs in one store, trained under `vmap`, is analysed.
    """

    def __init__(self, folder: Path, store: Path, seed: int, member: int = 0):
        self.folder, self.store, self._seed, self._member = folder, store, seed, member
        self.path: RecordedPath | None = None
        self.view: PathView | None = None
        self.files: list[Path] = []
        self._state = "unknown"
        self._written: tuple[int, str] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process that records is there."""
        from fracjax.diagnosis.watching import read_state

        return bool(read_state(self.store)["alive"])

    def update(self, *, final: bool = False) -> None:
        """Read what is there; analyse and write the page where it is due, or at the end.

        Raises:
            ValueError: If the path is damaged.
            OSError: If the page cannot be written.
        """
        import jax

        from fracjax.diagnosis.path_views.views import view_path
        from fracjax.diagnosis.watching import read_state
        from fracjax.learning.paths.reading import load_path
        from fracjax.reports.paths import write_path

        self._state = str(read_state(self.store)["state"])
        self.path = load_path(self.store)
        count = len(self.path)
        seen = -1 if self.view is None else len(self.view.path)
        if count >= _GROWTH * seen or (final and count != seen) or self.view is None:
            self.view = view_path(self.path, jax.random.key(self._seed), member=self._member)
        elif not final:
            return
        now = (len(self.view.path), self._state)
        if now != self._written:
            title = f"path of {self._name()}"
            self.files = write_path(self.folder, self.view, title=title, state=self._state)
            self._written = now

    def panel(self) -> RenderableType:
        """Make what the terminal shows."""
        if self.path is None or self.view is None:
            return Text("path: reading", style="dim")
        return path_panel(self.view, line=self._line())

    def lines(self) -> list[str]:
        """Say the same in plain lines, where there is no terminal."""
        return [] if self.view is None else path_lines(self.view)

    def document(self) -> dict[str, Any]:
        """Make what `--json` prints of it."""
        from fracjax.diagnosis.path_views.summaries import summarise_path

        assert self.view is not None
        return {"store": str(self.store), "state": self._state, **summarise_path(self.view)}

    def _name(self) -> str:
        """Name of the run: of the folder around a path that has no name of its own."""
        from fracjax.learning.paths.store import DEFAULT_NAME

        folder = self.folder.resolve()
        return folder.parent.name if folder.name == DEFAULT_NAME else folder.name

    def _line(self) -> str:
        assert self.path is not None
        assert self.view is not None
        behind = len(self.path) - len(self.view.path)
        more = f", {behind} of them new since the numbers below" if behind else ""
        return f"{self.store}: {self._state}, {len(self.path):,} snapshots{more}"


def find_path(folder: Path, seed: int, member: int = 0) -> FollowedPath | None:
    """Find the path of a run: the folder itself, or `path.zarr` in it."""
    from fracjax.learning.paths.store import find_store

    store = find_store(folder)
    return None if store is None else FollowedPath(folder, store, seed, member)


def path_panel(view: "PathView", *, line: str) -> RenderableType:
    """Draw a view: metrics as sparklines, layers as a table, diffusion."""
    from fracjax.diagnosis.path_views.summaries import summarise_path

    summary = summarise_path(view)
    parts: list[RenderableType] = [Text(line, style="bold")]
    sparks = Table.grid(padding=(0, 2))
    for name, values in view.path.metrics.items():
        sparks.add_row(
            name, Text(_whole_line(values), style="cyan"), _short(summary["metrics"][name])
        )
    found = summary["diffusion"]
    if found is not None:
        exponents = [_finite(part["value"]) for part in found["by_waiting_time"]]
        sparks.add_row(
            "⟨Δ²⟩ ~ τ^α, α over waiting time",
            Text(sparkline(exponents), style="cyan"),
            f"{_estimate(found['exponent'])} over all",
        )
    parts.append(sparks)
    if summary["layers"]:
        parts.append(_layers(summary))
    parts += [Text(note, style="dim") for note in summary["notes"]]
    return Group(*parts)


def path_lines(view: "PathView") -> list[str]:
    """Say what a view holds in plain lines."""
    from fracjax.diagnosis.path_views.summaries import summarise_path

    summary = summarise_path(view)
    metrics = "".join(f", {name} {_short(value)}" for name, value in summary["metrics"].items())
    lines = [f"path: {summary['snapshots']:,} snapshots{metrics}"]
    if summary["diffusion"] is not None:
        exponent = _estimate(summary["diffusion"]["exponent"])
        lines.append(f"path: mean squared displacement ~ lag^{exponent}")
    for name, layer in summary["layers"].items():
        cells = [f"D({share:g}) {_direction(layer, share)}" for share in _SHARES]
        if layer["changes"] is not None:
            cells.append(f"median detour {_detour(layer['changes'])}")
        lines.append(f"path, {name}: {', '.join(cells)}")
    return lines


def _whole_line(values: np.ndarray) -> str:
    """Draw a whole series, thinned to the width of a line."""
    return sparkline(
        values[np.rint(np.linspace(0, len(values) - 1, min(len(values), 32))).astype(int)].tolist()
    )


def _layers(summary: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="dim")
    headings = ["layer", "accumulated", "final", "median detour (walk)"]
    headings += [f"D({share:g}) (walk)" for share in _SHARES]
    headings += ["detour of direction 1, 2 (walk)"]
    for heading in headings:
        table.add_column(heading)
    for name, layer in summary["layers"].items():
        changes = layer["changes"]
        cells = [name]
        if changes is None:
            cells += ["–", "–", "–"]
        else:
            cells += [_short(changes["accumulated"]), _short(changes["final"]), _detour(changes)]
        cells += [_direction(layer, share) for share in _SHARES]
        courses = layer["detours_of_directions"][:2]
        cells.append(", ".join(_banded(found, "detour") for found in courses))
        table.add_row(*cells)
    return table


def _direction(layer: Mapping[str, Any], share: float) -> str:
    found = next(one for one in layer["dimensionality"] if one["share"] == share)
    return _banded(found, "directions")


def _banded(found: Mapping[str, Any], name: str) -> str:
    if found[name] is None:
        return "–"
    return f"{found[name]:.3g} ({_short(found['null_low'])}..{_short(found['null_high'])})"


def _detour(changes: Mapping[str, Any]) -> str:
    walk = _short(changes["detour_median_of_a_walk"])
    return f"{_short(changes['detour_median'])} ({walk})"


def _estimate(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return str(found["status"]).replace("_", " ")
    half = (_finite(found["high"]) - _finite(found["low"])) / 2
    text = f"{found['value']:.3g} ±{half:.2g}"
    return text if found["status"] == "ok" else f"{text} ({found['status'].replace('_', ' ')})"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _finite(value: float | None) -> float:
    return math.nan if value is None else value
