"""EventColumns: what a batch holds beside the momenta of its particles, as users give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.arguments import takes
from djservice.core.columns import column, floats, identity_of, per_event
from djservice.errors import InputError
from djservice.events.keys import entry_keys, event_keys


class EventKeywords(TypedDict, total=False):
    """Keywords of a function that builds a batch; all are fields of :class:`EventColumns`."""

    weight: ArrayLike | None
    """Event weight, one number or shape (event,); 1 by default."""
    truth: ArrayLike | None
    """True mass in GeV, one number or shape (event,); unknown by default."""
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None
    """``(run, luminosityBlock, event)``, each of shape (event,).

    Without it the identity is ``(source, entry)``, and draws depend on how the input was cut into
    arrays.
    """
    entry: ArrayLike | None
    """Index in ``source``, shape (event,); counted from 0 by default."""
    source: str
    """Name of the input, used in messages and in the identity; "arrays" by default."""
    dataset: str
    """Name of the dataset, a part of the identity."""
    columns: Mapping[str, ArrayLike] | None
    """Further numbers of the particles by name, such as the charge, of shape (particle,) each."""


@dataclass(frozen=True)
class EventColumns:
    """Columns of events, further ones of their particles, and names; see :class:`EventKeywords`.

    Raises
    ------
    InputError
        If ``source`` or ``dataset`` is no name.
    """

    weight: ArrayLike | None = None
    truth: ArrayLike | None = None
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None
    entry: ArrayLike | None = None
    source: str = "arrays"
    dataset: str = ""
    columns: Mapping[str, ArrayLike] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.source, str) and isinstance(self.dataset, str)):
            raise InputError(
                f"expected names as source and dataset, found {self.source!r}, {self.dataset!r}."
            )

    def of(self, events: int, particles: int) -> dict[str, Any]:
        """The fields of a batch with so many events and particles.

        Raises
        ------
        InputError
            If a column has another length or kind.
        """
        source = self.source
        entry = self._entry(events)
        run, block, event = identity_of(self.identity, events, source)
        return {
            "key": entry_keys(self.dataset, source, entry)
            if self.identity is None
            else event_keys(self.dataset, run, block, event),
            "weight": per_event(_or(self.weight, 1.0), events, "weight", source),
            "truth": per_event(_or(self.truth, np.nan), events, "truth", source),
            "run": _small(run),
            "luminosity_block": _small(block),
            "event": event.astype(np.uint64),
            "file": np.zeros(events, dtype=np.int32),
            "entry": entry.astype(np.int64),
            "files": (source,),
            "dataset": self.dataset,
            "columns": of_particles(self.columns, particles, source),
        }

    def _entry(self, events: int) -> NDArray[Any]:
        if self.entry is None:
            return np.arange(events)
        entry = column(self.entry, "entry", self.source, whole=True)
        if entry.shape != (events,):
            raise InputError(f"{self.source}: entry has shape {entry.shape}, expected ({events},).")
        return entry


#: Decorator of the functions that have ``**columns`` of :class:`EventKeywords`.
takes_columns = takes(EventKeywords, {field.name: field.default for field in fields(EventColumns)})


def of_particles(
    columns: Mapping[str, ArrayLike] | None, particles: int, source: str
) -> dict[str, NDArray[np.float64]]:
    """Columns of particles as float64, by name.

    Raises
    ------
    InputError
        If one has not the shape (particle,), or no numbers.
    """
    flat = {name: floats(array, name, source) for name, array in (columns or {}).items()}
    for name, array in flat.items():
        if array.shape != (particles,):
            raise InputError(
                f"{source}: {name} has shape {array.shape}, expected ({particles},) from offsets."
            )
    return flat


def _or(values: ArrayLike | None, default: float) -> ArrayLike:
    return default if values is None else values


def _small(numbers: NDArray[Any]) -> NDArray[np.uint32 | np.int64]:
    """Integers in 32 bits, or in 64 if one of them needs these."""
    fits = numbers.size == 0 or (numbers.min() >= 0 and numbers.max() < 2**32)
    return numbers.astype(np.uint32 if fits else np.int64)
