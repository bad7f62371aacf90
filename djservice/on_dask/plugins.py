"""Workers: the progress of compiling, repeated messages and secrets in their logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Coroutine
from typing import Any

import dask
from distributed import WorkerPlugin

from djservice.core.log_records import clean_records
from djservice.core.progress import Watch
from djservice.core.redact import remember_settings

#: Seconds after which a run says that kernels are compiled: loading them from the cache takes less.
ANNOUNCED_AFTER = 8.0


async def compile_kernels(compiling: Coroutine[Any, Any, None], watch: Watch) -> None:
    """Report the progress of compiling the kernels, unless numba's cache has them."""
    began, announced = time.perf_counter(), False
    task = asyncio.ensure_future(compiling)
    try:
        while not (await asyncio.wait([task], timeout=20.0 if announced else ANNOUNCED_AFTER))[0]:
            progress = (
                f"{time.perf_counter() - began:.0f} s so far"
                if announced
                else "a minute or two, once per installation"
            )
            watch.say(f"compiling the kernels: {progress}")
            announced = True
        await task
    finally:
        task.cancel()
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


def redact_logs() -> None:
    """Keep secrets out of the logs of this process, also those of Dask's configuration."""
    remember_settings(dask.config.config)
    clean_records()
