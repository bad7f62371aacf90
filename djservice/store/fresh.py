"""New Zarr hierarchies: made in memory as files, with the checksums of everything in them.

A group keeps in its attributes, which hold a checksum of themselves:

- ``of``: name of the run, if it has one; that of the root is written into every group,
- ``groups``: names of the groups within,
- ``arrays``: of each array the checksum of its metadata (``metadata``; two while it is lengthened),
  the number of rows that are written (``rows``) and their checksum (``checksum``); ``fixed`` if the
  array was complete from the start; ``axes`` if a row is a cell of so many axes.

Every chunk also has the checksum of Zarr's codec crc32c, which any reader of Zarr verifies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from djservice.core.checksums import of_array, of_json, sealed
from djservice.store.chunks import write_block
from djservice.store.meanings import attributes_of

#: Files of a hierarchy by their names.
Files = dict[str, bytes]


class NewGroup:
    """A group that is being made.

    Attributes
    ----------
    attrs
        Its attributes.
    """

    def __init__(self, attributes: Mapping[str, Any] | None = None) -> None:
        self.attrs: dict[str, Any] = dict(attributes or {})
        self._groups: dict[str, NewGroup] = {}
        self._arrays: dict[str, dict[str, Any]] = {}
        self._files: Files = {}

    def create_group(self, name: str, attributes: Mapping[str, Any] | None = None) -> NewGroup:
        """A new group within."""
        group = self._groups[name] = NewGroup(attributes)
        return group

    def read(self, key: str) -> bytes | None:
        """The bytes of a file of its arrays; None if there is none."""
        return self._files.get(key)

    def write(self, key: str, data: bytes) -> None:
        """Write a file of its arrays."""
        self._files[key] = data

    def create_array(self, name: str, metadata: Mapping[str, Any], values: Any = None) -> None:
        """A new array, complete if it has values."""
        self.write(f"{name}/zarr.json", json.dumps(metadata).encode())
        entry = {"metadata": [of_json(metadata)], "rows": 0, "checksum": 0}
        if values is not None and values.size:
            write_block(self, name, metadata, (0,) * values.ndim, values)
            entry |= {"rows": len(values), "checksum": of_array(values), "fixed": True}
        self._arrays[name] = entry

    def files(self, axes: int, of: Mapping[str, Any], prefix: str = "") -> Files:
        """Its files, with those of the groups within; ``of`` is an attribute of all."""
        arrays = {
            name: entry if axes == 1 else {**entry, "axes": 1 if "fixed" in entry else axes}
            for name, entry in self._arrays.items()
        }
        vouched = {"groups": list(self._groups), "arrays": arrays}
        files = {f"{prefix}zarr.json": group_text({**of, **self.attrs, **vouched})}
        files |= {prefix + key: data for key, data in self._files.items()}
        for name, group in self._groups.items():
            files |= group.files(axes, of, f"{prefix}{name}/")
        return files


Create = Callable[[NewGroup], None]


def create_array(
    group: NewGroup,
    name: str,
    kind: str,
    dimensions: Mapping[str, tuple[int, int]],
    values: ArrayLike | None = None,
    units: str = "1",
) -> None:
    """Create an array, with NaN for floats until they are written.

    Parameters
    ----------
    group, name, kind
        Its group, its name and its dtype.
    dimensions
        Maps each name to (length, length of a chunk).
    values
        Values of an array that is complete from the start.
    units
        Units of the observable, or of the distances.

    Raises
    ------
    KeyError
        If :data:`~djservice.store.meanings.MEANINGS` does not name the array.
    """
    dtype, shape = np.dtype(kind), [length for length, _ in dimensions.values()]
    chunks = {"chunk_shape": [chunk for _, chunk in dimensions.values()]}
    as_bytes = {"name": "bytes", "configuration": {"endian": "little"}}
    metadata = {
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": chunks},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if dtype.kind == "f" else np.zeros((), dtype).item(),
        "codecs": [
            as_bytes if dtype.itemsize > 1 else {"name": "bytes"},
            {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
            {"name": "crc32c"},
        ],
        "attributes": attributes_of(name, units),
        "dimension_names": list(dimensions),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    given = None if values is None else np.asarray(values, dtype)
    group.create_array(name, metadata, given)


def packed(fill: Create, axes: int = 1) -> Files:
    """The files of a new hierarchy.

    Parameters
    ----------
    fill
        Creates its groups and arrays.
    axes
        Number of leading axes whose cells are the rows of an array.
    """
    root = NewGroup()
    fill(root)
    return root.files(axes, {"of": root.attrs["of"]} if "of" in root.attrs else {})


def group_text(attributes: Mapping[str, Any]) -> bytes:
    """The metadata of a group with the checksum of its attributes."""
    document = {"attributes": sealed(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(document).encode()


def write_files(folder: Path, files: Files) -> None:
    """Write files into a new folder."""
    for key, data in files.items():
        place = folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
