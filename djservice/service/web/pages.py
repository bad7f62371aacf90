"""The pages: a list of the runs, and a page for each run.

A script fills the pages from the JSON and keeps them up to date. A page that nobody looks at costs
the scheduler nothing, and text of a user is never interpreted as HTML.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from tornado.web import StaticFileHandler

from djservice.core.shown import Shown, shown_of
from djservice.errors import DjserviceError, ServiceError
from djservice.reports.page import written_report
from djservice.service.report import report_file
from djservice.service.web.handler import Handler, beside
from djservice.service.web.hosts import OwnNamesOnly

#: Advice where the figures are missing.
NO_BOKEH = (
    "The figures need bokeh in the environment of the scheduler: "
    "pip install 'djservice[dashboard]'."
)
_BOKEH = importlib.util.find_spec("bokeh")


class Page(Handler):
    """Handler that renders a template."""

    def show(self, template: str, root: str, **values: Any) -> None:
        """Send a page; ``root`` is the relative path from the page to ``djservice/``."""
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        # Dask's own dashboard, which may be switched off.
        dashboard = bool(getattr(self.application, "applications", ()))
        page = _environment().get_template(template)
        self.finish(page.render(root=root, dashboard=dashboard, **values))


class ListPage(Page):
    """Page with the list of all runs."""

    def get(self) -> None:
        """Answer ``djservice``."""
        self.show("runs.html", "djservice/")


class RunPage(Page):
    """Page of one run."""

    async def get(self, run_id: str) -> None:
        """Answer ``djservice/ID``."""
        try:
            settings = self.service.settings(run_id)
        except ServiceError as error:
            self.set_status(404)
            self.show("missing.html", "", message=str(error))
            return
        objective = shown_of(settings)
        text = await asyncio.to_thread(_as_yaml, settings)
        figures, version = await asyncio.to_thread(_figures, objective)
        report = False
        with contextlib.suppress(TimeoutError):  # its file system does not answer
            report = await beside(lambda: _has_report(settings))
        self.show(
            "run.html",
            "",
            id=run_id,
            report=report,
            objective=objective,
            settings=text,
            figures=figures,
            version=version,
            no_bokeh=NO_BOKEH,
        )


class ReportPage(Page):
    """The report that the scheduler wrote when the run finished."""

    async def get(self, run_id: str) -> None:
        """Answer ``djservice/ID/report``."""
        try:
            file = report_file(self.service.settings(run_id)["output"])
            if file is None:
                raise ServiceError("the store is a URL, and the run has no output.report.")
            text = await beside(lambda: written_report(file))
        except (DjserviceError, TimeoutError) as error:
            self.set_status(404)
            message = str(error) or "the file system of the report does not answer."
            self.show("missing.html", "../", message=message)
            return
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        await self.finish(text)


class Files(OwnNamesOnly, StaticFileHandler):
    """Scripts and styles; a browser checks for changes unless the address has a version."""

    def set_extra_headers(self, path: str) -> None:
        """Called by Tornado."""
        self.set_header("X-Content-Type-Options", "nosniff")
        if "v" not in self.request.arguments:
            self.set_header("Cache-Control", "no-cache")


class Slash(Page):
    """Redirection from ``djservice/``, where relative links would be wrong."""

    def get(self) -> None:
        """Redirect to the list."""
        self.redirect("../djservice")


def _has_report(settings: dict[str, Any]) -> bool:
    file = report_file(settings["output"])
    return file is not None and file.is_file()


def _as_yaml(settings: dict[str, Any]) -> str:
    return str(yaml.safe_dump(settings, sort_keys=False))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("djservice.service.web"), autoescape=True
    )
    # No sorting of keys, because bokeh's items refer to earlier ones.
    environment.policies["json.dumps_kwargs"] = {}
    return environment


@cache
def _figures(objective: Shown) -> tuple[dict[str, Any] | None, str]:
    """The figures without data, and the version of bokeh that made them."""
    if _BOKEH is None:
        return None, ""
    import bokeh

    from djservice.service.web.figures import figures

    return figures(objective), bokeh.__version__


routes: list[tuple[str, type[Any], dict[str, Any]]] = [
    (r"/djservice", ListPage, {}),
    (r"/djservice/", Slash, {}),
    (r"/djservice/static/(.*)", Files, {"path": str(Path(__file__).parent / "static")}),
    (r"/djservice/([^/]+)", RunPage, {}),
    (r"/djservice/([^/]+)/report", ReportPage, {}),
]
# Bokeh's scripts are served here, because Dask serves them only with its dashboard.
if _BOKEH is not None and _BOKEH.origin is not None:
    scripts = Path(_BOKEH.origin).parent / "server" / "static" / "js"
    routes.insert(2, (r"/djservice/bokeh/(.*)", Files, {"path": str(scripts)}))
