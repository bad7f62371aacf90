"""JetTable: the jets or events that the rows of a store are about."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.store.fresh import NewGroup, create_array


@dataclass(frozen=True)
class JetTable:
    """The jets, or the events, that a store is about.

    Attributes
    ----------
    key
        Shape (jet,): identity of the event.
    run, luminosityBlock, event, entry
        Shape (jet,): the event in the input.
    place
        Shape (jet,): place of the jet in its event, in falling pT; 0 for an event.
    pt
        Shape (jet,): sum of the pT of its particles in GeV.
    particles
        Shape (jet,): number of its particles.
    """

    key: NDArray[np.uint64]
    run: NDArray[np.int64]
    luminosityBlock: NDArray[np.int64]
    event: NDArray[np.uint64]
    entry: NDArray[np.int64]
    place: NDArray[np.int64]
    pt: Floats
    particles: NDArray[np.int64]

    def create(self, group: NewGroup) -> None:
        """Create its columns in a group, complete."""
        for column in fields(self):
            values = getattr(self, column.name)
            create_array(group, column.name, values.dtype.str, {"jet": (len(self), 65536)}, values)

    def __len__(self) -> int:
        return len(self.key)

    @property
    def digest(self) -> str:
        """Hash of all that is known of them."""
        columns = (np.ascontiguousarray(getattr(self, field.name)) for field in fields(self))
        return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()[:16]
