"""Worker plugins: compile kernels, silence repeated messages, and keep secrets out of logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from typing import Any

import dask
from distributed import Client, WorkerPlugin

from djservice.core.log_records import clean_records
from djservice.core.progress import Watch
from djservice.core.redact import remember_settings
from djservice.on_dask.tasks import warm_up


class CompileKernels(WorkerPlugin):
    """Compile the kernels on every worker when it joins, so that no iteration waits for it."""

    name = "djservice-compile"
    idempotent = True  # workers that have the plugin are skipped

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        warm_up()


async def compile_kernels(client: Client, watch: Watch) -> None:
    """Compile the kernels on every worker; report the progress unless numba's cache has them."""
    began, announced = time.perf_counter(), False
    registering = asyncio.ensure_future(client.register_plugin(CompileKernels()))
    try:
        while not (await asyncio.wait([registering], timeout=20.0 if announced else 2.0))[0]:
            progress = (
                f"{time.perf_counter() - began:.0f} s so far"
                if announced
                else "a minute or two, once per installation"
            )
            watch.say(f"compiling the kernels: {progress}")
            announced = True
        await registering
    finally:
        registering.cancel()
    if announced:
        watch.say(f"kernels ready after {time.perf_counter() - began:.1f} s")


class QuietFailures(WorkerPlugin):
    """Keep local workers from logging what the driver reports in one line.

    These are failed and cancelled tasks, Ctrl-C, and the end of the driver.
    """

    name = "djservice-quiet-failures"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        for name in ("distributed.worker", "distributed.worker.state_machine"):
            logging.getLogger(name).addFilter(_worth_reading)
        if threading.current_thread() is threading.main_thread():
            # Ctrl-C reaches the driver too, which stops the workers in order.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worth_reading(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(
        (
            "Compute Failed",
            "Async instruction for",
            "Failed to communicate with scheduler during heartbeat",
        )
    )


class RedactLogs(WorkerPlugin):
    """Redact the logs of workers, where Dask writes the errors of tasks."""

    name = "djservice-redact-logs"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        redact_logs()


def redact_logs() -> None:
    """Keep secrets out of the logs of this process, also those of Dask's configuration."""
    remember_settings(dask.config.config)
    clean_records()
