"""The figure and the text of a matrix of distances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.formatting import with_error
from djservice.core.typing import Floats
from djservice.reports.beside_store import saved
from djservice.shapes.dimension import Estimate, Geometry, geometry
from djservice.store.distance_store import DistanceStore, read_distances


def distances_text(path: str | Path) -> str:
    """What a finished matrix says, in some lines.

    Raises
    ------
    DjserviceError
        If it is not finished or damaged.
    """
    store = read_distances(path)
    return _text(store, geometry(_finished(store)))


def draw(path: str | Path) -> list[Path]:
    """Draw the figure of a finished matrix as PNG and SVG beside it, and return the files.

    Beside a URL, the figure is written into the working directory.

    Raises
    ------
    DjserviceError
        If it is not finished or damaged, or matplotlib is not installed.
    """
    store = read_distances(path)
    matrix, facts = _finished(store), store.attrs["facts"]
    found = geometry(matrix)

    def drawn(plt: Any) -> Any:
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
        _histograms(left, matrix, found, facts)
        _dimension(right, found)
        figure.suptitle(_title(facts["distance"]), fontsize=12)
        return figure

    return saved(path, drawn)


def _finished(store: DistanceStore) -> Floats:
    """The matrix, all of it."""
    matrix: Floats = store["distance"]
    store.need_rows(len(matrix))
    return matrix


def _text(store: DistanceStore, found: Geometry) -> str:
    facts, table = store.attrs["facts"], [store["key"], store["place"]]
    what = "events" if facts["jets"] is None else "jets"
    units = "" if facts["distance"]["norm"] else " GeV"
    lines = [
        f"{len(found.nearest):,} {what}, {_title(facts['distance'])}",
        f"mean distance:              {_number(found.mean)}{units}",
        f"mean to nearest neighbour:  {_number(found.mean_nearest)}{units}",
    ]
    for name, i in (
        ("closest pair", found.nearest.argmin()),
        ("loneliest", found.nearest.argmax()),
    ):
        other = "" if name == "loneliest" else f" and {_name(table, found.neighbour[i])}"
        lines.append(f"{name + ':':27s} {_name(table, i)}{other}, at {found.nearest[i]:.3g}{units}")
    known = np.flatnonzero(np.isfinite(found.dimension.value))
    for k in known[np.unique(np.linspace(0, len(known) - 1, 3).astype(int))] if len(known) else ():
        dimension = with_error(found.dimension.value[k], _error(found.dimension.error[k]))
        lines.append(f"correlation dimension at Q = {found.scale[k]:.3g}{units}: {dimension}")
    if not len(known):
        lines.append("correlation dimension: not determined, by too few different distances")
    return "\n".join(lines)


def _number(estimate: Estimate) -> str:
    return with_error(float(estimate.value[0]), _error(estimate.error[0]))


def _error(error: Any) -> float | None:
    return float(error) if np.isfinite(error) else None


def _name(table: list[Any], row: Any) -> str:
    """A jet by the identity of its event and its place."""
    return f"row {row} (event {table[0][row]:016x}, jet {table[1][row]})"


def _title(distance: dict[str, Any]) -> str:
    kind = "EMD" if distance["kind"] == "emd" else "spectral EMD"
    norm = ", normalised" if distance["norm"] else ""
    return f"{kind}, R = {distance['radius']:g}, beta = {distance['beta']:g}{norm}"


def _label(facts: dict[str, Any], of: str) -> str:
    return f"{of}" + ("" if facts["distance"]["norm"] else " [GeV]")


def _histograms(axes: Any, matrix: Any, found: Geometry, facts: dict[str, Any]) -> None:
    """Distances to the nearest neighbour, and all distances, as densities."""
    from djservice.reports.drawing import COLOURS, edges_to

    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    high = float(np.quantile(pairs, 0.995))
    for values, colour, label in (
        (found.nearest, COLOURS[1], "nearest neighbour"),
        (pairs, COLOURS[0], "all pairs"),
    ):
        edges = edges_to(high, len(values))
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts / (len(values) * np.diff(edges)), edges, color=colour, label=label)
    axes.set(xlabel=_label(facts, "distance"), ylabel="density", ylim=(0.0, None))
    axes.legend()


def _dimension(axes: Any, found: Geometry) -> None:
    """The correlation dimension against the scale."""
    from djservice.reports.drawing import COLOURS, plain_logarithm

    axes.errorbar(
        found.scale,
        found.dimension.value,
        found.dimension.error,
        fmt="o",
        ms=4,
        capsize=2,
        color=COLOURS[1],
    )
    axes.set(xlabel="scale Q", ylabel="correlation dimension", ylim=(0.0, None))
    if len(found.scale):
        plain_logarithm(axes)
