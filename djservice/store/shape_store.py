"""The store of fitted shapes: a row for each jet or event, filled in order.

Each has its event's identity, its place in the event, its pT and its number of particles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.store.access import clear_errors
from djservice.store.filled import FilledStore, opened
from djservice.store.fresh import NewGroup, create_array
from djservice.store.jet_table import JetTable
from djservice.store.location import locate

SHAPES_FORMAT = 1
#: Groups of jets in a chunk of an array.
_GROUPS = 40


class ShapeStore(FilledStore):
    """Fitted shapes, which are filled in groups of jets."""

    noun, marker, format = "jets", "djservice_shapes", SHAPES_FORMAT
    absent = "there are no shapes here. Give the store that `djservice shapes` wrote."
    foreign = (
        "not the store of `djservice shapes`, or its zarr.json is damaged. Choose another "
        "output.store."
    )
    another = "the store of other shapes: {} differ. Choose another output.store."

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The rows of an array that are done; NaN for jets with fewer particles than prongs."""
        with clear_errors(self.where, "read"):
            return self.group.rows(name)[: self.n_complete]

    def __contains__(self, name: str) -> bool:
        return name in self.attrs["arrays"]

    def write(self, rows: Mapping[str, Floats]) -> None:
        """Write the rows of the next jets.

        Raises
        ------
        StoreError
            If they cannot be written, or another process writes the store now. Earlier rows are
            kept.
        """
        with clear_errors(self.where):
            start = self.n_complete
            self.group.append(start, rows, n_complete=start + len(rows["value"]))


def read_shapes(path: str | Path) -> ShapeStore:
    """Open fitted shapes for reading (:meth:`ShapeStore.read`)."""
    return ShapeStore.read(path)


@contextlib.contextmanager
def open_shapes(
    path: str | Path,
    jets: JetTable,
    size: int,
    lengths: Mapping[str, tuple[int, ...]],
    facts: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Iterator[ShapeStore]:
    """Create a store of shapes, or open an existing one of the same, and hold its lock.

    Parameters
    ----------
    path, jets
        The store, and what its rows are about.
    size
        Number of jets that are written at once.
    lengths
        The arrays, with the shape of a row of each: (), (prong,) or (prong, part).
    facts, versions
        What an existing store must be about, and versions that its next rows are computed with.

    Raises
    ------
    StoreError
        If the store is that of other shapes, cannot be written or mended, or is in use.
    """

    def fill(root: NewGroup) -> None:
        for name, row in lengths.items():
            inner = zip(("prong", "part"), row, strict=False)
            dimensions = {"jet": (len(jets), size * _GROUPS)}
            dimensions |= {axis: (length, length) for axis, length in inner}
            create_array(root, name, "f8", dimensions)
        jets.create(root)
        root.attrs.update(ShapeStore.attributes(facts, versions))

    with opened(ShapeStore, locate(path), fill, {"facts": facts}, versions) as shapes:
        yield shapes
