"""The deterministic jets of the events of a run, with the radius that the run chose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.awkward_jets import cluster_jets
from djservice.clustering.radius import VariableR
from djservice.config.run import Run
from djservice.core.private import public
from djservice.errors import StoreError
from djservice.events.batch import EventBatch
from djservice.exports.tables import Column, Table
from djservice.input.plan import InputPlan, plan_input
from djservice.input.read import read_segments
from djservice.input.segments import Segment
from djservice.store.run_store import Store

#: Entries that are read together.
_ENTRIES = 5_000
_UNITS = {"pt": "GeV", "eta": "1", "phi": "rad", "mass": "GeV"}


@dataclass(frozen=True)
class _Piece:
    """Events that are read together: their rows in the store, their number in the range."""

    segment: Segment
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def jets_of_run(store: Store, number: int) -> Table:
    """The leading jets of each event, as lists in falling pT.

    The files of the run are read again, and clustered by the deterministic algorithm with the
    radius of the result, or that of each event. Augmentations are not applied.

    Raises
    ------
    DjserviceError
        If the run has no such radius, or its files are no longer what they were.
    """
    import awkward as ak

    run = Run.from_dict(store.attributes["run"])
    radius = _radius(store, run)
    plan = plan_input(run.input)
    pieces, order = [], []
    for piece in _pieces(store, plan):
        batch = _events(store, plan, piece)
        of_piece: Any = radius if isinstance(radius, float) else radius[piece.rows]
        if run.radius.reference_pt is not None:
            reference = run.radius.reference_pt
            of_piece = VariableR(of_piece * reference, *run.radius.reach)
        jets = cluster_jets(
            batch, radius=of_piece, power=run.clustering.power, jets=number, device="cpu"
        )
        pieces.append({name: getattr(jets, name) for name in _UNITS})
        order.append(piece.rows)
    back = np.argsort(np.concatenate(order), kind="stable")
    return {
        f"Jet_{name}": Column(
            ak.concatenate([piece[name] for piece in pieces])[back],
            units,
            f"{name} of the leading jets at R, in falling pT",
        )
        for name, units in _UNITS.items()
    }


def _radius(store: Store, run: Run) -> float | NDArray[np.float64]:
    """The radius of every event, or of each."""
    result = store.attributes.get("result")
    if not isinstance(result, dict):
        raise StoreError(
            f"{store.path}: the run has no result yet. Continue it, or leave out --jets."
        )
    if run.task in ("radius-model", "particle-weights"):
        raise StoreError(
            f"{store.path}: expected one radius for all events or one for each, found the task "
            f"{run.task}. Leave out --jets, and apply the fit with `djservice reprocess`."
        )
    if run.task == "per-event":
        radii: NDArray[np.float64] = store.column("per_event", "radius")
        return radii
    return float(result["joint_radius"] if run.task == "joint" else result["radius"])


def _pieces(store: Store, plan: InputPlan) -> Iterator[_Piece]:
    """The events of the store, by ranges of the files that hold them."""
    file, entry = (store.array("spectrum", name) for name in ("file", "entry"))
    sources = {(public(source.path), source.dataset): source for source in plan.sources}
    for number, each in enumerate(store.attributes["inputs"]):
        rows = np.flatnonzero(file == number)
        source = sources.get((each["path"], each["dataset"]))
        if not len(rows):
            continue
        if source is None:
            raise StoreError(
                f"{store.path}: {each['path']}: a file of the run is not where it was. Put it "
                "back, or leave out --jets."
            )
        for part in np.unique(entry[rows] // _ENTRIES):
            chosen = rows[entry[rows] // _ENTRIES == part]
            first, last = int(entry[chosen].min()), int(entry[chosen].max()) + 1
            segment = Segment(source.path, first, last, source.dataset, source.tree)
            yield _Piece(segment, chosen, entry[chosen])


def _events(store: Store, plan: InputPlan, piece: _Piece) -> EventBatch:
    """The events of a piece, which must be those of the store."""
    batch = read_segments([piece.segment], plan.schema, piece.segment.dataset)
    place = {int(entry): row for row, entry in enumerate(batch.entry)}
    if not all(int(entry) in place for entry in piece.places):
        raise StoreError(
            f"{piece.segment}: events of the run are missing. Put the file of the run back."
        )
    batch = batch.select(np.array([place[int(entry)] for entry in piece.places]))
    for name, column in (("run", batch.run), ("event", batch.event), ("key", batch.key)):
        if (column != store.array("spectrum", name)[piece.rows]).any():
            raise StoreError(
                f"{piece.segment}: {name} differs from that of the run. Put the file of the run "
                "back."
            )
    return batch
