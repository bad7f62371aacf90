"""Figures of the page of a run, made once without data; the page's script adds the data.

The names and columns of the sources are those that ``static/run.js`` writes.
"""

from __future__ import annotations

from typing import Any

from djservice.core.shown import Shown

#: Okabe-Ito colours, as in the report.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8a8f98"


def figures(objective: Shown) -> dict[str, Any]:
    """All figures as one bokeh item to embed."""
    from bokeh.embed import json_item
    from bokeh.layouts import row
    from bokeh.models import ColumnDataSource

    def source(name: str, *columns: str) -> Any:
        return ColumnDataSource(name=name, data={column: [] for column in columns})

    of_radius = ("iteration", "radius", "radius_average", "radius_low", "radius_high")
    of_loss = ("loss", "loss_low", "loss_high")
    history = source("history", *of_radius, *of_loss, "loss_mean", "trees_per_second")
    scan, result = source("scan", "radius", *of_loss), source("result", "radius", "low", "high")
    shown = (
        _radius(history),
        _loss(history, objective),
        _landscape(history, scan, result, objective),
        _rate(history),
    )
    for panel in (shown[1], shown[3]):
        panel.x_range = shown[0].x_range
    # Two figures stand side by side where the page is wide enough.
    wrapped = row(*shown, sizing_mode="stretch_width", spacing=14, styles={"flex-wrap": "wrap"})
    return dict(json_item(wrapped))


def _figure(title: str, x_label: str, y_label: str) -> Any:
    from bokeh.models.annotations import Title
    from bokeh.plotting import figure

    plot = figure(
        title=Title(text=title, text_font_size="15px"),
        x_axis_label=x_label,
        y_axis_label=y_label,
        height=320,
        min_width=430,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_scroll=None,
        output_backend="canvas",
        min_border_left=70,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_label_text_font_size = "14px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "12px"
    plot.grid.grid_line_color = "#ececec"
    plot.outline_line_color = "#cccccc"
    return plot


def _legend(plot: Any) -> None:
    """Put the legend above the figure, where it covers no data."""
    legend = plot.legend[0]
    plot.add_layout(legend, "above")
    legend.orientation = "horizontal"
    legend.label_text_font_size = "12px"
    legend.border_line_color = None
    legend.padding = legend.margin = 2
    legend.spacing = 12


def _radius(history: Any) -> Any:
    plot = _figure("Radius", "iteration", "R")
    plot.varea(
        "iteration",
        "radius_low",
        "radius_high",
        source=history,
        fill_color=BLUE,
        fill_alpha=0.18,
        legend_label="spread of the last 20 around the average",
    )
    plot.line(
        "iteration", "radius", source=history, color=GREY, line_width=1.3, legend_label="iterates"
    )
    plot.line(
        "iteration",
        "radius_average",
        source=history,
        color=BLUE,
        line_width=2.5,
        legend_label="average",
    )
    _legend(plot)
    return plot


def _loss(history: Any, objective: Shown) -> Any:
    plot = _figure(objective.words.capitalize(), "iteration", objective.name)
    plot.varea(
        "iteration",
        "loss_low",
        "loss_high",
        source=history,
        fill_color=ORANGE,
        fill_alpha=0.18,
        legend_label="batch ± standard error",
    )
    plot.line(
        "iteration",
        "loss",
        source=history,
        color=ORANGE,
        alpha=0.45,
        line_width=1,
        legend_label="batch",
    )
    plot.line(
        "iteration",
        "loss_mean",
        source=history,
        color=ORANGE,
        line_width=2.5,
        legend_label="mean of 20",
    )
    _legend(plot)
    return plot


def _landscape(history: Any, scan: Any, result: Any, objective: Shown) -> Any:
    plot = _figure("Landscape (scanned after the iterations)", "R", objective.name)
    plot.vstrip("low", "high", source=result, fill_color=BLUE, fill_alpha=0.18, line_color=None)
    batches = plot.scatter(
        "radius",
        "loss",
        source=history,
        color=GREY,
        alpha=0.45,
        size=4,
        line_color=None,
        legend_label="iterations",
    )
    optimum = plot.vspan("radius", source=result, color=BLUE, line_width=2, legend_label="optimum")
    errors = plot.segment(
        "radius", "loss_low", "radius", "loss_high", source=scan, color="black", line_width=1.3
    )
    points = plot.scatter(
        "radius", "loss", source=scan, color="black", size=7, legend_label="all events"
    )
    plot.x_range.renderers, plot.y_range.renderers = (
        [batches, points, optimum],
        [batches, points, errors],
    )
    _legend(plot)
    return plot


def _rate(history: Any) -> Any:
    plot = _figure("Throughput", "iteration", "trees per second")
    plot.line(
        "iteration",
        "trees_per_second",
        source=history,
        color=BLUE,
        line_width=1.5,
        legend_label="each iteration",
    )
    plot.y_range.start = 0
    _legend(plot)
    return plot
