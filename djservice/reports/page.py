"""The HTML file of a report: where it is, how it is written, and that it replaces no other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from djservice.core.atomic import write_text
from djservice.core.regular import in_the_way, read_regular
from djservice.core.urls import beside_store
from djservice.errors import DjserviceError

#: What a report begins with.
_START = b"<!doctype html>"


class ReportError(DjserviceError, RuntimeError):
    """A report that cannot be written."""


def page_of(store: str | Path, output: str | Path | None = None) -> Path:
    """The HTML file of a report; see :func:`djservice.report`."""
    return beside_store(store, ".html") if output is None else Path(output).expanduser()


@contextmanager
def writing(page: Path) -> Iterator[None]:
    """Write a report and what belongs to it.

    Raises
    ------
    ReportError
        If another file, such as an input or a part of a store, is in its place, or it cannot be
        written.
    """
    if other := in_the_way(page, _START):
        raise ReportError(
            f"{page}: expected no file or a report, found {other}. Choose another file with "
            "--output (or output.report)."
        )
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"{page}: cannot be written: {error.strerror or error}. "
            "Choose another file with --output."
        ) from error


def write_page(page: Path, template: str, **facts: Any) -> None:
    """Write a template, filled with facts and the time; needs the ``report`` extra."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("djservice.reports"), autoescape=True, finalize=_plus_minus
    )
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    write_text(page, environment.get_template(template).render(written=now, **facts))


def written_report(page: Path) -> str:
    """The text of a report.

    Raises
    ------
    ReportError
        If there is no report.
    """
    try:
        data = read_regular(page)
    except (OSError, ValueError):
        data = b""
    if not data.startswith(_START):
        raise ReportError(f"{page}: no report yet. Write it with `djservice report`.")
    return data.decode()


def _plus_minus(value: Any) -> Any:
    """A number and its error as they are printed; texts of terminals have no ±."""
    return value.replace(" +- ", " ± ") if type(value) is str else value
