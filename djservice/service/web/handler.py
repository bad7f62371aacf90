"""Base class of all HTTP handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from distributed.http.utils import RequestHandler
from distributed.threadpoolexecutor import ThreadPoolExecutor  # hung threads let the process end

from djservice.service.interface import RunBoard, run_board
from djservice.service.web.hosts import OwnNamesOnly

Result = TypeVar("Result")

#: Only scripts and pictures of this server are loaded, so that text of a user is never executed,
#: and no other page shows this one in a frame. Bokeh needs inline styles.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Seconds for the reading of a store, whose file system may not answer.
READING_TIMEOUT = 20.0
_READERS = ThreadPoolExecutor(4, thread_name_prefix="djservice-page")


class Handler(OwnNamesOnly, RequestHandler):
    """Handler with access to the service of this scheduler."""

    def set_default_headers(self) -> None:
        """Forbid browsers and proxies to cache answers, which are soon out of date."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", POLICY)

    def compute_etag(self) -> None:
        """None, because answers are not cached."""

    @property
    def service(self) -> RunBoard:
        """The service of this scheduler.

        Raises
        ------
        ServiceError
            If the scheduler does not accept runs.
        """
        return run_board(self.server)


async def beside(read: Callable[[], Result]) -> Result:
    """The result of a function that reads files, from a thread beside the scheduler's loop.

    Raises
    ------
    TimeoutError
        If it takes too long.
    """
    async with asyncio.timeout(READING_TIMEOUT):
        return await asyncio.get_running_loop().run_in_executor(_READERS, read)
