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
import zarr
from numpy.typing import ArrayLike
from zarr.codecs import Crc32cCodec, ZstdCodec

from djservice.core.checksums import of_array, of_json, sealed
from djservice.store.meanings import attributes_of

Create = Callable[[zarr.Group], None]
#: Files of a hierarchy by their names.
Files = dict[str, bytes]


def create_array(
    group: zarr.Group,
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
    array = group.create_array(
        name,
        shape=tuple(length for length, _ in dimensions.values()),
        chunks=tuple(chunk for _, chunk in dimensions.values()),
        dtype=kind,
        dimension_names=tuple(dimensions),
        fill_value=np.nan if np.dtype(kind).kind == "f" else np.zeros((), kind).item(),
        compressors=[ZstdCodec(), Crc32cCodec()],
        attributes=attributes_of(name, units),
        config={"write_empty_chunks": True},
    )
    if values is not None:
        array[...] = np.asarray(values)


def packed(fill: Create, axes: int = 1) -> Files:
    """The files of a new hierarchy.

    Parameters
    ----------
    fill
        Creates its groups and arrays.
    axes
        Number of leading axes whose cells are the rows of an array.
    """
    memory: dict[str, Any] = {}
    root = zarr.open_group(zarr.storage.MemoryStore(memory), mode="w", zarr_format=3)
    fill(root)
    files: Files = {key: value.to_bytes() for key, value in memory.items()}
    run = {"of": root.attrs["of"]} if "of" in root.attrs else {}
    for key in [key for key in files if key.endswith("zarr.json")]:
        document = json.loads(files[key])
        if document["node_type"] == "group":
            vouched = _vouched(root, files, key[: -len("zarr.json")])
            attributes = run | document["attributes"] | vouched
            if axes > 1:
                for entry in attributes["arrays"].values():
                    entry["axes"] = axes if "fixed" not in entry else 1
            files[key] = group_text(attributes)
    return files


def group_text(attributes: Mapping[str, Any]) -> bytes:
    """The metadata of a group with the checksum of its attributes."""
    document = {"attributes": sealed(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(document, indent=2).encode()


def write_files(folder: Path, files: Files) -> None:
    """Write files into a new folder."""
    for key, data in files.items():
        place = folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _vouched(root: zarr.Group, files: Files, prefix: str) -> dict[str, Any]:
    """The attributes ``groups`` and ``arrays`` of a group."""
    groups, arrays = [], {}
    for key in files:
        name, _, rest = key.removeprefix(prefix).partition("/")
        if not key.startswith(prefix) or rest != "zarr.json":
            continue
        document = json.loads(files[key])
        if document["node_type"] == "group":
            groups.append(name)
            continue
        fixed = any(other.startswith(f"{prefix}{name}/c") for other in files)
        rows, crc = (document["shape"][0], _crc(root, prefix + name)) if fixed else (0, 0)
        arrays[name] = {"metadata": [of_json(document)], "rows": rows, "checksum": crc}
        if fixed:
            arrays[name]["fixed"] = True
    return {"groups": groups, "arrays": arrays}


def _crc(root: zarr.Group, name: str) -> int:
    return of_array(np.asarray(root[name]))
