"""The figures of a run's page, made once without data: the page's script fills their sources.

The names and columns of the sources are those that ``static/run.js`` writes.
"""

from __future__ import annotations

from typing import Any

#: Okabe-Ito colours, as in the report.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8a8f98"


def figures() -> dict[str, Any]:
    """All figures as one item to embed."""
    from bokeh.embed import json_item
    from bokeh.layouts import row
    from bokeh.models import ColumnDataSource

    def source(name: str, *columns: str) -> Any:
        return ColumnDataSource(name=name, data={column: [] for column in columns})

    of_radius = ("iteration", "radius", "radius_average", "radius_low", "radius_high")
    of_loss = ("loss", "loss_low", "loss_high")
    history = source("history", *of_radius, *of_loss, "loss_mean", "trees_per_second")
    scan, result = source("scan", "radius", *of_loss), source("result", "radius", "low", "high")
    shown = (_radius(history), _loss(history), _landscape(history, scan, result), _rate(history))
    for other in (shown[1], shown[3]):
        other.x_range = shown[0].x_range
    wrapped = row(
        *shown, sizing_mode="stretch_width", spacing=14, styles={"flex-wrap": "wrap"}
    )  # two beside each other
    return dict(json_item(wrapped))


def _figure(title: str, x_label: str, y_label: str) -> Any:
    from bokeh.models.annotations import Title
    from bokeh.plotting import figure

    made = figure(
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
    made.toolbar.logo = None
    made.toolbar.autohide = True
    for axis in (made.xaxis, made.yaxis):
        axis.axis_label_text_font_size = "14px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "12px"
    made.grid.grid_line_color = "#ececec"
    made.outline_line_color = "#cccccc"
    return made


def _legend(made: Any) -> None:
    """Above the figure, where it hides nothing."""
    legend = made.legend[0]
    made.add_layout(legend, "above")
    legend.orientation = "horizontal"
    legend.label_text_font_size = "12px"
    legend.border_line_color = None
    legend.padding = legend.margin = 2
    legend.spacing = 12


def _radius(history: Any) -> Any:
    made = _figure("Radius", "iteration", "R")
    made.varea(
        "iteration",
        "radius_low",
        "radius_high",
        source=history,
        fill_color=BLUE,
        fill_alpha=0.18,
        legend_label="average ± spread of 20",
    )
    made.line(
        "iteration", "radius", source=history, color=GREY, line_width=1.3, legend_label="iterates"
    )
    made.line(
        "iteration",
        "radius_average",
        source=history,
        color=BLUE,
        line_width=2.5,
        legend_label="average",
    )
    _legend(made)
    return made


def _loss(history: Any) -> Any:
    made = _figure("Loss", "iteration", "loss")
    made.varea(
        "iteration",
        "loss_low",
        "loss_high",
        source=history,
        fill_color=ORANGE,
        fill_alpha=0.18,
        legend_label="batch ± standard error",
    )
    made.line(
        "iteration",
        "loss",
        source=history,
        color=ORANGE,
        alpha=0.45,
        line_width=1,
        legend_label="batch",
    )
    made.line(
        "iteration",
        "loss_mean",
        source=history,
        color=ORANGE,
        line_width=2.5,
        legend_label="mean of 20",
    )
    _legend(made)
    return made


def _landscape(history: Any, scan: Any, result: Any) -> Any:
    made = _figure("Landscape (scanned after the iterations)", "R", "loss")
    made.vstrip("low", "high", source=result, fill_color=BLUE, fill_alpha=0.18, line_color=None)
    batches = made.scatter(
        "radius",
        "loss",
        source=history,
        color=GREY,
        alpha=0.45,
        size=4,
        line_color=None,
        legend_label="iterations",
    )
    optimum = made.vspan("radius", source=result, color=BLUE, line_width=2, legend_label="optimum")
    errors = made.segment(
        "radius", "loss_low", "radius", "loss_high", source=scan, color="black", line_width=1.3
    )
    points = made.scatter(
        "radius", "loss", source=scan, color="black", size=7, legend_label="all events"
    )
    made.x_range.renderers, made.y_range.renderers = (
        [batches, points, optimum],
        [batches, points, errors],
    )
    _legend(made)
    return made


def _rate(history: Any) -> Any:
    made = _figure("Throughput", "iteration", "trees per second")
    made.line(
        "iteration",
        "trees_per_second",
        source=history,
        color=BLUE,
        line_width=1.5,
        legend_label="each iteration",
    )
    made.y_range.start = 0
    _legend(made)
    return made
