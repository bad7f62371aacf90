"""Pages, JSON and metrics of the runs, on the scheduler's own HTTP server.

Read-only; they cost the scheduler nothing while nobody looks.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from distributed import Scheduler
from distributed.http.utils import get_handlers
from tornado.routing import PathMatches

from djservice.service.web import api, pages

routes = [*api.routes, *pages.routes]


def serve(scheduler: Scheduler) -> None:
    """Add pages, metrics, and a link in Dask's dashboard to a scheduler whose HTTP server runs."""
    application = scheduler.http_application
    application.add_handlers(".*$", get_handlers(scheduler, [__name__], _prefix(application)))
    # Without prometheus_client Dask has no metrics either, and says so.
    if importlib.util.find_spec("prometheus_client"):
        from djservice.service.web.metrics import register

        register(scheduler)
    try:
        from distributed.dashboard.scheduler import template_variables
    except ImportError:  # without bokeh there is no dashboard
        return
    shown = template_variables(scheduler)["pages"]
    if "djservice" not in shown:
        shown.append("djservice")


def _prefix(application: Any) -> str:
    """The value of ``--dashboard-prefix``.

    The scheduler does not keep it, so it is taken from the path of its own ``/health``.
    """
    rules = [
        rule
        for host in application.default_router.rules
        for rule in getattr(host.target, "rules", [])
    ]
    paths = [
        rule.matcher.regex.pattern
        for rule in (*application.wildcard_router.rules, *rules)
        if isinstance(rule.matcher, PathMatches)
    ]
    (health,) = {path for path in paths if path.endswith("/health$")}
    return str(health.removesuffix("/health$"))
