"""What workers are given when they start."""

import asyncio
import logging
import re
import threading

import pytest

from djservice.on_dask import plugins
from djservice.on_dask.plugins import QuietFailures, compile_kernels
from djservice.service.journal import Journal


def test_kernels_that_take_long_are_said_to_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "ANNOUNCED_AFTER", 0.1)
    journal = Journal()
    asyncio.run(compile_kernels(asyncio.sleep(0.0), journal))
    assert not journal.lines

    async def until_said() -> None:
        while not journal.lines:
            await asyncio.sleep(0.05)

    asyncio.run(compile_kernels(until_said(), journal))
    first, last = (line for _, line in journal.lines)
    assert first == "compiling the kernels: a minute or two, once per installation"
    assert re.fullmatch(r"kernels ready after \d+\.\d s", last)


@pytest.mark.parametrize(
    ("logger", "message", "kept"),
    [
        ("distributed.worker", "Compute Failed\nKey: read-1", False),
        (
            "distributed.worker.state_machine",
            "Async instruction for <Task cancelled> ended with CancelledError",
            False,
        ),
        ("distributed.worker", "Worker is at 85% memory usage", True),
    ],
)
def test_workers_of_our_own_leave_out_what_the_driver_says(
    logger: str, message: str, kept: bool
) -> None:
    loggers = [
        logging.getLogger(name)
        for name in ("distributed.worker", "distributed.worker.state_machine")
    ]
    before = [list(of.filters) for of in loggers]
    try:
        setup = threading.Thread(
            target=QuietFailures().setup, args=(None,)
        )  # in the main thread it ignores Ctrl-C
        setup.start()
        setup.join()
        record = logging.LogRecord(logger, logging.WARNING, "", 0, message, (), None)
        assert bool(logging.getLogger(logger).filter(record)) is kept
    finally:
        for of, filters in zip(loggers, before, strict=True):
            of.filters = filters
