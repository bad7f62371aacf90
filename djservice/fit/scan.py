"""The scan: loss, gradient and spectrum over all events on a grid of radii."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.core.formatting import counted
from djservice.core.progress import Watch
from djservice.core.typing import Floats
from djservice.fit.all_events import all_events
from djservice.fit.curvature import curvature_at
from djservice.fit.requests import Evaluate, Request
from djservice.fit.versions_fit import version_columns
from djservice.store.columns import SCAN
from djservice.store.run_store import Store

#: Radii of the scan whose trees tell how many trees each event needs at a radius near them.
NEAREST = 5


@dataclass
class Scan:
    """The scan of a run, and what it says about the loss and the events near the optimum.

    Attributes
    ----------
    run, evaluate, store, watch
        As in :class:`djservice.fit.radius_fit.RadiusFit`.
    start
        Radius near which Newton's steps will be.
    rigidity
        A learned rigidity, or None.
    spread
        Whether the spread of each event's trees is wanted.
    """

    run: Run
    evaluate: Evaluate
    store: Store
    watch: Watch
    start: float
    rigidity: float | None
    spread: bool
    _spreads: dict[int, Floats] = field(default_factory=dict)

    async def run_to_completion(self) -> None:
        """Evaluate the radii that are not in the store."""
        radii = self.run.scan.radii
        done = self.store.n_complete("scan")
        self.watch.phase("scan", len(radii), done)
        for row in range(done, len(radii)):
            numbers, moments, events = await all_events(
                self.evaluate, self._request(row), self.watch
            )
            columns: dict[str, Any] = {name: [numbers[name]] for name in SCAN}
            if self.run.robust.augmentations:
                columns |= version_columns(moments)
            self.store.write_rows("scan", row, columns)
            if events is not None:
                self._spreads[row] = events.spread
            self.watch.step({"radius": radii[row], **numbers, "trees": moments.trees})

    def columns(self) -> dict[str, Any]:
        """The finished rows."""
        return {name: self.store.column("scan", name) for name in ("radius", *SCAN)}

    def curvature(self, radius: float) -> tuple[float, float]:
        """d^2L/dR^2 at a radius and its standard error."""
        return curvature_at(radius, self.columns())

    async def spreads(self) -> list[Floats]:
        """The spread of each event's trees, shape (event,), at the radii nearest to the start.

        The store has none. A run that was interrupted evaluates their rows again, to the same bits.
        """
        rows = self._near()
        if missing := [row for row in rows if row not in self._spreads]:
            rows_again = counted(len(missing), "row")
            self.watch.say(f"the spread of each event's trees, from {rows_again} of the scan")
        for row in missing:
            _, events = await self.evaluate(self._request(row))
            assert events is not None
            self._spreads[row] = events.spread
        return [self._spreads[row] for row in rows]

    def _near(self) -> Sequence[int]:
        """Rows of the radii nearest to the start, in rising order."""
        away = np.abs(np.log(self.run.scan.radii) - np.log(self.start))
        return sorted(np.argsort(away, kind="stable")[:NEAREST].tolist())

    def _request(self, row: int) -> Request:
        scan = self.run.scan
        return Request(
            scan.radii[row], scan.trees, "scan", row, rigidity=self.rigidity,
            spread=self.spread and row in self._near(),
        )  # fmt: skip
