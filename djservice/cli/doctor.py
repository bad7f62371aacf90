"""The checks of ``djservice doctor``: installation, storage, certificates and cluster.

Every check is a function that yields findings. Checks of a cluster run a function on its scheduler
and its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from djservice.core.event_loops import finish
from djservice.core.locks import is_locked, lock_file
from djservice.core.provenance import code_hash
from djservice.core.redact import message_of
from djservice.errors import DjserviceError, RunError, UnreachableError

#: Size in MB of the file that measures the speed of the storage, and the speed in MB/s called slow.
MEGABYTES, SLOW = 32, 10.0
#: Tolerated difference between clocks in seconds: locks expire after a minute or two.
CLOCK_TOLERANCE = 5.0
#: Advice where two processes could write one store.
_MOUNT = (
    "Two processes could write the same store. Mount the file system with locks that hold between "
    "machines (Lustre: -o flock; NFS: without nolock and local_lock), or choose another folder."
)
#: Options of mounts whose locks hold within one machine, and file systems of several machines.
_LOCAL_LOCKS = {"localflock", "noflock", "nolock", "local_lock=all", "local_lock=flock", "nobrl"}
_SHARED = {"nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "ceph", "beegfs", "fuse", "9p"}
#: Packages whose versions must agree: numbers, or the pickles that are sent, depend on them. Those
#: of extras may be missing, in all processes.
COMPARED = (
    *("python", "djservice", "numpy", "numba", "awkward", "dask", "distributed"),
    *("torch", "onnxruntime"),
)
#: Seconds that a worker may take to answer.
SILENT = 30.0


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    subject
        Name of the thing that was checked.
    observation
        State in which it was found.
    remedy
        Advice to the user. It is empty if nothing is wrong.
    """

    subject: str
    observation: str
    remedy: str = ""


def examine(folder: str | Path, scheduler: str | None) -> Iterator[Finding]:
    """Check this installation, a folder for results, and a cluster if there is an address.

    Parameters
    ----------
    folder
        Folder for stores or for the state directory.
    scheduler
        Address of a Dask scheduler, or None.
    """
    local = process_facts()
    installed = [name for name in COMPARED if name in local["versions"]]  # some are of extras
    yield Finding("versions", ", ".join(f"{name} {local['versions'][name]}" for name in installed))
    yield Finding("gpu", local["gpu"])
    yield _kernels()
    yield from _storage(Path(folder))
    yield from _certificates()
    if scheduler is not None:
        yield from _cluster(scheduler, Path(folder).absolute(), local)


def process_facts(folder: str | None = None, lock: str | None = None) -> dict[str, Any]:
    """Versions, clock, GPU and view of ``folder`` of this process, and if it sees a file locked."""
    import sys

    import dask
    import distributed  # noqa: F401  (its defaults)

    from djservice.core.provenance import versions

    profiled = sys.version_info < (3, 12) and dask.config.get("distributed.worker.profile.enabled")
    return {
        "profiled": bool(profiled),
        "versions": versions(),
        "code": code_hash(),
        "time": time.time(),
        "gpu": _gpu(),
        "sees": folder is None or os.path.isdir(folder),
        "writes": folder is None or os.access(folder, os.W_OK),
        "locked": lock is None or is_locked(lock),
    }


def _gpu() -> str:
    try:
        from numba import cuda

        return f"{len(cuda.gpus)} CUDA devices" if cuda.is_available() else "no CUDA device"
    except Exception as error:  # an unsuitable driver may raise anything
        return f"no working CUDA device ({type(error).__name__})"


def _kernels() -> Finding:
    """Check that compiled kernels are kept."""
    from djservice.clustering.kernel_files import kernel_folder

    folder = kernel_folder()
    if folder:
        return Finding("compiled kernels", folder)
    return Finding(
        "compiled kernels",
        "kept nowhere, so every process compiles them again",
        "Set NUMBA_CACHE_DIR to a folder of your own that only you can write.",
    )


