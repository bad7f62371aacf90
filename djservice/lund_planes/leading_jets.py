"""leading_sums(events, ...): sums of the Lund plane of the leading jets of a deterministic clustering."""

from __future__ import annotations

import math

from djservice.clustering.cluster import cluster
from djservice.clustering.flat_jets import flat_jets, jets_as_events
from djservice.clustering.lund import flat_emissions
from djservice.clustering.radius import Radius, VariableR
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.lund_planes.density import sums_of_jets

#: Jets with less pT in GeV have few emissions, most of them below the scale of hadrons.
PT_MIN = 20.0


def leading_sums(events: EventBatch, radius: Radius, power: float, jets: int) -> Floats:
    """Sums of :func:`djservice.lund_planes.density.lund_sums` of up to so many jets of each event.

    The axis x is ln(R / delta) with R of the clustering, or ln(1 / delta) with variable-R jets.
    """
    sample = cluster(
        events,
        radius=radius,
        rigidity=math.inf,
        power=power,
        jets=1,
        history=True,
        threads=1,
        device="cpu",
    )
    assert sample.history is not None
    leading = flat_jets(events, sample.history, 1, PT_MIN, jets)
    constituents = jets_as_events(events, leading.tree, leading.sizes, leading.constituents)
    jet, emissions = flat_emissions(constituents)
    unit = 1.0 if isinstance(radius, VariableR) else float(radius)  # type: ignore[arg-type]
    return sums_of_jets(jet, emissions, constituents.weight, radius=unit)
