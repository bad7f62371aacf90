"""Hash of the numerical code, and versions of packages.

A store is continued only by the code that began it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from djservice.core.redact import redacted
from djservice.core.user import user_name

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
    # Networks that are part of a run, if they are installed.
    "torch",
    "onnxruntime",
)

PACKAGE = Path(__file__).parents[1]

#: Packages that affect no number of a store. They hold settings, which are compared by value, or
#: they transport or display results.
NO_NUMBERS = (
    "analysis", "cli", "config", "exports", "jax", "layers", "reports", "service", "store", "torch",
)  # fmt: skip

#: Packages that turn files into events.
READING = ("events", "input")


def numeric_packages(package: Path = PACKAGE) -> tuple[str, ...]:
    """Packages that numbers may depend on: all but NO_NUMBERS, so new packages are included."""
    names = (path.parent.name for path in package.glob("*/__init__.py"))
    return tuple(sorted(name for name in names if name not in NO_NUMBERS))


def code_hash(packages: Sequence[str] | None = None, package: Path = PACKAGE) -> str:
    """Hash of the names and sources of packages.

    The default is every package that numbers may depend on.
    """
    digest, start = hashlib.sha256(), len(f"{package}/")
    for name in numeric_packages(package) if packages is None else packages:
        for folder, within, files in os.walk(f"{package}/{name}"):
            within.sort()
            for path in (f"{folder}/{file}" for file in sorted(files) if file.endswith(".py")):
                with open(path, "rb") as opened:
                    source = opened.read()
                digest.update(f"{path[start:]} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:16]


#: Hash of the sources when this process started: those on the disk may be exchanged under it.
LOADED_CODE = code_hash()


def versions() -> dict[str, str]:
    """Versions of Python, the packages and the code, and the machine: numbers may depend on them."""
    entries = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "code": code_hash(),
    }
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            entries[package] = version(package)
    return entries


def execution() -> dict[str, str]:
    """When, where, by whom and by which command this process was started, and in which commit.

    The commit is that of the working directory, if it is one of Git; secrets are hidden.
    """
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "host": platform.node(),
        "user": user_name(),
        "command": redacted(shlex.join(sys.argv)),
        "folder": os.getcwd(),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the working directory, with a mark if files differ; empty without Git."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        describe = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return ""


def _processor() -> str:
    """Model of the processor, as the system names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, model = line.partition(":")
            if name.strip() == "model name":
                return model.strip()
    return platform.processor()
