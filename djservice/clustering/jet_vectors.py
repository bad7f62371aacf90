"""Four-momenta on the host as a ``vector`` momentum array."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.typing import Floats

_MOMENTUM = np.dtype([(name, np.float64) for name in ("px", "py", "pz", "E")])
_WITH_SLOT = np.dtype([*_MOMENTUM.descr, ("slot", np.int64)])


def host_vectors(momenta: Floats, constituents: Any = None) -> Any:
    """A ``vector`` momentum array of four-momenta, whose last axis is px, py, pz, E.

    ``constituents`` are those of all its jets, a
    :class:`djservice.clustering.constituents.TreeConstituents`, or None.
    """
    from djservice.core.vector_library import vector

    if constituents is None:
        return momenta.view(_MOMENTUM)[..., 0].view(vector.MomentumNumpy4D)
    from djservice.clustering.jets_with_constituents import JetsWithConstituents

    fields = np.empty(momenta.shape[:-1], _WITH_SLOT)
    for k, name in enumerate(_MOMENTUM.fields or ()):
        fields[name] = momenta[..., k]
    fields["slot"] = constituents.slots
    jets: Any = fields.view(JetsWithConstituents)
    jets.constituents = constituents
    return jets
