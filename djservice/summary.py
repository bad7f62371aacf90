"""What a store says in a few lines, for the terminal and for scripts."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from djservice.display import decimals
from djservice.model_summary import model_summary, model_text
from djservice.quarantine import Bad
from djservice.store import Store
from djservice.store_shape import SCAN

#: Events that a text names.
NAMED = 20


def summary(path: str | Path) -> dict[str, Any]:
    """State, result and spectra of the run in a store, as plain data; numbers that are not determined are None.

    Raises
    ------
    StoreError
        If there is no store.
    """
    store = Store.read(path)
    attributes = store.attributes
    radii = store.column("spectrum", "radius")
    columns = {name: store.column("spectrum", name) for name in SCAN}
    labels = ["start", "optimum", *[""] * len(radii)]
    spectrum = [
        {
            "label": labels[row],
            "radius": float(radius),
            **{name: float(values[row]) for name, values in columns.items()},
        }
        for row, radius in enumerate(radii)
    ]
    wanted = (
        "status",
        "message",
        "result",
        "events",
        "observable",
        "inputs",
        "datasets",
        "reading",
        "quarantined",
        "versions",
        "run",
    )
    found: dict[str, Any] = {"store": store.path, **{key: attributes.get(key) for key in wanted}}
    found["written"] = store.written
    found |= {"iterations": store.n_complete("history"), "spectrum": spectrum, "per_event": _per_event(store)}
    found["radius_model"] = model_summary(store)
    found["events_without_accepted"] = (
        int((store.column("spectrum", "event_accepted")[1] == 0).sum()) if len(radii) > 1 else None
    )
    plain: dict[str, Any] = finite(found)
    return plain


def _per_event(store: Store) -> dict[str, Any] | None:
    """What a run with one radius per event found; None without."""
    mean = store.scores("mean")
    if len(mean) < 2:
        return None
    columns = {name: store.scores(name) for name in SCAN}
    fresh, same = ({name: float(values[row]) for name, values in columns.items()} for row in (0, 1))
    radius, left, agree = (store.column("per_event", name) for name in ("radius", "left", "agree"))
    found = radius[left == 0]
    quantiles = dict(zip(("low", "median", "high"), np.quantile(found, [0.16, 0.5, 0.84]).tolist(), strict=True))
    return {
        "fresh": fresh,
        "same": same,
        "starts": store.array("per_event", "start").tolist(),
        "left": (np.flatnonzero(left) + (store.attributes["run"]["input"]["entries"] or [0])[0]).tolist(),
        "agree": float(agree[left == 0].mean()),
        "radius": quantiles if len(found) else None,
    }


def finite(value: Any) -> Any:
    """NaN and infinities as None, for JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def axis_label(observable: dict[str, str]) -> str:
    """Name of the (first) observable of a run, with its units."""
    units = observable["units"]
    return f"{observable['name']} [{units}]" if units else observable["name"]


def with_error(value: float | None, error: float | None, digits: int | None = None) -> str:
    """``value +- error``, with as many digits as the error asks for; an error that is not determined is said to be."""
    if value is None:
        return "not determined"
    digits = decimals(error) if digits is None else digits
    return f"{value:.{digits}f} +- " + ("not determined" if error is None else f"{error:.{digits}f}")


