"""The figures of a report, drawn from a store in the mplhep style."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from djservice.core.formatting import axis_label, decimals, end_name
from djservice.core.shown import shown_of
from djservice.fit.curvature import curvature_fit
from djservice.reports.drawing import (
    COLOURS,
    events_label,
    histogram,
    legend_above,
    radius_axis,
    response,
    room_above,
    whole_ticks,
)
from djservice.reports.joint_figure import JOINT, joint
from djservice.reports.lund_figure import LUND, lund_planes
from djservice.reports.objective_figure import CAPTIONS, kind_of, objective
from djservice.reports.robust_figure import ROBUST, augmentations
from djservice.reports.weight_figures import WEIGHTS, particle_weights
from djservice.store.columns import SCAN
from djservice.store.run_store import Store


def figures(store: Store) -> Iterator[tuple[str, str, Any]]:
    """Name, caption and figure, for each figure that the store has data for.

    Each figure is closed when the next one is asked for.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")  # a canvas that needs no display
    with style():
        for name, caption, draw in (
            ("landscape", _LANDSCAPE, landscape),
            ("iterations", _ITERATIONS, iterations),
            ("spectra", _SPECTRA, spectra),
            ("augmentations", ROBUST, augmentations),
            ("objective", CAPTIONS.get(kind_of(store), ""), objective),
            ("radii_per_event", _RADII, radii_per_event),
            ("radius_model", _MODEL, radius_model),
            ("particle_weights", WEIGHTS, particle_weights),
            ("joint", JOINT, joint),
            ("lund", LUND, lund_planes),
        ):
            figure = draw(store)
            if figure is not None:
                words = shown_of(store.attributes["run"]).words
                yield name, caption.replace("{objective}", words), figure
                plt.close(figure)


_LANDSCAPE = (
    "The {objective} of all events against R. Black points: the scan, with standard errors; the points "
    "have independent trees of the same events, so their bars move together, and the error of R does "
    "not follow from them but from dL/dR. Curve: the cubic through value and gradient that gives "
    "the curvature. Coloured "
    "points: the radius of each iteration, placed on the line between the black points. Band: the "
    "end of the search with its error."
)
_ITERATIONS = (
    "Radius and {objective} per iteration. Above: the iterates, and their running geometric mean from the "
    "iteration where averaging starts; the line is R after the Newton steps over all events, and the band its error. Below: the {objective} of each "
    "batch with its standard error; the line is the running mean of ten."
)
_SPECTRA = (
    "Distribution of the event's mean of the observable over accepted trees, at each radius of the "
    "spectrum. If the run has one radius per event, its distribution is shown too, from trees that "
    "were not used to choose the radius. The legend gives mean and standard deviation over the "
    "accepted trees of all events, with standard errors."
)


_RADII = (
    "The radius of least loss of each event. Events without enough accepted trees are left out. "
    "Dotted: the start of each descent. Dashed: the global R. The axis ends at the bounds."
)


_MODEL = (
    "Top: the observable of each sample, event by event, with the best fixed R and with the radius "
    "model. Middle: the radii of the model. Bottom: the median response (observable over true "
    "mass) with its error, in eighths of the events by true mass, if the true mass is known."
)


@contextmanager
def style() -> Iterator[None]:
    """The style of mplhep without logos."""
    import matplotlib.pyplot as plt
    import mplhep

    small = {
        "font.size": 13,
        "axes.labelsize": 15,
        "legend.fontsize": 12,
        "legend.borderaxespad": 1.4,  # keeps the legend clear of the ticks, which point inwards
        "figure.dpi": 110,
        "svg.hashsalt": "djservice",
    }
    with plt.style.context([mplhep.style.ROOT, small]):
        yield


