"""What the JSON answers hold, as plain data: records of the service, and columns of a run's store."""

from __future__ import annotations

from typing import Any

import numpy as np
from distributed import Scheduler

from djservice.core.formatting import finite
from djservice.core.redact import redacted, redacted_data
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
    """How much the scheduler has to do, and with what."""
    workers = scheduler.workers.values()
    return {
        "workers": len(workers),
        "threads": sum(worker.nthreads for worker in workers),
        "processing": sum(len(worker.processing) for worker in workers),
        "memory": sum(worker.nbytes for worker in workers),
    }


def shown(record: dict[str, Any]) -> dict[str, Any]:
    """A record as JSON can say it, without secrets."""
    plain: dict[str, Any] = finite(redacted_data(record))
    return plain


def stored(path: str, rows: int, start: int) -> dict[str, Any]:
    """The columns of a store that figures are made of; touches files, so not for the scheduler's loop.

    Parameters
    ----------
    path
        The store, which may not be there yet.
    rows
        At most so many of the history, the last ones.
    start
        Only rows of the history from this one on.
    """
    found: dict[str, Any] = {
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
    except (
        StoreError,
        OSError,
        KeyError,
        ValueError,
    ) as error:  # it may be removed or broken while it is read
        return found | {"unreadable": redacted(str(error))}
    return found | {"history_rows": complete, "history": history, "scan": scan}


def _columns(
    store: Store, group: str, names: tuple[str, ...], start: int, stop: int
) -> dict[str, list[Any]]:
    """Rows of some columns as lists; what is not finite is None."""
    arrays: Any = store.root
    columns = {name: np.asarray(arrays[f"{group}/{name}"][start:stop]).tolist() for name in names}
    return {name: finite(values) for name, values in columns.items()}