def _storage(folder: Path) -> Iterator[Finding]:
    """Check that files in a folder can be written, renamed and locked, and measure the speed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".djservice-doctor-", dir=folder) as inside:
            yield Finding("storage", f"{folder.absolute()}: {_write_speed(Path(inside))}")
            yield _clock_of_storage(Path(inside))
            yield _locks(Path(inside))
    except OSError as error:
        yield Finding(
            "storage",
            f"{folder}: {error.strerror}",
            "Choose a folder that can be written, or correct its permissions.",
        )


def _write_speed(inside: Path) -> str:
    block, began = os.urandom(1_000_000), time.perf_counter()
    with open(inside / "data", "wb") as file:
        for _ in range(MEGABYTES):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    speed = MEGABYTES / (time.perf_counter() - began)
    os.replace(inside / "data", inside / "renamed")
    return f"writable, {speed:,.0f} MB/s" + (
        " (slow: every iteration waits for the storage)" if speed < SLOW else ""
    )


def _clock_of_storage(inside: Path) -> Finding:
    before = time.time()
    (inside / "clock").write_text("")
    apart = abs((inside / "clock").stat().st_mtime - before)
    return _clock_finding("clock of the storage", apart)


def _clock_finding(subject: str, apart: float) -> Finding:
    if apart < CLOCK_TOLERANCE:
        return Finding(subject, f"{apart:.1f} s from this machine's")
    return Finding(
        subject,
        f"{apart:.0f} s from this machine's",
        "Synchronise the clocks with NTP: the locks of reprocessing depend on them.",
    )


def _locks(inside: Path) -> Finding:
    """Check that a file can be locked, and that its lock is said to hold between machines."""
    try:
        descriptor = lock_file(inside / "lock")
    except OSError as error:
        return Finding("locks", f"flock: {error.strerror}", _MOUNT)
    try:
        if not is_locked(inside / "lock"):
            return Finding("locks", "flock does not exclude a second process", _MOUNT)
    finally:
        os.close(descriptor)
    kind, options = _mount(inside)
    local = sorted(_LOCAL_LOCKS.intersection(options))
    if local:
        return Finding(
            "locks", f"flock holds within one machine only ({kind} with {', '.join(local)})", _MOUNT
        )
    shared = kind.split(".")[0] in _SHARED
    between = " (of other machines only `--scheduler` can tell)" if shared else ""
    return Finding("locks", f"flock works on this machine, on {kind}{between}")


def _mount(folder: Path) -> tuple[str, set[str]]:
    """Type and options of the file system of a folder; no options where they are not listed."""
    mounts = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, point, kind, options, *_ = line.split()
            if folder.resolve().is_relative_to(point.encode().decode("unicode_escape")):
                mounts.append((len(point), kind, set(options.split(","))))
    if not mounts:
        return "an unknown file system", set()
    return max(mounts, key=lambda mount: mount[0])[1:]


def _certificates() -> Iterator[Finding]:
    """Check the certificates of Dask's configuration."""
    from distributed.security import Security

    security = Security()
    if security.tls_ca_file is None:
        yield Finding("certificates", "none in Dask's configuration")
        return
    files = {
        "authority": security.tls_ca_file,
        "certificate": security.tls_client_cert,
        "key": security.tls_client_key,
    }
    for subject, path in files.items():
        try:
            mode = os.stat(path).st_mode if path else 0
        except OSError as error:
            yield Finding(
                subject,
                f"{path}: {error.strerror}",
                "Correct distributed.comm.tls in Dask's configuration.",
            )
            continue
        remedy = f"chmod go-rwx {path}" if subject == "key" and stat.S_IMODE(mode) & 0o077 else ""
        yield Finding(subject, f"{path}" + ", readable by other users" * bool(remedy), remedy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(OSError):  # reported above
        context.load_verify_locations(security.tls_ca_file)
        for authority in context.get_ca_certs():
            days = (ssl.cert_time_to_seconds(str(authority["notAfter"])) - time.time()) / 86400
            remedy = (
                "Make new certificates before then (workflows/make_ca.sh)." if days < 14 else ""
            )
            yield Finding("authority", f"valid for {days:.0f} more days", remedy)


def _cluster(address: str, folder: Path, local: dict[str, Any]) -> Iterator[Finding]:
    """Check a scheduler and its workers."""
    from djservice.service.client import connect

    try:
        runs = connect(address).runs()
        yield Finding("service", f"{address}: accepts runs, has {len(runs)}")
    except (UnreachableError, RunError) as error:  # of the address or the certificates
        yield Finding("cluster", str(error), "See docs/service.md and docs/security.md.")
        return
    except DjserviceError as error:
        yield Finding(
            "service",
            str(error),
            "See docs/service.md. `djservice run --scheduler` works without the service.",
        )
    yield _encryption(address)
    try:
        with _locked(folder) as lock:
            processes = finish(_facts(address, str(folder), lock))
    except (OSError, TimeoutError, ValueError, ImportError, DjserviceError) as error:
        said = message_of(error)
        yield Finding(
            "cluster",
            said if address in said else f"{address}: {said}",
            "Check that the scheduler runs, and that djservice is installed there.",
        )
        return
    workers = len(processes) - 1
    yield Finding(
        "workers", f"{workers}", "" if workers else f"Start workers: dask worker {address}"
    )
    for name, facts in processes.items():
        yield from _process(name, facts, local, folder)


async def _facts(address: str, folder: str, lock: str | None) -> dict[str, Any]:
    """The facts of the scheduler and of each worker, or its error."""
    from distributed import Client

    from djservice.on_dask.questions import answer_of

    async def facts_of(worker: str) -> Any:
        try:
            async with asyncio.timeout(SILENT):
                return await answer_of(client, worker, process_facts, folder, lock)
        except TimeoutError as error:
            return error

    async with Client(address, asynchronous=True, set_as_default=False, timeout="10s") as client:
        facts = {"scheduler": await client.run_on_scheduler(process_facts, folder, lock)}
        workers = (await client.scheduler.identity(n_workers=-1))["workers"]
        answers = await asyncio.gather(*map(facts_of, workers))
        return facts | dict(zip(workers, answers, strict=True))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[str | None]:
    """A file in a folder that this process holds locked; None where that cannot be done."""
    with contextlib.ExitStack() as stack:
        path = None
        with contextlib.suppress(OSError):  # reported by the checks of the storage
            inside = tempfile.TemporaryDirectory(prefix=".djservice-doctor-", dir=folder)
            path = os.path.join(stack.enter_context(inside), "lock")
            stack.callback(os.close, lock_file(path))
        yield path


def _encryption(address: str) -> Finding:
    host = address.split("://")[-1].rsplit(":", 1)[0]
    if address.startswith("tls://"):
        return Finding("encryption", "TLS")
    if host in ("localhost", "[::1]") or host.startswith("127."):
        return Finding("encryption", "none, and none needed on the loopback interface")
    return Finding(
        "encryption",
        f"none: anyone who can reach {address} can run code as its user",
        "Use certificates (docs/security.md), unless the network is closed to others.",
    )


def _process(name: str, facts: Any, local: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """Compare one process of the cluster with this one."""
    if isinstance(facts, TimeoutError):
        remedy = "See what keeps it busy, or start it again."
        yield Finding(name, f"no answer for {SILENT:g} s: it stands still", remedy)
        return
    if not isinstance(facts, dict):
        yield Finding(
            name,
            f"{type(facts).__name__}: {facts}",
            "Install the version of djservice there that is installed here.",
        )
        return
    differences = [
        f"{package} {facts['versions'].get(package, 'missing')} "
        f"(here {local['versions'].get(package, 'missing')})"
        for package in COMPARED
        if facts["versions"].get(package) != local["versions"].get(package)
    ]
    if facts["code"] != local["code"] and not differences:
        differences = ["djservice has different sources"]
    remedy = (
        "Install the same versions everywhere, best from one image or environment."
        if differences
        else ""
    )
    yield Finding(name, ", ".join(differences) or f"the same versions; {facts['gpu']}", remedy)
    if facts["profiled"] and name != "scheduler":
        yield Finding(
            name,
            "Dask's statistical profiler is on, which may deadlock a worker on Python 3.11",
            "Set DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False for the workers.",
        )
    if not facts["sees"] or (name == "scheduler" and not facts["writes"]):
        verb = "cannot write" if facts["sees"] else "does not see"
        yield Finding(
            name,
            f"{verb} {folder}",
            "Use a shared file system, mounted at the same path everywhere.",
        )
    if facts["sees"] and not facts["locked"]:
        yield Finding(name, f"does not see that a file in {folder} is locked here", _MOUNT)
    clock = _clock_finding(
        f"clock of {name}", abs(facts["time"] - local["time"]) - (time.time() - local["time"])
    )
    if clock.remedy:
        yield clock
