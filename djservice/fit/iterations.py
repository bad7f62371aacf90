"""Iterations: gradient descent whose path is in a store, replayed bit for bit when a run resumes.

All learned parameters share it: it takes a descent, and a function that evaluates at given values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from djservice.core.progress import Watch
from djservice.errors import InputError, RunError, StoreError
from djservice.evaluation.moments import Quantity
from djservice.fit.descent import Descent
from djservice.store.columns import VECTORS
from djservice.store.run_store import Store

#: Seconds between two writes of finished iterations. A killed run recomputes the iterations that
#: were not written, to the same bits.
SECONDS_BETWEEN_WRITES = 1.0


class Sums(Protocol):
    """Sums over the events of an iteration, from which its row follows.

    They are :class:`djservice.evaluation.moments.Moments`, or
    :class:`djservice.evaluation.vector_moments.VectorMoments`.
    """

    @property
    def events(self) -> int: ...
    @property
    def trees(self) -> int: ...
    @property
    def state_share(self) -> float: ...
    @property
    def acceptance(self) -> float: ...
    def loss(self) -> Quantity: ...
    def gradients(self) -> list[Quantity]: ...


#: From the number of an iteration and the values of the parameters to the sums over its events.
EvaluateAt = Callable[[int, list[float]], Awaitable[Sums]]


def rewind_unless(
    store: Store, group: str, values: Mapping[str, Any], rows: Iterable[str], **others: Any
) -> None:
    """Discard rows that follow from other values, as those of a shorter run may.

    Parameters
    ----------
    group, values
        Group whose attributes remember the values, and the values.
    rows
        Groups whose rows follow from the values.
    others
        Attributes of ``group`` that are written with new values.
    """
    if {name: store.attribute(group, name) for name in values} != dict(values):
        for name in rows:
            store.rewind(name, 0)
        store.set_of(group, **values, **others)


@dataclass
class Iterations:
    """The iterations of one descent.

    Attributes
    ----------
    store, group
        Store and group of the rows.
    watch, phase
        Receives the progress, under the name of the phase.
    descent, number
        The path, and the largest number of iterations.
    evaluate
        Returns the sums over the events of an iteration at given values.
    """

    store: Store
    group: str
    watch: Watch
    phase: str
    descent: Descent
    number: int
    evaluate: EvaluateAt

    async def run_to_completion(self) -> Descent:
        """Replay the iterations in the store, then do the others, and return the descent."""
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
        """Repeat the steps of the iterations that are in the store."""
        descent = self.descent
        parameters, gradients = (
            self.store.column(self.group, name) for name in ("parameters", "gradients")
        )
        stored_averages = self.store.array(self.group, "parameters_average")
        averages = []
        for iteration, (values, gradient) in enumerate(
            zip(parameters.tolist(), gradients.tolist(), strict=True)
        ):
            # With another start of the average the descent may converge sooner than before.
            if descent.converged:
                self.store.rewind(self.group, iteration)
                break
            if not np.array_equal(values, descent.values, equal_nan=True):
                raise StoreError(
                    f"{self.store.path}: iteration {iteration} was at {self._words(values)}, and "
                    f"replaying the gradients gives {self._words(descent.values)}: the store was "
                    "written by another version. Choose another output.store."
                )
            descent.update(gradient)
            averages.append(descent.average)
        # With more iterations the average starts later, and damaged ones are absent.
        if averages and averages != stored_averages[: len(averages)].tolist():
            self.store.write_rows(
                self.group, 0, self._columns([{"parameters_average": a} for a in averages])
            )

    async def _iterate(self) -> dict[str, Any]:
        """Do one iteration and return its row."""
        began = time.perf_counter()
        descent = self.descent
        iteration, values, rate = descent.iteration, descent.values, descent.learning_rate
        where = f"iteration {iteration} at {self._words(values)}"
        try:
            moments = await self.evaluate(iteration, values)
            loss, gradients = moments.loss(), moments.gradients()
        except (RunError, InputError) as error:
            raise type(error)(f"{where}: {error}") from error
        for parameter, gradient in zip(descent.parameters, gradients, strict=True):
            if not math.isfinite(gradient.value):
                raise RunError(f"{where}: dL/d{parameter.name} is {gradient.value}.")
        with np.errstate(over="ignore", invalid="ignore"):
            descent.update([gradient.value for gradient in gradients])
        if not np.isfinite(descent.values).all():
            raise RunError(
                f"{where}: the next step leads to {self._words(descent.values)}. Use a smaller "
                "learning rate."
            )
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
        """The radius for a display, if the descent is in R."""
        return {"radius": row["parameters"][0]} if self.group == "history" else {}

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.store.write_rows(
                self.group, self.store.n_complete(self.group), self._columns(rows)
            )

    def _columns(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows as columns.

        The history also has separate columns for the radius, because most runs learn only R.
        """
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        for vector, scalar in VECTORS.items():
            if vector in columns and self.group == "history":
                columns[scalar] = [values[0] for values in columns[vector]]
        return columns

    def _words(self, values: Sequence[float]) -> str:
        """The first few values as text."""
        parts = [
            f"{p.name} = {value:.4f}"
            for p, value in zip(self.descent.parameters, values, strict=True)
        ]
        return ", ".join(parts[:_NAMED]) + (
            f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
        )


#: Largest number of parameters in a message.
_NAMED = 3
