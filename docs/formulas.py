"""Sets formulas as SVG when mkdocs builds the site, so that pages need no script and no font.

It also keeps a number and its error on one line.
"""

from __future__ import annotations

import html
import re
from typing import Any

import ziamath

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
_SIZE = 17  # size of the font in units of the drawing
_EM = 15  # units of the drawing in one em of the text

ziamath.config.svg2 = False  # inline shapes, because identifiers would repeat on a page


def on_page_content(page: str, /, **_: Any) -> str:
    """Called by mkdocs with the HTML of each page, where arithmatex has marked the formulas."""
    page = page.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    page = _INLINE.sub(lambda formula: svg_of(html.unescape(formula[1]), inline=True), page)
    return _BLOCK.sub(
        lambda formula: f'<div class="formula">{svg_of(html.unescape(formula[1]))}</div>', page
    )


def svg_of(tex: str, inline: bool = False) -> str:
    """A formula as an SVG element with the size, the colour and the baseline of the text."""
    tex = " ".join(tex.split())
    svg = ziamath.Latex(tex, size=_SIZE, inline=inline, color="currentColor").svg()
    top, width, height = (
        float(number) for number in svg.split('viewBox="')[1].split('"')[0].split()[1:]
    )
    if height > 10 * _SIZE:
        raise ValueError(
            f"{tex}: expected at most 10 lines, found {height / _SIZE:.0f}. "
            "Use \\Bigl and \\Bigr around sums."
        )
    sizes = {"width": width, "height": height, "vertical-align": -(height + top)}
    style = "; ".join(f"{name}: {value / _EM:.3f}em" for name, value in sizes.items())
    start = f'<svg role="img" aria-label="{html.escape(tex)}" style="{style}"'
    return re.sub(
        r'<svg(?= )(.*?) width="[^"]*" height="[^"]*"', lambda m: start + m[1], svg, count=1
    )
