"""GeneratedQuarks: the quarks of the decays of heavy particles, of each event of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.elementary import arcsinh, sinh
from djservice.core.typing import Floats

#: Name of the column that is a list per event.
_OFFSETS = "offsets"


@dataclass(frozen=True)
class GeneratedQuarks:
    """Quarks of ``len(quarks)`` events, before they radiate.

    Attributes
    ----------
    offsets
        Shape (event + 1,): event ``i`` has quarks ``offsets[i]:offsets[i + 1]``.
    pt, rapidity, phi, mass
        Shape (quark,): GeV, dimensionless, rad, GeV.
    pdg_id
        Shape (quark,): PDG codes, negative for antiquarks.

    Notes
    -----
    The memory is 36 bytes per quark, and 8 per event.
    """

    offsets: NDArray[np.int64]
    pt: Floats
    rapidity: Floats
    phi: Floats
    mass: Floats
    pdg_id: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by their names."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def eta(self) -> Floats:
        """Pseudorapidity of each quark, shape (quark,)."""
        return arcsinh(sinh(self.rapidity) * np.sqrt(1.0 + (self.mass / self.pt) ** 2))

    @property
    def event(self) -> NDArray[np.int64]:
        """Number of the event of each quark, shape (quark,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def select(self, rows: NDArray[np.int64]) -> GeneratedQuarks:
        """The quarks of events at positions, which may be repeated, in that order."""
        counts = np.diff(self.offsets)[rows]
        offsets = _offsets(counts)
        quark = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        chosen = {name: values[quark] for name, values in self.columns.items() if name != _OFFSETS}
        return GeneratedQuarks(offsets, **chosen)

    def moved(self, *, rapidity: Any = 0.0, phi: Any = 0.0) -> GeneratedQuarks:
        """The quarks of events that are boosted along the beam, or turned about it.

        ``rapidity`` and ``phi`` are added: one number, or shape (event,).
        """
        y, angle = (np.broadcast_to(step, len(self))[self.event] for step in (rapidity, phi))
        return replace(self, rapidity=self.rapidity + y, phi=self.phi + angle)

    @classmethod
    def concatenate(cls, parts: Sequence[GeneratedQuarks]) -> GeneratedQuarks:
        """The events of several parts, in order."""
        flat = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name != _OFFSETS
        }
        return cls(_offsets(np.concatenate([np.diff(part.offsets) for part in parts])), **flat)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
