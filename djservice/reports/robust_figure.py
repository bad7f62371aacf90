"""The figure of a robust run: R of each version of the events, and its shift."""

from __future__ import annotations

import math
from typing import Any

from djservice.reports.drawing import COLOURS
from djservice.store.run_store import Store

ROBUST = (
    "Left: the radius that is best for the events as they are (none) and for those after each "
    "augmentation, with standard errors; the line is R for all of them together, and the band its "
    "error. Right: the shift of each radius from that of none. The versions are of the same events, so "
    "the error of a shift is not the sum of those of two radii. What is not determined is left out."
)


def augmentations(store: Store) -> Any:
    """Figure of the radii of all versions; None without one that is determined."""
    if "robust" not in store.groups:
        return None
    table = store.attribute("robust", "table")
    if all(row["radius"] is None for row in table):
        return None
    import matplotlib.pyplot as plt

    height = 1.8 + 0.5 * len(table)
    figure, axes = plt.subplots(1, 2, figsize=(10, height), sharey=True, layout="constrained")
    for side, name in zip(axes, ("radius", "shift"), strict=True):
        known = [(row, of) for row, of in enumerate(table) if of[name] is not None]
        rows, values = [row for row, _ in known], [of[name] for _, of in known]
        errors = [of[f"{name}_error"] or 0.0 for _, of in known]
        side.errorbar(values, rows, xerr=errors, fmt="o", color=COLOURS[1], capsize=3)
    _common(axes[0], store.attributes.get("result"))
    axes[1].axvline(0.0, color="0.35", lw=1, ls=":")
    axes[0].set(xlabel="R", yticks=range(len(table)), ylim=(len(table) - 0.5, -0.5))
    axes[0].set_yticklabels([row["name"] for row in table])
    axes[1].set_xlabel("shift of R")
    for side in axes:
        side.tick_params(axis="y", which="both", length=0)
    return figure


def _common(axes: Any, result: Any) -> None:
    """Draw the radius for all versions together, once it is known."""
    if not isinstance(result, dict):
        return
    radius, error = result["radius"], result["radius_error"]
    axes.axvline(radius, color=COLOURS[0], lw=1.4)
    if math.isfinite(error):
        axes.axvspan(radius - error, radius + error, color=COLOURS[0], alpha=0.15, lw=0)
