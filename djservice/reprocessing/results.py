"""Results of reprocessings: folders that never change, and a link ``latest`` to the last one."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from djservice.core.atomic import write_text, written_aside
from djservice.core.checksums import KEY, document_of, sealed, unsealed
from djservice.core.regular import read_regular
from djservice.errors import DamagedStoreError, StoreError
from djservice.reprocessing.file_identity import MANIFEST_FORMAT
from djservice.store.checked import attributes_of
from djservice.store.local_folder import LocalFolder
from djservice.store.verify import verify_store


class _Store(TypedDict):
    store: str
    inputs: list[dict[str, Any]]


class _Fit(_Store):
    files: dict[str, list[dict[str, Any]]]


class _Manifest(TypedDict):
    """What every manifest has."""

    name: str
    settings: str
    code: str
    fit: _Fit
    files: list[dict[str, Any]]
    applied: list[_Store]
    left_out: list[str]


_MANIFEST = TypeAdapter(_Manifest)


def explained(error: ValidationError) -> str:
    """The first problem of a validation, in words."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Manifest of the result in a folder, such as ``FOLDER/latest``.

    Raises
    ------
    StoreError
        If there is no manifest, or it is damaged or has another format.
    """
    file = Path(path) / "manifest.json"
    try:
        manifest: dict[str, Any] = document_of(read_regular(file))
        if not isinstance(manifest, dict) or manifest.get("format") != 1 or KEY in manifest:
            manifest = unsealed(manifest)
        if manifest.get("format") in (1, MANIFEST_FORMAT):
            _MANIFEST.validate_python(manifest)
    except (OSError, ValueError) as error:
        reason = explained(error) if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"{file}: expected the manifest of a result: {reason}. Put a copy of it back; or remove "
            "this result and the link latest, and `djservice reprocess` makes them again from the "
            "finished stores."
        ) from error
    if manifest.get("format") not in (1, MANIFEST_FORMAT):
        raise StoreError(
            f"{file}: expected a manifest of format {MANIFEST_FORMAT}. "
            "Use the version of djservice that wrote it, or another folder."
        )
    return manifest


def is_whole(store: Path) -> bool:
    """True if a store exists and every byte of it is as it was written."""
    try:
        return store.is_dir() and verify_store(store) > 0
    except DamagedStoreError:
        return False


def facts_of(store: Path, *names: str) -> list[Any]:
    """Attributes of a store, None for those that it does not have."""
    attributes = attributes_of(LocalFolder(str(store)))
    return [attributes.get(name) for name in names]


def verify_result(result: Path) -> int:
    """Verify the stores that a result links to, and return their number.

    Raises
    ------
    StoreError
        If the manifest, a link or a store is missing or damaged; the message names it.
    """
    manifest = read_manifest(result)
    fit, applied = manifest["fit"], manifest["applied"]
    for name, inputs in (
        ("fit.zarr", fit["inputs"]),
        *((entry["store"], entry["inputs"]) for entry in applied),
    ):
        verify_store(result / name)
        stored, of = facts_of(result / name, "inputs", "fit")
        if stored != inputs or of not in (None, fit["store"]):
            raise DamagedStoreError(
                f"{result / name}: expected the store that this result was made with, found one of "
                "other inputs. Move it away; `djservice reprocess` makes it again."
            )
    return 1 + len(applied)


def latest(folder: Path) -> dict[str, Any] | None:
    """Manifest of the latest result; None if there is no result yet."""
    return read_manifest(folder / "latest") if os.path.lexists(folder / "latest") else None


def find(folder: Path, name: str) -> Path | None:
    """Folder of the complete result with a name; None if there is none."""
    for result in sorted(folder.glob(f"results/*-{name}")):
        with contextlib.suppress(DamagedStoreError):
            verify_result(result)
            return result
    return None


def write(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the folder of a result, completely or not at all: its manifest and links to its stores.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    result = (
        folder / "results" / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{manifest['name']}"
    )
    try:
        with written_aside(result) as aside:
            (aside / "applied").mkdir(parents=True)
            (aside / "fit.zarr").symlink_to(Path("../..") / manifest["fit"]["store"])
            for entry in manifest["applied"]:
                (aside / entry["store"]).symlink_to(Path("../../..") / entry["store"])
            write_text(aside / "manifest.json", json.dumps(sealed(manifest), indent=1))
    except OSError as error:
        raise StoreError(
            f"{result}: cannot be written: {error.strerror or error}. "
            "Free space or correct the permissions."
        ) from error
    return result


def point(folder: Path, result: Path) -> None:
    """Replace the link ``latest`` by one to a result, in one step.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    try:
        with written_aside(folder / "latest") as link:
            link.symlink_to(result.relative_to(folder))
    except OSError as error:
        raise StoreError(
            f"{folder / 'latest'}: cannot be written: {error.strerror}. Correct the permissions."
        ) from error
