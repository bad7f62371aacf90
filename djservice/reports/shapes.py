"""The figure and the text of fitted shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.formatting import with_error
from djservice.core.typing import Floats
from djservice.reports.beside_store import saved
from djservice.store.shape_store import ShapeStore, read_shapes

#: What is told and drawn of each prong: its array, its name, and its units.
_OF_PRONGS = {
    "prong_radius": ("radius", ""),
    "eccentricity": ("eccentricity", ""),
    "prong_pt": ("pT of the jet", " GeV"),
    "prong_mass": ("mass of the jet", " GeV"),
}


def shapes_text(path: str | Path) -> str:
    """What finished fits say, in some lines.

    Raises
    ------
    DjserviceError
        If they are not finished or damaged.
    """
    store = _finished(path)
    values, facts = store["value"], store.attrs["facts"]
    what = "events" if facts["jets"] is None else "jets"
    fitted = np.isfinite(values)
    lines = [f"{len(values):,} {what}, {_title(facts['shape'])}"]
    if not fitted.all():
        lines.append(f"fewer particles than prongs: {(~fitted).sum():,}, which have no fit")
    for label, column, units in _columns(store):
        lines.append(f"{f'mean {label}:':32s} {_mean(column)}{units}")
    return "\n".join(lines)


def draw(path: str | Path) -> list[Path]:
    """Draw the spectra of finished fits as PNG and SVG beside them, and return the files.

    Beside a URL, the figure is written into the working directory.

    Raises
    ------
    DjserviceError
        If they are not finished or damaged, or matplotlib is not installed.
    """
    store = _finished(path)
    facts = store.attrs["facts"]
    what = "events" if facts["jets"] is None else "jets"
    panels: dict[str, list[tuple[str, Floats]]] = {}
    for label, column, units in _columns(store):
        name, _, prong = label.partition(", prong ")
        axis = f"{name} [{units.strip()}]" if units else name
        panels.setdefault(axis, []).append((prong, column[np.isfinite(column)]))

    def drawn(plt: Any) -> Any:
        figure, places = plt.subplots(
            1, len(panels), figsize=(4.2 * len(panels), 4.0), layout="constrained", squeeze=False
        )
        for axes, (axis, columns) in zip(places[0], panels.items(), strict=True):
            _spectra(axes, columns)
            axes.set(xlabel=axis, ylabel=what, ylim=(0.0, None))
        figure.suptitle(_title(facts["shape"]), fontsize=12)
        return figure

    return saved(path, drawn)


def _finished(path: str | Path) -> ShapeStore:
    store = read_shapes(path)
    store.need_rows(len(store.group.rows("key")))
    return store


def _columns(store: ShapeStore) -> Iterator[tuple[str, Floats, str]]:
    """Labels, numbers and units: of the fit, and of each prong what is not 0 for all."""
    yield "value", store["value"], ""
    uniform = store["uniform"]
    if "uniform" in store.attrs["facts"]["shape"]["kind"]:
        yield "even share", uniform, ""
    for name, (label, units) in _OF_PRONGS.items():
        if name in store:
            columns = store[name].T
            if np.nanmax(np.abs(columns), initial=0.0) > 0.0:
                for k, column in enumerate(columns):
                    yield f"{label}, prong {k + 1}" if len(columns) > 1 else label, column, units


def _mean(column: Floats) -> str:
    column = column[np.isfinite(column)]
    if not len(column):
        return with_error(None, None)
    error = float(column.std(ddof=1) / np.sqrt(len(column))) if len(column) > 1 else None
    return with_error(float(column.mean()), error)


def _title(shape: dict[str, Any]) -> str:
    of = "" if "isotropy" in shape["kind"] else f"{shape['n']}-"
    radius = "" if "isotropy" in shape["kind"] else f"R = {shape['radius']:g}, "
    return f"{of}{shape['kind']}, {radius}beta = {shape['beta']:g}"


def _spectra(axes: Any, columns: list[tuple[str, Floats]]) -> None:
    """Numbers of jets in common bins, a colour for each prong."""
    from djservice.reports.drawing import COLOURS, edges_to

    every = np.concatenate([column for _, column in columns])
    high = float(np.quantile(every, 0.99)) if len(every) else 1.0
    number = min((len(column) for _, column in columns), default=0)
    edges = edges_to(1.05 * high, number)
    for k, (prong, column) in enumerate(columns):
        counts, _ = np.histogram(column, edges)
        label = f"prong {prong}" if prong else None
        axes.stairs(counts, edges, color=COLOURS[k % len(COLOURS)], label=label)
    if len(columns) > 1:
        axes.legend()
