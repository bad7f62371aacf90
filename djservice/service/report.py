"""The HTML report of a run that the scheduler has finished."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import dask

from djservice.core.redact import message_of
from djservice.core.urls import is_url
from djservice.errors import ConfigError
from djservice.runs.finished import FinishedRun

#: Key of Dask's configuration that turns the reports off.
REPORTS = "djservice.reports"
#: matplotlib draws one figure at a time.
_DRAWING = Lock()


def reports_wanted() -> bool:
    """Whether the scheduler writes reports.

    Raises
    ------
    ConfigError
        If the setting is neither true nor false.
    """
    wanted = dask.config.get(REPORTS, True)
    if not isinstance(wanted, bool):
        raise ConfigError(
            f"{REPORTS}: expected true or false, found {wanted!r}. Correct Dask's configuration."
        )
    return wanted


def report_file(output: dict[str, Any]) -> Path | None:
    """The report of a run with this section ``output``; None for a URL, which has no place beside."""
    from djservice.reports.page import page_of

    store, page = str(output["store"]), output.get("report")
    return None if page is None and is_url(store) else page_of(store, page)


def write_report(finished: FinishedRun, page: str | None) -> str:
    """Write the report of a run, and return a line about it; empty if none is wanted.

    The result exists whatever happens here, so an error becomes that line.
    """
    if not reports_wanted():
        return ""
    try:
        file = report_file({"store": str(finished.store), "report": page})
        if file is None:
            return "no report: set output.report, as there is no place beside a URL"
        from djservice.reports.html import report

        with _DRAWING:
            return f"report: {report(finished.store, file)}"
    except Exception as error:
        return f"no report: {type(error).__name__}: {message_of(error)}"
