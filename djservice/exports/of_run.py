"""The tables of a run: its events, its path, its scan and its result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import StoreError
from djservice.exports.tables import Column, Contents, Table, columns_of, described, files_table
from djservice.store.columns import MODELS, PER_EVENT, SPECTRUM_EVENT
from djservice.store.meanings import IDENTITY
from djservice.store.run_store import Store

#: Numbers of the result, with their meaning; those that a run lacks are NaN.
_RESULT = {
    "radius": "jet radius R at the end of the search, an optimum if converged is 1",
    "radius_error": "standard error of R",
    "radius_error_events": "part of it from the events",
    "radius_error_trees": "part of it from the trees",
    "radius_error_optimiser": "part of it from the last step of the optimiser",
    "gradient": "dL/dR on fresh trees at this R",
    "gradient_error": "its standard error",
    "curvature": "second derivative of the loss in R",
    "curvature_error": "its standard error",
    "joint_radius": "R that was learned together with a network",
    "joint_radius_error": "its standard error",
    "rigidity": "learned rigidity alpha",
}


#: Numbers of each version of the events, with their meaning.
_VERSION = {
    "name": "augmentation; none for the events as they are",
    "radius": "jet radius R of least loss of the version",
    "radius_error": "its standard error",
    "shift": "R minus that of the events as they are",
    "shift_error": "its standard error",
    "loss": "loss of the version at the common R",
    "loss_error": "its standard error",
    "mean": "mean of the observable of the version at the common R",
    "mean_error": "its standard error",
}


def run_contents(path: str | Path, jets: int = 0) -> Contents:
    """The tables of a run; see :func:`djservice.exports.contents.contents_of`."""
    store = Store.read(path)
    attributes = store.attributes
    began = [name for name in ("history", *MODELS) if name in store.groups]
    if not any(store.n_complete(name) for name in began):
        raise StoreError(f"{store.path}: no finished iteration yet. Export it later.")
    tables = {"events": _events(store)}
    if jets:
        from djservice.exports.jets import jets_of_run

        tables["events"] |= jets_of_run(store, jets)
    for name in ("history", "scan", "newton", "spectrum"):
        table = columns_of(store.group(name), store.n_complete(name))
        wide = {*IDENTITY, "key", "weight"} if name == "spectrum" else ()
        tables[name] = {key: column for key, column in table.items() if key not in wide}
    if "robust" in store.groups:
        tables["robust"] = _versions(store)
    if "joint" in store.groups:
        tables["joint"] = _path_with_network(store)
    tables["result"] = _result(attributes.get("result"))
    tables["files"] = files_table(attributes["inputs"])
    return Contents({name: table for name, table in tables.items() if table}, attributes)


def observable_name(attributes: Any) -> str:
    """Name of the observable of a run, of letters, digits and underscores."""
    return re.sub(r"\W+", "_", attributes["observable"]["name"])


def _events(store: Store) -> Table:
    """Every number per event, beside the identity of the event."""
    group = store.group("spectrum")
    table = {
        name: described(group, name, group.rows(name)) for name in (*IDENTITY, "key", "weight")
    }
    observable = observable_name(store.attributes)
    radii = store.column("spectrum", "radius")
    for row, radius in enumerate(radii):
        place = ("start", "optimum")[row] if row < 2 else f"R{radius:.3f}".replace(".", "p")
        for name in SPECTRUM_EVENT:
            values = store.column("spectrum", name)[row]
            column = name.replace("event", observable, 1).replace("_mean", "")
            table[f"{column}_{place}"] = described(group, name, values)
    if "per_event" in store.groups:
        table |= _per_event(store, observable)
    for model in MODELS:
        if "held_back" in store.samples(model):
            table |= _held_back(store, model, table["key"].values)
    return table


def _per_event(store: Store, observable: str) -> Table:
    """The radius of each event, NaN where the fit has not come yet, and the observable there."""
    group, done = store.group("per_event"), store.n_complete("per_event")
    number, table = len(group.rows("key")), {}
    for name in PER_EVENT:
        rows = group.rows(name)[:done]
        values = np.full(number, np.nan if rows.dtype.kind == "f" else -1, rows.dtype)
        values[:done] = rows
        table["radius" if name == "radius" else f"radius_{name}"] = described(group, name, values)
    scores = store.scores("event_mean")
    if len(scores):
        table[f"{observable}_radius"] = described(group, "event_mean", scores[0])
    return table


def _held_back(store: Store, model: str, keys: NDArray[np.uint64]) -> Table:
    """The radii and the observable of a model, for the events that are held back; else NaN."""
    group = store.group(f"{model}/held_back")
    if store.n_complete(f"{model}/held_back") < 2:
        return {}
    order = np.argsort(keys)
    rows = order[np.searchsorted(keys, group.rows("key"), sorter=order)]
    table = {}
    for name in ("radius", "event_mean"):
        values = np.full(len(keys), np.nan)
        values[rows] = group.rows(name)[1]
        table[f"{model}_{name}"] = described(group, name, values)
    return table


def _versions(store: Store) -> Table:
    """What is known of each version of the events of a robust loss; empty before that."""
    rows, units = store.attribute("robust", "table"), store.attributes["observable"]["units"]
    return {
        name: Column(
            np.array([np.nan if row[name] is None else row[name] for row in rows]),
            (units or "1") if name.startswith("mean") else "1",
            text,
        )
        for name, text in (_VERSION.items() if rows else ())
    }


def _path_with_network(store: Store) -> Table:
    """The path of R while a network is trained together with it."""
    group, steps = store.group("joint"), store.n_complete("joint")
    radius = Column(store.column("joint", "parameters")[:, 0], "1", "jet radius R")
    return {"radius": radius, **columns_of(group, steps)}


def _result(result: Any) -> Table:
    """The numbers of the result, in one row; empty without one."""
    if not isinstance(result, dict):
        return {}
    table = {
        name: Column(np.array([np.nan if result.get(name) is None else result[name]]), "1", text)
        for name, text in _RESULT.items()
    }
    converged = np.array([int(bool(result["converged"]))])
    return table | {"converged": Column(converged, "1", "1 if R is an optimum")}
