"""Jets on a GPU: objects of ``vector`` whose components are arrays there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from djservice.clustering.jet_vectors import host_vectors
from djservice.core.array_module import array_module, to_host
from djservice.core.vector_library import vector

_objects = vector.backends.object


class DeviceJets(vector.MomentumObject4D):
    """Momenta on a GPU, with the properties and methods of a ``vector`` momentum array.

    The properties and methods give arrays on the GPU. ``vector`` computes with NumPy's functions,
    which work on arrays of a GPU too. The arrays of ``vector`` itself are NumPy's and cannot be
    there.
    """

    #: Constituents of the jets, if these know them, and the number of each jet there.
    constituents: Any = None
    slot: Any = None

    @classmethod
    def of(cls, momenta: Any, constituents: Any = None) -> DeviceJets:
        """Jets of an array on a GPU, whose last axis is px, py, pz, E."""
        px, py, pz, energy = (momenta[..., k] for k in range(4))
        jets = cls(
            _objects.AzimuthalObjectXY(px, py),
            _objects.LongitudinalObjectZ(pz),
            _objects.TemporalObjectT(energy),
        )
        if constituents is not None:
            jets.constituents = constituents
            jets.slot = array_module(momenta).asarray(constituents.slots)
        return jets

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of jets."""
        return tuple(self.px.shape)

    @property
    def ndim(self) -> int:
        """Number of axes of the array of jets."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[DeviceJets]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> DeviceJets:
        parts = (self.azimuthal, self.longitudinal, self.temporal)
        jets = type(self)(
            *(type(part)(*(number[index] for number in part.elements)) for part in parts)
        )
        if self.constituents is not None:
            jets.constituents, jets.slot = self.constituents, self.slot[index]
        return jets

    def on_host(self) -> Any:
        """These jets as a ``vector`` momentum array on the host."""
        return host_vectors(to_host(np.stack([self.px, self.py, self.pz, self.E], axis=-1)))


# The classes of sums and boosts of jets.
DeviceJets.MomentumClass = DeviceJets
DeviceJets.ProjectionClass4D = DeviceJets
