"""Prints the imports between the parts of a package as an SVG: floors, arrows, circles.

    python docs/import_diagram.py [FOLDER] > docs/images/imports.svg

A part is a module or a folder of the package. Imports within functions count, those for types alone do not. A part
stands one floor above the highest that it imports; parts that import each other in a circle stand on one floor.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

Arrows = dict[str, set[str]]


def modules(package: Path) -> dict[str, Path]:
    """Dotted names below the package, and their files."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, package: str, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a module imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            base = (node.module or "").removeprefix(package).lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                if name if name in known else base:
                    yield name if name in known else base
        elif isinstance(node, ast.Import):
            yield from (
                a.name.removeprefix(f"{package}.")
                for a in node.names
                if a.name.startswith(f"{package}.")
            )
        yield from imported(node, package, known)


def arrows(package: Path) -> Arrows:
    """What each part of the package imports, itself left out."""
    known = modules(package)
    found: Arrows = {}
    for name, path in known.items():
        if name:
            part = name.split(".")[0]
            own = found.setdefault(part, set())
            own |= {
                other.split(".")[0]
                for other in imported(ast.parse(path.read_text()), package.name, known)
            } - {part}
    return found


def reached(start: str, given: Arrows) -> set[str]:
    """All that a part imports, directly or not."""
    seen: set[str] = set()
    ahead = list(given[start])
    while ahead:
        part = ahead.pop()
        if part not in seen:
            seen.add(part)
            ahead += given.get(part, ())
    return seen


def circles(given: Arrows) -> list[list[str]]:
    """Parts that reach each other, a list for each circle."""
    below = {part: reached(part, given) for part in given}
    groups = {
        frozenset(o for o in given if o in below[part] and part in below[o]) for part in given
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def floors(given: Arrows) -> list[list[str]]:
    """Parts by floor, from the ground up."""
    group = {part: (part,) for part in given} | {
        part: tuple(circle) for circle in circles(given) for part in circle
    }
    height: dict[tuple[str, ...], int] = {}

    def of(own: tuple[str, ...]) -> int:
        if own not in height:
            below = {group[other] for part in own for other in given[part]} - {own}
            height[own] = 1 + max(map(of, below), default=-1)
        return height[own]

    levels = {part: of(group[part]) for part in given}
    return [
        sorted(p for p in given if levels[p] == level) for level in range(max(levels.values()) + 1)
    ]


def follows(part: str, other: str, given: Arrows) -> bool:
    """Whether an arrow follows from two others."""
    return any(other in reached(between, given) for between in given[part] - {other})


def summary(given: Arrows) -> str:
    """Parts, floors, arrows and circles, in numbers."""
    count = sum(map(len, given.values()))
    rings = circles(given)
    named = f" ({', '.join(' and '.join(ring) for ring in rings)})" if rings else ""
    return f"{len(given)} parts on {len(floors(given))} floors, {count} arrows, {len(rings)} circles{named}"


#: Sizes in pixels: the width of a letter and of the drawing, the height of a box, of a row and of a floor.
LETTER, WIDTH, BOX, ROW, FLOOR = 6.6, 960, 22, 28, 50


def drawing(given: Arrows) -> str:
    """SVG: floors from the top down, arrows downwards; those that follow from others are pale, circles are red."""
    levels, gap = floors(given), 10 if len(given) > 40 else 90
    centre: dict[str, tuple[float, float]] = {}
    top = 40.0
    for level in reversed(levels):
        for row in rows(level, gap):
            left = (WIDTH - sum(width(part) + gap for part in row) + gap) / 2
            for part in row:
                centre[part] = left + width(part) / 2, top + BOX / 2
                left += width(part) + gap
            top += ROW
        top += FLOOR - ROW
    lines, boxes = [], []
    red = {
        (part, other)
        for ring in circles(given)
        for part in ring
        for other in ring
        if other in given[part]
    }
    for part, (x, y) in centre.items():
        for other in sorted(given[part]):
            (to, end), down = centre[other], BOX / 2
            colour = (
                "#c00000"
                if (part, other) in red
                else "#c9d2e0"
                if follows(part, other, given)
                else "#3a5a8c"
            )
            first, last = (y + down, end - down) if end > y else (y + down, end + down)
            bend = max(20.0, abs(last - first) / 2)
            curve = f"M{x:.0f},{first:.0f} C{x:.0f},{first + bend:.0f} {to:.0f},{last - bend:.0f} {to:.0f},{last:.0f}"
            lines.append((colour != "#c9d2e0", f'<path d="{curve}" stroke="{colour}"/>'))
        name = f'<text x="{x:.0f}" y="{y + 4:.0f}">{part}</text>'
        corner = f'x="{x - width(part) / 2:.0f}" y="{y - BOX / 2:.0f}"'
        boxes.append(f'<rect {corner} width="{width(part):.0f}" height="{BOX}" rx="4"/>{name}')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{top:.0f}" fill="#ffffff"/>',
            f'<text x="10" y="20" font-size="13">{summary(given)}</text>',
            '<g fill="none" stroke-width="0.8">',
            *(line for _, line in sorted(lines)),
            "</g>",
            '<g fill="#eef3fa" stroke="#3a5a8c" stroke-width="0.8" text-anchor="middle">',
            *(box.replace("<text", '<text fill="#111111" stroke="none"') for box in boxes),
            "</g>",
            "</svg>\n",
        ]
    )


def width(part: str) -> float:
    """Of a box."""
    return len(part) * LETTER + 12


def rows(parts: list[str], gap: int) -> list[list[str]]:
    """A floor of many parts in several rows."""
    found: list[list[str]] = [[]]
    for part in parts:
        if found[-1] and sum(width(other) + gap for other in [*found[-1], part]) - gap > WIDTH - 20:
            found.append([])
        found[-1].append(part)
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "djservice"
    print(drawing(arrows(folder)), end="")
