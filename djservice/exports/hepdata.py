"""The result of a run as a submission to HEPData: ``submission.yaml`` and a file for each table.

References
----------
HEPData, "Data submission", https://hepdata-submission.readthedocs.io
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from djservice.core.typing import Floats
from djservice.core.visible import visible
from djservice.errors import StoreError
from djservice.exports.of_run import observable_name
from djservice.exports.tables import Column, Contents, Table

#: Bins of a distribution over events.
_BINS = 40
#: Numbers of a scan that are published, with the columns of their errors.
_OF_SCAN = ("loss", "gradient", "mean", "sd", "acceptance")

Variable = dict[str, Any]


@dataclass(frozen=True)
class _Published:
    """A table of a submission."""

    name: str
    description: str
    independent: list[Variable]
    dependent: list[Variable]


def write_hepdata(contents: Contents, folder: Path) -> None:
    """Write ``submission.yaml`` and the tables of a run, a scan or a comparison into a new folder.

    Raises
    ------
    StoreError
        If the store has nothing of the kind.
    """
    tables = list(_tables(contents))
    if not tables:
        raise StoreError(
            "expected the store of a run, a scan or a comparison, found one without a scan. "
            "Choose another format."
        )
    folder.mkdir()
    comment = {"comment": "Written by djservice. Add keywords for the reaction and cmenergies."}
    documents: list[dict[str, Any]] = [comment]
    for table in tables:
        file = f"{table.name.lower().replace(' ', '_')}.yaml"
        data = {"independent_variables": table.independent, "dependent_variables": table.dependent}
        (folder / file).write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
        documents.append(
            {
                "name": table.name,
                "description": table.description,
                "keywords": [{"name": "phrases", "values": ["jet radius", "jet clustering"]}],
                "data_file": file,
            }
        )
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
    (folder / "submission.yaml").write_text(text)


def _tables(contents: Contents) -> Iterator[_Published]:
    tables, facts = contents.tables, contents.facts
    if "cells" in tables:
        yield _cells(tables["cells"], str(facts["observable"]["name"]))
    if "scan" not in tables or not len(tables["scan"]["radius"].values):
        return
    if "result" in tables:
        yield _radius(tables["result"], facts)
    axis = _variable("R", "", tables["scan"]["radius"].values)
    yield _Published(
        "Scan of R",
        f"Loss and {facts['observable']['name']} of all events against R. The errors are from "
        "events and trees, and move together between the points.",
        [axis],
        [_of_column(tables["scan"], name, _qualifiers(facts)) for name in _OF_SCAN],
    )
    name = observable_name(facts)
    columns = [key for key in tables["events"] if _is_mean(tables["events"], key, name)]
    if columns:
        yield _distribution(tables["events"], columns, facts)
    if "radius" in tables["events"]:
        yield _radii(tables["events"], facts)


def _radius(result: Table, facts: Mapping[str, Any]) -> _Published:
    """The radius with the parts of its error."""
    number = {name: float(column.values[0]) for name, column in result.items()}
    parts = {part: number[f"radius_error_{part}"] for part in ("events", "trees", "optimiser")}
    value = _with_errors(number["radius"], **parts)
    rigidity = number["rigidity"]
    if not math.isfinite(rigidity):
        rigidity = float(facts["run"]["clustering"]["rigidity"])
    what = "of least loss" if number["converged"] else "where the search ended, which is no optimum"
    return _Published(
        "Radius",
        f"The jet radius R {what}, with the parts of its error that come from the events, from the "
        "trees and from the last step of the optimiser.",
        [_variable("rigidity", "", [rigidity])],
        [{"header": {"name": "R"}, "qualifiers": _qualifiers(facts), "values": [value]}],
    )


def _cells(cells: Table, observable: str) -> _Published:
    axes = [
        _variable(name, "", cells[name].values)
        for name in ("estimator", "rigidity", "radius", "repetition")
    ]
    text = f"Loss and {observable} of all events on a grid of R, rigidity and estimator."
    return _Published("Grid", text, axes, [_of_column(cells, name, []) for name in _OF_SCAN])


def _is_mean(events: Table, key: str, name: str) -> bool:
    """Whether a column is the mean of the observable of each event at a radius."""
    other = (f"{name}_error", f"{name}_accepted")
    return key.startswith(f"{name}_") and not key.startswith(other) and key in events


def _distribution(events: Table, columns: Sequence[str], facts: Mapping[str, Any]) -> _Published:
    """Histograms of the observable over the events, at each radius."""
    weight = events["weight"].values
    finite = np.concatenate([_finite(events[key].values) for key in columns])
    high = float(np.quantile(finite, 0.995)) if len(finite) else 1.0
    edges = np.linspace(min(0.0, float(finite.min(initial=0.0))), high or 1.0, _BINS + 1)
    label, units = facts["observable"]["name"], facts["observable"]["units"]
    radii = _radii_of(columns, facts)
    dependent = [
        _histogram(events[key].values, weight, edges, [*_qualifiers(facts), *radii[key]])
        for key in columns
    ]
    text = (
        f"Distribution over the events of the mean {label} over accepted trees. The errors are "
        "the root of the sum of the squared weights."
    )
    return _Published("Distribution", text, [_bins(label, units, edges)], dependent)


def _radii(events: Table, facts: Mapping[str, Any]) -> _Published:
    bounds = facts["run"]["radius"]
    edges = np.geomspace(bounds["minimum"], bounds["maximum"], _BINS + 1)
    counts = _histogram(events["radius"].values, events["weight"].values, edges, _qualifiers(facts))
    text = "Distribution of the radius of least loss of each event."
    return _Published("Radii of events", text, [_bins("R", "", edges)], [counts])


def _radii_of(columns: Sequence[str], facts: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The qualifier of each column: the radius that it was computed at."""
    known = {"start": facts["run"]["radius"]["start"]}
    result = facts.get("result")
    if isinstance(result, dict):
        known["optimum"] = result["radius"]
    qualifiers = {}
    for key in columns:
        place = key.rpartition("_")[2]
        text = {"radius": "one per event"}.get(place) or known.get(place)
        if text is None:
            text = place.removeprefix("R").replace("p", ".")
        qualifiers[key] = [{"name": "R", "value": text}]
    return qualifiers


