"""Event loops: run a coroutine from synchronous code, or in a separate thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


def finish(job: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, for synchronous code.

    It also works in a notebook, whose event loop is already running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, job).result()


class Stopped(Exception):
    """The job ended because :meth:`ThreadLoop.stop` was called."""


class ThreadLoop(Generic[Result]):
    """A job on an event loop in a separate thread, so that it never blocks the loop that awaits it.

    Parameters
    ----------
    job
        Returns the coroutine to run. It is called in the thread.
    name
        Name of the thread.
    """

    def __init__(self, job: Callable[[], Coroutine[Any, Any, Result]], name: str) -> None:
        self._job = job
        self._ended: Future[Result] = Future()
        self._lock = Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._reason: str | None = None
        # A daemon thread, because a job may hang in a file system and must not block the exit.
        Thread(target=self._work, name=name, daemon=True).start()

    async def ended(self) -> Result:
        """The result of the job, or its error.

        Raises
        ------
        Stopped
            If the job was stopped before its end.
        """
        return await asyncio.shield(asyncio.wrap_future(self._ended))

    def stop(self, reason: str) -> None:
        """Cancel the job, from any thread, with a reason.

        Later calls do nothing, so that the job can clean up undisturbed.
        """
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
        # Not passed on as CancelledError, because the awaiting task was not cancelled.
        except asyncio.CancelledError as stop:
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
