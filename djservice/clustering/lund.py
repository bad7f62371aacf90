"""``dj.lund``: the emissions of jets, the points of their Lund planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.cluster import cluster
from djservice.clustering.flat_jets import jets_as_events
from djservice.clustering.kernels.lund import JET, PARENT, PLANE, emissions_of_histories
from djservice.clustering.particle_order import momenta_of
from djservice.clustering.trees import TreeSample
from djservice.core.arguments import checked_arguments
from djservice.core.formatting import counted
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch

#: The largest R there is. No distance of particles is larger, so all end in one jet.
WHOLE = 1000.0


@checked_arguments
def lund(particles: Any, jets: Any = None) -> Any:
    """Emissions of jets: coordinates of each step backwards through a Cambridge/Aachen tree.

    Each jet's constituents are clustered again with Cambridge/Aachen, and the tree is read from its
    end: at each step the softer branch is an emission from the harder one.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`. Without jets, the
        constituents of each jet take the place of an event.
    jets
        Jets of these particles with a field ``constituents``, as :func:`djservice.cluster_jets`
        returns them, shape (event, jet) or (event, tree, jet). Or a :class:`djservice.TreeSample`
        with its history: then its own trees are read and none is clustered again, so a random
        Cambridge/Aachen tree (``power=0``) has random planes.

    Returns
    -------
    awkward.Array
        Records in an axis behind those of the jets, from wide to narrow angles along each branch.
        The jets of a sample are in falling pT, shape (event, tree, jet, emission).

        delta
            Distance in (y, phi) of the two branches, with rapidity.
        kt
            pT of the softer branch times delta, in GeV.
        z
            pT of the softer branch over the sum of both.
        psi
            Angle of the softer branch around the harder one, atan2(dy, dphi), in rad.
        kappa
            z delta.
        mass
            Mass of both branches together, in GeV.
        plane
            1 on the primary plane, that of the hardest branch; 2 on planes of its emissions, and so
            on.
        parent
            Place, in the list of the jet, of the emission to whose plane this one belongs; -1 on
            the primary plane. The secondary plane of emission i is ``parent == i``.

    Raises
    ------
    InputError
        If the particles or the jets are none, or the sample has no history.

    References
    ----------
    Dreyer, Salam, Soyez: arXiv:1807.04758.
    """
    if isinstance(jets, TreeSample):
        events = as_events(particles)
        if jets.history is None or not np.array_equal(jets.offsets, events.offsets):
            raise InputError(
                "the trees have no history, or are those of other particles: expected "
                "djservice.cluster(particles, ..., history=True)."
            )
        trees = jets.numbers.shape[1]
        return emissions_of(events, jets.history, trees, of_trees=True)
    shape, constituents = constituents_of_jets(particles, jets)
    sample = cluster(constituents, radius=WHOLE, rigidity=math.inf, power=0.0, jets=1, history=True)
    assert sample.history is not None
    return _unflatten(emissions_of(constituents, sample.history, 1), shape)


def constituents_of_jets(particles: Any, jets: Any) -> tuple[list[Any], EventBatch]:
    """The constituents of each jet as an event, and the numbers of jets on the axes before.

    Jets have the weights and the generated quarks of their events.
    """
    import awkward as ak

    if jets is None:
        return [], as_events(particles)
    events = as_events(particles)
    if "constituents" not in ak.fields(jets) or jets.constituents.ndim not in (3, 4):
        raise InputError(
            "expected jets with a field constituents, shape (event, jet) or (event, tree, jet), "
            f"as djservice.cluster_jets returns them, found {getattr(jets, 'type', type(jets))}."
        )
    if len(jets) != len(events):
        raise InputError(
            f"expected the jets of {counted(len(events), 'event')}, found those of {len(jets)}."
        )
    lists, shape = jets.constituents, []
    in_event = np.arange(len(events))
    while lists.ndim > 2:
        shape.append(ak.to_numpy(ak.num(lists)))
        in_event = np.repeat(in_event, shape[-1])
        lists = ak.flatten(lists)
    sizes = ak.to_numpy(ak.num(lists)).astype(np.int64)
    index = ak.to_numpy(ak.flatten(lists)).astype(np.int64)
    counts = np.repeat(events.counts[in_event], sizes)
    if ((index < 0) | (index >= counts)).any():
        raise InputError("a constituent is no particle of its event: the jets are of others.")
    return shape, jets_as_events(events, in_event, sizes, index)


def _unflatten(emissions: Any, shape: list[Any]) -> Any:
    import awkward as ak

    for counts in reversed(shape):
        emissions = ak.unflatten(emissions, counts)
    return emissions


def emissions_of(
    events: EventBatch, history: NDArray[np.int32], trees: int, *, of_trees: bool = False
) -> Any:
    """The emissions of all jets of all trees: by event, or by event, tree and jet."""
    import awkward as ak

    fields, order, jet, tree, ends = _flat_emissions(events, history, trees)
    records = ak.zip(fields, depth_limit=1)
    if not of_trees:  # each event is one jet, and merges one time less than it has particles
        return ak.unflatten(records, _merges(events))
    sizes = np.repeat(events.counts, trees)
    records = ak.unflatten(records, np.bincount(jet[order], minlength=int(ends.sum())))
    records = ak.unflatten(records, np.bincount(tree[ends], minlength=len(sizes)))
    return ak.unflatten(records, np.full(len(events), trees))


def flat_emissions(constituents: EventBatch) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """The emissions of jets whose constituents are the particles of an event each, in one thread.

    Returns
    -------
    tuple
        The number of the jet of each emission, and the fields of :func:`lund` by their names.
    """
    sample = cluster(
        constituents,
        radius=WHOLE,
        rigidity=math.inf,
        power=0.0,
        jets=1,
        history=True,
        threads=1,
        device="cpu",
    )
    assert sample.history is not None
    fields = _flat_emissions(constituents, sample.history, 1)[0]
    return np.repeat(np.arange(len(constituents)), _merges(constituents)), fields


def _merges(events: EventBatch) -> NDArray[np.int64]:
    """How often the particles of each event merge, if all end in one jet."""
    return np.maximum(events.counts - 1, 0)


def _flat_emissions(
    events: EventBatch, history: NDArray[np.int32], trees: int
) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Any]:
    """The fields of the emissions in their order.

    Also that order, the jet and the tree of each row of the histories, and whether the row is the
    end of a jet.
    """
    rows, largest = len(history), int(events.counts.max(initial=0))
    numbers, places, pt = np.empty((rows, 6)), np.empty((rows, 3), np.int64), np.empty(rows)
    particles, scratch = momenta_of(events), np.empty((2 * largest, 4))
    branch = np.empty((2 * largest, 3), np.int64)
    emissions_of_histories(
        events.offsets, trees, history, particles, numbers, places, pt, scratch, branch
    )
    begins = events.offsets[:-1, None] * trees + np.arange(trees) * events.counts[:, None]
    sizes = np.repeat(events.counts, trees)
    tree = np.repeat(np.arange(len(sizes)), sizes)
    ends = places[:, PLANE] == 0
    begin = begins.ravel()[tree]  # of each row, the first row of its tree
    order, jet = _order(begin, tree, places, pt, ends)
    return _fields(numbers, places, begin, order, jet), order, jet, tree, ends


def _order(
    begin: NDArray[np.int64],
    tree: NDArray[np.int64],
    places: NDArray[np.int64],
    pt: Floats,
    ends: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of emissions in their order, and the number of the jet of each row.

    Jets are numbered by tree and falling pT; the emissions of a jet go back in its history.
    """
    jets = np.flatnonzero(ends)
    number = np.empty(len(ends), np.int64)
    number[jets[np.lexsort((-pt[jets], tree[jets]))]] = np.arange(len(jets))
    number[~ends] = number[begin[~ends] + places[~ends, JET]]
    emissions = np.flatnonzero(~ends)
    return emissions[np.lexsort((-emissions, number[emissions]))], number


def _fields(
    numbers: Floats,
    places: NDArray[np.int64],
    begin: NDArray[np.int64],
    order: NDArray[np.int64],
    jet: NDArray[np.int64],
) -> dict[str, Any]:
    """The fields of the emissions in their order."""
    names = ("delta", "kt", "z", "psi", "kappa", "mass")
    fields: dict[str, Any] = {name: numbers[order, k] for k, name in enumerate(names)}
    fields["plane"] = places[order, PLANE]
    place = np.empty(len(jet), np.int64)
    place[order] = np.arange(len(order)) - np.searchsorted(jet[order], jet[order])
    parent = places[order, PARENT]
    fields["parent"] = np.where(parent < 0, -1, place[begin[order] + parent])
    return fields
