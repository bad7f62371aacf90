"""coffea's NanoEvents as the branches that a layout names."""

from __future__ import annotations

from typing import Any

from djservice.errors import SchemaError
from djservice.input.branches import Branches, Get, find_branches
from djservice.input.layouts import FileLayout
from djservice.input.schemas import Schema

#: The entries of the events, through a selection.
ENTRY = "djservice_entry"


def branches_of_events(
    events: Any, schema: Schema, place: str, identity: tuple[str, ...] | None = None
) -> tuple[Branches, Get]:
    """The branches that a schema asks for among NanoEvents, and how their arrays are got.

    Raises
    ------
    SchemaError
        If one is not there.
    """

    def get(name: str) -> Any:
        return _column(events, name, schema.layout)

    def missing(name: str) -> SchemaError:
        return _missing(events, name, schema.layout, place)

    found = find_branches(schema, lambda name: get(name) is not None, missing, identity)
    if identity is not None and not found.identity:
        raise missing(next(name for name in identity if get(name) is None))
    return found, get


def _column(events: Any, branch: str, layout: FileLayout) -> Any:
    """A branch of NanoEvents by its name in the file; None where there is none.

    Past the behaviour of a collection: that of PHYSLITE's true particles refuses an energy beside a mass (coffea 2026.9).
    """
    import awkward as ak

    found = events.layout
    for name in filter(None, layout.place(branch)):
        if name not in found.fields:
            return None
        found = found[name]
    return ak.Array(found)


def _missing(events: Any, branch: str, layout: FileLayout, place: str) -> SchemaError:
    collection, _ = layout.place(branch)
    found = [name for name in events.layout.fields if name != ENTRY]
    if collection in found:
        found = [
            name
            for field in events.layout[collection].fields
            for name in layout.names(collection, field)
        ]
    return SchemaError(
        f"{place}: expected {branch!r} in the events, found {', '.join(found)}. Name another one."
    )
