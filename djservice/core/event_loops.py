"""Event loops: a coroutine from plain code, and one on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


def finish(job: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns, from plain code; inside a notebook, whose loop is running already, too."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, job).result()


class Stopped(Exception):
    """The job ended because :meth:`OwnLoop.stop` was called."""


class OwnLoop(Generic[Result]):
    """A job on an event loop in a thread of its own, so that it never holds up the loop that waits for it.

    Parameters
    ----------
    job
        Makes the coroutine to run; called in the thread.
    name
        Of the thread.
    """

    def __init__(self, job: Callable[[], Coroutine[Any, Any, Result]], name: str) -> None:
        self._job = job
        self._ended: Future[Result] = Future()
        self._lock = Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._reason: str | None = None
        # A daemon: a job stuck in a file system that does not answer must not keep the process from leaving.
        Thread(target=self._work, name=name, daemon=True).start()

    async def ended(self) -> Result:
        """What the job returns or raises.

        Raises
        ------
        Stopped
            If it was stopped before its end.
        """
        return await asyncio.shield(asyncio.wrap_future(self._ended))

    def stop(self, reason: str) -> None:
        """Cancel the job, from any thread; it is told the reason and clears up in peace, so later calls do nothing."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel, reason)

    def _work(self) -> None:
        try:
            self._ended.set_result(asyncio.run(self._stoppable()))
        except (
            asyncio.CancelledError
        ) as stop:  # not passed on as it is: nobody cancelled the one who waits
            self._ended.set_exception(Stopped(str(stop)))
        except BaseException as error:
            self._ended.set_exception(error)

    async def _stoppable(self) -> Result:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._reason is not None:
                raise asyncio.CancelledError(self._reason)
            self._running = asyncio.get_running_loop(), task
        try:
            return await self._job()
        finally:
            with self._lock:
                self._running = None
