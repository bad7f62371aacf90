"""The pages: a list of the runs, and one for each. A script fills them from the JSON and keeps them up to date.

So what nobody looks at costs the scheduler nothing, and nothing that a user wrote is ever taken for HTML.
"""

from __future__ import annotations

import asyncio
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from tornado.web import StaticFileHandler

from djservice.errors import ServiceError
from djservice.service.web.handler import Handler

#: How to get the figures.
NO_BOKEH = "The figures need bokeh where the scheduler runs: pip install 'djservice[dashboard]'."
_BOKEH = importlib.util.find_spec("bokeh")


class Page(Handler):
    """HTML from a template."""

    def show(self, template: str, root: str, **given: Any) -> None:
        """Send a page; ``root`` leads from it to what lies below ``djservice/``, whatever stands before that."""
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(_environment().get_template(template).render(root=root, **given))


class ListPage(Page):
    """All runs."""

    def get(self) -> None:
        """``djservice``."""
        self.show("runs.html", "djservice/")


class RunPage(Page):
    """One run."""

    async def get(self, run_id: str) -> None:
        """``djservice/ID``."""
        try:
            settings = self.service.settings(run_id)
        except ServiceError as error:
            self.set_status(404)
            self.show("missing.html", "", message=str(error))
            return
        text = await asyncio.to_thread(_as_yaml, settings)
        figures, version = await asyncio.to_thread(_figures)
        self.show(
            "run.html",
            "",
            id=run_id,
            settings=text,
            figures=figures,
            version=version,
            no_bokeh=NO_BOKEH,
        )


class Files(StaticFileHandler):
    """Scripts and styles; a browser asks whether they are still the same, unless the address has a version."""

    def set_extra_headers(self, path: str) -> None:
        """Called by Tornado."""
        self.set_header("X-Content-Type-Options", "nosniff")
        if "v" not in self.request.arguments:
            self.set_header("Cache-Control", "no-cache")


class Slash(Page):
    """``djservice/``, where links would lead astray."""

    def get(self) -> None:
        """To the list."""
        self.redirect("../djservice")


def _as_yaml(settings: dict[str, Any]) -> str:
    return str(yaml.safe_dump(settings, sort_keys=False))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("djservice.service.web"), autoescape=True
    )
    environment.policies[
        "json.dumps_kwargs"
    ] = {}  # bokeh's items refer back to what comes earlier, so no sorting
    return environment


@cache
def _figures() -> tuple[dict[str, Any] | None, str]:
    """The figures without their data, and the version of bokeh that they are made for."""
    if _BOKEH is None:
        return None, ""
    import bokeh

    from djservice.service.web.figures import figures

    return figures(), bokeh.__version__


routes: list[tuple[str, type[Any], dict[str, Any]]] = [
    (r"/djservice", ListPage, {}),
    (r"/djservice/", Slash, {}),
    (r"/djservice/static/(.*)", Files, {"path": str(Path(__file__).parent / "static")}),
    (r"/djservice/([^/]+)", RunPage, {}),
]
if (
    _BOKEH is not None and _BOKEH.origin is not None
):  # ours, for Dask serves its copy only with its dashboard
    scripts = Path(_BOKEH.origin).parent / "server" / "static" / "js"
    routes.insert(2, (r"/djservice/bokeh/(.*)", Files, {"path": str(scripts)}))
