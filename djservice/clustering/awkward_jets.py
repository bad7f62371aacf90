"""cluster_jets(particles, ...): awkward particles in, awkward jets with their constituents out."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.cluster import cluster
from djservice.clustering.kernels.constituents import constituents_of_histories, jets_of_histories
from djservice.clustering.particle_order import momenta_of
from djservice.clustering.radius import Radius
from djservice.clustering.sampling import SamplingKeywords, takes_sampling
from djservice.errors import InputError
from djservice.events.batch import EventBatch, as_batch


@takes_sampling()
def cluster_jets(
    particles: Any,
    *,
    radius: Radius,
    rigidity: float = math.inf,
    trees: int = 1,
    pt_min: float = 0.0,
    jets: int | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> Any:
    """Jets of awkward particles, for a columnar analysis.

    Parameters
    ----------
    particles
        Awkward records with pt, phi, mass and rapidity or eta, shape (event, var), or an :class:`djservice.EventBatch`.
    radius, rigidity, trees, sampling
        As in :func:`djservice.cluster`; the deterministic algorithm by default: FastJet's jets.
    pt_min
        Jets with pT > ``pt_min`` (GeV) are returned.
    jets
        How many of them at most per tree, the leading ones; all by default.
    identity
        As in :func:`djservice.analysis.expectation`; the deterministic algorithm draws nothing.

    Returns
    -------
    awkward.Array
        In falling pT: shape (event, jet) with infinite rigidity, (event, tree, jet) with a finite one, even of one tree.
        ``Momentum4D`` records of ``vector`` with ``px, py, pz, E`` in GeV, so that ``pt``, ``mass``, ``+``, ``deltaR`` work; and
        ``constituents``: the rising indices of a jet's particles in its event.

    Raises
    ------
    InputError
        If an argument has no meaning, or several deterministic trees are asked for.
    ClusteringError
        As :func:`djservice.clustering.cluster`.

    Notes
    -----
    Takes 85 bytes for each particle and tree at its peak (measured): give chunks of events, as coffea does.
    """
    if not (math.isfinite(pt_min) and pt_min >= 0):
        raise InputError(f"pt_min is {pt_min}, expected 0 GeV or more.")
    if jets is not None and jets < 1:
        raise InputError(f"jets is {jets}, expected 1 or more, or None for all.")
    if math.isinf(rigidity) and trees != 1:
        raise InputError(
            f"trees is {trees}, expected 1 with infinite rigidity: all trees would be the same."
        )
    events = as_batch(particles, identity=identity)
    sample = cluster(
        events, radius=radius, rigidity=rigidity, trees=trees, jets=1, history=True, **sampling
    )
    assert sample.history is not None
    return _awkward(events, sample.history, trees, pt_min, jets, per_tree=not math.isinf(rigidity))


def _awkward(
    events: EventBatch,
    history: NDArray[np.int32],
    trees: int,
    pt_min: float,
    jets: int | None,
    per_tree: bool,
) -> Any:
    """The jets of all histories as an awkward array."""
    import awkward as ak
    from vector.backends.awkward import behavior

    rows, largest = len(history), int(events.counts.max(initial=0))
    momenta, members, owner = (
        np.empty((rows, 4)),
        np.empty(rows, np.int64),
        np.empty(2 * largest, np.int64),
    )
    particles = np.stack(momenta_of(events.pt, events.rapidity, events.phi, events.mass), axis=1)
    jets_of_histories(
        events.offsets,
        trees,
        history,
        particles,
        momenta,
        members,
        np.empty((2 * largest, 4)),
        owner,
    )
    kept = np.flatnonzero(members)
    pt = np.hypot(momenta[kept, 0], momenta[kept, 1])
    kept, pt = kept[pt > pt_min], pt[pt > pt_min]
    starts = (
        events.offsets[:-1, np.newaxis] * trees + np.arange(trees) * events.counts[:, np.newaxis]
    )
    tree = (
        np.searchsorted(starts.ravel(), kept, side="right") - 1
    )  # of empty trees, which begin there too, the last is not one
    order = np.lexsort((-pt, tree))
    kept, tree = kept[order], tree[order]
    if jets is not None:
        leading = np.arange(len(tree)) - np.searchsorted(tree, tree) < jets
        kept, tree = kept[leading], tree[leading]
    ends = np.cumsum(members[kept])
    place = np.full(rows, -1, np.int64)
    place[kept] = ends - members[kept]
    constituents = np.empty(int(members[kept].sum()), np.int64)
    constituents_of_histories(events.offsets, trees, history, place, constituents, owner)
    fields = {name: momenta[kept, k] for k, name in enumerate(("px", "py", "pz", "E"))}
    fields["constituents"] = ak.unflatten(constituents, members[kept])
    records = ak.zip(fields, depth_limit=1, with_name="Momentum4D", behavior=behavior)
    found = ak.unflatten(records, np.bincount(tree, minlength=len(events) * trees))
    return ak.unflatten(found, np.full(len(events), trees)) if per_tree else found
