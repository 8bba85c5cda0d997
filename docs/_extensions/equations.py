"""Equations as drawings inside the page: no script, no font and no request when it is read.

Matplotlib, which fracjax draws with anyway, sets the part of TeX that these pages use. MathML would
need a font with mathematical tables, which many machines lack.
"""

import html
from typing import Any

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

__all__ = ["drawing", "setup"]

SIZE = 16.0  # units of the drawing that make a letter
EM = 13.6  # and that make an em of the text
LETTERS = {
    Path.MOVETO: "M",
    Path.LINETO: "L",
    Path.CURVE3: "Q",
    Path.CURVE4: "C",
    Path.CLOSEPOLY: "Z",
}


def drawing(tex: str) -> str:
    """Draw a formula as SVG in the colour of the text, standing on its baseline.

    Raises:
        ValueError: If Matplotlib does not know a command.
    """
    font = FontProperties(math_fontfamily="stix")
    outline = TextPath((0, 0), f"${' '.join(tex.split())}$", size=SIZE, prop=font)
    box = outline.get_extents().padded(0.3)
    strokes = []
    for vertices, code in outline.iter_segments(simplify=False, curves=True):
        numbers = [] if code == Path.CLOSEPOLY else (vertices.reshape(-1, 2) * (1, -1)).ravel()
        strokes.append(LETTERS[code] + " ".join(f"{x:.2f}" for x in numbers))
    style = (
        f"width:{box.width / EM:.3f}em;height:{box.height / EM:.3f}em;"
        f"vertical-align:{box.y0 / EM:.3f}em"
    )
    view = f"{box.x0:.2f} {-box.y1:.2f} {box.width:.2f} {box.height:.2f}"
    return (
        f'<svg class="equation" role="img" aria-label="{html.escape(tex)}" style="{style}"'
        f' viewBox="{view}" fill="currentColor"><path d="{"".join(strokes)}"/></svg>'
    )


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(drawing(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    tex = node.astext().replace(r"\frac", r"\dfrac")
    self.body.append(f'<div class="equations">{drawing(tex)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("drawings", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