def landscape(store: Store) -> Any:
    """Figure of the loss against R with the iterations."""
    import matplotlib.pyplot as plt

    radii, loss, error = (store.column("scan", name) for name in ("radius", "loss", "loss_error"))
    if len(radii) == 0:
        return None
    order, (name, sign) = np.argsort(radii), shown_of(store.attributes["run"])
    radii, loss, error = radii[order], sign * loss[order], error[order]
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    path = store.column("history", "radius")
    path_colours = axes.scatter(
        path,
        np.interp(path, radii, loss, left=np.nan, right=np.nan),
        c=np.arange(len(path)),
        cmap="viridis",
        vmin=0,
        vmax=max(len(path) - 1, 1),
        s=42,
        zorder=3,
    )
    figure.colorbar(path_colours, ax=axes, label="iteration", pad=0.02, ticks=whole_ticks())
    axes.errorbar(radii, loss, error, fmt="o", color="black", capsize=3, label="all events")
    result = store.attributes.get("result")
    if isinstance(result, dict):
        optimum, width = result["radius"], result["radius_error"]
        name_of_end = end_name(result)
        scan = {column: store.column("scan", column)[order] for column in ("radius", *SCAN)}
        near, coefficients, _ = curvature_fit(optimum, scan)
        if np.isfinite(coefficients).all():
            grid = np.linspace(radii[near].min(), radii[near].max(), 200)
            cubic = sign * np.polyval(coefficients, grid - optimum)
            axes.plot(
                grid, cubic, color=COLOURS[1], lw=1.5, label=f"cubic around the {name_of_end}"
            )
        _mark(axes.axvspan, axes.axvline, name_of_end, optimum, width)
    axes.set(xlabel="R", ylabel=name)
    width = np.nan_to_num(error)  # the error of a single event is NaN
    axes.set_ylim(*_limits(np.concatenate([loss - width, loss + width])))
    legend_above(figure, axes)
    return figure


def iterations(store: Store) -> Any:
    """Figure of radius and loss against the iteration."""
    import matplotlib.pyplot as plt

    names = ("radius", "radius_average", "loss", "loss_error")
    radius, average, loss, error = (store.column("history", name) for name in names)
    if len(radius) == 0:
        return None
    name, sign = shown_of(store.attributes["run"])
    number, loss = np.arange(len(radius)), sign * loss
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
    top.plot(number, radius, color="0.55", lw=1.2, label="iterates")
    averaged = average != radius
    if averaged.any():
        start = int(np.argmax(averaged))
        top.plot(number[start:], average[start:], color=COLOURS[1], lw=2, label="average")
    result = store.attributes.get("result")
    if isinstance(result, dict):
        _mark(top.axhspan, top.axhline, end_name(result), result["radius"], result["radius_error"])
    top.set_ylabel("R")
    top.legend()
    bottom.fill_between(
        number, loss - error, loss + error, color="0.85", lw=0, label="batch $\\pm$ standard error"
    )
    bottom.plot(number, loss, color="0.55", lw=1)
    if len(loss) >= 10:
        smooth = np.convolve(loss, np.full(10, 0.1), mode="valid")
        bottom.plot(number[9:], smooth, color=COLOURS[1], lw=2, label="mean of the last ten")
    bottom.set(xlabel="iteration", ylabel=name)
    bottom.xaxis.set_major_locator(whole_ticks())
    bottom.legend()
    return figure


def radii_per_event(store: Store) -> Any:
    """Figure of the radii of single events."""
    import matplotlib.pyplot as plt

    if len(store.scores("mean")) == 0:
        return None
    radius, unfitted = (store.column("per_event", name) for name in ("radius", "left"))
    bounds = store.attributes["run"]["radius"]
    edges = np.geomspace(bounds["minimum"], bounds["maximum"], 41)
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    weight = store.array("spectrum", "weight")
    histogram(axes, radius, weight, unfitted == 0, edges, color=COLOURS[1], lw=2, label="events")
    common = store.attribute("per_event", "global_radius")
    axes.axvline(common, color="black", ls="--", lw=1.2, label="global R")
    for number, start in enumerate(store.array("per_event", "start")):
        label = "" if number else "starts"
        axes.axvline(start, color="0.6", ls=":", lw=1, label=label)
    radius_axis(axes, bounds["minimum"], bounds["maximum"])
    axes.set_ylabel(events_label(weight))
    room_above(axes, 1.05)
    legend_above(figure, axes)
    return figure


