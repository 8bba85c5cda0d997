"""A watched run in the terminal: sparklines, the last records, warnings, what to try."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fracjax.cli.sparklines import sparkline
from fracjax.cli.tables import VERDICT_COLORS
from fracjax.diagnosis import Prediction
from fracjax.diagnosis.shown_numbers import (
    CAP,
    bound,
    interval_digits,
    is_at_least,
    predicts_smooth,
)
from fracjax.diagnosis.watching import Number, Record, advise, messages

__all__ = ["Below", "Show", "live_view", "view"]

_ROWS = 8


@runtime_checkable
class Show(Protocol):
    """What redraws the view."""

    def __call__(self, records: Sequence[Record], line: str) -> None:
        """Draw records and one line on how the run stands."""


@runtime_checkable
class Below(Protocol):
    """What is shown below the records, such as a `FollowedPath`."""

    def panel(self) -> RenderableType:
        """Make what the terminal shows."""

    def lines(self) -> list[str]:
        """Say it in plain lines."""


def view(
    records: Sequence[Record], line: str, *, maximize: bool = True, below: Below | None = None
) -> RenderableType:
    """Make what the terminal shows."""
    parts: list[RenderableType] = [Text(line, style="bold")]
    if not records:
        parts.append(Text("no record yet", style="dim") if below is None else below.panel())
        return Group(*parts)
    last = records[-1]
    lines = [("return", [record.value.value for record in records], _number(last.value))]
    if math.isfinite(last.rate.value):
        rates = [record.rate.value for record in records]
        lines.append(("λ nats/step", rates, _number(last.rate)))
    for index, found in enumerate(last.by_discount):
        alphas = [record.by_discount[index].holder.value for record in records]
        lines.append((f"α, γ = {found.discount:g}", alphas, _number(found.holder, cap=CAP)))
    sparks = Table.grid(padding=(0, 2))
    for name, values, text in lines:
        sparks.add_row(name, Text(sparkline(values), style="cyan"), text)
    parts += [sparks, _table(records[-_ROWS:])]
    for message in messages(records, maximize=maximize)[-4:]:
        style = "bold red" if message.entered else "green"
        parts.append(Text(f"step {message.step:,}: {message.text}", style=style))
    for advice in advise(last):
        value = "" if advice.value is None else f" {advice.value:.4g}"
        parts.append(Text(f"try: {advice.name}{value} ({advice.use})", style="yellow"))
    if below is not None:
        parts.append(below.panel())
    return Group(*parts)


def _table(records: Sequence[Record]) -> Table:
    table = Table(box=None, header_style="dim")
    for heading in ("step", "return", "λ nats/step"):
        table.add_column(heading)
    for found in records[-1].by_discount:
        table.add_column(f"γ = {found.discount:g}")
        table.add_column("α")
        table.add_column("−ln γ/λ")
    table.add_column("share")
    for record in records:
        cells = [f"{record.step:,}", _number(record.value), _number(record.rate)]
        for found in record.by_discount:
            color = VERDICT_COLORS[found.verdict]
            cells += [
                f"[{color}]{found.verdict}[/]",
                _number(found.holder, cap=CAP),
                _prediction(found.predicted.get("mean")),
            ]
        cells.append("–" if record.cost is None else f"{100 * record.cost.share:.1f} %")
        table.add_row(*cells)
    return table


def _prediction(law: Prediction | None) -> str:
    if law is None:
        return "–"
    return "smooth" if predicts_smooth(law._asdict()) else f"{law.value:.2f}"


def _number(number: Number, *, cap: float | None = None) -> str:
    if not number.ok:
        return number.status.replace("_", " ")
    if not math.isfinite(number.low):
        return f"{number.value:.3g}"
    if cap is not None and is_at_least(number.low, cap):
        return bound(cap)
    digits = interval_digits(number.value, number.low, number.high)
    return f"{number.value:.{digits}g} ±{(number.high - number.low) / 2:.2g}"


@contextlib.contextmanager
def live_view(*, maximize: bool = True, below: Below | None = None) -> Iterator[Show]:
    """Draw on stderr: in place in a terminal, else one line for every new record and message.

    Args:
        maximize: Whether the run raises the return.
        below: What is shown below the records.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=2, transient=False) as live:
            yield lambda records, line: live.update(
                view(records, line, maximize=maximize, below=below)
            )
        return
    seen: set[int] = set()
    said: set[str] = set()

    def show(records: Sequence[Record], line: str) -> None:
        for record in records:
            if record.step not in seen:
                seen.add(record.step)
                console.print(_line(record), highlight=False, soft_wrap=True, markup=False)
        for message in messages(records, maximize=maximize):
            text = f"step {message.step:,}: {message.text}"
            if text not in said:
                said.add(text)
                console.print(text, highlight=False, soft_wrap=True, markup=False)
        for text in [line, *(() if below is None else below.lines())]:
            if text not in said:
                said.add(text)
                console.print(text, highlight=False, soft_wrap=True, markup=False)

    yield show


def _line(record: Record) -> str:
    found = ", ".join(
        f"γ = {found.discount:g}: {found.verdict}, α {_number(found.holder, cap=CAP)}"
        for found in record.by_discount
    )
    share = "" if record.cost is None else f", share {100 * record.cost.share:.1f} %"
    return f"step {record.step:,}: return {_number(record.value)}, {found}{share}"
