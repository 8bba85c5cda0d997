"""A page of an experiment's results in Markdown: tables and figures, part by part."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fracjax.reproduce.rows import Row, agreement_bound, compared, with_error

__all__ = ["heading", "render"]


def heading(name: str) -> str:
    """Begin a page, as no other page does."""
    return f"# {_cell(name)}: "


def render(
    description: str,
    settings: Mapping[str, Any],
    parts: Mapping[str, Sequence[Row]],
    figures: Mapping[str, Sequence[str]],
) -> str:
    """Make a page that stands beside the figures.

    Args:
        description: What the experiment is about.
        settings: What the results were computed with, the name of the `experiment` among it.
        parts: Rows by part.
        figures: File names of the figures by part; those of no part come first.
    """
    tested = [row for rows in parts.values() for row in compared(rows)]
    agreeing = sum(row.agrees for row in tested)
    lines = [
        f"{heading(settings['experiment'])}{_cell(description)}",
        "",
        f"{agreeing} of {len(tested)} compared numbers agree with their references within four"
        " joint standard errors" + _of_few_samples(tested) + ".",
        "Intervals are at 95 %; ± is half of one, and of a reference its standard error.",
        "",
        "; ".join(f"{key} {value}" for key, value in settings.items() if key != "experiment") + ".",
        "",
    ]
    for name in [*(name for name in figures if name not in parts), *parts]:
        rows = parts.get(name, ())
        if not rows and not figures.get(name):
            continue
        lines += [f"## {_cell(name)}", ""]
        for figure in figures.get(name, ()):
            caption = figure.removesuffix(".png").replace("_", " ")
            lines += [f"![{_cell(caption)}]({figure})", ""]
        lines += _compared_table(compared(rows))
        lines += _described_table([row for row in rows if not row.is_compared])
    return "\n".join(lines).rstrip() + "\n"


def _of_few_samples(rows: Sequence[Row]) -> str:
    """Say that four are not the bound of every row, where they are not."""
    if all(math.isinf(row.degrees) for row in rows):
        return ""
    return ", or, where an error is from few samples, within as many as are as rare by Student's t"


def _compared_table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    cells = [
        (
            row.system,
            row.quantity,
            with_error(row.value, (row.high - row.low) / 2),
            with_error(row.reference, row.uncertainty),
            _distance(row),
            row.source,
        )
        for row in rows
    ]
    return _table(("system", "quantity", "value", "reference", "z", "source"), cells)


def _distance(row: Row) -> str:
    """Write z, what is made of it, and the bound where one of four would tell otherwise."""
    distance = f"{row.z:+.1f}" if math.isfinite(row.z) else ""
    if not row.agrees:
        return distance + " (misses)"
    beyond_four = math.isfinite(row.degrees) and abs(row.z) > agreement_bound()
    return distance + (f" (of {agreement_bound(row.degrees):.1f})" if beyond_four else "")


def _described_table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    cells = [
        (row.system, row.quantity, f"{row.value:.4g}", f"{row.low:.4g} to {row.high:.4g}")
        for row in rows
    ]
    return ["Without a reference:", "", *_table(("system", "quantity", "value", "95 %"), cells)]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Draw a table; a system is named where it changes."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    before = None
    for system, *rest in rows:
        shown = [system if system != before else "", *rest]
        lines.append("| " + " | ".join(_cell(text) for text in shown) + " |")
        before = system
    return [*lines, ""]


def _cell(text: str) -> str:
    """Leave nothing in a text that Markdown would take for its own."""
    return " ".join(re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text).split())
