"""The store of a matrix of distances.

The matrix is symmetric, of shape (jet, other), and its rows are written in stripes: the columns from
the stripe on are computed, those before are the transpose of what is there. Each jet has its event's
identity, its place in the event, its pT and its number of particles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import StoreError
from djservice.store.access import clear_errors
from djservice.store.checked import UNREADABLE
from djservice.store.filled import FilledStore, opened
from djservice.store.fresh import NewGroup, create_array
from djservice.store.jet_table import JetTable
from djservice.store.location import locate

DISTANCE_FORMAT = 2


class DistanceStore(FilledStore):
    """A matrix of distances, which is filled in stripes of rows."""

    noun, marker, format = "rows", "djservice_distances", DISTANCE_FORMAT
    absent = "there are no distances here. Give the store that `djservice emd` wrote."
    foreign = (
        "not the store of `djservice emd`, or its zarr.json is damaged. Choose another "
        "output.store."
    )
    another = "the store of other distances: {} differ. Choose another output.store."

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The matrix ``distance``, NaN where it is not done, or a column of the jets."""
        with clear_errors(self.where, "read"):
            rows = self.group.rows(name)
        if name != "distance" or len(rows) == rows.shape[1]:
            return rows
        matrix = np.full((rows.shape[1],) * 2, np.nan)
        matrix[: len(rows)] = rows
        matrix[:, : len(rows)] = rows.T
        return matrix

    @property
    def stripe(self) -> int:
        """Number of rows of a stripe."""
        return int(self.attrs["stripe"])

    def write(self, right: Floats) -> None:
        """Write the next stripe from its columns on the right, beginning with its diagonal block.

        Raises
        ------
        StoreError
            If it cannot be written, or another process writes the store now. Earlier stripes are
            kept.
        """
        with clear_errors(self.where):
            array = self.group.array("distance")
            start, jets = self.n_complete, array.shape[1]
            stop = start + len(right)
            if start + right.shape[1] != jets:
                raise StoreError(
                    f"{self.where}: a stripe from jet {start} on has {right.shape[1]} columns, "
                    f"expected {jets - start}."
                )
            left = self._above(start, stop).T
            rows = {"distance": np.concatenate([left, right], axis=1)}
            self.group.append(start, rows, n_complete=stop)

    def _above(self, start: int, stop: int) -> Floats:
        """The columns of a stripe in all earlier rows."""
        array = self.group.array("distance")
        with contextlib.suppress(*UNREADABLE):
            above: Floats = np.asarray(array[:start, start:stop])
            if not np.isnan(above).any():
                return above
        raise self.group.unreadable_rows("distance", self.attrs["arrays"]["distance"])


def read_distances(path: str | Path) -> DistanceStore:
    """Open a matrix of distances for reading (:meth:`DistanceStore.read`)."""
    return DistanceStore.read(path)


@contextlib.contextmanager
def open_distances(
    path: str | Path,
    jets: JetTable,
    stripe: int,
    facts: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Iterator[DistanceStore]:
    """Create the store of a matrix, or open an existing one of the same, and hold its lock.

    Raises
    ------
    StoreError
        If the store is that of other distances, cannot be written or mended, or is in use.
    """
    number = len(jets)

    def fill(root: NewGroup) -> None:
        chunks = {"jet": (number, stripe), "other": (number, stripe)}
        units = "1" if dict(facts["distance"])["norm"] else "GeV"
        create_array(root, "distance", "f8", chunks, units=units)
        jets.create(root)
        root.attrs.update(DistanceStore.attributes(facts, versions, stripe=stripe))

    with opened(DistanceStore, locate(path), fill, {"facts": facts}, versions) as distances:
        yield distances
