"""Worker plugins: kernels are compiled, failures are quiet, secrets stay out of logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from typing import Any

from distributed import Client, WorkerPlugin

from djservice.core.progress import Watch
from djservice.core.redact import redacted
from djservice.on_dask.tasks import warm_up


class CompileKernels(WorkerPlugin):
    """Compiles the kernels on every worker when it joins, so that no iteration waits for it."""

    name = "djservice-compile"
    idempotent = True  # workers that have it are not asked again

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        warm_up()


async def compile_kernels(client: Client, watch: Watch) -> None:
    """Have the kernels on every worker. Where they come from numba's cache nothing is said, else that it goes on."""
    began, said = time.perf_counter(), False
    registering = asyncio.ensure_future(client.register_plugin(CompileKernels()))
    try:
        while not (await asyncio.wait([registering], timeout=20.0 if said else 2.0))[0]:
            how_long = (
                f"{time.perf_counter() - began:.0f} s so far"
                if said
                else "a minute or two, once per installation"
            )
            watch.say(f"compiling the kernels: {how_long}")
            said = True
        await registering
    finally:
        registering.cancel()
    if said:
        watch.say(f"kernels ready after {time.perf_counter() - began:.1f} s")


class QuietFailures(WorkerPlugin):
    """Keeps workers of our own from saying what the driver says in one line: failed and cancelled tasks, Ctrl-C, that it leaves."""

    name = "djservice-quiet-failures"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        for name in ("distributed.worker", "distributed.worker.state_machine"):
            logging.getLogger(name).addFilter(_worth_reading)
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # Ctrl-C reaches the driver too, which stops us in order


def _worth_reading(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(
        (
            "Compute Failed",
            "Async instruction for",
            "Failed to communicate with scheduler during heartbeat",
        )
    )


class RedactLogs(WorkerPlugin):
    """Redacts what Dask logs on workers: of a task that failed it writes the arguments, and so the names of files."""

    name = "djservice-redact-logs"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        logging.getLogger("distributed.worker").addFilter(_redact)


def _redact(record: logging.LogRecord) -> bool:
    record.msg, record.args = redacted(record.getMessage()), ()
    return True
