"""leading_sums(events, ...): sums of the Lund plane of the leading jets of a deterministic clustering."""

from __future__ import annotations

from djservice.clustering.awkward_jets import cluster_jets
from djservice.clustering.radius import Radius, VariableR
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.lund_planes.density import lund_sums

#: Jets with less pT in GeV have few emissions, most of them below the scale of hadrons.
PT_MIN = 20.0


def leading_sums(events: EventBatch, radius: Radius, power: float, jets: int) -> Floats:
    """Sums of :func:`djservice.lund_planes.density.lund_sums` of up to so many jets of each event.

    The axis x is ln(R / delta) with R of the clustering, or ln(1 / delta) with variable-R jets.
    """
    leading = cluster_jets(
        events, radius=radius, power=power, pt_min=PT_MIN, jets=jets, threads=1, device="cpu"
    )
    unit = 1.0 if isinstance(radius, VariableR) else float(radius)  # type: ignore[arg-type]
    return lund_sums(events, leading, radius=unit)
