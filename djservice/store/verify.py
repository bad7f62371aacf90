"""verify(where): every byte of a store, against the checksums that were written with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from djservice.core.checksums import document_of
from djservice.errors import DamagedStoreError, StoreError
from djservice.store.access import clear_errors
from djservice.store.checked import CheckedGroup, Damage, Readable, damaged, need_format
from djservice.store.distance_store import DISTANCE_FORMAT
from djservice.store.fence import WRITER
from djservice.store.grid_store import GRID_FORMAT
from djservice.store.location import locate
from djservice.store.same_run import STORE_FORMAT
from djservice.store.shape_store import ShapeStore

#: Format of the stores of files in a reprocessing.
APPLIED_FORMAT = 3
#: Attribute of the root that holds the format, and the format, of each kind of store.
KINDS = {
    "djservice_format": STORE_FORMAT,
    "djservice_grid": GRID_FORMAT,
    "djservice_applied": APPLIED_FORMAT,
    "djservice_distances": DISTANCE_FORMAT,
    ShapeStore.marker: ShapeStore.format,
}


def kind_of(path: str | Path) -> str:
    """The key of :data:`KINDS` of the store at a path.

    Raises
    ------
    StoreError
        If there is no store.
    """
    where = locate(path)
    with clear_errors(where, "read"):
        text = where.read("zarr.json") or b""
    for marker in KINDS:
        if f'"{marker}"'.encode() in text:
            return marker
    what = "another one" if text else "none"
    raise StoreError(
        f"{where}: there is no store here: expected that of a run, a scan, a comparison, distances, "
        f"shapes or a reprocessed file, found {what}. Give the folder or URL that the command wrote."
    )


def verify_store(path: str | Path) -> int:
    """Verify the store of a run, a grid, distances, shapes or a file; returns its number of arrays.

    Raises
    ------
    DamagedStoreError
        If there is no store, or a file is not as it was written; the message names it.
    StoreError
        If it cannot be read, or a version without checksums wrote it.
    """
    where = locate(path)
    try:
        text = where.read("zarr.json")
        if text is None:
            raise DamagedStoreError(
                f"{where}: there is no store here, or its zarr.json is missing. Give the folder or "
                "URL of a store."
            )
        for marker, expected in KINDS.items():
            if marker.encode() in text:
                need_format(where, marker, expected)
        damages, arrays = verify(where)
    except where.errors as error:
        raise StoreError(f"{where}: cannot be read: {error}. Correct the permissions.") from error
    if damages:
        raise damaged(where, damages, named=len(damages))
    return arrays


def verify(where: Readable) -> tuple[list[Damage], int]:
    """What is damaged in a hierarchy, and the number of its arrays."""
    root = CheckedGroup(where, None)
    lost = root.unreadable()
    if lost is not None:
        return [lost], 0
    damages, arrays = [], 0
    for group in _groups(CheckedGroup(where, where.group("r"))):
        lost = group.unreadable()
        if lost is not None:
            damages.append(lost)
            continue
        damages += [*group.damages(), *_copies(group)]
        arrays += len(group.attributes["arrays"])
    return damages, arrays


def _groups(group: CheckedGroup) -> Iterator[CheckedGroup]:
    """A group and all groups within."""
    yield group
    if group.unreadable() is None:
        attributes = group.attributes
        of = str(attributes.get("of", ""))
        for name in attributes["groups"]:
            yield from _groups(CheckedGroup(group.where, group.root, group.path(name), of))


def _copies(group: CheckedGroup) -> Iterator[Damage]:
    """Consolidated metadata that differ from what they are copies of, but for the changing token."""
    document = _document(group.where, group.path("zarr.json"))
    consolidated = document.get("consolidated_metadata") or {"metadata": {}}
    copies = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(copies, dict) or not all(isinstance(c, dict) for c in copies.values()):
        yield Damage(group.name, group.path("zarr.json"), "has no readable copies of metadata")
        return
    copies.pop(WRITER, None)
    for name, copy in copies.items():
        original = _document(group.where, group.path(f"{name}/zarr.json"))
        copy.pop("consolidated_metadata", None)
        original.pop("consolidated_metadata", None)
        if copy != original:
            yield Damage(group.path(name), group.path("zarr.json"), "has another copy of it")


def _document(where: Readable, key: str) -> dict[str, Any]:
    """Metadata as plain data; empty if they are damaged, which is said elsewhere."""
    try:
        document = document_of(where.read(key) or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
