"""Trees of each event in Newton's steps, by the spread in the scan and in the first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.evaluation.allocation import pooled
from djservice.evaluation.per_event import PerEvent
from djservice.events.keys import Keys
from djservice.fit.requests import Request
from djservice.fit.scan import Scan

#: From the spread of the trees of each event, shape (event,), to its number of trees.
Allot = Callable[[Floats], NDArray[np.int64]]

#: Weight of the first step beside each row of the scan. Its radius is nearer to the root: at high
#: rigidities an event jumps within the distance of two rows.
_WEIGHT = 4.0


@dataclass
class Allotment:
    """The numbers of trees, as a function of earlier evaluations, which have other trees.

    Attributes
    ----------
    allot
        From the spread of each event to its trees; without it all have as many.
    scan
        The scan, which is finished.
    first
        Request of the first step.
    keys
        Identities of all events.
    """

    allot: Allot | None
    scan: Scan
    first: Request
    keys: Keys
    _spread: Floats | None = None
    _numbers: dict[bool, NDArray[np.int64]] = field(default_factory=dict)

    async def of(self, request: Request) -> Request:
        """The request of a step, with the trees of each event.

        A request with the trees of the first step, as a version of the events may have, has the
        numbers of that step.
        """
        if self.allot is None:
            return request
        is_first = request.iteration == self.first.iteration
        numbers = await self._of_step(is_first)
        return replace(request, allotted=numbers, spread=is_first and request.version is None)

    def hear(self, events: PerEvent | None) -> None:
        """Take the spread from the answer to the first step; others have none."""
        if events is not None:
            chosen = slice(None) if self.first.subset is None else self.first.subset.of(self.keys)
            self._spread = np.full(len(self.keys), math.nan)
            self._spread[chosen] = events.spread

    async def _of_step(self, is_first: bool) -> NDArray[np.int64]:
        assert self.allot is not None
        if is_first not in self._numbers:
            spreads = await self.scan.spreads()
            weights = [1.0] * len(spreads)
            if not is_first:
                if self._spread is None:  # the run was interrupted
                    self.hear((await self.scan.evaluate(await self.of(self.first)))[1])
                assert self._spread is not None
                spreads, weights = [*spreads, self._spread], [*weights, _WEIGHT]
            self._numbers[is_first] = self.allot(pooled(spreads, weights))
        return self._numbers[is_first]
