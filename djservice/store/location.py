"""Locations of a store: a local folder, or a URL of an object store (S3)."""

from __future__ import annotations

import os
from pathlib import Path

from djservice.core.urls import is_url
from djservice.store.local_folder import LocalFolder
from djservice.store.object_store import ObjectStore

Location = LocalFolder | ObjectStore


def locate(path: str | Path) -> Location:
    """The location of a store. A file URL is a local folder, and ``~`` is the home folder."""
    text = path if isinstance(path, str) else str(path)
    text = text.removeprefix("file://") if text.startswith("file://") else text
    return ObjectStore(text) if is_url(text) else LocalFolder(os.path.expanduser(text))


def store_path(store: str) -> Path | str:
    """A folder as a path, with ``~`` as the home folder; a URL stays unchanged."""
    return store if is_url(store) else Path(store).expanduser()
