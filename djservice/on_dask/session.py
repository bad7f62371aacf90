"""Session of a run: a local or existing Dask cluster, its signals and its logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from multiprocessing import resource_tracker
from typing import Any, TypeVar

import dask
from distributed import Client, LocalCluster
from distributed.security import Security

from djservice.config.sections import ClusterSection
from djservice.core.event_loops import finish
from djservice.core.private import full_url
from djservice.core.progress import Watch
from djservice.core.redact import message_of
from djservice.errors import RunError
from djservice.on_dask.certificates import need_certificates
from djservice.on_dask.gpu_workers import local_cluster
from djservice.on_dask.plugins import QuietFailures, redact_logs
from djservice.on_dask.script_guard import need_guarded_script

Result = TypeVar("Result")


def run_to_completion(job: Coroutine[Any, Any, Result], watch: Watch) -> Result:
    """Run a job on Dask to its end; SIGTERM and Ctrl-C stop it in order.

    Raises
    ------
    RunError
        If a worker process imports the caller's script, or after a signal.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        job.close()
        raise RunError(
            "a worker process imports this script again and would start a run of its own. Put the "
            'call of djservice under `if __name__ == "__main__":`.'
        )

    handler = _WatchHandler(watch)

    async def guarded() -> Result:
        handler.job = asyncio.current_task()
        with _stop_on_sigterm():
            try:
                return await job
            except asyncio.CancelledError as stop:
                raise RunError(
                    f"{str(stop) or 'stopped by a signal; the same command does what is left'}."
                ) from None

    with _dask_logs_to(handler):  # until the loop has ended, which cancels Dask's last tasks
        return finish(guarded())


#: On Python 3.11 Dask's statistical profiler may deadlock a worker (python/cpython#106883).
_NO_PROFILER = {"distributed.worker.profile.enabled": False}


@contextlib.asynccontextmanager
async def client_for(settings: ClusterSection, watch: Watch) -> AsyncIterator[Client]:
    """A client of the scheduler in the configuration, or of a new cluster on this machine.

    The address of the dashboard of a scheduler is said, if it has one.
    """
    redact_logs()
    if settings.scheduler is not None:
        async with client_of(settings.scheduler) as client:
            with contextlib.suppress(KeyError):  # without an HTTP server
                watch.say(f"dashboard: {client.dashboard_link}")
            yield client
        return
    need_guarded_script()
    # It only says that a signal to the group ended a worker, perhaps when all else has ended.
    logging.getLogger("distributed.process").setLevel(logging.ERROR)
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(_scratch())
        with _block_sigint(), dask.config.set(_NO_PROFILER):
            cluster = await _started(
                stack,
                local_cluster(
                    settings.workers,
                    settings.threads,
                    settings.device,
                    dashboard_address=None,
                    # The HTTP port is open even without a dashboard.
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                    host="127.0.0.1",
                    local_directory=folder,
                    asynchronous=True,
                ),
            )
        client = await stack.enter_async_context(
            Client(cluster, asynchronous=True, set_as_default=False)
        )
        await client.register_plugin(QuietFailures())
        yield client


async def _started(stack: contextlib.AsyncExitStack, cluster: LocalCluster) -> LocalCluster:
    try:
        return await stack.enter_async_context(cluster)
    except RuntimeError as error:
        raise RunError(
            f"{message_of(error)}. If it speaks of a key or a certificate, correct --tls-cert and "
            "--tls-key, or distributed.comm.tls in Dask's configuration."
        ) from error


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A private folder for what workers spill.

    Dask's own has a known name, which another user may have taken, and holds pickles.
    """
    parent = dask.config.get("temporary-directory", None)
    try:
        if parent is not None:
            os.makedirs(parent, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix="djservice-", dir=parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise RunError(
            f"{parent or 'TMPDIR'}: cannot hold temporary files: {error.strerror}. Choose another "
            "temporary-directory in Dask's configuration."
        ) from None


@contextlib.asynccontextmanager
async def client_of(address: str, security: Security | None = None) -> AsyncIterator[Client]:
    """A client of the scheduler at ``address``.

    Raises
    ------
    RunError
        If there is no scheduler at the address, or it needs certificates.
    """
    need_certificates(address, security)
    try:
        client = Client(
            full_url(address),
            security=security,
            asynchronous=True,
            set_as_default=False,
            timeout="30s",
        )
        try:
            await client
        except asyncio.CancelledError:  # Dask closes it after errors only
            await client.close()
            raise
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(
            f"no Dask scheduler at {address}: {message_of(error)}. "
            "Check --scheduler (tls://, if it asks for certificates), and that the scheduler runs."
        ) from None
    async with client:
        yield client


@contextlib.contextmanager
def _block_sigint() -> Iterator[None]:
    """Hold SIGINT back; processes started meanwhile inherit the mask and never see it.

    A terminal sends the signal to all processes of its group.
    """
    resource_tracker.ensure_running()  # whose start would end the block
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _WatchHandler(logging.Handler):
    """Log handler that passes Dask's messages to a watch, so that a live display stays intact."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.WARNING)
        self.watch = watch
        self.job: asyncio.Task[Any] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.job is not None and self.job.cancelling():
            return  # that its connections end
        message = " ".join(record.getMessage().split())
        # Dask warns of a worker that is slow to end; that is harmless.
        if message and not message.startswith("Worker process still alive"):
            self.watch.say(f"{record.name}: {message}")


@contextlib.contextmanager
def _dask_logs_to(handler: logging.Handler) -> Iterator[None]:
    # Dask gives both loggers a handler.
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    handlers_before = [logger.handlers for logger in loggers]
    try:
        for logger, handlers in zip(loggers, handlers_before, strict=True):
            logger.handlers = [handler] if handlers else []
        yield
    finally:
        for logger, handlers in zip(loggers, handlers_before, strict=True):
            logger.handlers = handlers


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the run like Ctrl-C, after finished work is written."""
    task = asyncio.current_task()
    assert task is not None
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (RuntimeError, ValueError):  # outside the main thread, signals belong to the caller
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
