"""The path and the scan of a run as figures to zoom into, where bokeh is installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.shown import shown_of
from djservice.reports.drawing import COLOURS
from djservice.store.run_store import Store


def interactive(store: Store) -> str:
    """HTML with the figures and all that they need; empty without bokeh or iterations of R.

    It holds the scripts of bokeh, about 1 MB, so that the page needs no network.
    """
    try:
        from bokeh.embed import components
        from bokeh.layouts import column
        from bokeh.resources import Resources
    except ImportError:
        return ""
    if store.n_complete("history") == 0:  # R was given
        return ""
    script, place = components(column(_landscape(store), _path(store)))
    resources = Resources(mode="inline", components=["bokeh"])
    return f"{resources.render_js()}\n{script}\n{place}"


def _figure(x_label: str, y_label: str, tips: list[tuple[str, str]]) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    plot = figure(
        width=860,
        height=360,
        x_axis_label=x_label,
        y_axis_label=y_label,
        tools="pan,box_zoom,wheel_zoom,reset",
        active_drag="box_zoom",
    )
    plot.add_tools(HoverTool(tooltips=tips))
    plot.toolbar.logo = None
    return plot


def _landscape(store: Store) -> Any:
    """The scan with its errors, and the optimum."""
    name, sign = shown_of(store.attributes["run"])
    radius, loss, error = (store.column("scan", key) for key in ("radius", "loss", "loss_error"))
    plot = _figure("R", name, [("R", "$x{0.000}"), (name, "$y{0.0000}")])
    low, high = sign * loss - error, sign * loss + error
    plot.segment(radius, low, radius, high, color="black")
    plot.scatter(radius, sign * loss, color="black", size=7)
    result = store.attributes.get("result")
    if isinstance(result, dict):
        plot.vspan(x=[result["radius"]], color=COLOURS[1], line_width=2)
    return plot


def _path(store: Store) -> Any:
    """The radius of each iteration, and its running mean."""
    radius, average = (store.column("history", key) for key in ("radius", "radius_average"))
    plot = _figure("iteration", "R", [("iteration", "$x{0}"), ("R", "$y{0.000}")])
    number = np.arange(len(radius))
    plot.line(number, radius, color="#8a8f98", legend_label="iterates")
    plot.line(number, average, color=COLOURS[1], line_width=2, legend_label="average")
    plot.add_layout(plot.legend[0], "above")
    plot.legend.orientation = "horizontal"
    return plot
