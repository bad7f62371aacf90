"""A store that is opened for writing, and its contents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store


def open_store(path: str | Path, seed: int = 1, versions: Any = None) -> Any:
    """Open a store of five iterations for writing, without a run."""
    columns = StoreColumns(5, [0.4, 0.6], 2, np.arange(3, dtype=np.uint64), np.ones(3))
    return Store.open(path, {"run": {}, "versions": versions or {}}, {"seed": seed}, columns)


def contents(path: str | Path) -> dict[str, bytes]:
    """The bytes of every file below a folder or URL."""
    files = fsspec.core.url_to_fs(str(path))
    return {name: files[0].cat_file(name) for name in files[0].find(files[1])}
