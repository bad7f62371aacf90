"""Where a run is done: a Dask cluster of this machine's processors or an existing one, its signals and its logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from distributed import Client
from distributed.security import Security

from djservice.config.run import Run
from djservice.core.event_loops import finish
from djservice.core.progress import Watch
from djservice.errors import RunError
from djservice.on_dask.gpu_workers import local_cluster
from djservice.on_dask.plugins import QuietFailures, RedactLogs

Result = TypeVar("Result")


def run_to_completion(job: Coroutine[Any, Any, Result], watch: Watch) -> Result:
    """Do a job on Dask to its end; SIGTERM and Ctrl-C stop it in order.

    Raises
    ------
    RunError
        In a worker process that imports the caller's script, and after a signal.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        job.close()
        raise RunError(
            "a worker process imports this script again and would start a run of its own: put the call of djservice under "
            '`if __name__ == "__main__":`.'
        )

    async def guarded() -> Result:
        with _stop_on_sigterm(), _dask_logs_to(watch):
            try:
                return await job
            except asyncio.CancelledError as stop:
                raise RunError(
                    f"{str(stop) or 'stopped by a signal'}; the same command goes on from there."
                ) from None

    return finish(guarded())


@contextlib.asynccontextmanager
async def client_for(run: Run, watch: Watch) -> AsyncIterator[Client]:
    """A client of the cluster that the run names, whose workers redact what they log."""
    async with _client(run, watch) as client:
        await client.register_plugin(RedactLogs())
        yield client


@contextlib.asynccontextmanager
async def _client(run: Run, watch: Watch) -> AsyncIterator[Client]:
    """A client of the scheduler that the run names, or of a cluster of this machine's processors."""
    given = run.cluster
    if given.scheduler is not None:
        async with client_of(given.scheduler, watch) as client:
            yield client
        return
    async with contextlib.AsyncExitStack() as stack:
        with _ctrl_c_held():
            cluster = await stack.enter_async_context(
                local_cluster(
                    given.workers,
                    given.threads,
                    given.device,
                    dashboard_address=None,
                    scheduler_kwargs={
                        "dashboard_address": "127.0.0.1:0"
                    },  # its HTTP port, open without a dashboard too
                    host="127.0.0.1",
                    asynchronous=True,
                )
            )
        client = await stack.enter_async_context(
            Client(cluster, asynchronous=True, set_as_default=False)
        )
        await client.register_plugin(QuietFailures())
        yield client


@contextlib.asynccontextmanager
async def client_of(
    address: str, watch: Watch, security: Security | None = None
) -> AsyncIterator[Client]:
    """A client of the scheduler at ``address``, once it has a worker.

    Raises
    ------
    RunError
        If there is no scheduler.
    """
    try:
        client = await Client(
            address, security=security, asynchronous=True, set_as_default=False, timeout="30s"
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(
            f"no Dask scheduler at {address}: {error}. Check --scheduler, and that it runs."
        ) from None
    async with client:
        if await _count_workers(client) == 0:
            watch.say(f"{address} has no workers yet; waiting for one")
        await client.wait_for_workers(1)
        yield client


async def _count_workers(client: Client) -> int:
    return len((await client.scheduler.identity(n_workers=-1))["workers"])


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
        if message and not message.startswith(
            "Worker process still alive"
        ):  # one that is slow to leave at the end
            self.watch.say(f"{record.name}: {message}")


@contextlib.contextmanager
def _dask_logs_to(watch: Watch) -> Iterator[None]:
    loggers = [
        logging.getLogger(name) for name in ("distributed", "distributed.client")
    ]  # Dask gives both a handler
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
