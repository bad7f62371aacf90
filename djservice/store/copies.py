"""Copies of the metadata of arrays in their groups, which Zarr calls consolidated metadata."""

from __future__ import annotations

import json
from typing import Any

from djservice.core.checksums import document_of
from djservice.store.written import Writable


def write_copies(files: Writable, name: str = "") -> dict[str, Any]:
    """Copy the metadata of all that is in a group into it, and into the groups within.

    Parameters
    ----------
    files
        The files of the hierarchy.
    name
        Name of the group; the root by default, whose file is written last.

    Returns
    -------
    dict
        The metadata of the group and of all that is in it, by their names in the group.
    """
    key = f"{name}/zarr.json".lstrip("/")
    document: dict[str, Any] = document_of(files.read(key) or b"")
    if document["node_type"] == "array":
        return {"": document}
    copies: dict[str, Any] = {}
    for member in (*document["attributes"]["groups"], *document["attributes"]["arrays"]):
        for within, metadata in write_copies(files, f"{name}/{member}".lstrip("/")).items():
            copies[f"{member}/{within}".rstrip("/")] = metadata
    files.write(key, json.dumps(_consolidated(document, copies)).encode())
    return {"": _consolidated(document, {}), **copies}


def _consolidated(document: dict[str, Any], copies: dict[str, Any]) -> dict[str, Any]:
    inline = {"kind": "inline", "must_understand": False, "metadata": copies}
    return {**document, "consolidated_metadata": inline}
