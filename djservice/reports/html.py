"""report(store): one self-contained HTML file, with the figures as PNG and SVG beside it."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

from djservice.core.arguments import checked_arguments
from djservice.core.atomic import write_text
from djservice.core.formatting import axis_label, radius_text, with_error
from djservice.core.private import private_url
from djservice.core.regular import in_the_way, read_regular
from djservice.core.urls import beside, beside_store
from djservice.errors import DjserviceError, StoreError
from djservice.input.cutflow import reading_text
from djservice.reports.aim_text import aim_text
from djservice.reports.interactive import interactive
from djservice.reports.joint_text import joint_rows, joint_text, joint_titles
from djservice.reports.summary import summary
from djservice.reports.text import (
    ROBUST_TITLES,
    bootstrap_text,
    held_back_text,
    loss_text,
    loss_title,
    minus_text,
    model_rows,
    model_text,
    parameters_text,
    per_event_rows,
    per_event_text,
    robust_rows,
    robust_text,
    weights_text,
)
from djservice.store.run_store import Store
from djservice.store.stretches import changes

#: What a report begins with.
_START = b"<!doctype html>"


class ReportError(DjserviceError, RuntimeError):
    """A report that cannot be written."""


@checked_arguments
def report(store: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of the run in a store.

    Parameters
    ----------
    store
        The store's folder or URL; the run may be unfinished.
    output
        HTML file to write. The default is the store's name with ``.html``, beside the store or, for
        a URL, in the current folder. The figures go to a folder of the same name with ``.report``.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    StoreError
        If there is no store, or it holds no finished iteration.
    ReportError
        If the packages of the ``report`` extra are missing, or a file cannot be written.
    """
    try:
        import jinja2

        from djservice.reports.figures import figures
    except ImportError as error:
        raise ReportError(
            f"the report needs {error.name}. Install it: pip install 'djservice[report]'."
        ) from None
    store = private_url(store) if isinstance(store, str) else store
    opened = Store.read(store)
    facts = summary(store)
    if facts["iterations"] == 0:
        raise StoreError(f"{store}: no finished iteration yet. Write the report later.")
    page = page_of(store, output)
    refuse_other(page)
    folder = beside(page, ".report", ".html", ".htm")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [
            (caption, _save(figure, folder / name)) for name, caption, figure in figures(opened)
        ]
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("djservice.reports"), autoescape=True, finalize=_plus_minus
        )
        html = environment.get_template("report.html").render(
            facts=facts,
            aim_text=aim_text,
            pictures=pictures,
            radius_text=radius_text,
            with_error=with_error,
            axis_label=axis_label,
            bootstrap_text=bootstrap_text,
            loss_title=loss_title,
            minus_text=minus_text,
            loss_text=loss_text,
            held_back_text=held_back_text,
            per_event_rows=per_event_rows,
            per_event_text=per_event_text,
            robust_titles=ROBUST_TITLES,
            robust_rows=robust_rows,
            robust_text=robust_text,
            model_rows=model_rows,
            model_text=model_text,
            weights_text=weights_text,
            joint_titles=joint_titles,
            joint_rows=joint_rows,
            joint_text=joint_text,
            parameters_text=parameters_text,
            reading_text=reading_text,
            settings=_settings(facts),
            interactive=interactive(opened),
            written=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
            changes=changes(facts["stretches"] or []),
            json=json,
        )
        write_text(page, html)
    except OSError as error:
        raise ReportError(
            f"{page}: cannot be written: {error.strerror or error}. "
            "Choose another file with --output."
        ) from error
    return page


def page_of(store: str | Path, output: str | Path | None = None) -> Path:
    """The HTML file of a report; see :func:`report`."""
    return beside_store(store, ".html") if output is None else Path(output).expanduser()


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


def refuse_other(page: Path) -> None:
    """Refuse to write over a file that is no report, such as an input or a part of a store."""
    if other := in_the_way(page, _START):
        raise ReportError(
            f"{page}: expected no file or a report, found {other}. Choose another file with "
            "--output (or output.report)."
        )


def _save(figure: Any, path: Path) -> str:
    """Write a figure as PNG and SVG, and return the PNG in base64."""
    figure.savefig(beside(path, ".svg"), metadata={"Date": None})
    figure.set_layout_engine("none")  # a sixth of the time would go into the same layout again
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    beside(path, ".png").write_bytes(buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode()


def _plus_minus(value: Any) -> Any:
    """A number and its error as they are printed; texts of terminals have no ±."""
    return value.replace(" +- ", " ± ") if type(value) is str else value


def _settings(facts: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(facts["run"], sort_keys=False)