def _histogram(
    values: Floats, weight: Floats, edges: Floats, qualifiers: list[dict[str, Any]]
) -> Variable:
    """Sums of weights in bins, with their errors."""
    good = np.isfinite(values)
    sums, squares = (
        np.histogram(values[good], edges, weights=weight[good] ** power)[0] for power in (1, 2)
    )
    points = [
        _with_errors(float(total), events=float(error))
        for total, error in zip(sums, np.sqrt(squares), strict=True)
    ]
    return {"header": {"name": "events"}, "qualifiers": qualifiers, "values": points}


def _bins(name: str, units: str, edges: Floats) -> Variable:
    bins = [{"low": float(low), "high": float(high)} for low, high in itertools.pairwise(edges)]
    return {"header": _header(name, units), "values": bins}


def _variable(name: str, units: str, values: Any) -> Variable:
    return {"header": _header(name, units), "values": [{"value": float(v)} for v in values]}


def _of_column(table: Table, name: str, qualifiers: list[dict[str, Any]]) -> Variable:
    """A column with its error, if it has one."""
    column: Column = table[name]
    error = table.get(f"{name}_error")
    widths = np.zeros(len(column.values)) if error is None else error.values
    points = [
        _with_errors(float(value), **{"events and trees": float(width)})
        for value, width in zip(column.values, widths, strict=True)
    ]
    shown = {"header": _header(visible(column.long_name), column.units), "values": points}
    return {**shown, "qualifiers": qualifiers} if qualifiers else shown


def _with_errors(value: float, **errors: float) -> dict[str, Any]:
    """A number with its errors by their labels; HEPData takes no error of 0, and "-" for none."""
    point: dict[str, Any] = {"value": value if math.isfinite(value) else "-"}
    known = [
        {"symerror": error, "label": label}
        for label, error in errors.items()
        if math.isfinite(error) and error > 0.0
    ]
    return point | {"errors": known} if known else point


def _header(name: str, units: str) -> dict[str, str]:
    return {"name": name, **({"units": units} if units not in ("", "1") else {})}


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _qualifiers(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What all numbers of a run have in common."""
    clustering = facts["run"]["clustering"]
    return [
        {"name": "power p", "value": clustering["power"]},
        {"name": "rigidity", "value": clustering["rigidity"]},
        {"name": "scale", "value": clustering["scale"]},
        {"name": "events", "value": facts["events"]},
    ]
