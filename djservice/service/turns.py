"""Whose turn it is: the queued run that takes a free slot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from djservice.service.records import Record


class Turns:
    """Turns of the users of a service."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}

    def next(self, records: Iterable[Record], active: Sequence[Record]) -> Record | None:
        """The run to start: users with the fewest active runs first, then the longest wait.

        Of the runs that were active when a scheduler died, one at a time is tried until its first
        step, so that the one at fault takes no other with it.

        Parameters
        ----------
        records
            All runs in the order of their submission.
        active
            Runs that have a slot.

        Returns
        -------
        Record or None
            None if no run may start.
        """
        on_trial = any(record.starts > 1 for record in active)
        waiting = [
            record
            for record in records
            if record.state == "queued"
            and record not in active
            and not (on_trial and record.starts > 0)
        ]
        if not waiting:
            return None
        users = [record.user for record in active]
        chosen = min(waiting, key=lambda r: (users.count(r.user), self._served.get(r.user, -1)))
        self._served[chosen.user] = max(self._served.values(), default=0) + 1
        return chosen