def per_event_rows(facts: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a table of spectra that one radius per event adds, with their labels."""
    found = facts["per_event"]
    return [("one per event", found["fresh"]), ("  on its own trees", found["same"])] if found else []


def model_rows(found: dict[str, Any]) -> list[list[str]]:
    """The rows of a table of what a radius model does: sample, choice, median, response and width."""

    def cell(pair: list[float | None], digits: int, factor: float = 1.0) -> str:
        value, error = pair
        if value is None:
            return "not determined"
        if error is None:  # of fewer than a hundred events
            return f"{factor * value:.{digits}f} (no error)"
        return with_error(factor * value, factor * error, digits)

    rows = []
    for name, sample in found["samples"].items():
        relative = sample["response"] or sample
        for label, choice in (("fixed R", "fixed"), ("model", "model")):
            response = cell(relative[choice]["median"], 3) if sample["response"] else ""
            cells = [cell(sample[choice]["median"], 1), response, cell(relative[choice]["width"], 3)]
            rows.append([name if choice == "fixed" else "", label, *cells])
        rows.append(["", "narrower by", "", "", f"{cell(relative['narrower'], 1, 100.0)} %"])
    return rows


def per_event_text(found: dict[str, Any]) -> str:
    """How the radii per event came about, in a sentence or two."""
    starts = ", ".join(f"{start:g}" for start in found["starts"])
    text = (
        "One R per event is an oracle: it is chosen with the truth, by the loss of each event alone. It is scored on fresh trees; "
        f"on the trees it was chosen on it looks better. Descents from R = {starts} agree to 10 % in {100 * found['agree']:.0f} % "
        f"of the events; {len(found['left'])} events had too few accepted trees and stay at the global R"
    )
    text += f": entries {', '.join(map(str, found['left'][:NAMED]))}" if found["left"] else ""
    text += f" and {len(found['left']) - NAMED} more (per_event/left)." if len(found["left"]) > NAMED else "."
    if found["radius"]:
        text += " R is {median:.2f} in the median, {low:.2f} to {high:.2f} in 68 % of the others.".format(
            **found["radius"]
        )
    return text


def print_summary(path: str | Path, page: Path | None) -> dict[str, Any]:
    """Print the small table that ends a run; returns what :func:`summary` does."""
    from rich.console import Console
    from rich.table import Column, Table

    facts = summary(path)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    result, start = facts["result"], facts["run"]["radius"]["start"]
    if result is None:
        console.print(f"status: {facts['status']}; {facts['iterations']} iterations done. {facts['message'] or ''}")
        if facts["status"] == "running":  # which it says too after its process was killed
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["written"]))
            console.print(f"last written at {when}; if nothing runs any more, the same command goes on from there")
    else:
        found = with_error(result["radius"], result["radius_error"], 3)
        console.print(f"\nR: {start:g} -> {found}   after {result['iterations']} iterations")
        if result["radius_error"] is None:
            console.print(
                "   (no error: the curvature of the scan there is not positive or not determined; scan around it, or use more events)"
            )
        if result["rigidity"] is not None:
            slope = with_error(result["rigidity_gradient"], result["rigidity_gradient_error"], 5)
            console.print(
                f"alpha: {facts['run']['clustering']['rigidity']:g} -> {result['rigidity']:.3f}   dL/d alpha {slope}"
            )
        for remark in result["remarks"]:
            console.print(f"   note: {remark}")
    if facts["spectrum"]:
        console.print(f"{axis_label(facts['observable'])} over accepted trees:")
        table = Table("R", "mean", "sd", "acceptance", "loss", box=None, pad_edge=False)
        for row in facts["spectrum"]:
            table.add_row(
                f"{row['radius']:.3f} {row['label']}".strip(),
                with_error(row["mean"], row["mean_error"]),
                with_error(row["sd"], row["sd_error"]),
                f"{row['acceptance']:.3f}",
                with_error(row["loss"], row["loss_error"], 4),
            )
        for label, row in per_event_rows(facts):
            table.add_row(
                label,
                with_error(row["mean"], row["mean_error"]),
                with_error(row["sd"], row["sd_error"]),
                f"{row['acceptance']:.3f}",
                with_error(row["loss"], row["loss_error"], 4),
            )
        console.print(table)
        if facts["per_event"]:
            console.print(per_event_text(facts["per_event"]))
    if facts["radius_model"]:
        columns = [Column(name, no_wrap=True) for name in ("sample", "", "median", "response", "width")]
        table = Table(*columns, box=None, pad_edge=False)
        for row in model_rows(facts["radius_model"]):
            table.add_row(*row)
        console.print(table)
        console.print(model_text(facts["radius_model"]))
    if facts["events_without_accepted"]:
        console.print(
            f"{facts['events_without_accepted']} events have no accepted tree at the optimum and do not contribute"
        )
    left_out = facts["quarantined"] or []
    if left_out:
        console.print(f"{len(left_out)} bad inputs were left out:")
        for bad in left_out[:NAMED]:
            console.print(f"   {Bad(**bad)}")
        if len(left_out) > NAMED:
            console.print(f"   and {len(left_out) - NAMED} more, in the attribute 'quarantined' of the store")
    console.print(f"store:  {facts['store']}")
    if page is not None:
        console.print(f"report: {page}")
    return facts
