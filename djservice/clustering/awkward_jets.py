"""``dj.cluster_jets``: awkward jets with their constituents, from awkward particles."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.cluster import cluster
from djservice.clustering.flat_jets import flat_jets
from djservice.clustering.radius import Radius
from djservice.clustering.sampling import Sampling, SamplingKeywords, takes_sampling
from djservice.core.bounds import require, require_number
from djservice.errors import InputError
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch


@takes_sampling
def cluster_jets(
    particles: Any,
    *,
    radius: Radius,
    rigidity: float = math.inf,
    trees: int = 1,
    pt_min: float = 0.0,
    jets: int | None = None,
    mask: ArrayLike | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> Any:
    """Jets of awkward particles, for a columnar analysis.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`.
    radius, rigidity, trees, sampling
        See :func:`djservice.cluster`. The default is the deterministic algorithm, which gives
        FastJet's jets.
    pt_min
        Minimum pT in GeV: jets with pT > ``pt_min`` are returned.
    jets
        Maximum number of jets per tree, the leading ones; all jets by default.
    mask, identity
        See :func:`djservice.as_events`. The deterministic algorithm makes no draws and needs
        none.

    Returns
    -------
    awkward.Array
        Jets in falling pT. The shape is (event, jet) with infinite rigidity, and
        (event, tree, jet) with a finite one, even for one tree. The jets are ``Momentum4D`` records
        of ``vector`` with ``px, py, pz, E`` in GeV, so that ``pt``, ``mass``, ``+`` and ``deltaR``
        work. The field ``constituents`` holds the rising indices of a jet's particles in its event.

    Raises
    ------
    InputError
        If an argument has no meaning, or several deterministic trees are requested.
    ClusteringError
        See :func:`djservice.cluster`.

    Notes
    -----
    The peak memory is 85 bytes for each particle and tree (measured). Give chunks of events, as
    coffea does.
    """
    require_number("pt_min", pt_min)
    if pt_min < 0:
        raise InputError(f"pt_min is {pt_min}, expected 0 GeV or more.")
    if jets is not None:
        require("jets", jets, more=", or None for all")
    settings = Sampling(rigidity, **sampling)
    if settings.rigidity == math.inf and trees != 1:
        raise InputError(
            f"trees is {trees}, expected 1 with infinite rigidity: all trees would be the same."
        )
    events = as_events(particles, mask, identity=identity)
    sample = cluster(
        events, radius=radius, rigidity=rigidity, trees=trees, jets=1, history=True, **sampling
    )
    assert sample.history is not None
    return jets_of_trees(events, sample.history, trees, pt_min, jets, per_tree=rigidity != math.inf)


def jets_of_trees(
    events: EventBatch,
    history: NDArray[np.int32],
    trees: int,
    pt_min: float,
    jets: int | None,
    per_tree: bool,
) -> Any:
    """The jets of all histories as an awkward array; see :func:`cluster_jets`."""
    import awkward as ak

    from djservice.core.vector_library import vector

    found = flat_jets(events, history, trees, pt_min, jets)
    fields = {name: found.momenta[:, k] for k, name in enumerate(("px", "py", "pz", "E"))}
    fields["constituents"] = ak.unflatten(found.constituents, found.sizes)
    records = ak.zip(
        fields, depth_limit=1, with_name="Momentum4D", behavior=vector.backends.awkward.behavior
    )
    result = ak.unflatten(records, np.bincount(found.tree, minlength=len(events) * trees))
    return ak.unflatten(result, np.full(len(events), trees)) if per_tree else result
