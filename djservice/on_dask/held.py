"""Tasks that are done and that Dask is not told to forget yet, so that it forgets many at once.

To forget a task takes Dask a message to its worker and one back, which cost the scheduler as much
as a fifth of the task. Told just before new tasks, with no wait between, the first goes in the
message with them. Told of several tasks of a worker, both are one message for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed import Future

#: Number of requests whose tasks are held at most.
MOST = 8
#: Seconds that the tasks that are held took at most. Were a worker lost, Dask would compute its
#: tasks again.
LONGEST = 10.0


class Held:
    """Tasks of past requests, which Dask is told to forget all at once."""

    def __init__(self) -> None:
        self._requests: list[list[Future]] = []
        self._seconds = 0.0

    def make_room(self) -> None:
        """Forget the tasks if they are many; to be called just before new tasks are submitted."""
        if len(self._requests) >= MOST:
            self.forget()

    def add(self, futures: Iterable[Future], seconds: float) -> None:
        """Hold the tasks of a request that took some seconds, or forget all that is held."""
        self._requests.append([*futures])
        self._seconds += seconds
        if self._seconds > LONGEST:
            self.forget()

    def forget(self) -> None:
        """Forget the tasks."""
        self._requests.clear()
        self._seconds = 0.0
