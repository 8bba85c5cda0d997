"""The page of a scan."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fracjax.reports import page
from fracjax.reports.scan_numbers import QUANTILES

__all__ = ["ScanDescription", "render_scan"]

_LEAD = (
    "A slice of an objective through parameter space. Points without a finite value are counted and"
    " shown as they are"
)


class ScanDescription(NamedTuple):
    """How a scan came about.

    Attributes:
        title: Heading.
        request: What was asked for, as (name, value) pairs.
        command: The command that makes it again; empty for a scan made from Python.
        versions: Of the software that made it.
        discounts: Discount factors that outputs were measured at.
        has_path: Whether its plane was laid through given points, or along a path.
    """

    title: str
    request: Sequence[tuple[str, str]]
    command: str
    versions: Mapping[str, str]
    discounts: Sequence[float] = ()
    has_path: bool = False


def render_scan(
    summary: Mapping[str, Any],
    description: ScanDescription,
    *,
    pictures: Mapping[str, bytes],
    manifest: Mapping[str, Any],
    files: Sequence[str] = (),
    sections: Sequence[tuple[str, str]] = (),
) -> str:
    """Render one HTML page with all pictures inside.

    Args:
        summary: Result of `describe_scan`.
        description: How the scan came about.
        pictures: PNG bytes by caption.
        manifest: What the values depend on, as the store has it.
        files: Names of further files in the page's folder, to link to.
        sections: Further (heading, HTML) pairs; the HTML is taken as it is.
    """
    parts = [_progress(summary), page.definitions([*description.request, *_axes(summary)])]
    for caption, content in pictures.items():
        parts.append(page.image(content, alt=description.title, caption=caption))
    parts += ["<h2>Values</h2>", _value_table(summary)]
    parts += _roughness(summary)
    for heading, body in sections:
        parts.append(f"<h2>{html.escape(heading)}</h2>{body}")
    if files:
        links = "".join(
            f'<li><a href="{html.escape(name)}">{html.escape(name)}</a></li>' for name in files
        )
        parts.append(f"<h2>Files</h2><ul>{links}</ul>")
    parts += _provenance(description, manifest)
    return page.document(
        description.title,
        parts,
        lead=f"{_LEAD}." if summary.get("interpolation") else f"{_LEAD}; nothing is filled in.",
        foot="Made by <code>fracjax report</code>.",
    )


def _progress(summary: Mapping[str, Any]) -> str:
    done, points = summary["done"], summary["points"]
    if filled := summary.get("interpolation"):
        return _interpolated(filled, points)
    if summary["complete"]:
        return f'<p class="banner">Complete: all {points:,} points are there.</p>'
    return (
        f'<p class="banner open">Unfinished: {done:,} of {points:,} points are there'
        f" ({100 * done / points:.1f} %). All below is of these; run the scan again, or"
        " <code>fracjax scan --resume</code>, to go on.</p>"
    )


def _interpolated(filled: Mapping[str, Any], points: int) -> str:
    """Say how much of an adaptive scan was evaluated, and how good the rest is."""
    count = filled["evaluated"]
    text = (
        f"Adaptive: {count:,} of {points:,} points ({100 * count / points:.2g} %) were evaluated,"
        " where interpolation fails; <b>all others are interpolated</b>."
    )
    error, stderr = filled["interpolation_error"], filled["interpolation_error_stderr"]
    if error is not None and stderr is not None and filled["num_checked"] is not None:
        text += (
            f" The root-mean-square error of the picture is {error:.3g} ± {stderr:.2g} (standard"
            f" error), measured at {filled['num_checked']:,} random points"
        )
        if filled["mistaken_share"]:
            text += f"; {100 * filled['mistaken_share']:.2g} % wrongly have a value, or have none"
        text += "."
    return f'<p class="banner open">{text}</p>'


def _axes(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            f"axis {axis['name']}",
            f"{axis['direction']}, {axis['low']:.4g} to {axis['high']:.4g}, {axis['points']:,}"
            " points",
        )
        for axis in summary["axes"]
    ]


def _value_table(summary: Mapping[str, Any]) -> str:
    rows = []
    for output in summary["outputs"]:
        quantiles = output["quantiles"] or {}
        rows.append(
            [
                output["label"],
                f"{output['finite']:,}",
                f"{output['nan']:,}",
                f"{output['plus_infinite']:,} / {output['minus_infinite']:,}",
                _short(output["at_origin"]),
                _placed(output, "smallest"),
                *(_short(quantiles.get(f"{q:g}")) for q in QUANTILES),
                _placed(output, "largest"),
            ]
        )
    headings = (
        "output",
        "finite",
        "NaN",
        "+∞ / −∞",
        "at the origin",
        "smallest (where)",
        "5 %",
        "median",
        "95 %",
        "largest (where)",
    )
    note = "Among points that are done; quantiles are of the finite values."
    if summary.get("interpolation"):
        note = (
            "Among points that were evaluated, most of them where the plane is rough: quantiles are"
            " of their finite values, not of the plane."
        )
    return f'{page.table(headings, rows)}<p class="note">{note}</p>'


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _placed(output: Mapping[str, Any], name: str) -> str:
    if output[name] is None:
        return "–"
    where = ", ".join(f"{at:.3g}" for at in output[f"{name}_at"])
    return f"{output[name]:.5g}\n({where})"


def _roughness(summary: Mapping[str, Any]) -> list[str]:
    analysed = [output for output in summary["outputs"] if "cliffs" in output]
    if not analysed:
        return []
    flat = len(summary["axes"])
    rows, notes = [], []
    for output in analysed:
        dimension, cliffs = output["graph_dimension"], output["cliffs"]
        text = dimension["status"].replace("_", " ")
        if dimension["value"] is not None:
            text = f"{dimension['value']:.3f} [{dimension['low']:.3f}, {dimension['high']:.3f}]"
            if dimension["status"] != "ok":
                text += f" ({dimension['status'].replace('_', ' ')})"
        count = cliffs["status"] if cliffs["count"] is None else f"{cliffs['count']:,}"
        if cliffs["count"] == 0 and cliffs["status"] != "ok":
            count = cliffs["status"].replace("_", " ")
        largest = cliffs.get("largest") or []
        drop = "–"
        if largest:
            where = ", ".join(f"{at:.3g}" for at in largest[0]["at"])
            drop = (
                f"{largest[0]['height']:.4g} along {largest[0]['along']} at ({where}),\n"
                f"{100 * largest[0]['share']:.0f} % of the range"
            )
        rows.append([output["label"], text, count, drop])
        notes += [
            found["reason"] for found in (dimension, cliffs) if found.get("reason") is not None
        ]
    headings = ("output", "graph dimension [95 %]", "cliffs", "largest cliff")
    parts = [
        "<h2>Roughness</h2>",
        page.table(headings, rows),
        f'<p class="note">A smooth graph has dimension {flat}, the roughest {flat + 1}; it is'
        " estimated over lags of a few grid steps. A cliff is a change over one step of at"
        " least a quarter of the range that stands out from the changes around it; from the grid"
        " alone a jump cannot be told from a slope narrower than a step.</p>",
    ]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in dict.fromkeys(notes)]
    return parts


def _provenance(description: ScanDescription, manifest: Mapping[str, Any]) -> list[str]:
    parts = ["<h2>Where it comes from</h2>"]
    if description.command:
        parts.append(
            "<p>Cite the scan by the command that makes it, the versions, and the hashes of what"
            " it depends on:</p>"
            f"<pre>{html.escape(description.command)}</pre>"
        )
    versions = ", ".join(f"{name} {value}" for name, value in description.versions.items())
    if versions:
        parts.append(f"<p>Computed with {html.escape(versions)}.</p>")
    known = ("config", "versions") if description.command else ("versions",)
    pairs = [
        (str(name), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in manifest.items()
        if name not in known and value not in ({}, None)
    ]
    if pairs:
        parts.append(
            "<details open><summary>Manifest of the store: the values depend on this</summary>"
            f"{page.definitions(pairs)}</details>"
        )
    return parts
