"""Whether there is a store at a location, and whether it belongs to a given run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zarr

from djservice.errors import StoreError
from djservice.store.checked import attributes_of, need_format
from djservice.store.location import Location

STORE_FORMAT = 5

_MISSING = object()
#: Largest number of differing keys in a message.
_NAMED = 5
#: Keys of the sections of tasks.
_OF_TASKS = ("per_event.", "radius_model.", "particle_weights.", "joint.")


def is_store(where: Location) -> bool:
    """Whether the store of a run is there, damaged or not."""
    return b'"djservice_format"' in (where.read("zarr.json") or b"")


def need_store(where: Location) -> None:
    """Refuse a location that holds anything else.

    Raises
    ------
    StoreError
        If what is there is not the store of a run.
    """
    if not is_store(where):
        raise StoreError(
            f"{where}: expected no files or a store, found something that is not the store of a "
            "djservice run. Choose another output.store."
        )


def open_root(where: Location, mode: str) -> zarr.Group:
    """The root of a store of this format, checked."""
    need_format(where, "djservice_format", STORE_FORMAT)
    return where.group(mode)


def need_same_run(where: Location, numbers: Mapping[str, Any]) -> None:
    """Refuse the store of another run, naming every key that differs.

    Raises
    ------
    StoreError
        If a setting that affects numbers differs.
    """
    stored = attributes_of(where)["numbers"]
    differing = [
        key
        for key in {**stored, **numbers}
        if stored.get(key, _MISSING) != numbers.get(key, _MISSING)
    ]
    # A global run can be extended by another task, and continued without that task.
    extended = "task" not in stored or "task" not in numbers
    if extended or "task" in differing:  # then the keys of its section differ too
        differing = [key for key in differing if not key.startswith(_OF_TASKS)]
    if extended:
        differing = [key for key in differing if key != "task"]
    if differing:
        lines = "; ".join(
            f"{key} is {stored.get(key, 'absent')!r} there and {numbers.get(key, 'absent')!r} now"
            for key in differing[:_NAMED]
        )
        if len(differing) > _NAMED:
            lines += f"; and {len(differing) - _NAMED} more keys"
        raise StoreError(
            f"{where}: the store of another run: {lines}. Choose another output.store, or pass "
            "--overwrite to delete it."
        )
