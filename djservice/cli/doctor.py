"""examine(): what may be wrong with an installation, a cluster and its storage, and what to do about it.

Every check is a function that yields findings; the ones of a cluster run a function on its scheduler and its workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import ssl
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from djservice.core.provenance import code_hash
from djservice.errors import DjserviceError

#: What is written to find the speed, and below which the speed is worth a word.
MEGABYTES, SLOW = 32, 10.0
#: Seconds that clocks may differ by: locks expire after a minute or two.
CLOCKS = 5.0
#: Packages that must be the same everywhere: numbers depend on them, or what is sent does.
SAME = ("python", "djservice", "numpy", "numba", "awkward", "dask", "distributed")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what, found
        What was looked at, and what was found.
    remedy
        What to do; empty where all is well.
    """

    what: str
    found: str
    remedy: str = ""


def examine(folder: str | Path, scheduler: str | None) -> Iterator[Finding]:
    """Look at this installation, at a folder for results, and at a cluster if one is given.

    Parameters
    ----------
    folder
        Where stores or the state directory are to be.
    scheduler
        Address of a Dask scheduler.
    """
    here = look()
    yield Finding("versions", ", ".join(f"{name} {here['versions'][name]}" for name in SAME))
    yield Finding("gpu", here["gpu"])
    yield from _storage(Path(folder))
    yield from _certificates()
    if scheduler is not None:
        yield from _cluster(scheduler, Path(folder).absolute(), here)


def look(folder: str | None = None) -> dict[str, Any]:
    """What a process knows of itself; sent to scheduler and workers."""
    from djservice.core.provenance import versions

    return {
        "versions": versions(),
        "code": code_hash(),
        "time": time.time(),
        "gpu": _gpu(),
        "sees": folder is None or os.path.isdir(folder),
        "writes": folder is None or os.access(folder, os.W_OK),
    }


def _gpu() -> str:
    try:
        from numba import cuda

        return f"{len(cuda.gpus)} CUDA devices" if cuda.is_available() else "no CUDA device"
    except Exception as error:  # a driver that does not fit raises whatever it likes
        return f"no CUDA device that works ({type(error).__name__})"


