"""Figures of scans and comparisons, and the table of a comparison of estimators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.formatting import axis_label, with_error
from djservice.core.shown import shown_of
from djservice.core.typing import Floats
from djservice.errors import DjserviceError
from djservice.reports.beside_store import saved
from djservice.store.grid_store import COLUMNS, read_grid


@dataclass(frozen=True)
class Row:
    """Row of the table: one estimator at one rigidity.

    Attributes
    ----------
    estimator, rigidity
        Label of the estimator, and the rigidity alpha.
    biased
        Whether the estimator is biased by construction, or its mean is four standard errors or more
        from that of the reference.
    apart
        Largest distance of the mean gradient from that of the reference, over the radii, in standard
        errors. The reference is the first estimator that is not biased by construction.
    variance
        Variance of the gradient over the repetitions, averaged over the radii.
    cpu
        CPU time in microseconds per tree of the value. Extra trees of the estimator are included in
        the time and not in the number of trees.
    cost
        Product of variance and CPU time, relative to that of the plain score if it is in the
        comparison, and to the reference otherwise.
    """

    estimator: str
    rigidity: float
    biased: bool
    apart: float
    variance: float
    cpu: float
    cost: float


def comparison(path: str | Path) -> list[Row]:
    """Rows of the table of a comparison: by rigidity, then what is not biased, then by cost.

    Raises
    ------
    DjserviceError
        If the grid is not finished.
    """
    root = read_grid(path)
    gradient, cpu = _finished(root, "gradient"), _finished(root, "cpu")
    facts: Any = root.attrs["facts"]
    names, rigidities, first = facts["estimators"], root["rigidity"], _reference(facts)
    mean, repetitions = gradient.mean(axis=-1), gradient.shape[-1]
    variance = gradient.var(axis=-1, ddof=1)
    error2 = variance / repetitions
    relative = names.index("score") if "score" in names else first
    rows = []
    for a, rigidity in enumerate(rigidities):
        product = [np.nanmean(variance[e, a]) * np.nanmean(cpu[e, a]) for e in range(len(names))]
        for e, name in enumerate(names):
            spread = np.sqrt(error2[e, a] + error2[first, a])
            apart = np.abs(mean[e, a] - mean[first, a]) / np.where(spread > 0, spread, np.inf)
            z = float(np.nanmax(apart))
            rows.append(
                Row(
                    name,
                    float(rigidity),
                    facts["biased"][e] or z >= FARTHEST,
                    z,
                    float(np.nanmean(variance[e, a])),
                    float(np.nanmean(cpu[e, a])),
                    float(product[e] / product[relative]),
                )
            )
    return sorted(rows, key=lambda row: (row.rigidity, row.biased, row.cost))


#: Distance from the reference, in standard errors, from which an estimator counts as biased.
FARTHEST = 4.0


def _reference(facts: Any) -> int:
    """Number of the first estimator that is not biased by construction, or 0."""
    biased: list[bool] = facts["biased"]
    return biased.index(False) if False in biased else 0


def comparison_text(path: str | Path) -> str:
    """The table of a comparison as text."""
    root = read_grid(path)
    facts: Any = root.attrs["facts"]
    names = facts["estimators"]
    first = names[_reference(facts)]
    relative = "score" if "score" in names else first
    width, rows = max(len(name) for name in names), comparison(path)
    lines = [
        f"{'estimator':{width}s}  alpha  max |z| from {first}  variance of dL/dR  CPU/tree [us]"
        f"  variance x CPU / {relative}"
    ]
    for row in rows:
        lines.append(
            f"{row.estimator:{width}s} {row.rigidity:6g} {row.apart:{15 + len(first)}.1f}"
            f" {row.variance:18.3g} {row.cpu:14.1f} {row.cost:{17 + len(relative)}.3g}"
            f"{'  biased' * row.biased}"
        )
    for rigidity in sorted({row.rigidity for row in rows}):
        best = next(row for row in rows if row.rigidity == rigidity)
        if not best.biased:
            lines.append(f"cheapest without bias at alpha {rigidity:g}: {best.estimator}")
    return "\n".join(lines)


def grid_text(path: str | Path) -> str:
    """The table of a comparison, or that of a scan: a line for each rigidity and radius."""
    root = read_grid(path)
    if _finished(root, "loss").shape[3] > 1:
        return comparison_text(path)
    observable, shown = axis_label(root.attrs["observable"]), shown_of(root.attrs["facts"]["run"])
    lines = [f" alpha      R  {shown.name:^20s}  mean {observable:16s}  acceptance"]
    for a, rigidity in enumerate(root["rigidity"]):
        for r in np.argsort(root["radius"]):
            number = {name: float(root[name][0, a, r, 0]) for name in COLUMNS}
            loss = with_error(shown.sign * number["loss"], number["loss_error"], 4)
            mean = with_error(number["mean"], number["mean_error"])
            lines.append(
                f"{rigidity:6g} {root['radius'][r]:6.3f}  {loss:^20s}  {mean:21s}  "
                f"{number['acceptance']:.3f}"
            )
    return "\n".join(lines)


def draw(path: str | Path) -> list[Path]:
    """Draw the figure of a grid as PNG and SVG beside it, and return the files."""
    root = read_grid(path)
    repeated = _finished(root, "loss").shape[3] > 1
    return saved(path, lambda _: _compare_figure(root) if repeated else _scan_figure(root))


def _finished(root: Any, name: str) -> Floats:
    """A column of a finished grid, shape (estimator, rigidity, radius, repetition)."""
    values: Floats = root[name]
    if root.attrs["n_complete"] < values.size:
        raise DjserviceError(
            f"{root}: {root.attrs['n_complete']} of {values.size} cells are done. "
            "Run the same command again to finish the grid."
        )
    return values


def _scan_figure(root: Any) -> Any:
    import matplotlib.pyplot as plt

    from djservice.reports.drawing import COLOURS

    radii, rigidities = root["radius"], root["rigidity"]
    order = np.argsort(radii)
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True, layout="constrained")
    observable, shown = axis_label(root.attrs["observable"]), shown_of(root.attrs["facts"]["run"])
    titles = {
        "loss": shown.name,
        "mean": f"mean {observable}",
        "sd": f"sd of {observable}",
        "acceptance": "acceptance",
    }
    for axis, (name, title) in zip(axes.ravel(), titles.items(), strict=True):
        values = _finished(root, name)[0, :, :, 0] * (shown.sign if name == "loss" else 1.0)
        errors = (
            _finished(root, f"{name}_error")[0, :, :, 0]
            if name != "acceptance"
            else np.zeros_like(values)
        )
        for a, rigidity in enumerate(rigidities):
            axis.errorbar(
                radii[order],
                values[a, order],
                errors[a, order],
                marker="o",
                ms=4,
                lw=1.2,
                capsize=2,
                color=COLOURS[a % len(COLOURS)],
                label=rf"$\alpha$ = {rigidity:g}",
            )
        axis.set_ylabel(title)
    for axis in axes[1]:
        axis.set_xlabel("R")
    axes[0, 0].legend()
    return figure


def _compare_figure(root: Any) -> Any:
    import matplotlib.pyplot as plt

    from djservice.reports.drawing import COLOURS

    radii, rigidities = root["radius"], root["rigidity"]
    order, names = np.argsort(radii), root.attrs["facts"]["estimators"]
    shown = shown_of(root.attrs["facts"]["run"])
    loss, gradient = (shown.sign * _finished(root, name) for name in ("loss", "gradient"))
    columns = min(3, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.6 * columns, 3.8 * rows),
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    panels = axes.ravel()
    # All panels share a scale, except those whose wide scatter would hide the others.
    widths = np.ptp(np.quantile(gradient, [0.02, 0.98], axis=(1, 2, 3)), axis=0)
    wild = widths > 20.0 * np.median(widths)
    middle = np.quantile(gradient[~wild], [0.02, 0.98])
    for a, rigidity in enumerate(rigidities):
        colour = COLOURS[a % len(COLOURS)]
        for panel, values in zip(panels, (loss[0, a], *gradient[:, a]), strict=False):
            centre, spread = values[order].mean(axis=-1), values[order].std(axis=-1, ddof=1)
            panel.plot(
                radii[order],
                centre,
                marker="o",
                ms=3,
                lw=1.2,
                color=colour,
                label=rf"$\alpha$ = {rigidity:g}",
            )
            panel.fill_between(
                radii[order], centre - spread, centre + spread, color=colour, alpha=0.2, lw=0
            )
    slope = "dL/dR" if shown.sign > 0.0 else "slope in R"
    titles = (shown.name, *(f"{slope}: {name}" for name in names))
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(title, fontsize=11)
    margin = 0.15 * (middle[1] - middle[0])
    for panel, off_scale in zip(panels[1:], wild, strict=False):
        panel.axhline(0.0, color="0.6", lw=0.8)
        if off_scale:
            panel.set_yscale("symlog", linthresh=np.abs(middle).max() + margin)
            panel.set_title(f"{panel.get_title()}, logarithmic scale", fontsize=11)
        else:
            panel.set_ylim(middle[0] - margin, middle[1] + margin)
    for panel in panels[1 + len(names) :]:
        panel.set_axis_off()
    for panel in panels[
        1 + len(names) - columns : 1 + len(names)
    ]:  # the lowest panel of each column
        panel.set_xlabel("R")
        panel.tick_params(labelbottom=True)
    panels[0].legend(fontsize=10)
    return figure
