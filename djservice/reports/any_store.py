"""Text and figures of a store of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from djservice.core.formatting import finite
from djservice.errors import StoreError
from djservice.store.checked import attributes_of
from djservice.store.location import locate
from djservice.store.verify import kind_of as kind_of

#: The store of a run, which has a summary and a report of its own.
RUN = "djservice_format"


def store_text(path: str | Path) -> Iterator[str]:
    """What a store that is not that of a run holds, in lines.

    Raises
    ------
    DjserviceError
        If there is no store, it is damaged or not finished.
    """
    kind = kind_of(path)
    if kind == "djservice_grid":
        from djservice.reports.grid_figures import grid_text

        yield from grid_text(path).split("\n")
    elif kind == "djservice_distances":
        from djservice.reports.distances import distances_text

        yield from distances_text(path).split("\n")
    elif kind == "djservice_shapes":
        from djservice.reports.shapes import shapes_text

        yield from shapes_text(path).split("\n")
    else:
        attributes = attributes_of(locate(path))
        files = ", ".join(file["path"] for file in attributes["inputs"])
        yield f"{files}: radius and observable of each event, by the fit {attributes['fit']}"
        yield f"read it with xarray, or: djservice export {path} --to root"


def store_facts(path: str | Path) -> dict[str, Any]:
    """The attributes of a store as plain data."""
    facts = attributes_of(locate(path))
    plain: dict[str, Any] = finite({k: v for k, v in facts.items() if k not in ("arrays", "of")})
    return plain


def store_figures(path: str | Path) -> list[Path]:
    """Draw the figure of a store that is not that of a run, beside it.

    Raises
    ------
    DjserviceError
        If there is no store, it is damaged or not finished, or has no figure.
    """
    kind = kind_of(path)
    if kind == "djservice_grid":
        from djservice.reports.grid_figures import draw

        return draw(path)
    if kind == "djservice_distances":
        from djservice.reports.distances import draw as draw_distances

        return draw_distances(path)
    if kind == "djservice_shapes":
        from djservice.reports.shapes import draw as draw_shapes

        return draw_shapes(path)
    raise StoreError(
        f"{path}: the store of a reprocessed file has no report. The one of its fit has: give "
        "fit.zarr beside it."
    )
