"""What a radius model does to the observable of each sample, beside the best fixed R: position, width, and whether it sculpts.

From the mean over accepted trees of each event; errors over events by deleting one of fifty groups (jackknife).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from djservice.core.typing import Floats
from djservice.objectives.pooled_statistics import QUANTILES
from djservice.store.run_store import Store

JACKKNIFE_GROUPS = 50


def model_summary(store: Store) -> dict[str, Any] | None:
    """What a radius model found, as plain data; None where there is none, or it is not scored yet.

    Of each sample: with the best fixed R and with the model the median of the observable and half of its central 68 % over
    that median, how much narrower the model is, and the same of the response, observable over true mass, where it is known.
    """
    samples = store.samples
    if not samples or any(store.n_complete(f"radius_model/{name}") < 2 for name in samples):
        return None
    attributes = store.root["radius_model"].attrs
    names, theta = attributes["parameters"], attributes["theta"]
    return {
        "global_radius": attributes["global_radius"],
        "theta": dict(zip(names, theta, strict=True)),  # type: ignore[arg-type]
        "samples": {name: _sample(store, name) for name in samples},
    }


def _sample(store: Store, name: str) -> dict[str, Any]:
    group = f"radius_model/{name}"
    mean, radius, truth = (
        store.array(group, column) for column in ("event_mean", "radius", "truth")
    )
    known = np.isfinite(mean).all(axis=0)  # events with accepted trees in both
    fixed, model = mean[:, known]
    found = {
        "events": int(known.sum()),
        "radius": dict(
            zip(("low", "median", "high"), np.quantile(radius[1], QUANTILES).tolist(), strict=True)
        ),
        "fixed": _shape(fixed),
        "model": _shape(model),
        "narrower": _with_error(
            lambda rows: 1.0 - _width(model[rows]) / _width(fixed[rows]), len(fixed)
        ),
        "response": None,
    }
    true = truth[known]
    if np.isfinite(true).all() and (true > 0).all():
        found["response"] = {
            "fixed": _shape(fixed / true),
            "model": _shape(model / true),
            "narrower": _with_error(
                lambda rows: 1.0 - _width((model / true)[rows]) / _width((fixed / true)[rows]),
                len(fixed),
            ),
        }
    return found


def _shape(values: Floats) -> dict[str, list[float]]:
    """Median and relative width, each with its standard error."""
    return {
        "median": _with_error(lambda rows: float(np.median(values[rows])), len(values)),
        "width": _with_error(lambda rows: _width(values[rows]), len(values)),
    }


def _width(values: Floats) -> float:
    low, middle, high = np.quantile(values, QUANTILES)
    return float((high - low) / (2.0 * middle))


def _with_error(of: Callable[[Any], float], events: int) -> list[float]:
    """A number of all events, and its standard error by the jackknife."""
    if events < 2 * JACKKNIFE_GROUPS:
        return [of(slice(None)) if events else float("nan"), float("nan")]
    number = np.arange(events) % JACKKNIFE_GROUPS
    without = np.array([of(number != group) for group in range(JACKKNIFE_GROUPS)])
    return [
        of(slice(None)),
        float(
            np.sqrt(
                (JACKKNIFE_GROUPS - 1) / JACKKNIFE_GROUPS * ((without - without.mean()) ** 2).sum()
            )
        ),
    ]
