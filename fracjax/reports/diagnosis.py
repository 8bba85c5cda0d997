"""The page and the numbers of a diagnosis."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from fracjax import safe_files
from fracjax.diagnosis.shown_numbers import cap_of, predicts_smooth
from fracjax.reports import page
from fracjax.reports.files import PAGE, RESULTS, write_files

__all__ = ["Case", "read_results", "render_again", "render_page", "write_results"]


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
        _picture(case.title, name): page.png(figure)
        for case in cases
        for name, figure in case.figures.items()
    }
    html_page = render_page(cases, images, document, title=title, command=command)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    # The numbers first: they say whose results these are, so that the same command may finish
    # what a full disk or a kill cut off.
    write_files(folder, {RESULTS: text.encode(), PAGE: html_page.encode(), **images})
    return [folder / name for name in (PAGE, *images, RESULTS)]


_UNITS = ("second", "step")
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


def _findings_table(summary: Mapping[str, Any]) -> str:
    rows = []
    for finding in summary["by_discount"]:
        verdict = html.escape(finding["verdict"])
        cells = [
            f'<td class="number">{finding["discount"]:g}</td>',
            f'<td><span class="tag {verdict}">{verdict}</span></td>',
            f'<td class="number">{_holder(finding["holder"])}</td>',
            f'<td class="number">{page.interval(finding["paper"], cap=1.0)}</td>',
            *(
                f'<td class="number">{_prediction(finding["predicted"][name])}</td>'
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
            f"<li>γ = {finding['discount']:g}: <strong>{html.escape(finding['verdict'])}</strong>:"
            f" {html.escape(text)}</li>"
        )
    return f"<table>{head}{''.join(rows)}</table><ul>{''.join(reasons)}</ul>"


def _holder(holder: Mapping[str, Any]) -> str:
    return page.interval(holder, cap=cap_of(holder))


def _prediction(predicted: Mapping[str, Any]) -> str:
    return "smooth" if predicts_smooth(predicted) else page.interval(predicted)


def _chaos_table(summary: Mapping[str, Any]) -> str:
    chaos = summary["lyapunov"]
    rows = [
        f'<tr><td>{index + 1}</td><td class="number">{page.interval(second)}</td>'
        f'<td class="number">{page.interval(step)}</td></tr>'
        for index, (second, step) in enumerate(
            zip(chaos["nats_per_second"], chaos["nats_per_step"], strict=True)
        )
    ]
    if chaos["reward_nats_per_second"] is not None:
        second, step = (page.interval(chaos[f"reward_nats_per_{unit}"]) for unit in _UNITS)
        rows.append(
            f'<tr><td>reward</td><td class="number">{second}</td>'
            f'<td class="number">{step}</td></tr>'
        )
    note = (
        f"{chaos['initial_states']} initial states,"
        f" {chaos['mean_steps_before_termination']:.0f} steps on average"
        f" ({chaos['failed_states']} failed). {summary['points']} parameter points evaluated,"
        f" {summary['nonfinite_points']} without a finite return."
    )
    head = "<tr><th>Lyapunov exponent</th><th>nats/s</th><th>nats/step</th></tr>"
    return f'<table>{head}{"".join(rows)}</table><p class="note">{html.escape(note)}</p>'


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
        images: PNG bytes by file name, as `write_results` names them; what is missing is
            left out.
        document: Its `versions` are shown.
        title: Heading.
        command: The command that makes these results again.
    """
    parts = []
    for case in cases:
        parts.append(f"<h2>{html.escape(case.title)}</h2>{page.definitions(case.description)}")
        parts += [_findings_table(case.summary), _chaos_table(case.summary)]
        for name in case.figures or _CAPTIONS:
            picture = images.get(_picture(case.title, name))
            if picture is not None:
                alt, caption = f"{case.title}: {name}", _CAPTIONS.get(name, "")
                parts.append(page.image(picture, alt=alt, caption=caption))
    versions = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
    return page.document(
        title,
        parts,
        lead="α below 1: differences shrink more slowly than the step, and there is no gradient to"
        " estimate at these scales. α above 1: there is one. Intervals are 95 %.",
        foot=f"Made by <code>{html.escape(command)}</code> with {html.escape(versions)}.",
    )


def read_results(folder: Path) -> tuple[dict[str, Any], list[Case], dict[str, bytes]]:
    """Read what `write_results` wrote, to render the page again.

    The file is not trusted to be well formed: what is not a result is refused here or by
    `render_page`, and text from it is escaped there.

    Args:
        folder: Holds `results.json`, and the pictures that are left.

    Returns:
        The document, its cases without figures, and the pictures by file name.

    Raises:
        ValueError: If the file is not a result of a diagnosis.
    """
    path = folder / RESULTS
    refusal = f"{path} is not a result of fracjax diagnose."
    try:
        document = safe_files.read_json(path)
        cases = [
            Case(
                str(case["title"]),
                [(str(name), str(value)) for name, value in case["description"].items()],
                case,
                {},
            )
            for case in document["cases"]
        ]
        versions = {str(name): str(value) for name, value in document["versions"].items()}
        configuration = dict(document["configuration"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(refusal) from None
    names = [_picture(case.title, name) for case in cases for name in _CAPTIONS]
    there = [name for name in names if (folder / name).is_file()]
    images = {name: safe_files.read_bytes(folder / name) for name in there}
    return {**document, "versions": versions, "configuration": configuration}, cases, images


def render_again(folder: Path, *, command: str) -> tuple[str, dict[str, Any]]:
    """Render the page of a diagnosis from what is on disk.

    Args:
        folder: Holds `results.json`.
        command: The command that made these results.

    Returns:
        The page, and the document.

    Raises:
        ValueError: If the file is not a result of a diagnosis.
    """
    document, cases, images = read_results(folder)
    try:
        text = render_page(cases, images, document, title="fracjax diagnosis", command=command)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        msg = f"{folder / RESULTS} is not a result of fracjax diagnose."
        raise ValueError(msg) from None
    return text, document


def _picture(title: str, name: str) -> str:
    return f"{page.slug(title)}-{name}.png"
