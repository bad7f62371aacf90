"""How trees are sampled: rigidity, power, scale, seed and device, in one object."""

from __future__ import annotations

from dataclasses import dataclass

from djservice.clustering.cluster import Scale
from djservice.clustering.device import Device


@dataclass(frozen=True)
class Sampling:
    """How trees are grown: what stays the same through a run.

    Attributes
    ----------
    rigidity, power, scale, asymmetry
        As in :func:`djservice.clustering.cluster.cluster`.
    seed
        Of the run.
    device
        Where trees grow.
    """

    rigidity: float = 1.0
    power: float = -1.0
    scale: Scale = "minimum"
    asymmetry: float = 1.0
    seed: int = 0
    device: Device = "auto"
