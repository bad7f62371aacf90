"""A hash of the code that numbers come from: a store is continued only by the code that began it."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Folders of all that a number can depend on.
_NUMERIC = (
    "events",
    "input",
    "clustering",
    "objectives",
    "estimators",
    "evaluation",
    "radius_models",
    "fit",
    "on_dask",
    "reprocessing",
)


#: Those of them that make events of files.
READING = ("events", "input")


def code_hash(modules: Sequence[str] = _NUMERIC) -> str:
    """Hash of the sources of modules, by default of every one that a number can depend on."""
    package = Path(__file__).parents[1]
    files = sorted(path for name in modules for path in (package / name).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


PACKAGES = ("djservice", "numpy", "numba", "awkward", "uproot", "vector", "coffea", "dask", "distributed", "zarr")


def versions() -> dict[str, str]:
    """Versions of everything that numbers may depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
