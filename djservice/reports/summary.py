"""Summary of a run's store as plain data, for the terminal, pages and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.formatting import end_name, finite
from djservice.core.typing import Floats
from djservice.reports.joint_summary import joint_summary
from djservice.reports.model_summary import model_summary
from djservice.store.columns import MODELS, SCAN
from djservice.store.run_store import Store


def summary(path: str | Path) -> dict[str, Any]:
    """State, result and spectra of the run in a store as plain data.

    Undetermined numbers are None.

    Raises
    ------
    StoreError
        If there is no store.
    """
    store = Store.read(path)
    attributes = store.attributes
    radii = store.column("spectrum", "radius")
    columns = {name: store.column("spectrum", name) for name in SCAN}
    end = end_name(attributes.get("result"))
    labels = ["start", end, *[""] * len(radii)]
    spectrum = [
        {
            "label": labels[row],
            "radius": float(radius),
            **{name: float(values[row]) for name, values in columns.items()},
        }
        for row, radius in enumerate(radii)
    ]
    keys = (
        "status",
        "message",
        "result",
        "events",
        "observable",
        "inputs",
        "datasets",
        "reading",
        "quarantined",
        "versions",
        "stretches",
        "execution",
        "run",
    )
    facts: dict[str, Any] = {
        "store": store.path,
        "end": end,
        **{key: attributes.get(key) for key in keys},
    }
    facts["written"] = store.written
    # A network may begin at an R that is given, and no global R is searched.
    run = attributes["run"]
    searched = run["task"] != "joint" or run["joint"]["radius"] is None
    facts |= {
        "iterations": store.n_complete("history" if searched else "joint"),
        "searched": searched,
        "spectrum": spectrum,
        "per_event": _per_event(store),
        "bootstrap_error": store.attribute("spectrum", "bootstrap_error"),
        "held_back": store.attribute("spectrum", "held_back"),
    }
    facts["robust"] = store.attribute("robust", "table") if "robust" in store.groups else None
    facts |= {group: model_summary(store, group) for group in MODELS if group != "joint"}
    facts["joint"] = joint_summary(store)
    facts["events_without_accepted"] = (
        int((store.column("spectrum", "event_accepted")[1] == 0).sum()) if len(radii) > 1 else None
    )
    plain: dict[str, Any] = finite(facts)
    return plain


def radii_of_iterations(store: Store) -> Floats:
    """R of each iteration, or of each step of a network that is trained together with it."""
    radii: Floats = (
        store.column("joint", "parameters")[:, 0]
        if "joint" in store.groups and store.n_complete("joint")
        else store.column("history", "radius")
    )
    return radii


def _per_event(store: Store) -> dict[str, Any] | None:
    """Summary of one radius per event; None for runs without."""
    mean = store.scores("mean")
    if len(mean) < 2:
        return None
    columns = {name: store.scores(name) for name in SCAN}
    fresh, same = ({name: float(values[row]) for name, values in columns.items()} for row in (0, 1))
    radius, unfitted, agree = (
        store.column("per_event", name) for name in ("radius", "left", "agree")
    )
    radii = radius[unfitted == 0]
    quantiles = dict(
        zip(("low", "median", "high"), np.quantile(radii, [0.16, 0.5, 0.84]).tolist(), strict=True)
    )
    return {
        "fresh": fresh,
        "same": same,
        "starts": store.array("per_event", "start").tolist(),
        "left": (
            np.flatnonzero(unfitted) + (store.attributes["run"]["input"]["entries"] or [0])[0]
        ).tolist(),
        "agree": float(agree[unfitted == 0].mean()),
        "radius": quantiles if len(radii) else None,
    }
