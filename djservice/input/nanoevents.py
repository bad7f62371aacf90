"""coffea's NanoEvents as the branches that a layout names."""

from __future__ import annotations

from typing import Any

from djservice.errors import SchemaError
from djservice.input.branch_names import Branches, find_branches
from djservice.input.branches import Get
from djservice.input.layouts import FileLayout
from djservice.input.schemas import Schema
from djservice.input.truth import NO_QUARKS

#: Field that carries the entry numbers of events through a selection.
ENTRY = "djservice_entry"


def branches_of_events(
    events: Any, schema: Schema, place: str, identity: tuple[str, ...] | None = None
) -> tuple[Branches, Get]:
    """The branches of a schema in NanoEvents, and the function that returns their arrays.

    Raises
    ------
    SchemaError
        If a branch is missing.
    """

    def get(name: str) -> Any:
        return _column(events, name, schema.layout)

    def missing(name: str) -> SchemaError:
        return _missing(events, name, schema, place)

    branches = find_branches(schema, lambda name: get(name) is not None, missing, identity)
    if identity is not None and not branches.identity:
        raise missing(next(name for name in identity if get(name) is None))
    return branches, get


def _column(events: Any, branch: str, layout: FileLayout) -> Any:
    """A branch of NanoEvents by its name in the file; None if it does not exist.

    The column is taken from the layout, without the behaviour of the collection. The behaviour of
    PHYSLITE's true particles refuses an energy beside a mass (coffea 2026.9).
    """
    import awkward as ak

    for collection, name in layout.places(branch):
        if collection in events.layout.fields:
            content = events.layout[collection]
            if not name or name in content.fields:
                return ak.Array(content[name] if name else content)
    return None


def _missing(events: Any, branch: str, schema: Schema, place: str) -> SchemaError:
    layout = schema.layout
    names = [name for name in events.layout.fields if name != ENTRY]
    for collection, _ in layout.places(branch):
        if collection in names:
            fields = events.layout[collection].fields
            names = [layout.names(collection, field)[0] for field in fields]
            break
    of_quarks = schema.quarks and branch in layout.generated.values()
    return SchemaError(
        f"{place}: expected {branch!r} in the events, found {', '.join(names)}. "
        f"{NO_QUARKS if of_quarks else 'Name another one.'}"
    )
