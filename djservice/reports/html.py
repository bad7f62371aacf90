"""report(store): one self-contained HTML file, with the figures as PNG and SVG beside it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from djservice.core.arguments import checked_arguments
from djservice.core.formatting import axis_label, radius_text, with_error
from djservice.core.private import private_url
from djservice.core.urls import beside
from djservice.errors import StoreError
from djservice.input.cutflow import reading_text
from djservice.reports.aim_text import aim_text
from djservice.reports.interactive import interactive
from djservice.reports.joint_text import joint_rows, joint_text, joint_titles
from djservice.reports.page import ReportError, page_of, write_page, writing
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
    without_accepted_text,
)
from djservice.store.run_store import Store
from djservice.store.stretches import changes

#: What the template calls.
_FUNCTIONS = {
    function.__name__: function
    for function in (
        aim_text,
        axis_label,
        bootstrap_text,
        held_back_text,
        joint_rows,
        joint_text,
        joint_titles,
        loss_text,
        loss_title,
        minus_text,
        model_rows,
        model_text,
        parameters_text,
        per_event_rows,
        per_event_text,
        radius_text,
        reading_text,
        robust_rows,
        robust_text,
        weights_text,
        with_error,
        without_accepted_text,
    )
} | {"robust_titles": ROBUST_TITLES, "json": json}


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
        import jinja2  # noqa: F401

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
    with writing(page):
        folder = beside(page, ".report", ".html", ".htm")
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [
            (caption, _save(figure, folder / name)) for name, caption, figure in figures(opened)
        ]
        write_page(
            page,
            "report.html",
            facts=facts,
            pictures=pictures,
            settings=_settings(facts),
            interactive=interactive(opened),
            changes=changes(facts["stretches"] or []),
            **_FUNCTIONS,
        )
    return page


def _save(figure: Any, path: Path) -> str:
    """Write a figure as PNG and SVG, and return the PNG in base64."""
    figure.savefig(beside(path, ".svg"), metadata={"Date": None})
    figure.set_layout_engine("none")  # a sixth of the time would go into the same layout again
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    beside(path, ".png").write_bytes(buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode()


def _settings(facts: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(facts["run"], sort_keys=False)
