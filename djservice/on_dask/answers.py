"""Answers of tasks that come with the word that they are done, so that nobody has to fetch them.

Dask's scheduler fetches each result by a call to its worker, which costs it as much as half of the
task. A small answer travels in the stream of messages that worker, scheduler and client have
anyway: as an event under the name of the client, which the scheduler forgets with the client. The
answer is the result of the task as well, and is fetched if no event came.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distributed import Client, Future, WorkerPlugin, get_worker
from distributed.worker import thread_state

from djservice.on_dask.gather import gather

#: Largest answer in bytes that is sent. The scheduler keeps the last thousand events of a client.
LARGEST = 10_000


class AnswersWithTasks(WorkerPlugin):
    """Sends the answer of a task and the word that it is done as one message.

    An answer that is sent by the task itself comes a moment earlier, as a message of its own.
    """

    name = "djservice-answers"

    def __init__(self) -> None:
        self.ready: dict[Any, tuple[str, bytes]] = {}

    def setup(self, worker: Any) -> None:
        """Called by Dask on the worker."""
        self.worker = worker

    def transition(self, key: Any, start: str, finish: str, **how: Any) -> None:
        """Called by Dask when the state of a task changes, before it says so to the scheduler."""
        answer = self.ready.pop(key, None)
        if answer is not None and finish == "memory":
            self.worker.log_event(*answer)


def send_answer(client: str, answer: Any) -> None:
    """Send the answer of the task of this thread to a client; does nothing outside a worker."""
    try:
        worker = get_worker()
    except ValueError:  # what Dask says outside a worker
        return
    sender = worker.plugins.get(AnswersWithTasks.name)
    message = pickle.dumps((thread_state.key, answer))
    if sender is not None and len(message) <= LARGEST:
        sender.ready[thread_state.key] = client, message


@contextlib.contextmanager
def hearing(client: Client) -> Iterator[dict[str, Any]]:
    """The answers that are sent to a client meanwhile, by the keys of their tasks, as they come.

    Of two at a time on one client, the first hears no more. What it misses is fetched.
    """
    heard: dict[str, Any] = {}

    def hear(event: tuple[float, Any]) -> None:
        if isinstance(event[1], bytes):  # and not a note of the scheduler about the client
            key, answer = pickle.loads(event[1])
            heard[key] = answer

    client.subscribe_topic(client.id, hear)
    try:
        yield heard
    finally:
        if client.status == "running":
            client.unsubscribe_topic(client.id)


async def answers_of(
    client: Client, futures: Sequence[Future], heard: Mapping[str, Any]
) -> list[Any]:
    """The answers of tasks, in their order: those that were heard, and the others fetched.

    Raises
    ------
    DjserviceError
        See :func:`djservice.on_dask.gather.gather`.
    """
    ends = [asyncio.ensure_future(future.exception()) for future in futures]
    try:
        for end in asyncio.as_completed(ends):
            if await end is not None:
                break
    finally:
        for waiting in ends:
            waiting.cancel()
    unheard = [future for future in futures if future.key not in heard]
    fetched = await gather(client, unheard) if unheard else []
    others = dict(zip((future.key for future in unheard), fetched, strict=True))
    answers = {**others, **heard}
    return [answers[future.key] for future in futures]
