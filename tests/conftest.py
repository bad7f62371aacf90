"""Fixtures that several folders share: a run that takes seconds, a scheduler in this process, a store's arrays."""

import fcntl
import gc
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("DASK_DJSERVICE__REPORTS", "false")  # each would take a second
# What Dask's servers do 50 times a second, and for pages that nobody opens here.
os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "1s")
os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL", "10s")
# There are more processes of tests than processors. Threads of BLAS and PyTorch wait for each other at work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Of what is imported and collected, a million objects, nothing becomes garbage. To look through all of it takes a fifth of a
# second each time, a tenth of the processor time of some files.
gc.disable()

#: Files that take longest. They come first: one that is left to the end goes on alone, without work for the other processes. The
#: first ones wait more than they compute.
LONG_FILES = (
    "workflows",
    "survival",
    "faults",
    "compiled",
    "slurm",
    "estimators",
    "simulated",
    "interrupted",
    "update",
    "service",
    "s3",
    "damage",
    "store",
    "pods",
    "security",
    "radius_models",
    "failures",
    "docs",
    "pages",
)

#: Fixtures that are a scheduler, a cluster or a server. What uses one is left out by `make test-quick`.
SERVERS = {"bucket", "cluster", "make_cluster", "scheduler", "service", "slurm", "xrootd"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, else in the order that they have; tests that need servers are marked."""
    names = [f"test_{name}.py" for name in LONG_FILES]
    items.sort(
        key=lambda item: names.index(item.path.name) if item.path.name in names else len(names)
    )
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """From here on garbage is collected, and what is there already is passed over."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of other tests, which are words, are not hidden."""
    from djservice.core import redact

    for name, empty in (("_forms", {}), ("_short", {}), ("_seen", set())):
        monkeypatch.setattr(redact, name, empty)
    redact._remember_lines.cache_clear()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT does what it does in a terminal: a shell's job ignores it, and other packages handle it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def requires() -> Callable[[str, object], None]:
    """``requires(what, present)`` skips a test by name where something is missing, and fails it with REQUIRE_SERVERS=1."""

    def check(what: str, present: object) -> None:
        if not present:
            (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)(
                f"needs {what}"
            )

    return check


@pytest.fixture(scope="session")
def fetched() -> Callable[..., Path]:
    """``fetched(function, ...)`` is what a function of ``tools`` returns; where it cannot be had, the test is skipped or fails."""

    def fetch(function: Callable[..., Path], *arguments: str) -> Path:
        try:
            return function(*arguments)
        except subprocess.CalledProcessError as error:
            required = os.environ.get("REQUIRE_SERVERS") == "1"
            (pytest.fail if required else pytest.skip)(
                f"needs {arguments or function}: {error.stderr.decode()[-300:]}"
            )

    return fetch


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``drawn(name, ...)``: of the figures of reports these alone are put into files, which takes half a second each.

    tests/exports and tests/on_dask have reports with all.
    """
    from djservice.reports import html

    save = html._save

    def only(*names: str) -> None:
        def saved(figure: Any, path: Path) -> str:
            return save(figure, path) if path.name in names else ""

        monkeypatch.setattr(html, "_save", saved)

    return only


@pytest.fixture(scope="session")
def tiny_run() -> Callable[[str | Path], dict[str, Any]]:
    """``tiny_run(store)``: a run of 40 events as plain data."""

    def settings(store: str | Path) -> dict[str, Any]:
        return {
            "input": {
                "files": "example:ZHllbb_200",
                "pt_min": 2.0,
                "entries": [0, 40],
                "bundle_events": 10,
            },
            "loss": {
                "observable": "dijet_mass",
                "target": 125.0,
                "scale": 125.0,
                "cuts": [
                    {"name": "two_jets", "pt_min": 20.0},
                    {"name": "mass_below", "maximum": 250.0},
                ],
            },
            "optimiser": {"iterations": 6, "batch_events": 16, "trees": 4},
            "scan": {"radii": [0.4, 0.7, 1.0, 1.2], "trees": 4},
            "spectrum": {"radii": [0.65], "trees": 4},
            "output": {"store": str(store)},
        }

    return settings


@pytest.fixture
def tiny(tiny_run: Callable[[str | Path], dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    """The same with its store in ``tmp_path / "tiny.zarr"``."""
    return tiny_run(tmp_path / "tiny.zarr")


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a Dask scheduler with one worker, both in threads of this process: runs on it take a second."""
    import dask
    from distributed import LocalCluster

    # What is looked at 100 and 10 times a second costs each process a fiftieth of a processor all the time.
    seldom = {
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.monitor-interval": "2s",
    }
    with dask.config.set(seldom):
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )
    with cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def done_once(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``done_once(name, settings)``: the store of a run that one process of the tests does, and all read.

    ``settings`` is a function of the path of the store. A test that changes a store takes a copy.
    """
    import djservice as dj

    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def store(name: str, settings: Callable[[Path], dict[str, Any]]) -> Path:
        path, finished = folder / f"{name}.zarr", folder / f"{name}.finished"
        with open(folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                run = settings(path) | {"cluster": {"scheduler": scheduler}}
                dj.run(dj.Run.from_dict(run))
                finished.touch()
        return path

    return store


@pytest.fixture(scope="session")
def finished_run(done_once: Callable[..., Path], tiny_run: Callable[..., dict[str, Any]]) -> Path:
    """The store of the tiny run."""
    return done_once("finished", tiny_run)


@pytest.fixture
def without_figures(drawn: Callable[..., None]) -> None:
    """Reports without their pictures: for tests of what is said."""
    drawn()


@pytest.fixture(scope="session")
def events_host() -> Iterator[str]:
    """Host and port of a server that has the shipped events under any path, in ranges.

    ``gone`` in the path is refused, with the request in the answer.
    """
    from djservice import examples

    data = Path(examples.path("ZHllbb_200")).read_bytes()

    class Events(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            if "gone" in self.path:
                status = 404 if ".gone" in self.path else 403
                self.send_error(status, f"no {self.path} {self.headers.get('Authorization')}")
                return
            first, last = 0, len(data) - 1
            if asked := self.headers.get("Range"):
                first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
                last = min(last, len(data) - 1)
            self.send_response(206 if asked else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            if body:
                self.wfile.write(data[first : last + 1])

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Events) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def stored() -> Callable[[str | Path], dict[str, bytes]]:
    """``stored(path)``: the bytes of every array's valid rows, of the result and of the status; no times."""
    from djservice.store.run_store import TIMINGS, Store

    def arrays(path: str | Path) -> dict[str, bytes]:
        store = Store.read(path)
        found = {
            f"{group}/{name}": array[: store.n_complete(group)].tobytes()
            for group in store.groups
            for name, array in store.root[group].arrays()
            if name not in TIMINGS and name != "key"
        }
        found |= {
            name: repr(store.attributes[name]).encode() for name in ("result", "status", "events")
        }
        return found | {"spectrum/key": store.array("spectrum", "key").tobytes()}

    return arrays
