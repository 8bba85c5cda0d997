"""A scan as an interactive web page: surface and heat map, drawn by Plotly in the browser."""

import base64
import html
import importlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib import colormaps
from matplotlib.colors import to_hex

from fracjax import safe_files
from fracjax.landscapes.exports.tables import Column, columns, grid_axes
from fracjax.plotting.fields import (
    axis_label,
    centre_of,
    color_scale,
    heading,
    is_wanted,
    position,
    select,
)
from fracjax.plotting.style import DIVERGING_MAP, SEQUENTIAL_MAP

__all__ = ["surface_html"]

_COLOR_STOPS = 33


def surface_html(
    dataset: xarray.Dataset,
    path: Path | str,
    *,
    variables: Sequence[str] | None = None,
    discounts: Sequence[float] = (),
    title: str = "fracjax scan",
    every: int = 1,
) -> Path:
    """Write one file that shows a plane as a surface to turn, or as a heat map.

    The file needs no network: Plotly's script (4.8 MB) is inside. A list chooses between the
    outputs. Points without a finite value are holes, and the page says how many there are and
    why. Colours span the values, or their 1st to 99th percentiles, as in `plane_slice`.

    Args:
        dataset: Result of `landscapes.scan` or `open_scan` on a plane; of a grid with more
            axes every pair of axes is offered, the others held at their middle point.
        path: Where to write.
        variables: Which variables to offer; all numbers over the plane if not given.
        discounts: Discount factors that outputs were measured at; `value` is the return then.
        title: Heading.
        every: Keep every so many points along both axes, for a smaller file; the page says
            so. A point and output takes 11 bytes.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: If Plotly is not there; the message names what to install.
        ValueError: If the grid is a line, nothing is to be shown, or `every` is not positive.
        OSError: If the file cannot be written.
    """
    if every < 1:
        msg = f"Argument `every` must be positive, but is {every}."
        raise ValueError(msg)
    script = _plotly_script()
    axes = grid_axes(dataset)
    if len(axes) < 2:
        msg = "Argument `dataset` must have two axes or more to be a surface, but is a line."
        raise ValueError(msg)
    thinned = dataset.isel({axis: slice(None, None, every) for axis in axes})
    views = [
        _view(part, column, f"{heading(column, thinned, discounts)}{held}")
        for column in columns(thinned)
        if is_wanted(column, thinned, variables)
        for part, held in _planes(thinned)
    ]
    if not views:
        msg = "Argument `variables` must name variables over the grid, but names none."
        raise ValueError(msg)
    thin = ""
    if every > 1:
        whole = " × ".join(f"{dataset.sizes[axis]:,}" for axis in axes)
        thin = f"One point in {every} along each axis of {whole} points is shown."
    content = {"thin": thin, "views": views}
    parts = {
        "%TITLE%": html.escape(title),
        # No tag can begin inside: the browser would take it for one.
        "%DATA%": json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
        "%PLOTLY%": script,
    }
    page = re.sub("|".join(parts), lambda found: parts[found.group()], _PAGE)
    path = Path(path)
    try:
        with safe_files.written_whole(path) as file:
            file.write(page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        msg = f"Writing {path} failed ({error.strerror or error}); nothing was changed there."
        raise OSError(error.errno, msg) from error
    return path


def _plotly_script() -> str:
    try:
        offline = importlib.import_module("plotly.offline")
    except ModuleNotFoundError as error:
        msg = (
            "Interactive pages need Plotly, which is not installed:"
            " pip install 'fracjax[interactive]'."
        )
        raise ModuleNotFoundError(msg, name=error.name) from error
    return str(offline.get_plotlyjs())


def _planes(dataset: xarray.Dataset) -> Iterator[tuple[xarray.Dataset, str]]:
    """Planes through the middle of a grid, and where they lie."""
    axes = grid_axes(dataset)
    for kept in itertools.combinations(axes, 2):
        middle = {axis: dataset.sizes[axis] // 2 for axis in axes if axis not in kept}
        held = [f"{axis} = {position(dataset[axis].values, at):.3g}" for axis, at in middle.items()]
        yield dataset.isel(middle, drop=True), "".join(f", {text}" for text in held)


def _view(plane: xarray.Dataset, column: Column, name: str) -> dict[str, Any]:
    """One output over one plane: heights, colours, and what is missing."""
    field = select(plane, num_axes=2, variable=column.variable, output=column.index)
    centre, reverse = centre_of(column.variable)
    scale = color_scale(field.values[field.finite], centre=centre)
    reach = 0.5 * (scale.high - scale.low) if scale.note else 0.0
    outside = field.finite & (
        (field.values < scale.low - reach) | (field.values > scale.high + reach)
    )
    notes = [
        f"{int(where.sum()):,} {what}"
        for where, what in (
            (field.nan, "NaN"),
            (field.infinite, "infinite"),
            (~field.done, "unfinished"),
        )
        if where.any()
    ]
    text = f"Holes: {', '.join(notes)} of {field.values.size:,} points." if notes else ""
    if scale.note:
        text += f" {scale.note.capitalize()}."
    if outside.any():
        text += f" {int(outside.sum()):,} points lie beyond the surface's vertical axis."
    colors = colormaps[DIVERGING_MAP if scale.diverging else SEQUENTIAL_MAP]
    if reverse:
        colors = colors.reversed()
    stops = np.linspace(0, 1, _COLOR_STOPS)
    return {
        "name": name,
        "note": text.strip(),
        "labels": [axis_label(plane, axis) for axis in field.axes],
        "x": _packed(field.coordinates[0]),
        "y": _packed(field.coordinates[1]),
        **_proportions(*(float(np.ptp(axis)) for axis in field.coordinates)),
        "z": _packed(np.where(field.finite, field.values, np.nan).T),
        "low": scale.low,
        "high": scale.high,
        "range": [scale.low - reach, scale.high + reach],
        "colors": [[float(stop), to_hex(colors(stop))] for stop in stops],
    }


def _proportions(width: float, depth: float) -> dict[str, Any]:
    """Sides of the box, and whether the heat map's axes share a scale."""
    equal = max(width, depth) <= 3 * min(width, depth)
    longest = max(width, depth)
    x, y = (width / longest, depth / longest) if equal else (1.0, 1.0)
    return {"equal": bool(equal), "aspect": {"x": float(x), "y": float(y), "z": 0.6}}


def _packed(values: np.ndarray) -> dict[str, str]:
    """Give an array in Plotly's binary form: exact, and with NaN, which JSON has not."""
    packed = {
        "dtype": "f8",
        "bdata": base64.b64encode(np.ascontiguousarray(values, "<f8").tobytes()).decode(),
    }
    if values.ndim > 1:
        packed["shape"] = ", ".join(map(str, values.shape))
    return packed


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="fracjax">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
  script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:; worker-src blob:">
<title>%TITLE%</title>
<style>
html, body { height: 100%; margin: 0; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; display: flex;
       flex-direction: column; }
header { padding: .8rem 1.2rem .2rem; display: flex; flex-wrap: wrap; gap: .4rem 1.5rem;
         align-items: baseline; }
h1 { font-size: 1.2rem; margin: 0; }
label, fieldset { color: #57606a; } fieldset { border: 0; padding: 0; margin: 0; }
select { font: inherit; }
#plot { flex: 1; min-height: 24rem; }
footer { padding: .2rem 1.2rem .8rem; color: #57606a; font-size: .9rem; }
</style>
<script>%PLOTLY%</script></head>
<body>
<header><h1>%TITLE%</h1>
<label>Output <select id="view"></select></label>
<fieldset><label><input type="radio" name="kind" value="surface" checked> surface</label>
<label><input type="radio" name="kind" value="heatmap"> heat map</label></fieldset></header>
<div id="plot"></div>
<footer id="note"></footer>
<script id="data" type="application/json">%DATA%</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent);
const choice = document.getElementById("view");
data.views.forEach((view, i) => choice.add(new Option(view.name, i)));
function draw() {
  const view = data.views[choice.value];
  const kind = document.querySelector("input[name=kind]:checked").value;
  const flat = kind === "heatmap";
  const hover = `${view.labels[0]}: %{x:.6~g}<br>${view.labels[1]}: %{y:.6~g}<br>`
    + `<b>${view.name}: %{z:.6~g}</b><extra></extra>`;
  const trace = { type: kind, x: view.x, y: view.y, z: view.z, colorscale: view.colors,
    connectgaps: false, hovertemplate: hover, colorbar: { title: { text: view.name } } };
  trace[flat ? "zmin" : "cmin"] = view.low;
  trace[flat ? "zmax" : "cmax"] = view.high;
  const layout = { margin: { l: 70, r: 20, t: 20, b: 60 }, uirevision: kind };
  if (flat) {
    layout.xaxis = { title: { text: view.labels[0] }, constrain: "domain" };
    layout.yaxis = { title: { text: view.labels[1] }, constrain: "domain" };
    layout.plot_bgcolor = "#e3e3e3";
    if (view.equal) layout.yaxis.scaleanchor = "x";
  } else {
    trace.lighting = { ambient: 0.75, diffuse: 0.6, specular: 0.05, roughness: 0.9 };
    trace.contours = { z: { show: false, usecolormap: true, project: { z: false } } };
    layout.scene = { xaxis: { title: { text: view.labels[0] } },
      yaxis: { title: { text: view.labels[1] } },
      zaxis: { title: { text: view.name }, range: view.range },
      aspectmode: "manual", aspectratio: view.aspect,
      camera: { eye: { x: -1.15, y: -1.15, z: 0.8 },
        center: { x: 0, y: 0, z: -0.12 } } };
  }
  Plotly.react("plot", [trace], layout, { responsive: true, displaylogo: false,
    showSendToCloud: false });
  document.getElementById("note").textContent = [view.note, data.thin].filter(Boolean).join(" ");
}
choice.onchange = draw;
document.querySelectorAll("input[name=kind]").forEach((input) => { input.onchange = draw; });
draw();
</script></body></html>
"""
