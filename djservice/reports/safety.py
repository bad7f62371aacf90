"""The table, the file and the figure of a check of infrared and collinear safety."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from djservice.analysis.safety import ROUNDING, SIGNIFICANT, Change, IrcCheck, Safety
from djservice.core.atomic import write_text
from djservice.core.formatting import counted
from djservice.core.regular import in_the_way
from djservice.errors import DjserviceError
from djservice.evaluation.moments import Quantity
from djservice.reports.beside_store import saved

#: What the file begins with.
_START = b'{\n "irc_check"'
#: Parts of a change, and their names.
PARTS = {"total": "all", "fixed_jets": "at fixed jets", "jets": "of the jets"}


def need_free(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises
    ------
    DjserviceError
        If another file is there, or no folder for it.
    """
    if other := in_the_way(path, _START):
        raise DjserviceError(
            f"{path}: expected no file or an earlier check, found {other}. Choose another --output."
        )
    if not path.parent.is_dir():
        raise DjserviceError(
            f"{path}: there is no folder {path.parent}. Make it, or choose another --output."
        )


def write(check: IrcCheck, path: Path) -> list[Path]:
    """Write all numbers as JSON, and the figure beside it as PNG and SVG; return the files.

    Raises
    ------
    DjserviceError
        If a file cannot be written, or matplotlib is not installed.
    """
    need_free(path)
    try:
        write_text(path, json.dumps({"irc_check": 1, **check.to_dict()}, indent=1) + "\n")
        return [path, *saved(path, lambda _: safety_figure(check), ".json")]
    except OSError as error:
        raise DjserviceError(
            f"{path}: cannot be written: {error.strerror or error}. Choose another --output."
        ) from None


def safety_text(check: IrcCheck) -> str:
    """The verdicts, and the changes by epsilon."""
    lines = [
        f"{counted(check.events, 'event')}, {counted(check.trees, 'tree')} of each, R = {check.radius}, rigidity "
        f"{check.rigidity:g}, scale: {check.scale}; changes are relative, with errors of the trees"
    ]
    for result in check.results:
        lines += ["", f"{_title(result)}: {result.verdict}"]
        lines.append(f"  {'epsilon':>8s}" + "".join(f"{name:>23s}" for name in PARTS.values()))
        lines += [_row(change) for change in result.changes]
    return "\n".join(lines)


def _row(change: Change) -> str:
    cells = (_cell(getattr(change, part)) for part in PARTS)
    return f"  {change.epsilon:8.0e}" + "".join(f"{cell:>23s}" for cell in cells)


def _cell(quantity: Quantity) -> str:
    if not np.isfinite(quantity.value):
        return "not determined"
    if abs(quantity.value) < 1e-15:
        return "0"
    error = quantity.tree_error
    return f"{quantity.value:+.1e}" + (f" +- {error:.0e}" if error > 1e-15 else "")


def _title(result: Safety) -> str:
    return f"{result.clustering}, {result.emission}, {result.quantity.replace('_', ' ')}"


def safety_figure(check: IrcCheck) -> Any:
    """Relative changes against epsilon: a panel for each emission and quantity."""
    import matplotlib.pyplot as plt

    emissions = list(dict.fromkeys(result.emission for result in check.results))
    quantities = list(dict.fromkeys(result.quantity for result in check.results))
    figure, panels = plt.subplots(
        len(quantities),
        len(emissions),
        figsize=(11, 4.2 * len(quantities)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for result in check.results:
        row, column = quantities.index(result.quantity), emissions.index(result.emission)
        _panel(panels[row, column], result)
        panels[row, column].set_title(f"{result.emission}: {result.quantity.replace('_', ' ')}")
    for axes in panels[-1]:
        axes.set_xlabel("epsilon")
    for axes in panels[:, 0]:
        axes.set_ylabel("|relative change|")
    panels[0, 0].set(xscale="log", yscale="log")
    panels[0, 0].set_ylim(bottom=0.1 * ROUNDING)
    panels[0, 0].legend(fontsize=9)
    return figure


def _panel(axes: Any, result: Safety) -> None:
    """The changes of one result: those at fixed jets, and of the jets, with bars of the trees.

    A change within its error is a triangle: its size plus two errors.
    """
    from djservice.reports.drawing import COLOURS

    stochastic = result.clustering == "stochastic"
    x = np.array([change.epsilon for change in result.changes]) * (1.12 if stochastic else 1.0)
    for part, colour in (("fixed_jets", COLOURS[1]), ("jets", COLOURS[0])):
        quantities = [getattr(change, part) for change in result.changes]
        y = np.array([abs(quantity.value) for quantity in quantities])
        error = np.array([quantity.tree_error for quantity in quantities])
        seen = y > np.maximum(SIGNIFICANT * error, 0.1 * ROUNDING)
        limit = ~seen & (error > 0.1 * ROUNDING)  # no change beyond its error
        axes.plot(x[limit], (y + 2.0 * error)[limit], "v", color=colour, ms=7, alpha=0.5)
        axes.errorbar(
            x,
            np.where(seen, y, np.nan),
            error,
            fmt="o" if stochastic else "s",
            mfc=colour if stochastic else "none",
            linestyle="-" if stochastic else ":",
            color=colour,
            ms=5,
            lw=1,
            capsize=2,
            label=f"{result.clustering}, {PARTS[part]}",
        )
