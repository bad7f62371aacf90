"""A hash of the code that numbers come from, for a store is continued only by the code that began it; versions of packages."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Installed packages whose versions a store keeps.
PACKAGES = (
    "djservice",
    "numpy",
    "numba",
    "awkward",
    "uproot",
    "vector",
    "coffea",
    "dask",
    "distributed",
    "zarr",
)

PACKAGE = Path(__file__).parents[1]

#: Packages that no number of a store comes from: they say what is asked for, which is compared by its values, carry it or show it.
NO_NUMBERS = ("analysis", "cli", "config", "reports", "service", "store")

#: Those that make events of files.
READING = ("events", "input")


def numeric_packages(package: Path = PACKAGE) -> tuple[str, ...]:
    """Packages that a number can depend on: all that are not known to be without, so that a new one counts."""
    names = (path.parent.name for path in package.glob("*/__init__.py"))
    return tuple(sorted(name for name in names if name not in NO_NUMBERS))


def code_hash(packages: Sequence[str] | None = None, package: Path = PACKAGE) -> str:
    """Hash of the sources of packages and of their names, by default of every one that a number can depend on."""
    digest = hashlib.sha256()
    for name in numeric_packages(package) if packages is None else packages:
        for path in sorted((package / name).rglob("*.py")):
            source = path.read_bytes()
            digest.update(
                f"{path.relative_to(package).as_posix()} {len(source)}\n".encode() + source
            )
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of everything that numbers may depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
