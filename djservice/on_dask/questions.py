"""Questions to workers, each asked by itself: a process that stands still holds up no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed import Client

from djservice.on_dask.admission import announcing


async def answer_of(
    client: Client, worker: str, function: Callable[..., Any], *arguments: Any
) -> Any:
    """What a function returns on a worker, or the error. A process that stands still says nothing."""
    try:
        answers = await client.run(function, *arguments, workers=[worker], on_error="return")
        return answers[worker]
    except Exception as error:  # the connection's
        return error


class Questions:
    """Questions that are on their way in the background, by keys.

    Parameters
    ----------
    client
        Client of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._asked: dict[Any, asyncio.Future[Any]] = {}

    def begin(self, key: Any, function: Callable[..., Any], worker: str) -> None:
        """Ask a worker, if the question of this key is not on its way already."""
        if key not in self._asked or self._asked[key].done():
            self._asked[key] = asyncio.ensure_future(answer_of(self.client, worker, function))

    def answered(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The answers that have come to some questions; each is given once."""
        done = [key for key in {*keys} & {*self._asked} if self._asked[key].done()]
        return {key: self._asked.pop(key).result() for key in done}

    def let_announce(self, resource: str, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Let workers announce a resource, those that do not yet; given as Dask describes them."""
        for worker, facts in workers.items():
            if resource not in facts["resources"]:
                self.begin((resource, worker), announcing(resource), worker)
