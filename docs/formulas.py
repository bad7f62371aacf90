"""Sets formulas as SVG, when mkdocs builds the site: no page needs a script or a font. A number stays with its error."""

from __future__ import annotations

import html
import re
from typing import Any

import ziamath

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
_SIZE = 17  # of the font, in units of the drawing
_EM = 15  # so many of them are the size of the text around it

ziamath.config.svg2 = False  # shapes in place: identifiers would repeat on a page


def on_page_content(page: str, /, **_: Any) -> str:
    """Called by mkdocs with each page as HTML, in which pymdownx.arithmatex has marked the formulas."""
    page = page.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    page = _INLINE.sub(lambda formula: drawn(html.unescape(formula[1]), inline=True), page)
    return _BLOCK.sub(
        lambda formula: f'<div class="formula">{drawn(html.unescape(formula[1]))}</div>', page
    )


def drawn(tex: str, inline: bool = False) -> str:
    """A formula as an SVG element that scales with the text, in its colour, on its baseline."""
    tex = " ".join(tex.split())
    svg = ziamath.Latex(tex, size=_SIZE, inline=inline, color="currentColor").svg()
    top, width, height = (
        float(number) for number in svg.split('viewBox="')[1].split('"')[0].split()[1:]
    )
    if height > 10 * _SIZE:
        raise ValueError(
            f"{tex}: drawn {height / _SIZE:.0f} lines high. Use \\Bigl and \\Bigr around sums."
        )
    sizes = {"width": width, "height": height, "vertical-align": -(height + top)}
    style = "; ".join(f"{name}: {value / _EM:.3f}em" for name, value in sizes.items())
    start = f'<svg role="img" aria-label="{html.escape(tex)}" style="{style}"'
    return re.sub(
        r'<svg(?= )(.*?) width="[^"]*" height="[^"]*"', lambda m: start + m[1], svg, count=1
    )
