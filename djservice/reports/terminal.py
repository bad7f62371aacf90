"""Summary of a run in the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from djservice.core.formatting import axis_label, counted, radius_text, with_error
from djservice.core.visible import visible
from djservice.input.quarantine import BadRange
from djservice.reports.joint_text import joint_rows, joint_text, joint_titles
from djservice.reports.summary import summary
from djservice.reports.text import (
    NAMED,
    ROBUST_TITLES,
    bootstrap_text,
    error_parts,
    held_back_text,
    loss_text,
    loss_title,
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
from djservice.store.stretches import changes

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(path: str | Path, page: Path | None) -> dict[str, Any]:
    """Print the summary of a run, and return it as :func:`summary` does."""
    from rich.console import Console

    facts = summary(path)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if facts["result"] is None:
        _print_state(console, facts)
    else:
        _print_result(console, facts)
    if facts["spectrum"]:
        _print_spectrum(console, facts)
    if facts["robust"]:
        _print_table(console, robust_rows(facts), ROBUST_TITLES)
        _line(console, robust_text(facts))
    if facts["radius_model"]:
        _print_model(console, facts["radius_model"], model_text(facts["radius_model"]))
    if facts["particle_weights"]:
        _print_model(console, facts["particle_weights"], weights_text(facts["particle_weights"]))
        _line(console, f"parameters of the weights: {parameters_text(facts['particle_weights'])}")
    if facts["joint"]:
        _print_table(console, joint_rows(facts["joint"]), joint_titles(facts["joint"]))
        _line(console, joint_text(facts["joint"]))
    if facts["events_without_accepted"]:
        _line(console, without_accepted_text(facts))
    _print_left_out(console, facts["quarantined"] or [])
    for change in changes(facts["stretches"] or []):
        _line(console, f"continued with other versions {change}")
    _line(console, f"store:  {facts['store']}")
    if page is not None:
        _line(console, f"report: {page}")
    return facts


def _line(console: Console, text: str) -> None:
    """Print one line, in which names are escaped."""
    console.print(visible(text))


def _print_state(console: Console, facts: dict[str, Any]) -> None:
    """Print the progress of an unfinished run."""
    _line(
        console,
        f"status: {facts['status']}; {counted(facts['iterations'], 'iteration')} done. "
        f"{facts['message'] or ''}",
    )
    # A run whose process was killed has the status "running" too.
    if facts["status"] == "running":
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["written"]))
        _line(
            console,
            f"last written at {when}; if its process has ended, the same command (without "
            "--overwrite) continues the run",
        )


def _print_result(console: Console, facts: dict[str, Any]) -> None:
    """Print the optimum with its error and remarks."""
    result = facts["result"]
    radius = radius_text(result)
    console.print()
    if not facts["searched"]:
        _line(console, f"R at the start: {result['radius']:g}; no global R was searched")
        return
    if facts["run"]["task"] == "particle-weights":
        radius += " without weights; with them see below"
    if facts["run"]["task"] == "joint":
        radius += " for the loss alone; with the network see below"
    _line(
        console,
        f"R: {facts['run']['radius']['start']:g} -> {radius}   after {result['iterations']} "
        f"iterations; Newton steps: {result['newton_steps']}",
    )
    if result["radius_error"] is not None:
        _line(console, f"   error: {error_parts(result)}")
    if result["rigidity"] is not None:
        slope = with_error(result["rigidity_gradient"], result["rigidity_gradient_error"], 5)
        _line(
            console,
            f"alpha: {facts['run']['clustering']['rigidity']:g} -> {result['rigidity']:.3f}   "
            f"dL/d alpha {slope}",
        )
    for remark in result["remarks"]:
        _line(console, f"   note: {remark}")


def _print_spectrum(console: Console, facts: dict[str, Any]) -> None:
    """Print the observable at each radius of the spectrum, and with one radius per event."""
    from rich.table import Table

    _line(console, f"{axis_label(facts['observable'])} over accepted trees:")
    table = Table("R", "mean", "sd", "acceptance", loss_title(facts), box=None, pad_edge=False)
    rows = [(f"{row['radius']:.3f} {row['label']}".strip(), row) for row in facts["spectrum"]]
    for label, row in rows + per_event_rows(facts):
        table.add_row(
            label,
            with_error(row["mean"], row["mean_error"]),
            with_error(row["sd"], row["sd_error"]),
            f"{row['acceptance']:.3f}",
            loss_text(facts, row),
        )
    console.print(table)
    if bootstrap := bootstrap_text(facts):
        _line(console, bootstrap)
    if facts["held_back"]:
        _line(console, held_back_text(facts))
    if facts["per_event"]:
        _line(console, per_event_text(facts["per_event"]))


def _print_model(console: Console, model: dict[str, Any], text: str) -> None:
    """Print the effect of a model on each sample, and what its numbers mean."""
    _print_table(console, model_rows(model), ("sample", "", "median", "response", "width"))
    _line(console, text)


def _print_table(console: Console, rows: list[list[str]], titles: Sequence[str]) -> None:
    """Print rows of text."""
    from rich.table import Column, Table

    columns = [Column(name, no_wrap=True) for name in titles]
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(visible, row))
    console.print(table)


def _print_left_out(console: Console, left_out: list[dict[str, Any]]) -> None:
    """Print the bad inputs that are left out, the first of them by name."""
    if left_out:
        _line(console, f"{len(left_out)} bad inputs were left out:")
        for bad in left_out[:NAMED]:
            _line(console, f"   {BadRange(**bad)}")
        if len(left_out) > NAMED:
            _line(
                console,
                f"   and {len(left_out) - NAMED} more, listed in the attribute 'quarantined' "
                "of the store",
            )
