"""run(run) -> FinishedRun: the main job from input to store, on an embedded Dask cluster or an existing one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

from djservice import store as stores
from djservice.code import code_hash
from djservice.config import Run, build_loss, check_trees
from djservice.display import Lines
from djservice.distribute import Bundles, CompileKernels, QuietFailures, schema_of
from djservice.errors import RunError
from djservice.fit import Fit, Result, Watch, spectrum_radii
from djservice.read import expand
from djservice.store import Store

PACKAGES = ("djservice", "numpy", "numba", "awkward", "uproot", "vector", "coffea", "dask", "distributed", "zarr")


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end.

    Attributes
    ----------
    result
        The optimum with its error.
    store
        The store's folder.
    """

    result: Result
    store: Path

    @property
    def radius(self) -> float:
        """The optimal radius."""
        return self.result.radius


def run(run: Run, *, overwrite: bool = False, watch: Watch | None = None) -> FinishedRun:
    """Do a run, or continue it where its store left off.

    Parameters
    ----------
    run
        What to do.
    overwrite
        Delete the store that is there first.
    watch
        Who is told of the progress; lines on standard error by default.

    Raises
    ------
    DjserviceError
        Whatever goes wrong; the store keeps what was complete, and the same call goes on from there.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RunError(
            "a worker process imports this script again and would start a run of its own: put the call of dj.run under "
            '`if __name__ == "__main__":`.'
        )
    job = _run(run, overwrite, watch or Lines())
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    with ThreadPoolExecutor(1) as thread:  # inside a notebook a loop is running already
        return thread.submit(asyncio.run, job).result()


async def _run(run: Run, overwrite: bool, watch: Watch) -> FinishedRun:
    check_trees(run)  # what can be found wrong without a cluster is found before one is started
    expand(run.input.files)
    schema_of(run)
    with _stop_on_sigterm(), _dask_logs_to(watch):
        try:
            return await _complete(run, overwrite, watch)
        except asyncio.CancelledError:
            raise RunError("stopped by a signal; the same command goes on from its store.") from None


async def _complete(run: Run, overwrite: bool, watch: Watch) -> FinishedRun:
    path = Path(run.output.store)
    async with _client(run, watch) as client:
        await _compile(client, watch)
        bundles = await Bundles.load(client, run, watch)
        observable = build_loss(run).terms[0].observable
        attributes = {
            "run": run.to_dict(),
            "versions": versions(),
            "inputs": [asdict(file) for file in bundles.inputs],
            "events": len(bundles.keys),
            "observable": {"name": observable.name.replace("_", " "), "units": observable.units},
        }
        identities = {
            f"input.files[{i}]": [os.path.basename(file.path), file.size, file.uuid, file.entries]
            for i, file in enumerate(bundles.inputs)
        }
        if overwrite:  # not before the input is known to be good
            stores.remove(path)
        with Store.open(
            path,
            attributes,
            {**run.numbers, **identities, "code": code_hash()},
            run.optimiser.iterations,
            run.scan.radii,
            len(spectrum_radii(run, np.nan)),
            bundles.keys,
            starts=run.per_event.starts if run.task == "per-event" else (),
        ) as store:
            fit = Fit(run, bundles.keys, bundles.evaluate, store, watch, bundles.per_event)
            try:
                return FinishedRun(await fit.complete(), path)
            except asyncio.CancelledError:
                store.set(status="interrupted", message="stopped by a signal")
                raise RunError(
                    f"stopped after {store.n_complete('history')} iterations; the same command goes on from there."
                ) from None


@contextlib.asynccontextmanager
async def _client(run: Run, watch: Watch) -> AsyncIterator[Client]:
    """A client of the scheduler that the run names, or of a cluster of this machine's processors."""
    given = run.cluster
    if given.scheduler is not None:
        try:
            client = await Client(given.scheduler, asynchronous=True, set_as_default=False, timeout="30s")
        except (OSError, TimeoutError, ValueError) as error:
            raise RunError(
                f"no Dask scheduler at {given.scheduler}: {error}. Check --scheduler, and that it runs."
            ) from None
        async with client:
            if await _count_workers(client) == 0:
                watch.say(f"{given.scheduler} has no workers yet; waiting for one")
            await client.wait_for_workers(1)
            yield client
        return
    threads = given.threads or 1
    workers = given.workers or max(1, len(os.sched_getaffinity(0)) // threads)
    async with contextlib.AsyncExitStack() as stack:
        with _ctrl_c_held():
            cluster = await stack.enter_async_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=threads,
                    dashboard_address=None,
                    scheduler_kwargs={
                        "dashboard_address": "127.0.0.1:0"
                    },  # its HTTP port, open without a dashboard too
                    host="127.0.0.1",
                    asynchronous=True,
                )
            )
        client = await stack.enter_async_context(Client(cluster, asynchronous=True, set_as_default=False))
        await client.register_plugin(QuietFailures())
        yield client


async def _count_workers(client: Client) -> int:
    return len((await client.scheduler.identity(n_workers=-1))["workers"])


async def _compile(client: Client, watch: Watch) -> None:
    workers = await _count_workers(client)
    watch.say(f"compiling the kernels on {workers} worker{'s' * (workers > 1)}: seconds if cached, else a minute")
    began = time.perf_counter()
    await client.register_plugin(CompileKernels())
    watch.say(f"kernels ready on {workers} worker{'s' * (workers > 1)} after {time.perf_counter() - began:.1f} s")


@contextlib.contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """SIGINT waits; processes started meanwhile never see it, for a terminal sends it to them as well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Says(logging.Handler):
    """Tells a watch what Dask logs, so that it does not land in the middle of a live display."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.WARNING)
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if message and not message.startswith("Worker process still alive"):  # one that is slow to leave at the end
            self.watch.say(f"{record.name}: {message}")


@contextlib.contextmanager
def _dask_logs_to(watch: Watch) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]  # Dask gives both a handler
    before = [logger.handlers for logger in loggers]
    try:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = [_Says(watch)] if handlers else []
        yield
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the run like Ctrl-C: what is done is written first."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (RuntimeError, ValueError):  # not in the main thread: signals are the caller's
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def versions() -> dict[str, str]:
    """Versions of everything that numbers may depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
