"""Pages, JSON and metrics of the runs, on the scheduler's own HTTP server. Read-only, and asked for nothing they do nothing.

Dask looks for ``routes`` here once :func:`install` has told it to.
"""

from __future__ import annotations

import dask
from distributed import Scheduler

from djservice.web import api, pages

routes = [*api.routes, *pages.routes]


def install() -> None:
    """Add the routes and the metrics to those of every scheduler that this process starts from now on."""
    modules = dask.config.get("distributed.scheduler.http.routes")
    if __name__ not in modules:
        modules.append(__name__)
    try:
        from distributed.http.scheduler.prometheus.core import COLLECTORS
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":  # without it Dask has no metrics either, and says so
            raise
        return
    from djservice.web.metrics import RunsCollector

    if RunsCollector not in COLLECTORS:
        COLLECTORS.append(RunsCollector)


def link(scheduler: Scheduler) -> None:
    """Add the list of runs to the navigation of Dask's dashboard, where there is one."""
    try:
        from distributed.dashboard.scheduler import template_variables
    except ImportError:  # no bokeh, so no dashboard
        return
    shown = template_variables(scheduler)["pages"]
    if "djservice" not in shown:
        shown.append("djservice")
