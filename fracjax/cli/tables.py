"""Results as short tables in the terminal."""

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fracjax.diagnosis.shown_numbers import bound, cap_of, is_at_least, predicts_smooth

if TYPE_CHECKING:
    from fracjax.reproduce.rows import Row

__all__ = ["VERDICT_COLORS", "print_rows", "print_tables"]

_WIDE = 110
VERDICT_COLORS = {
    "smooth": "green",
    "fractal": "red",
    "discontinuous": "yellow",
    "undecided": "dim",
}


def _text(estimate: dict[str, Any], *, cap: float | None = None) -> str:
    if None in (estimate["value"], estimate["low"], estimate["high"]):
        return estimate.get("status", "–")
    if cap is not None and is_at_least(estimate["low"], cap):
        return bound(cap)
    return f"{estimate['value']:.3g} [{estimate['low']:.3g}, {estimate['high']:.3g}]"


def _prediction(predicted: dict[str, Any]) -> str:
    """A prediction, or that nothing rough is predicted."""
    return "smooth" if predicts_smooth(predicted) else _text(predicted)


def _agreement(finding: dict[str, Any]) -> str:
    """Say which predictions the measurement meets, or give all of them if none."""
    if finding["agrees_with"]:
        return f"predicted by: {', '.join(finding['agrees_with'])}"
    values = {name: found["value"] for name, found in finding["predicted"].items()}
    shown = ", ".join(f"{name} {value:.2g}" for name, value in values.items() if value is not None)
    return f"no prediction meets it ({shown})"


def print_tables(results: list[dict[str, Any]]) -> None:
    """Print a short table and the verdicts."""
    console = Console()
    for result in results:
        chaos = result["lyapunov"]
        table = Table(title=result["title"], title_justify="left", title_style="bold")
        for heading in ("γ", "landscape", "Hölder exponent α", "by perturbations", "predicted"):
            table.add_column(heading)
        for finding in result["by_discount"]:
            verdict = finding["verdict"]
            table.add_row(
                f"{finding['discount']:g}",
                f"[{VERDICT_COLORS[verdict]}]{verdict}[/]",
                _text(finding["holder"], cap=cap_of(finding["holder"])),
                _text(finding["paper"], cap=1.0),
                _prediction(finding["predicted"]["mean"]),
            )
        console.print(table)
        console.print(
            f"largest Lyapunov exponent {_text(chaos['nats_per_second'][0])} nats/s ="
            f" {_text(chaos['nats_per_step'][0])} nats/step"
        )
        for finding in result["by_discount"]:
            verdict = finding["verdict"]
            console.print(
                f"γ = {finding['discount']:g}: [{VERDICT_COLORS[verdict]}]{verdict}[/]:"
                f" {finding['reason']}; {_agreement(finding)}",
                soft_wrap=True,
                highlight=False,
            )
        console.print(
            f"{result['points']} points, {result['nonfinite_points']} without a finite return;"
            f" {chaos['failed_states']} of {chaos['initial_states']} initial states failed\n"
        )


def print_rows(rows: "list[Row]") -> None:
    """Print compared numbers, and how many agree."""
    from fracjax.reproduce.rows import with_error

    console = Console()
    table = Table()
    headings = ["system", "quantity", "value", "reference", "z"]
    if console.width >= _WIDE:  # the source is the longest, and the least missed
        headings.append("source")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        cells = [
            row.system,
            row.quantity,
            with_error(row.value, (row.high - row.low) / 2),
            with_error(row.reference, row.uncertainty),
            f"[{'green' if row.agrees else 'red'}]{row.z:+.1f}[/]",
            row.source,
        ]
        table.add_row(*cells[: len(headings)])
    console.print(table)
    agreeing = sum(row.agrees for row in rows)
    few = ", or more where an error is from few samples" * any(map(_from_few, rows))
    console.print(f"{agreeing} of {len(rows)} numbers agree within 4 joint standard errors{few}")


def _from_few(row: "Row") -> bool:
    return math.isfinite(row.degrees)
