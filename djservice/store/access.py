"""Errors of access to a store, as errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from djservice.core.redact import message_of, shareable
from djservice.errors import DamagedStoreError, StoreError
from djservice.store.location import Location


@contextlib.contextmanager
def clear_errors(where: Location, action: str = "written") -> Iterator[None]:
    """Turn errors of the operating system or the server into errors of the store.

    A writer is stopped if the store is not its own any more.

    Parameters
    ----------
    where
        The store.
    action
        What is done to it: "written" or "read".
    """
    try:
        if action == "written":
            where.check()
        yield
    except DamagedStoreError:
        where.check()  # its files may be missing because it was removed
        raise
    except where.errors as error:
        where.check()
        reason = getattr(error, "strerror", None) or message_of(error)
        advice = (
            "What was complete is kept: free space or mend the permissions, and run the same "
            "command to go on."
        )
        if action == "read":
            advice = (
                "See that you may read it, and for a URL that its server answers and that its keys "
                "are in the environment."
            )
        raise StoreError(f"{where}: cannot be {action}: {reason}. {advice}") from shareable(error)
