"""Results on disk: one self-contained HTML page, the numbers, and the figures.

Everything is written to temporary names first and renamed, so that a run that is killed
leaves either the old files or the new ones.
"""

import base64
import html
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

__all__ = ["Case", "OutputError", "check_output", "render_page", "write_results"]

_RESULTS = "results.json"
_PAGE = "report.html"


class OutputError(ValueError):
    """A folder that results cannot be written to."""


class Case(NamedTuple):
    """One diagnosed policy, ready to be shown.

    Attributes:
        title: Heading.
        description: What was run, as (name, value) pairs.
        summary: `fracjax.diagnosis.summary` of the result.
        figures: Figures by name.
    """

    title: str
    description: Sequence[tuple[str, str]]
    summary: Mapping[str, Any]
    figures: Mapping[str, Figure]


def check_output(folder: Path, configuration: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make sure that results of this configuration may be written to `folder`.

    The folder is created. Results of another configuration are never overwritten unasked.

    Raises:
        OutputError: If the folder is a file, cannot be written to, or holds results of
            another configuration.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; give a folder."
        raise OutputError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"cannot write to {folder}: {error.strerror or error}."
        raise OutputError(msg) from None
    if overwrite:
        return
    results = folder / _RESULTS
    if not results.exists():
        if (folder / _PAGE).exists():
            msg = f"{folder} holds a report of unknown origin; pass --overwrite to replace it."
            raise OutputError(msg)
        return
    try:
        found = json.loads(results.read_text())["configuration"]
    except (OSError, ValueError, KeyError, TypeError):
        msg = f"{results} is not a result of fracjax; pass --overwrite to replace it."
        raise OutputError(msg) from None
    wanted = json.loads(json.dumps(configuration))
    if found != wanted:
        keys = sorted(set(wanted) | set(found if isinstance(found, dict) else {}))
        other = [
            key for key in keys if not isinstance(found, dict) or found.get(key) != wanted.get(key)
        ]
        msg = (
            f"{folder} holds results of another configuration ({', '.join(other)} differ);"
            " pass --overwrite to replace them or another --out."
        )
        raise OutputError(msg)


def _write(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def write_results(
    folder: Path, cases: Sequence[Case], document: Mapping[str, Any], *, title: str, command: str
) -> list[Path]:
    """Write `report.html`, `results.json` and one PNG per figure.

    Args:
        folder: Checked by `check_output`.
        cases: What to show.
        document: What `results.json` holds.
        title: Heading of the page.
        command: The command that makes these results again.

    Returns:
        The files written, the page first.

    Raises:
        OutputError: If the disk is full or the folder has vanished.
    """
    images = {
        f"{_slug(case.title)}-{name}.png": _png(figure)
        for case in cases
        for name, figure in case.figures.items()
    }
    page = render_page(cases, images, document, title=title, command=command)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    files = {_PAGE: page.encode(), **images, _RESULTS: text.encode()}
    try:
        for name, content in files.items():
            _write(folder / name, content)
    except OSError as error:
        msg = f"cannot write to {folder}: {error.strerror or error}."
        raise OutputError(msg) from None
    return [folder / name for name in files]


def _slug(text: str) -> str:
    kept = "".join(char if char.isalnum() else "-" for char in text.lower())
    return "-".join(part for part in kept.split("-") if part)


_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 68rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .35rem .8rem; border-bottom: 1px solid #e1e4e8;
         vertical-align: top; }
th { font-weight: 600; background: #f6f8fa; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; margin: .6rem 0; }
code { background: #f6f8fa; padding: .1rem .3rem; border-radius: 3px; }
.tag { border-radius: 1rem; padding: .1rem .7rem; font-weight: 600; color: white; }
.smooth { background: #1a7f37; } .fractal { background: #b42318; }
.discontinuous { background: #9a5b00; } .undecided { background: #57606a; }
.note { color: #57606a; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; }
dt { color: #57606a; } dd { margin: 0; }
"""

_CAPTIONS = {
    "chaos": (
        "Left: running mean of the largest Lyapunov exponent. Right: measured Hölder exponent"
        " beside −ln γ/λ from the mean exponent, from its second moment, and from the worst"
        " stretch within the discount's memory."
    ),
    "roughness": (
        "The slope is twice the Hölder exponent. Left: second differences, slope 4 when smooth;"
        " faint points lie outside the window of the fit, dotted lines are the measured rounding"
        " noise. Right: slope 2 when smooth, the dashed line."
    ),
    "lines": "Return along one random filter-normalised direction, wide and zoomed.",
    "planes": "Return over a plane of two random filter-normalised directions, wide and zoomed.",
}


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate.get("value") is None:
        return html.escape((estimate or {}).get("status", "–"))
    low, high = estimate.get("low"), estimate.get("high")
    text = f"{estimate['value']:.3g}"
    if low is not None and high is not None:
        text += f" [{low:.3g}, {high:.3g}]"
    status = estimate.get("status", "ok")
    return text if status == "ok" else f"{text} ({html.escape(status)})"


def _findings_table(summary: Mapping[str, Any]) -> str:
    rows = []
    for finding in summary["by_discount"]:
        verdict = finding["verdict"]
        cells = [
            f'<td class="number">{finding["discount"]:g}</td>',
            f'<td><span class="tag {verdict}">{verdict}</span></td>',
            f'<td class="number">{_interval(finding["holder"])}</td>',
            f'<td class="number">{_interval(finding["paper"])}</td>',
            *(
                f'<td class="number">{_interval(finding["predicted"][name])}</td>'
                for name in ("mean", "second moment", "worst")
            ),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = (
        "<tr><th>γ</th><th>landscape</th><th>Hölder exponent α</th><th>α by perturbations</th>"
        "<th>predicted: mean λ</th><th>second moment</th><th>worst stretch</th></tr>"
    )
    reasons = []
    for finding in summary["by_discount"]:
        agrees = ", ".join(finding["agrees_with"]) or "none of the three"
        text = f"{finding['reason']}. Predictions whose interval meets it: {agrees}."
        reasons.append(
            f"<li>γ = {finding['discount']:g}: <strong>{finding['verdict']}</strong>:"
            f" {html.escape(text)}</li>"
        )
    return f"<table>{head}{''.join(rows)}</table><ul>{''.join(reasons)}</ul>"


def _chaos_table(summary: Mapping[str, Any]) -> str:
    chaos = summary["lyapunov"]
    rows = [
        f'<tr><td>{index + 1}</td><td class="number">{_interval(second)}</td>'
        f'<td class="number">{_interval(step)}</td></tr>'
        for index, (second, step) in enumerate(
            zip(chaos["nats_per_second"], chaos["nats_per_step"], strict=True)
        )
    ]
    if chaos["reward_nats_per_second"] is not None:
        rows.append(
            f'<tr><td>reward</td><td class="number">{_interval(chaos["reward_nats_per_second"])}'
            f'</td><td class="number">{_interval(chaos["reward_nats_per_step"])}</td></tr>'
        )
    note = (
        f"{chaos['initial_states']} initial states,"
        f" {chaos['mean_steps_before_termination']:.0f} steps on average"
        f" ({chaos['failed_states']} failed). {summary['points']} parameter points evaluated,"
        f" {summary['nonfinite_points']} without a finite return."
    )
    head = "<tr><th>Lyapunov exponent</th><th>nats/s</th><th>nats/step</th></tr>"
    return f'<table>{head}{"".join(rows)}</table><p class="note">{note}</p>'


def render_page(
    cases: Sequence[Case],
    images: Mapping[str, bytes],
    document: Mapping[str, Any],
    *,
    title: str,
    command: str,
) -> str:
    """Render one HTML page with all figures inside.

    Args:
        cases: What to show.
        images: PNG bytes by file name, as `write_results` names them.
        document: Its `versions` are shown.
        title: Heading.
        command: The command that makes these results again.
    """
    parts = []
    for case in cases:
        items = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
            for name, value in case.description
        )
        parts.append(f"<h2>{html.escape(case.title)}</h2><dl>{items}</dl>")
        parts += [_findings_table(case.summary), _chaos_table(case.summary)]
        for name in case.figures:
            data = base64.b64encode(images[f"{_slug(case.title)}-{name}.png"]).decode()
            caption = html.escape(_CAPTIONS.get(name, ""))
            parts.append(
                f'<img alt="{html.escape(case.title)}: {name}" src="data:image/png;base64,{data}">'
                f'<p class="note">{caption}</p>'
            )
    versions = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>"
        '<p class="note">α below 1: differences shrink more slowly than the step, and there is no'
        " gradient to estimate at these scales. α above 1: there is one. Intervals are 95 %.</p>"
        f"{''.join(parts)}"
        f'<p class="note">Made by <code>{html.escape(command)}</code> with'
        f" {html.escape(versions)}.</p></body></html>\n"
    )
