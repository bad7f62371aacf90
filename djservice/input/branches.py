"""Branches of an input -> EventBatch, by a schema.

A schema joins collections, weighs particles, sets units and the truth, and cuts. The branches come
from a file (:mod:`djservice.input.ranges`) or are fields of coffea's NanoEvents
(:mod:`djservice.input.nanoevents`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError, SchemaError
from djservice.events.batch import EventBatch
from djservice.events.checks import LARGEST_SCALE, refuse_particles
from djservice.events.quarks import GeneratedQuarks
from djservice.input.branch_names import COLUMN, Branches
from djservice.input.momentum_forms import FORMS, standard
from djservice.input.particle_masses import masses_of
from djservice.input.schemas import Schema
from djservice.input.truth import generated_mass, generated_quarks

#: A pt_min above so many median pT looks like one in MeV.
_MOST_MEDIANS = 100

#: A function that returns the awkward array of a branch.
Get = Callable[[str], Any]


def batch_of(
    branches: Branches,
    get: Get,
    schema: Schema,
    *,
    place: str,
    source: str,
    dataset: str,
    entry: NDArray[Any],
) -> tuple[EventBatch, dict[str, int]]:
    """The events of an input, and how many particles each cut removed.

    Parameters
    ----------
    branches, get
        Names of the branches, and the function that returns their arrays.
    schema
        Units, cuts, and the truth if it is a number.
    place
        Name of the input in messages.
    source, dataset, entry
        See :meth:`djservice.EventBatch.from_arrays`.

    Raises
    ------
    SchemaError
        If a branch has the wrong shape.
    InputError
        If a value is invalid.
    """
    import awkward as ak

    def per_event(branch: str) -> NDArray[Any]:
        return _per_event(get(branch), branch, schema, place, entry)

    columns = [
        column
        for column in schema.further
        if any(COLUMN + column in fields for fields in branches.particles)
    ]
    particles = _joined(
        [_records(fields, get, schema, place, entry, columns) for fields in branches.particles]
    )
    particles, at_rest = _without_pt(particles, schema)
    truth: Any = schema.truth
    if "truth" in branches.truth:
        truth = per_event(branches.truth["truth"]).astype(np.float64) / schema.per_gev
    elif branches.truth:
        fields = _generated(branches.truth, get, place)
        truth = generated_mass(str(schema.truth), fields, place, entry) / schema.per_gev
    identity = _padded([per_event(name) for name in branches.identity])
    batch = EventBatch.of_file(
        particles,
        weight=per_event(branches.weight) if branches.weight else None,
        truth=truth,
        identity=identity,
        entry=entry,
        source=source,
        dataset=dataset,
        columns={
            name: ak.values_astype(ak.flatten(particles[COLUMN + name], axis=1), np.float64)
            for name in columns
        },
    )
    if branches.quarks:
        fields = _generated(branches.quarks, get, place)
        batch = replace(batch, quarks=_quarks(fields, schema, place, entry))
    eta = np.asarray(ak.to_numpy(ak.flatten(particles["eta"], axis=1)))
    scale = None
    if schema.particle_weight is not None:
        scale = np.asarray(ak.to_numpy(ak.flatten(particles["weight"], axis=1)), dtype=np.float64)
    return _cut(batch, schema, eta, scale, at_rest)


def _generated(branches: dict[str, str], get: Get, place: str) -> dict[str, Any]:
    """Fields of the generated particles."""
    return {name: _lists(get(branch), branch, place) for name, branch in branches.items()}


def _quarks(
    fields: dict[str, Any], schema: Schema, place: str, entry: NDArray[Any]
) -> GeneratedQuarks:
    """The quarks of each event, which are checked as particles are."""
    import awkward as ak

    quarks = generated_quarks(fields, place, entry)
    for name in ("pt", "mass"):
        quarks = ak.with_field(quarks, quarks[name] / schema.per_gev, name)
    source = f"generated quarks of {place}"
    checked = EventBatch.of_file(quarks, entry=entry, source=source)
    names = ("offsets", "pt", "rapidity", "phi", "mass")
    code = ak.to_numpy(ak.flatten(quarks["pdgId"])).astype(np.int32)
    return GeneratedQuarks(**{name: getattr(checked, name) for name in names}, pdg_id=code)


def _without_pt(particles: Any, schema: Schema) -> tuple[Any, NDArray[np.bool_]]:
    """The particles, those without pT with numbers that pass the checks; and which they are.

    Beam particles and empty towers are such. A cut in pT removes them, and no rapidity is asked.
    """
    import awkward as ak

    at_rest = particles["pt"] == 0.0
    flat: NDArray[np.bool_] = np.ma.filled(ak.to_numpy(ak.flatten(at_rest)), False).astype(bool)
    if schema.pt_min > 0.0 and flat.any():
        for name, number in (("pt", 1.0), ("eta", 0.0), ("phi", 0.0), ("mass", 0.0)):
            particles = ak.with_field(particles, ak.where(at_rest, number, particles[name]), name)
        return particles, flat
    return particles, np.zeros_like(flat)


def _padded(numbers: list[NDArray[Any]]) -> Any:
    """Run, luminosity block and event number, of which the first may be 0; None without any."""
    if not numbers:
        return None
    event = numbers[-1]
    run = numbers[0] if len(numbers) > 1 else np.zeros_like(event)
    return run, numbers[1] if len(numbers) > 2 else np.zeros_like(event), event


def _records(
    fields: dict[str, str],
    get: Get,
    schema: Schema,
    place: str,
    entry: NDArray[Any],
    further: list[str],
) -> Any:
    """The particles of one collection, in GeV; 0 for a further column that it lacks."""
    import awkward as ak

    columns = {name: _lists(get(branch), branch, place) for name, branch in fields.items()}
    if schema.mass_by_code and "mass" in columns:
        columns["mass"] = masses_of(columns["mass"], place) * schema.per_gev
    if "pt" not in columns or "E" in columns:
        columns = _with_pt_and_mass(columns, place, entry)
    if schema.per_gev != 1.0:
        for name in columns.keys() & {"pt", "mass"}:
            columns[name] = ak.values_astype(columns[name], np.float64) / schema.per_gev
    if "mass" not in columns:
        columns["mass"] = ak.full_like(columns["pt"], schema.mass, dtype=np.float64)
    for name in further:
        columns.setdefault(COLUMN + name, ak.zeros_like(columns["pt"]))
    return ak.zip(columns, depth_limit=2)


def _with_pt_and_mass(columns: dict[str, Any], place: str, entry: NDArray[Any]) -> dict[str, Any]:
    """Columns of one collection with pt, eta, phi and mass in place of the momenta of the file."""
    import awkward as ak

    momenta = {n: column for n, column in columns.items() if any(n in form for form in FORMS)}
    particles = ak.zip(momenta, depth_limit=2)
    counts = np.asarray(ak.to_numpy(ak.num(particles, axis=1)))
    flat = {name: np.asarray(ak.to_numpy(ak.flatten(particles[name]))) for name in momenta}
    others = {name: column for name, column in columns.items() if name not in momenta}
    return others | {
        name: ak.unflatten(column, counts)
        for name, column in standard(flat, counts, place, entry).items()
    }


def _joined(collections: list[Any]) -> Any:
    import awkward as ak

    return collections[0] if len(collections) == 1 else ak.concatenate(collections, axis=1)


def _cut(
    batch: EventBatch,
    schema: Schema,
    eta: NDArray[Any],
    scale: NDArray[np.float64] | None,
    at_rest: NDArray[np.bool_],
) -> tuple[EventBatch, dict[str, int]]:
    """The particles that the schema keeps.

    Cuts come after the checks, so that no cut hides a bad particle.
    """
    keep = np.ones(len(batch.pt), dtype=bool)
    removed = {}

    def remove(name: str, good: NDArray[np.bool_]) -> None:
        removed[name] = int((keep & ~good).sum())
        np.logical_and(keep, good, out=keep)

    if scale is not None:
        _check_scale(batch, scale, str(schema.particle_weight))
        batch = replace(batch, pt=batch.pt * scale, mass=batch.mass * scale)  # the rapidity stays
        remove("weight 0", scale > 0)
    batch = _doubting(batch, schema.pt_min)
    remove("pt_min", (batch.pt > schema.pt_min) & ~at_rest)
    if schema.eta_max is not None:
        remove("eta_max", np.abs(eta) < schema.eta_max)
    for name, values in batch.columns.items():  # those of removed particles may be anything
        refuse_particles(batch, name, values, np.isfinite(values) | ~keep, "a finite number")
    return batch.keep(keep), removed


def _doubting(batch: EventBatch, pt_min: float) -> EventBatch:
    """The batch; with a doubt if the cut looks like one in another unit."""
    if not len(batch.pt) or pt_min <= _MOST_MEDIANS * np.median(batch.pt):
        return batch
    doubt = (
        f"pt_min is {pt_min:g} GeV, more than {_MOST_MEDIANS} times the median pT of the "
        "particles. It is in GeV, also for files in MeV: divide it by 1000 if it is in MeV."
    )
    return replace(batch, doubts=(*batch.doubts, doubt))


def _check_scale(batch: EventBatch, scale: NDArray[np.float64], field: str) -> None:
    refuse_particles(
        batch,
        field,
        scale,
        np.isfinite(scale) & (scale >= 0) & (scale <= LARGEST_SCALE),
        f"a finite number of 0 or more, and at most {LARGEST_SCALE:g}",
    )


def _lists(array: Any, branch: str, place: str) -> Any:
    """A branch with one list of numbers per event."""
    return _checked(array, branch, 2, "one list of numbers per event", place)


def _per_event(
    array: Any, branch: str, schema: Schema, place: str, entry: NDArray[Any]
) -> NDArray[Any]:
    """A branch with one number per event, or in a list; in some layouts the first of a list."""
    import awkward as ak

    if array.ndim == 2 and (schema.layout.in_lists or ak.all(ak.num(array) == 1)):
        array = ak.firsts(_lists(array, branch, place))
        none = np.flatnonzero(ak.to_numpy(ak.is_none(array)))
        if len(none):
            raise InputError(
                f"{place}, entry {entry[none[0]]}: expected a number in branch {branch!r}, found "
                "an empty list "
                f"({len(none)} such events). Name another branch in the schema."
            )
    array = ak.to_numpy(_checked(array, branch, 1, "one number per event", place))
    return array if np.ma.is_masked(array) else np.ma.getdata(array)


def _checked(array: Any, branch: str, ndim: int, expected: str, place: str) -> Any:
    import awkward as ak

    array = ak.materialize(array)
    number = (
        array.ndim == ndim
        and not array.fields
        and ak.to_numpy(ak.flatten(array, axis=None)[:1]).dtype.kind in "biuf"
    )
    if not number:
        raise SchemaError(
            f"{place}: expected {expected} in branch {branch!r}, found {array.type}. Name another "
            "branch in the schema."
        )
    return array