def radius_model(store: Store) -> Any:
    """Figure of the effect of a radius model on each sample."""
    import matplotlib.pyplot as plt

    samples = store.samples("radius_model")
    if not samples or any(store.n_complete(f"radius_model/{name}") < 2 for name in samples):
        return None
    figure, rows = plt.subplots(
        3, len(samples), figsize=(5 * len(samples), 11), layout="constrained", squeeze=False
    )
    label = axis_label(store.attributes["observable"])
    for name, (top, middle, bottom) in zip(samples, rows.T, strict=True):
        columns = ("event_mean", "radius", "weight", "truth")
        mean, radius, weight, truth = (
            store.array(f"radius_model/{name}", column) for column in columns
        )
        accepted = np.isfinite(mean).all(axis=0)
        edges = np.linspace(0.0, np.quantile(mean[:, accepted], 0.995), 41)
        for row, (choice, colour) in enumerate(
            (("best fixed R", COLOURS[0]), ("model", COLOURS[1]))
        ):
            histogram(top, mean[row], weight, accepted, edges, color=colour, lw=1.8, label=choice)
            if np.isfinite(truth).all():
                response(bottom, mean[row, accepted] / truth[accepted], truth[accepted], colour)
        top.set(title=name.replace("_", " "), xlabel=f"mean {label}", ylabel=events_label(weight))
        room_above(top, 1.3)
        top.legend()
        bounds = store.attributes["run"]["radius"]
        steps = np.geomspace(bounds["minimum"], bounds["maximum"], 41)
        histogram(
            middle, radius[1], weight, np.isfinite(radius[1]), steps, color=COLOURS[1], lw=1.8
        )
        middle.axvline(radius[0, 0], color=COLOURS[0], ls="--")
        radius_axis(middle, bounds["minimum"], bounds["maximum"])
        middle.set_ylabel(events_label(weight))
        bottom.axhline(1.0, color="0.6", ls=":", lw=1)
        bottom.set(xlabel="true mass [GeV]", ylabel="median response")
    return figure


def spectra(store: Store) -> Any:
    """Figure of the observable's distribution at each radius of the spectrum."""
    import matplotlib.pyplot as plt

    radii = store.column("spectrum", "radius")
    if len(radii) == 0:
        return None
    names = ("mean", "mean_error", "sd", "sd_error", "event_mean")
    mean, mean_error, sd, sd_error, events = (store.column("spectrum", name) for name in names)
    target = next((term["target"] for term in store.attributes["run"]["loss"]), None)
    finite = events[np.isfinite(events)]
    edges = (
        np.linspace(min(finite.min(), 0.0), np.quantile(finite, 0.999) * 1.05, 51)
        if len(finite)
        else np.linspace(0, 1, 2)
    )
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    weight = store.array("spectrum", "weight")
    labels = ["start", end_name(store.attributes.get("result")), *[""] * len(radii)]
    for row in np.argsort(radii):
        text = f"R = {radii[row]:.3g} {labels[row]}".strip()
        label = (
            f"{text}: {_with_error(mean[row], mean_error[row])}, "
            f"sd {_with_error(sd[row], sd_error[row])}"
        )
        line_style = {"lw": 2.2 if row == 1 else 1.3, "color": COLOURS[int(row) % len(COLOURS)]}
        histogram(
            axes, events[row], weight, np.isfinite(events[row]), edges, label=label, **line_style
        )
    if len(store.scores("mean")):
        mean, mean_error, sd, sd_error, events = (store.scores(name)[0] for name in names)
        label = f"one R per event: {_with_error(mean, mean_error)}, sd {_with_error(sd, sd_error)}"
        histogram(
            axes, events, weight, np.isfinite(events), edges, label=label, lw=2.2, color="black"
        )
    if target is not None:
        axes.axvline(target, color="0.4", ls=":", lw=1.2, label="target")
    axes.set(
        xlabel=f"mean {axis_label(store.attributes['observable'])} of each event",
        ylabel=events_label(weight),
    )
    room_above(axes, 1.0 / (0.95 - 0.055 * min(len(axes.get_legend_handles_labels()[0]), 10)))
    axes.legend(loc="upper left", frameon=True, facecolor="white", framealpha=1.0, edgecolor="none")
    return figure


def _with_error(value: float, error: float) -> str:
    digits = decimals(error)
    return f"{value:.{digits}f} $\\pm$ {error:.{digits}f}"


def _mark(span: Any, line: Any, name: str, radius: float, error: float) -> None:
    """Draw the optimum, or where the search ended, as a line with its error as a band."""
    if np.isfinite(error):
        span(radius - error, radius + error, color=COLOURS[1], alpha=0.15, lw=0)
        line(
            radius,
            color=COLOURS[1],
            ls="--",
            lw=1.2,
            label=f"{name} {radius:.3f} $\\pm$ {error:.3f}",
        )
    else:
        line(
            radius,
            color=COLOURS[1],
            ls="--",
            lw=1.2,
            label=f"{name} {radius:.3f} (error not determined)",
        )


def _limits(values: Any) -> tuple[float, float]:
    """Limits of an axis around the values."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low - 0.08 * (high - low), high + 0.08 * (high - low)
