"""Stores for tests: that of a run with changed settings, and a small one without a run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_settings import Changes, Do, changed

import djservice as dj
from djservice.config.run import Run
from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store


@pytest.fixture
def do(tiny: Changes, scheduler: str, finished_run: Path) -> Do:
    """Do the tiny run with changes; returns its store.

    Without changes it is a copy of the finished one.
    """

    def run(changes: Changes | None = None, **keywords: Any) -> Path:
        settings = changed(tiny, {"cluster.scheduler": scheduler, **(changes or {})})
        store = Path(settings["output"]["store"])
        ready = store.parent.is_dir() and not store.exists()
        if ready and not keywords and not set(changes or ()) - {"output.store"}:
            return shutil.copytree(finished_run, store)
        return dj.run(Run.from_dict(settings), **keywords).store

    return run


@pytest.fixture
def small_store(tmp_path: Path) -> Callable[..., Any]:
    """Open a store of five iterations without a run."""

    def opened(iterations: int = 5, path: Path = tmp_path / "a.zarr") -> Any:
        return Store.open(
            path,
            {"run": {}},
            {"seed": 1},
            StoreColumns(iterations, [0.4, 0.6], 2, np.arange(3, dtype=np.uint64), np.ones(3)),
        )

    return opened
