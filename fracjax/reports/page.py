"""One self-contained HTML page: pictures inside, nothing fetched, everything escaped."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from fracjax.diagnosis.shown_numbers import bound, is_at_least

__all__ = ["definitions", "document", "image", "interval", "png", "slug", "table"]

_RELOAD_SECONDS = 10
_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 68rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .35rem .8rem; border-bottom: 1px solid #e1e4e8;
         vertical-align: top; }
th { font-weight: 600; background: #f6f8fa; }
td.name { white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; white-space: pre; }
img { max-width: 100%; margin: .6rem 0; }
code { background: #f6f8fa; padding: .1rem .3rem; border-radius: 3px; }
.tag { border-radius: 1rem; padding: .1rem .7rem; font-weight: 600; color: white; }
.smooth { background: #1a7f37; } .fractal { background: #b42318; }
.discontinuous { background: #9a5b00; } .undecided { background: #57606a; }
.note { color: #57606a; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; }
dt { color: #57606a; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f6f8fa; padding: .7rem 1rem; border-radius: 4px;
      white-space: pre-wrap; overflow-wrap: anywhere; }
.banner { border-left: 4px solid #1a7f37; background: #f0f8f2; padding: .5rem 1rem; }
.banner.open { border-color: #bf8700; background: #fff8e5; }
.scroll { overflow-x: auto; } summary { cursor: pointer; color: #57606a; }
"""


def document(
    title: str, body: Iterable[str], *, lead: str, foot: str, reloads: bool = False
) -> str:
    """Join a page.

    Args:
        title: Plain text.
        body: Pieces of HTML.
        lead: HTML of the paragraph below the title.
        foot: HTML of the last paragraph.
        reloads: Whether the page loads itself again every ten seconds.
    """
    reload = f'<meta http-equiv="refresh" content="{_RELOAD_SECONDS}">' if reloads else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="generator" content="fracjax">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style>{reload}</head><body>"
        f"<h1>{html.escape(title)}</h1>"
        f'<p class="note">{lead}</p>{"".join(body)}<p class="note">{foot}</p></body></html>\n'
    )


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """List names and what they stand for, both plain text."""
    items = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in pairs
    )
    return f"<dl>{items}</dl>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Set plain text in a table; every column but the first holds numbers.

    Lines break where the text does.
    """
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = []
    for row in rows:
        first, *rest = (html.escape(cell) for cell in row)
        cells = "".join(f'<td class="number">{cell}</td>' for cell in rest)
        body.append(f'<tr><td class="name">{first}</td>{cells}</tr>')
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def image(content: bytes, *, alt: str, caption: str) -> str:
    """Embed a PNG, with plain text below."""
    data = base64.b64encode(content).decode()
    return (
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
        f'<p class="note">{html.escape(caption)}</p>'
    )


def png(figure: Figure) -> bytes:
    """Draw a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def slug(text: str) -> str:
    """Turn a title into a part of a file's name."""
    kept = "".join(char if char.isalnum() else "-" for char in text.lower())
    return "-".join(part for part in kept.split("-") if part)


def interval(estimate: Mapping[str, Any] | None, *, cap: float | None = None) -> str:
    """Print an estimate of a JSON document with its interval, and its status unless it is ok.

    Args:
        estimate: Value, ends and status.
        cap: The most that the estimator sees, if there is such a bound.
    """
    if estimate is None or estimate.get("value") is None:
        return _status((estimate or {}).get("status", "–"))
    low, high = estimate.get("low"), estimate.get("high")
    text = f"{estimate['value']:.3g}"
    if low is not None and high is not None:
        text += f" [{low:.3g}, {high:.3g}]"
    if cap is not None and is_at_least(low, cap):
        text = bound(cap)
    status = estimate.get("status", "ok")
    return text if status == "ok" else f"{text} ({_status(status)})"


def _status(status: Any) -> str:
    return html.escape(str(status).replace("_", " "))
