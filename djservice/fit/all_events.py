"""Loss and spectrum over all events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from djservice.core.progress import Watch
from djservice.core.typing import Floats
from djservice.errors import InputError, NothingAcceptedError, RunError
from djservice.evaluation.moments import Histogram, Moments
from djservice.evaluation.per_event import PerEvent
from djservice.fit.requests import Evaluate, Request
from djservice.store.columns import SCAN
from djservice.store.run_store import Store


async def all_events(
    evaluate: Evaluate, request: Request, watch: Watch, as_events: int | None = None
) -> tuple[dict[str, float], Moments, PerEvent | None]:
    """The columns of a scan or spectrum over all events, the moments, and the values per event.

    The sums are scaled to ``as_events`` events, if the request is for a part of them.
    """
    point = f"R = {request.radius:.4f}" if isinstance(request.radius, float) else "one R per event"
    where = f"{request.stream} at {point}"
    try:
        moments, events = await evaluate(request)
        if as_events is not None:
            moments = moments.rescaled(as_events / max(moments.events, 1))
    except (RunError, InputError) as error:
        raise type(error)(f"{where}: {error}") from error
    try:
        numbers = spectrum_numbers(moments)
    except NothingAcceptedError as error:  # far from the optimum; other radii may be fine
        watch.say(f"{where}: {error} Its row is left empty.")
        numbers = {**dict.fromkeys(SCAN, math.nan), "acceptance": moments.acceptance}
    return numbers, moments, events


async def write_scores(
    store: Store,
    group: str,
    evaluate: Evaluate,
    choices: Sequence[tuple[Request, Floats]],
    watch: Watch,
) -> None:
    """Write the scores of some choices on a sample: loss, spectrum, and each event's mean.

    Parameters
    ----------
    group
        Group of the sample; it has a row for each choice, and finished ones are kept.
    evaluate, choices
        Function that answers requests, and of each choice the request with results per event and
        the radius of each event, shape (event,).
    """
    for row in range(store.n_complete(group), len(choices)):
        request, radius = choices[row]
        numbers, moments, events = await all_events(evaluate, request, watch)
        assert isinstance(events, PerEvent)
        columns = {"event_mean": events.mean[np.newaxis], "radius": radius[np.newaxis]}
        store.write_rows(group, row, scan_columns(numbers) | columns)
        watch.step({"radius": float(np.median(radius)), **numbers, "trees": moments.trees})


def scan_columns(numbers: dict[str, float]) -> dict[str, Any]:
    """One row of the columns of a scan."""
    return {name: [numbers[name]] for name in SCAN}


def spectrum_numbers(moments: Moments) -> dict[str, float]:
    """The columns of a scan or spectrum, from the moments."""
    loss, gradient, mean, sd = moments.loss(), moments.gradient(), moments.mean(), moments.sd()
    return {
        "loss": loss.value,
        "loss_error": loss.error,
        "gradient": gradient.value,
        "gradient_error": gradient.error,
        "mean": mean.value,
        "mean_error": mean.error,
        "sd": sd.value,
        "sd_error": sd.error,
        "acceptance": moments.acceptance,
        "loss_tree_error": loss.tree_error,
        "gradient_tree_error": gradient.tree_error,
    }


def histogram_columns(moments: Moments) -> dict[str, Any]:
    """The columns of the histogram of an objective; NaN if no tree passes the selection."""
    try:
        histogram = moments.histogram()
    except NothingAcceptedError:
        empty = np.full_like(moments.total[:, : moments.layout.sizes[0] - 1], np.nan)
        histogram = Histogram(empty, empty, np.arange(empty.shape[1]))
    return {
        "contents": histogram.contents[np.newaxis],
        "contents_error": histogram.error[np.newaxis],
        "group": histogram.group[np.newaxis],
    }


def bootstrap_error(moments: Moments) -> float | None:
    """The error of an objective over events by a bootstrap; None if it is not defined."""
    try:
        error = moments.bootstrap_error()
    except NothingAcceptedError:
        return None
    return error if math.isfinite(error) else None
