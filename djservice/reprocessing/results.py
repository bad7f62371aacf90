"""Results of reprocessings: folders that are never changed, and a link ``latest`` that leads to the last of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from djservice.core.atomic import write_text, written_aside
from djservice.errors import StoreError
from djservice.reprocessing.file_identity import MANIFEST_FORMAT


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest of a result, given its folder, such as ``FOLDER/latest``.

    Raises
    ------
    StoreError
        If there is none, or one of another format.
    """
    file = Path(path) / "manifest.json"
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{file}: no result of a reprocessing can be read here: {error}. If it was removed, remove latest too."
        ) from error
    if not isinstance(found, dict) or found.get("format") != MANIFEST_FORMAT:
        raise StoreError(
            f"{file}: not a manifest of format {MANIFEST_FORMAT}, which this version reads."
        )
    return found


def latest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the latest result, or None where there is no result yet."""
    return read_manifest(folder / "latest") if os.path.lexists(folder / "latest") else None


def stores(manifest: Mapping[str, Any]) -> list[str]:
    """The stores that a result consists of, relative to the folder."""
    return [manifest["fit"]["store"], *(each["store"] for each in manifest["applied"])]


def find(folder: Path, name: str) -> Path | None:
    """The result of that name, if it was made before and all of it is there."""
    for result in sorted(folder.glob(f"results/*-{name}")):
        if all((folder / store).is_dir() for store in stores(read_manifest(result))):
            return result
    return None


def write(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Make the folder of a result: its manifest, and links to its stores. It is there wholly or not at all.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    result = (
        folder / "results" / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{manifest['name']}"
    )
    try:
        with written_aside(result) as aside:
            (aside / "applied").mkdir(parents=True)
            (aside / "fit.zarr").symlink_to(Path("../..") / manifest["fit"]["store"])
            for each in manifest["applied"]:
                (aside / each["store"]).symlink_to(Path("../../..") / each["store"])
            write_text(aside / "manifest.json", json.dumps(manifest, indent=1))
    except OSError as error:
        raise StoreError(f"{result}: cannot be written: {error.strerror or error}.") from error
    return result


def point(folder: Path, result: Path) -> None:
    """Let ``latest`` lead to a result, at once for everyone.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    try:
        with written_aside(folder / "latest") as link:
            link.symlink_to(result.relative_to(folder))
    except OSError as error:
        raise StoreError(f"{folder / 'latest'}: cannot be written: {error.strerror}.") from error
