"""compare_runs(stores): one page with the results, the paths and the scans of several runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from djservice.core.formatting import finite, learned_radius_text
from djservice.core.shown import shown_of
from djservice.core.urls import basename
from djservice.errors import StoreError
from djservice.reports.page import ReportError, write_page, writing
from djservice.reports.summary import radii_of_iterations, summary
from djservice.store.run_store import Store

_CAPTION = (
    "Left: the loss of all events, or what is maximised, against R, with standard errors; dashed, "
    "the R of each run. Right: the radius of each iteration."
)


def compare_runs(stores: Sequence[str | Path], output: str | Path = "compared.html") -> Path:
    """Write the page of several runs, which may be unfinished.

    Raises
    ------
    StoreError
        If one is not the store of a run, or has no finished iteration.
    ReportError
        If the packages of the ``report`` extra are missing, or the file cannot be written.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ReportError(
            f"the report needs {error.name}. Install it: pip install 'djservice[report]'."
        ) from None
    opened, page = [Store.read(store) for store in stores], Path(output).expanduser()
    for store in opened:
        if len(radii_of_iterations(store)) == 0:
            raise StoreError(f"{store.path}: no finished iteration yet. Leave it out.")
    facts = {
        "rows": [_row(store) for store in opened],
        "differences": list(_differences([store.attributes["run"] for store in opened])),
        "caption": _CAPTION,
        "png": _picture(opened),
    }
    with writing(page):
        write_page(page, "compared.html", **facts)
    return page


def _row(store: Store) -> dict[str, Any]:
    """The line of a run in the table of results."""
    facts = summary(store.path)
    result, parts = facts["result"], ["", "", ""]
    errors = facts["joint"] or result
    if errors is not None and errors["radius_error"] is not None:
        parts = [f"{errors[f'radius_error_{p}']:.4f}" for p in ("events", "trees", "optimiser")]
    return {
        "store": store.path,
        "radius": "" if result is None else learned_radius_text(result).replace("+-", "±"),
        "parts": parts,
        "events": facts["events"],
        "status": facts["status"],
    }


def _differences(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """The keys whose values differ between configurations, with the values."""
    flat = [dict(_leaves(run)) for run in runs]
    for key in dict.fromkeys(key for each in flat for key in each):
        values = [each.get(key, "") for each in flat]
        if values.count(values[0]) < len(values) and not key.startswith(("output.", "cluster.")):
            yield key, [str(value) for value in values]


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, by their dotted keys."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _picture(stores: Sequence[Store]) -> str:
    """The scans and the paths, laid over each other, as PNG in base64."""
    import matplotlib.pyplot as plt

    from djservice.reports.drawing import COLOURS, whole_ticks
    from djservice.reports.figures import style

    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), layout="constrained")
        for number, store in enumerate(stores):
            colour = COLOURS[(number + 1) % len(COLOURS)]
            _draw(store, left, right, colour, f"{number + 1}: {basename(str(store.path))}")
        names = {shown_of(store.attributes["run"]).name for store in stores}
        left.set(xlabel="R", ylabel=", ".join(sorted(names)))
        right.set(xlabel="iteration", ylabel="R")
        right.xaxis.set_major_locator(whole_ticks())
        figure.legend(
            *right.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=3,
            borderaxespad=0.0,
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
        plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def _draw(store: Store, left: Any, right: Any, colour: str, label: str) -> None:
    sign = shown_of(store.attributes["run"]).sign
    radius, loss, error = (store.column("scan", key) for key in ("radius", "loss", "loss_error"))
    order = radius.argsort()
    left.errorbar(
        radius[order],
        sign * loss[order],
        error[order],
        marker="o",
        ms=4,
        lw=1.2,
        capsize=2,
        color=colour,
    )
    result = store.attributes.get("result")
    if isinstance(result, dict):
        joint = finite(result["joint_radius"])
        left.axvline(result["radius"] if joint is None else joint, color=colour, ls="--", lw=1.2)
    right.plot(radii_of_iterations(store), color=colour, lw=1.3, label=label)
