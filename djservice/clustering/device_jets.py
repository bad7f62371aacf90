"""Jets whose momenta are on a GPU: the objects of ``vector``, with arrays for their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from vector.backends.object import (
    AzimuthalObjectXY,
    LongitudinalObjectZ,
    MomentumObject4D,
    TemporalObjectT,
)

from djservice.clustering.jet_vectors import host_vectors
from djservice.core.array_module import to_host


class DeviceJets(MomentumObject4D):
    """Momenta on a GPU, with the properties and methods of a ``vector`` momentum array; those give arrays on the GPU.

    ``vector`` calculates with NumPy's functions, which work there too. Its own arrays are NumPy's and cannot be there.
    """

    @classmethod
    def of(cls, momenta: Any) -> DeviceJets:
        """From an array on a GPU, the last axis px, py, pz, E."""
        px, py, pz, energy = (momenta[..., k] for k in range(4))
        return cls(AzimuthalObjectXY(px, py), LongitudinalObjectZ(pz), TemporalObjectT(energy))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return tuple(self.px.shape)

    @property
    def ndim(self) -> int:
        """As of an array."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[DeviceJets]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, where: Any) -> DeviceJets:
        parts = (self.azimuthal, self.longitudinal, self.temporal)
        return type(self)(
            *(type(part)(*(number[where] for number in part.elements)) for part in parts)
        )

    def on_host(self) -> Any:
        """The same as a ``vector`` momentum array of NumPy."""
        return host_vectors(to_host(np.stack([self.px, self.py, self.pz, self.E], axis=-1)))


# What sums and boosts of them are.
DeviceJets.MomentumClass = DeviceJets
DeviceJets.ProjectionClass4D = DeviceJets
