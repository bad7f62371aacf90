"""Prints a diagram of the imports between the parts of a package as an SVG.

    python docs/import_diagram.py [FOLDER] > docs/images/imports.svg

A part is a module or a folder of the package. Imports within functions count, and imports for types
only do not. A part is drawn one floor above the highest part that it imports. Parts that import
each other in a circle are on the same floor.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

Arrows = dict[str, set[str]]


def modules(package: Path) -> dict[str, Path]:
    """Files of a package by dotted name of the module."""
    paths = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def imported(tree: ast.AST, package: str, names: dict[str, Path]) -> Iterator[str]:
    """Dotted names of the modules of the package that a module imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            base = (node.module or "").removeprefix(package).lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                if name if name in names else base:
                    yield name if name in names else base
        elif isinstance(node, ast.Import):
            yield from (
                a.name.removeprefix(f"{package}.")
                for a in node.names
                if a.name.startswith(f"{package}.")
            )
        yield from imported(node, package, names)


def arrows(package: Path) -> Arrows:
    """The parts that each part of the package imports, without the part itself."""
    paths = modules(package)
    graph: Arrows = {}
    for name, path in paths.items():
        if name:
            part = name.split(".")[0]
            targets = graph.setdefault(part, set())
            targets |= {
                target.split(".")[0]
                for target in imported(ast.parse(path.read_text()), package.name, paths)
            } - {part}
    return graph


def reached(start: str, graph: Arrows) -> set[str]:
    """All parts that a part imports, directly or indirectly."""
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        part = ahead.pop()
        if part not in seen:
            seen.add(part)
            ahead += graph.get(part, ())
    return seen


def circles(graph: Arrows) -> list[list[str]]:
    """Circles of imports, each as a list of parts."""
    reachable = {part: reached(part, graph) for part in graph}
    groups = {
        frozenset(o for o in graph if o in reachable[part] and part in reachable[o])
        for part in graph
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def floors(graph: Arrows) -> list[list[str]]:
    """Parts of each floor, from the ground up."""
    group = {part: (part,) for part in graph} | {
        part: tuple(circle) for circle in circles(graph) for part in circle
    }
    height: dict[tuple[str, ...], int] = {}

    def height_of(members: tuple[str, ...]) -> int:
        if members not in height:
            below = {group[target] for part in members for target in graph[part]} - {members}
            height[members] = 1 + max(map(height_of, below), default=-1)
        return height[members]

    levels = {part: height_of(group[part]) for part in graph}
    return [
        sorted(p for p in graph if levels[p] == level) for level in range(max(levels.values()) + 1)
    ]


def follows(part: str, target: str, graph: Arrows) -> bool:
    """True if an import is implied by other imports."""
    return any(target in reached(between, graph) for between in graph[part] - {target})


def summary(graph: Arrows) -> str:
    """Numbers of parts, floors, arrows and circles."""
    count = sum(map(len, graph.values()))
    rings = circles(graph)
    named = f" ({', '.join(' and '.join(ring) for ring in rings)})" if rings else ""
    return (
        f"{len(graph)} parts on {len(floors(graph))} floors, {count} arrows, "
        f"{len(rings)} circles{named}"
    )


#: Sizes in pixels: widths of a letter and of the drawing, heights of a box, a row and a floor.
LETTER, WIDTH, BOX, ROW, FLOOR = 6.6, 960, 22, 28, 50


def drawing(graph: Arrows) -> str:
    """The diagram as SVG: floors from the top down, implied imports pale, circles red."""
    levels, gap = floors(graph), 10 if len(graph) > 40 else 90
    centre: dict[str, tuple[float, float]] = {}
    top = 40.0
    for level in reversed(levels):
        for row in rows(level, gap):
            x_box = (WIDTH - sum(width(part) + gap for part in row) + gap) / 2
            for part in row:
                centre[part] = x_box + width(part) / 2, top + BOX / 2
                x_box += width(part) + gap
            top += ROW
        top += FLOOR - ROW
    lines, boxes = [], []
    red = {
        (part, target)
        for ring in circles(graph)
        for part in ring
        for target in ring
        if target in graph[part]
    }
    for part, (x, y) in centre.items():
        for target in sorted(graph[part]):
            (to, end), down = centre[target], BOX / 2
            colour = (
                "#c00000"
                if (part, target) in red
                else "#c9d2e0"
                if follows(part, target, graph)
                else "#3a5a8c"
            )
            first, last = (y + down, end - down) if end > y else (y + down, end + down)
            bend = max(20.0, abs(last - first) / 2)
            curve = (
                f"M{x:.0f},{first:.0f} C{x:.0f},{first + bend:.0f} "
                f"{to:.0f},{last - bend:.0f} {to:.0f},{last:.0f}"
            )
            lines.append((colour != "#c9d2e0", f'<path d="{curve}" stroke="{colour}"/>'))
        name = f'<text x="{x:.0f}" y="{y + 4:.0f}">{part}</text>'
        corner = f'x="{x - width(part) / 2:.0f}" y="{y - BOX / 2:.0f}"'
        boxes.append(f'<rect {corner} width="{width(part):.0f}" height="{BOX}" rx="4"/>{name}')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{top:.0f}" fill="#ffffff"/>',
            f'<text x="10" y="20" font-size="13">{summary(graph)}</text>',
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
    """Width of the box of a part in pixels."""
    return len(part) * LETTER + 12


def rows(parts: list[str], gap: int) -> list[list[str]]:
    """The parts of a floor in as many rows as they need."""
    lines: list[list[str]] = [[]]
    for part in parts:
        if (
            lines[-1]
            and sum(width(member) + gap for member in [*lines[-1], part]) - gap > WIDTH - 20
        ):
            lines.append([])
        lines[-1].append(part)
    return lines


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "djservice"
    print(drawing(arrows(folder)), end="")
