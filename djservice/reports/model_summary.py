"""Effect of a model on the observable of each sample, compared with the best fixed R.

The model is one of the radius, or of the weights of particles.

Position and width are taken from each event's mean over accepted trees. Standard errors come from a
jackknife over fifty groups of events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from djservice.core.typing import Floats
from djservice.objectives.pooled_statistics import QUANTILES
from djservice.store.run_store import Store

JACKKNIFE_GROUPS = 50


def model_summary(store: Store, group: str) -> dict[str, Any] | None:
    """Summary of a model as plain data; None if there is no model or it is not scored yet.

    ``group`` is the name of its group in the store.

    Each sample has the median of the observable and its relative width, with the best fixed R and
    with the model, and the fraction by which the model is narrower. The relative width is half of
    the central 68 % over the median. If the true mass is known, the response (observable over true
    mass) has the same numbers.
    """
    samples = store.samples(group)
    if not samples or any(store.n_complete(f"{group}/{name}") < 2 for name in samples):
        return None
    names, theta, radius = (
        store.attribute(group, name) for name in ("parameters", "theta", "global_radius")
    )
    summary = {
        "global_radius": radius,
        "theta": dict(zip(names[-len(theta) :], theta, strict=True)),
        "samples": {name: _sample(store, f"{group}/{name}") for name in samples},
    }
    if group == "particle_weights":
        summary |= {name: store.attribute(group, name) for name in ("radius", "estimate")}
    return summary


def _sample(store: Store, group: str) -> dict[str, Any]:
    mean, radius, truth = (
        store.array(group, column) for column in ("event_mean", "radius", "truth")
    )
    accepted = np.isfinite(mean).all(axis=0)  # in both rows
    fixed, model = mean[:, accepted]
    facts = {
        "events": int(accepted.sum()),
        "radius": dict(
            zip(("low", "median", "high"), np.quantile(radius[1], QUANTILES).tolist(), strict=True)
        ),
        "fixed": _shape(fixed),
        "model": _shape(model),
        "narrower": _with_error(lambda rows: _narrower(model[rows], fixed[rows]), len(fixed)),
        "response": None,
    }
    true_mass = truth[accepted]
    if np.isfinite(true_mass).all() and (true_mass > 0).all():
        facts["response"] = {
            "fixed": _shape(fixed / true_mass),
            "model": _shape(model / true_mass),
            "narrower": _with_error(
                lambda rows: _narrower((model / true_mass)[rows], (fixed / true_mass)[rows]),
                len(fixed),
            ),
        }
    return facts


def _shape(values: Floats) -> dict[str, list[float]]:
    """Median and relative width of values, each with its standard error."""
    return {
        "median": _with_error(lambda rows: float(np.median(values[rows])), len(values)),
        "width": _with_error(lambda rows: _width(values[rows]), len(values)),
    }


def _width(values: Floats) -> float:
    low, middle, high = np.quantile(values, QUANTILES)
    return float((high - low) / (2.0 * middle))


def _narrower(model: Floats, fixed: Floats) -> float:
    """The share by which a width is smaller; NaN of one event, which has none."""
    width = _width(fixed)
    return 1.0 - _width(model) / width if width else float("nan")


def _with_error(statistic: Callable[[Any], float], events: int) -> list[float]:
    """A statistic of all events, and its standard error by the jackknife."""
    if events < 2 * JACKKNIFE_GROUPS:
        return [statistic(slice(None)) if events else float("nan"), float("nan")]
    number = np.arange(events) % JACKKNIFE_GROUPS
    without = np.array([statistic(number != group) for group in range(JACKKNIFE_GROUPS)])
    return [
        statistic(slice(None)),
        float(
            np.sqrt(
                (JACKKNIFE_GROUPS - 1) / JACKKNIFE_GROUPS * ((without - without.mean()) ** 2).sum()
            )
        ),
    ]
