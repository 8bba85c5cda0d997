"""The page of a watched run, written again at every record."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fracjax.diagnosis.shown_numbers import (
    CAP,
    bound,
    interval_digits,
    is_at_least,
    predicts_smooth,
)
from fracjax.diagnosis.watching import Advice, Message, Number, Record, advise, messages
from fracjax.plotting.watching import watch_figure
from fracjax.reports import page
from fracjax.reports.files import write_files

__all__ = ["PAGE", "PICTURE", "render_watch", "write_watch"]

PAGE = "watch.html"
PICTURE = "watch.png"
_SHOWN = 12


def write_watch(
    folder: Path,
    records: Sequence[Record],
    *,
    title: str,
    configuration: Mapping[str, Any],
    state: str,
) -> list[Path]:
    """Write `watch.html` and `watch.png`, each whole or not at all.

    Args:
        folder: Folder of the run.
        records: By rising step.
        title: Heading.
        configuration: What was asked for; shown.
        state: How the run stands; a page of a "running" one loads itself again.

    Returns:
        The files written, the page first.

    Raises:
        OutputError: If the disk is full or the folder has vanished.
    """
    budget, maximize = configuration.get("budget"), bool(configuration.get("maximize", True))
    picture = page.png(watch_figure(records, title=title, budget=budget, maximize=maximize))
    text = render_watch(
        records, picture, title=title, configuration=configuration, state=state, maximize=maximize
    )
    return write_files(folder, {PAGE: text.encode(), PICTURE: picture})


def render_watch(
    records: Sequence[Record],
    picture: bytes,
    *,
    title: str,
    configuration: Mapping[str, Any],
    state: str,
    maximize: bool = True,
) -> str:
    """Render one self-contained HTML page; see `write_watch`."""
    found = messages(records, maximize=maximize)
    parts = [_banner(records, found), page.image(picture, alt=title, caption=_CAPTION)]
    if records and (advice := advise(records[-1])):
        parts += ["<h2>What to try</h2>", _advice(advice)]
    if found:
        parts += ["<h2>What happened</h2>", _messages(found)]
    parts += [f"<h2>Last {min(len(records), _SHOWN)} records</h2>", _records(records[-_SHOWN:])]
    shown = [(name, str(value)) for name, value in sorted(configuration.items())]
    parts += ["<h2>Configuration</h2>", page.definitions(shown)]
    return page.document(
        title,
        parts,
        lead=html.escape(f"{len(records)} records; the run is {state}. {_cost(records)}"),
        foot="fracjax watch",
        reloads=state == "running",
    )


_CAPTION = (
    "Bars are 95 % intervals. Exponents: hollow where the estimate does not deserve trust; dashed"
    " with a band: predicted by the mean Lyapunov exponent. A return is predicted to have no"
    " gradient where λ lies above −ln γ, that is, where α lies below 1."
)


def _banner(records: Sequence[Record], found: Sequence[Message]) -> str:
    """Say what holds now."""
    if not records:
        return '<p class="banner open">No record yet.</p>'
    last: dict[tuple[str, float | None], Message] = {}
    for message in found:
        last[message.kind, message.discount] = message
    open_ = [message for message in last.values() if message.entered]
    if not open_:
        verdicts = ", ".join(
            f"γ = {found.discount:g}: {found.verdict}" for found in records[-1].by_discount
        )
        text = f"No warning (it takes two records). Last record: {verdicts}."
        return f'<p class="banner">{html.escape(text)}</p>'
    items = "".join(
        f"<li>since step {message.step:,}: {html.escape(message.text)}</li>" for message in open_
    )
    return f'<div class="banner open"><ul>{items}</ul></div>'


def _cost(records: Sequence[Record]) -> str:
    costs = [record.cost for record in records if record.cost is not None]
    if not costs:
        return "Looked at after the run."
    cost = max(costs, key=lambda spent: spent.training)
    return (
        f"Watching took {cost.watching:.1f} s of {cost.training:.1f} s training time up to the"
        f" last record ({100 * cost.share:.1f} %), {cost.compiling:.1f} s of it to compile"
        f" ({100 * cost.share_without_compiling:.1f} % without)."
    )


def _advice(advice: Sequence[Advice]) -> str:
    rows = [
        (item.name, "" if item.value is None else f"{item.value:.4g}", item.use, item.reason)
        for item in advice
    ]
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    head = "<tr><th>remedy</th><th>value</th><th>with</th><th>why</th></tr>"
    note = (
        '<p class="note">From the last record. <code>fracjax reproduce remedies</code> tries each'
        " of them.</p>"
    )
    return f'<div class="scroll"><table>{head}{cells}</table></div>{note}'


def _messages(found: Sequence[Message]) -> str:
    items = "".join(
        f"<li>step {message.step:,}: {html.escape(message.text)}</li>" for message in found
    )
    return f"<ul>{items}</ul>"


def _records(records: Sequence[Record]) -> str:
    headings = ["step", "size", "return", "λ (nats per step)"]
    discounts = [found.discount for found in records[-1].by_discount] if records else []
    for discount in discounts:
        headings += [f"α, γ = {discount:g}", "−ln γ/λ", "landscape"]
    rows = []
    for record in records:
        cells = [f"{record.step:,}", record.size, _number(record.value), _number(record.rate)]
        for found in record.by_discount:
            law = found.predicted.get("mean")
            shown = "–" if law is None else f"{law.value:.2f} [{law.low:.2f}, {law.high:.2f}]"
            if law is not None and predicts_smooth(law._asdict()):
                shown = "smooth"
            cells += [_number(found.holder, cap=CAP), shown, found.verdict]
        rows.append(cells)
    return page.table(headings, rows)


def _number(number: Number, *, cap: float | None = None) -> str:
    text = f"{number.value:.3g}"
    if number.low == number.low:  # not NaN
        digits = interval_digits(number.value, number.low, number.high)
        text = f"{number.value:.{digits}g} [{number.low:.{digits}g}, {number.high:.{digits}g}]"
    if cap is not None and is_at_least(number.low, cap):
        text = bound(cap)
    return text if number.ok else f"{text} ({number.status.replace('_', ' ')})"
