"""Content of the JSON answers as plain data: records of the service and columns of a store."""

from __future__ import annotations

from typing import Any

import numpy as np
from distributed import Scheduler

from djservice.core.formatting import finite
from djservice.core.private import public
from djservice.core.redact import redacted
from djservice.errors import StoreError
from djservice.store.columns import SCAN
from djservice.store.run_store import Store

#: Columns of ``history`` and ``scan`` in an answer.
HISTORY = (
    "iteration",
    "radius",
    "radius_average",
    "loss",
    "loss_error",
    "acceptance",
    "seconds",
    "trees",
)
LANDSCAPE = ("radius", *SCAN)


def cluster(scheduler: Scheduler) -> dict[str, int]:
    """Workers, threads, tasks in progress and memory in bytes of the cluster."""
    workers = scheduler.workers.values()
    return {
        "workers": len(workers),
        "threads": sum(worker.nthreads for worker in workers),
        "processing": sum(len(worker.processing) for worker in workers),
        "memory": sum(worker.nbytes for worker in workers),
    }


def public_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record without secrets and with finite numbers, ready for JSON."""
    plain: dict[str, Any] = finite(public(record))
    return plain


def store_columns(path: str, rows: int, start: int) -> dict[str, Any]:
    """The columns of a store for the figures.

    It reads files and must not be called on the scheduler's loop.

    Parameters
    ----------
    path
        Path of the store, which need not exist yet.
    rows
        Largest number of rows of the history; the last ones are taken.
    start
        First row of the history to take.
    """
    columns: dict[str, Any] = {
        "history_rows": 0,
        "history": {name: [] for name in HISTORY},
        "scan": {name: [] for name in LANDSCAPE},
        "unreadable": None,
    }
    try:
        store = Store.read(path)
        complete = store.n_complete("history")
        history = _columns(store, "history", HISTORY, max(start, complete - rows, 0), complete)
        scan = _columns(store, "scan", LANDSCAPE, 0, store.n_complete("scan"))
    # The store may be removed or damaged while it is read.
    except (StoreError, OSError, KeyError, ValueError) as error:
        return columns | {"unreadable": redacted(str(error))}
    return columns | {"history_rows": complete, "history": history, "scan": scan}


def _columns(
    store: Store, group: str, names: tuple[str, ...], start: int, stop: int
) -> dict[str, list[Any]]:
    """Rows of columns as lists; numbers that are not finite become None."""
    arrays: Any = store.root
    columns = {name: np.asarray(arrays[f"{group}/{name}"][start:stop]).tolist() for name in names}
    return {name: finite(values) for name, values in columns.items()}
