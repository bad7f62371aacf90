"""Iterations: gradient descent with its path in a store, replayed bit for bit when a run goes on.

The same for everything that is learned: it is given a descent, and "evaluate at these values".
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from djservice.core.progress import Watch
from djservice.errors import RunError, StoreError
from djservice.evaluation.moments import Moments
from djservice.fit.descent import Descent
from djservice.store.columns import VECTORS
from djservice.store.run_store import Store

#: Finished iterations are written this often; those in between would be recomputed to the same bits.
SECONDS_BETWEEN_WRITES = 1.0

#: Given the number of an iteration and the values of the parameters: the sums over its events.
EvaluateAt = Callable[[int, list[float]], Awaitable[Moments]]


@dataclass
class Iterations:
    """The iterations of one descent.

    Attributes
    ----------
    store, group
        Where the rows go.
    watch, phase
        Who is told, and what it is called.
    descent, number
        The path, and how many iterations at most.
    evaluate
        The sums at given values.
    """

    store: Store
    group: str
    watch: Watch
    phase: str
    descent: Descent
    number: int
    evaluate: EvaluateAt

    async def complete(self) -> Descent:
        """Those in the store replayed, then the rest."""
        self._replay()
        self.watch.phase(self.phase, self.number, self.descent.iteration)
        rows: list[dict[str, Any]] = []
        written = time.monotonic()
        try:
            while self.descent.iteration < self.number and not self.descent.converged:
                rows.append(await self._iterate())
                self.watch.step(
                    {name: row for name, row in rows[-1].items() if name not in VECTORS}
                    | self._shown(rows[-1])
                )
                if time.monotonic() - written > SECONDS_BETWEEN_WRITES:
                    self._write(rows)
                    rows, written = [], time.monotonic()
        finally:
            self._write(rows)
        return self.descent

    def _replay(self) -> None:
        """Take the steps of the iterations that are in the store."""
        descent = self.descent
        stored = (
            self.store.column(self.group, name)
            for name in ("parameters", "gradients", "parameters_average")
        )
        parameters, gradients, stored_averages = stored
        averages = []
        for iteration, (values, gradient) in enumerate(
            zip(parameters.tolist(), gradients.tolist(), strict=True)
        ):
            if descent.converged:  # sooner than before, as the average starts at another iteration
                self.store.rewind(self.group, iteration)
                break
            if values != descent.values:
                raise StoreError(
                    f"{self.store.path}: iteration {iteration} was at {self._at(values)}, and replaying the gradients gives "
                    f"{self._at(descent.values)}: the store was written by another version. Choose another output.store."
                )
            descent.update(gradient)
            averages.append(descent.average)
        if (
            averages and averages != stored_averages[: len(averages)].tolist()
        ):  # with more iterations it starts later
            self.store.write_rows(
                self.group, 0, self._columns([{"parameters_average": a} for a in averages])
            )

    async def _iterate(self) -> dict[str, Any]:
        """One iteration; returns its row."""
        began = time.perf_counter()
        descent = self.descent
        iteration, values, rate = descent.iteration, descent.values, descent.learning_rate
        where = f"iteration {iteration} at {self._at(values)}"
        try:
            moments = await self.evaluate(iteration, values)
            loss, gradients = moments.loss(), moments.gradients()
        except RunError as error:
            raise type(error)(f"{where}: {error}") from error
        for parameter, gradient in zip(descent.parameters, gradients, strict=True):
            if not math.isfinite(gradient.value):
                raise RunError(f"{where}: dL/d{parameter.name} is {gradient.value}.")
        descent.update([gradient.value for gradient in gradients])
        return {
            "parameters": values,
            "parameters_average": descent.average,
            "gradients": [gradient.value for gradient in gradients],
            "gradients_error": [gradient.error for gradient in gradients],
            "loss": loss.value,
            "loss_error": loss.error,
            "acceptance": moments.acceptance,
            "learning_rate": rate,
            "seconds": time.perf_counter() - began,
            "trees": moments.trees,
            "state_share": moments.state_share / moments.events,
        }

    def _shown(self, row: dict[str, Any]) -> dict[str, float]:
        """What a display shows of the parameters: the radius."""
        return {"radius": row["parameters"][0]} if self.group == "history" else {}

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.store.write_rows(
                self.group, self.store.n_complete(self.group), self._columns(rows)
            )

    def _columns(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows as columns; in the history the radius, which most runs learn alone, also by itself."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        for vector, scalar in VECTORS.items():
            if vector in columns and self.group == "history":
                columns[scalar] = [values[0] for values in columns[vector]]
        return columns

    def _at(self, values: Sequence[float]) -> str:
        """The values in words; of many, the first few."""
        parts = [
            f"{p.name} = {value:.4f}"
            for p, value in zip(self.descent.parameters, values, strict=True)
        ]
        return ", ".join(parts[:_NAMED]) + (
            f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
        )


#: Parameters that a message names.
_NAMED = 3