def _storage(folder: Path) -> Iterator[Finding]:
    """Whether files can be written, renamed and locked there, and how fast."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".djservice-doctor-", dir=folder) as inside:
            yield Finding("storage", f"{folder.absolute()}: {_write(Path(inside))}")
            yield _clock_of_storage(Path(inside))
            yield _locks(Path(inside))
    except OSError as error:
        yield Finding(
            "storage",
            f"{folder}: {error.strerror}",
            "Choose a folder that can be written, or mend its permissions.",
        )


def _write(inside: Path) -> str:
    block, began = os.urandom(1_000_000), time.perf_counter()
    with open(inside / "data", "wb") as file:
        for _ in range(MEGABYTES):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    speed = MEGABYTES / (time.perf_counter() - began)
    os.replace(inside / "data", inside / "renamed")
    return f"can be written, {speed:,.0f} MB/s" + (
        " (slow: each iteration waits for it)" if speed < SLOW else ""
    )


def _clock_of_storage(inside: Path) -> Finding:
    before = time.time()
    (inside / "clock").write_text("")
    apart = abs((inside / "clock").stat().st_mtime - before)
    return _clock("clock of the storage", apart)


def _clock(what: str, apart: float) -> Finding:
    if apart < CLOCKS:
        return Finding(what, f"{apart:.1f} s from this machine's")
    return Finding(
        what,
        f"{apart:.0f} s from this machine's",
        "Set the clocks by NTP: locks of reprocessing expire by them.",
    )


def _locks(inside: Path) -> Finding:
    with open(inside / "lock", "w") as first, open(inside / "lock", "w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Finding(
                "locks",
                f"flock: {error.strerror}",
                "Mount it with locks (Lustre: -o flock), or choose another folder.",
            )
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Finding(
                "locks",
                "flock does not keep others out",
                "Two processes could write one store: choose another folder, or mount it with locks.",
            )
    return Finding("locks", "flock works on this machine")


def _certificates() -> Iterator[Finding]:
    """The certificates of Dask's configuration."""
    from distributed.security import Security

    security = Security()
    if security.tls_ca_file is None:
        yield Finding("certificates", "none in Dask's configuration")
        return
    given = {
        "authority": security.tls_ca_file,
        "certificate": security.tls_client_cert,
        "key": security.tls_client_key,
    }
    for what, path in given.items():
        try:
            mode = os.stat(path).st_mode if path else 0
        except OSError as error:
            yield Finding(
                what,
                f"{path}: {error.strerror}",
                "Correct distributed.comm.tls in Dask's configuration.",
            )
            continue
        remedy = f"chmod go-rwx {path}" if what == "key" and stat.S_IMODE(mode) & 0o077 else ""
        yield Finding(what, f"{path}" + ", which others can read" * bool(remedy), remedy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(OSError):  # named above
        context.load_verify_locations(security.tls_ca_file)
        for authority in context.get_ca_certs():
            left = (ssl.cert_time_to_seconds(str(authority["notAfter"])) - time.time()) / 86400
            remedy = (
                "Make new certificates (workflows/make_ca.sh) before that." if left < 14 else ""
            )
            yield Finding("authority", f"valid for {left:.0f} days more", remedy)


def _cluster(address: str, folder: Path, here: dict[str, Any]) -> Iterator[Finding]:
    """A scheduler and its workers."""
    from distributed import Client

    from djservice.service.client import connect

    try:
        runs = connect(address).runs()
        yield Finding("service", f"{address}: takes runs, has {len(runs)}")
    except DjserviceError as error:
        yield Finding(
            "service",
            str(error),
            "See docs/service.md; without the service `djservice run --scheduler` works.",
        )
    yield _encryption(address)
    try:
        with Client(address, set_as_default=False, timeout="10s") as client:
            processes = {"scheduler": client.run_on_scheduler(_look, str(folder))}
            processes |= client.run(_look, str(folder), on_error="return")
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        yield Finding(
            "cluster",
            f"{address}: {error}",
            "Check the address, that it runs, its certificates, and djservice there.",
        )
        return
    workers = len(processes) - 1
    yield Finding("workers", f"{workers}", "" if workers else "Start some: dask worker " + address)
    for name, there in processes.items():
        yield from _process(name, there, here, folder)


def _look(folder: str) -> dict[str, Any]:
    from djservice.cli.doctor import look as look_there

    return look_there(folder)


def _encryption(address: str) -> Finding:
    host = address.split("://")[-1].rsplit(":", 1)[0]
    if address.startswith("tls://"):
        return Finding("encryption", "TLS")
    if host in ("localhost", "[::1]") or host.startswith("127."):
        return Finding("encryption", "none, on the loopback device")
    return Finding(
        "encryption",
        f"none: whoever reaches {address} runs code as its user",
        "Use certificates (docs/security.md), unless nobody else can reach that network.",
    )


def _process(name: str, there: Any, here: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """One process of the cluster beside this one."""
    if not isinstance(there, dict):
        yield Finding(
            name,
            f"{type(there).__name__}: {there}",
            "Install djservice there, in the same version as here.",
        )
        return
    other = [
        f"{package} {there['versions'].get(package)} (here {here['versions'].get(package)})"
        for package in SAME
        if there["versions"].get(package) != here["versions"].get(package)
    ]
    if there["code"] != here["code"] and not other:
        other = ["djservice has other sources"]
    remedy = (
        "Install the same versions everywhere, best from one image or environment." if other else ""
    )
    yield Finding(name, ", ".join(other) or f"the same versions; {there['gpu']}", remedy)
    if not there["sees"] or (name == "scheduler" and not there["writes"]):
        verb = "cannot write" if there["sees"] else "does not see"
        yield Finding(
            name, f"{verb} {folder}", "Use a file system that all share, mounted at the same path."
        )
    clock = _clock(
        f"clock of {name}", abs(there["time"] - here["time"]) - (time.time() - here["time"])
    )
    if clock.remedy:
        yield clock
