"""The fence of a store: whoever writes it puts a token into it, and every write looks for it.

A lock alone is not enough. It does not hold on every network disk, an object store has none, and
a process that was stopped and goes on later does not know what happened to its store meanwhile. A
writer whose token is gone or replaced stops, so that its rows are not mixed with those of another.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import zarr
from zarr.core.buffer import Buffer

from djservice.core.checksums import document_of
from djservice.errors import StoreError

#: The metadata of an empty group of the store. They hold the token of the process that writes it.
#: The file is written in place, because it is also the file that is locked.
WRITER = "writer"
TOKEN = f"{WRITER}/zarr.json"
#: Length in bytes, always the same, so that a new token replaces an old one in a single write.
_LENGTH = 512


def new_token() -> bytes:
    """A token that no other process has, with the name of this process."""
    return _metadata(
        process=os.getpid(),
        machine=os.uname().nodename[:64],
        since=time.strftime("%Y-%m-%d %H:%M:%S%z"),
        token=uuid.uuid4().hex,  # two containers may have the same process and machine
    )


def _metadata(**attributes: Any) -> bytes:
    content = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(content).encode().ljust(_LENGTH - 1) + b"\n"


#: Content when no process writes the store.
NOBODY = _metadata()


def holder(token: bytes | None) -> str:
    """The process that a token names, for messages; empty if it names none."""
    try:
        facts = document_of(token or b"")["attributes"]
        return f" (process {facts['process']} on {facts['machine']}, since {facts['since']})"
    except (ValueError, KeyError, TypeError):
        return ""


def check_token(where: object, token: bytes, present: bytes | None) -> None:
    """Compare the own token with the present content of the store.

    Raises
    ------
    StoreError
        If the store has no token or that of another process.
    """
    if present == token:
        return
    if present is None:
        what = "the store was removed while this process wrote it. Nothing more is written"
    else:
        what = (
            f"another process{holder(present)} writes this store now: it was removed and "
            "made anew, or the lock was lost. This process stops, so that nothing is mixed"
        )
    raise StoreError(
        f"{where}: {what}. Run the same command again when no other process writes there."
    )


class Fenced(zarr.storage.WrapperStore[Any]):
    """A Zarr store that calls a function, which may refuse, before every write.

    Parameters
    ----------
    store
        The store that is read and written.
    check
        Raises :class:`~djservice.errors.StoreError` if this process may not write any more.
    """

    def __init__(self, store: Any, check: Callable[[], None]) -> None:
        super().__init__(store)
        self._check = check

    def _with_store(self, store: Any) -> Fenced:
        return type(self)(store, self._check)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a value."""
        self._check()
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a value unless there is one."""
        self._check()
        await super().set_if_not_exists(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a value."""
        self._check()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all values below a prefix."""
        self._check()
        await super().delete_dir(prefix)

    async def clear(self) -> None:
        """Delete everything."""
        self._check()
        await super().clear()
