"""Parts that figures have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Okabe-Ito colours: start, optimum, other radii.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def histogram(
    axes: Any, values: Any, weight: Any, mask: Any, edges: Any, **line_style: Any
) -> None:
    """Draw the sum of weights in each bin, for the events of a mask."""
    axes.stairs(np.histogram(values[mask], edges, weights=weight[mask])[0], edges, **line_style)


def events_label(weight: Any) -> str:
    """Label of an axis that counts events."""
    return "events" if (weight == 1.0).all() else "weighted events"


def whole_ticks() -> Any:
    """Ticks at whole numbers, for iterations and steps."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator("auto", integer=True)


def legend_above(figure: Any, axes: Any) -> None:
    """Put the legend above the axes, where it hides no data."""
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, borderaxespad=0.0
    )


#: Radii that are named on a logarithmic axis.
_RADII = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)


def radius_axis(axes: Any, low: float, high: float) -> None:
    """Make the horizontal axis a logarithmic one of radii, with plain numbers at its ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    axes.set(xscale="log", xlabel="R", xlim=(low, high))
    axes.xaxis.set_major_locator(FixedLocator([r for r in _RADII if low <= r <= high]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda r, _: f"{r:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def plain_logarithm(axes: Any) -> None:
    """Make the horizontal axis a logarithmic one, of a decade or two, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def edges_to(high: float, number: int) -> Any:
    """Edges of equal bins from 0, fewer for few values, so that bins are no single ones."""
    bins = int(np.clip(2.0 * np.sqrt(number), 8, 50))
    return np.linspace(0.0, max(high, 1e-12), bins + 1)


def room_above(axes: Any, factor: float) -> None:
    """Extend the axis upwards for the legend; sums of weights may be negative."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.0), high * factor)


def response(axes: Any, response: Any, truth: Any, colour: str) -> None:
    """Draw the median response in eighths of the events by true mass."""
    low, middle, high = np.quantile(truth, (0.05, 0.5, 0.95))
    number = 8 if high - low > 0.02 * middle else 1  # all events have the same mass
    parts = np.array_split(np.argsort(truth, kind="stable"), number)
    for part in parts:
        spread = np.diff(np.quantile(response[part], (0.16, 0.84)))[0] / 2.0
        error = 1.25 * spread / np.sqrt(len(part))  # standard error of the median of a normal core
        axes.margins(x=0.1)
        axes.errorbar(
            np.median(truth[part]),
            np.median(response[part]),
            error,
            fmt="o",
            color=colour,
            capsize=2,
        )
