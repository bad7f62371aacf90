"""EventBatch: particles of many events as one flat array per field, with offsets and identities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.columns import offsets_of, rows_of
from djservice.core.formatting import counted
from djservice.core.html_table import html_table
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.checks import check_batch, doubts, say_doubts
from djservice.events.event_columns import (
    EventColumns,
    EventKeywords,
    of_particles,
    takes_columns,
)
from djservice.events.from_awkward import flat_particles
from djservice.events.keys import Keys
from djservice.events.momenta import fold, rapidity_of
from djservice.events.quarks import GeneratedQuarks

#: Names and texts of a batch.
NAMES = ("files", "dataset", "doubts")
#: Fields of a batch that are not one array.
NOT_ARRAYS = ("columns", "quarks", *NAMES)
#: Names of the four coordinates of the particles.
_PARTICLE = ("pt", "rapidity", "phi", "mass")


@dataclass(frozen=True)
class EventBatch:
    """Particles of ``len(batch)`` events.

    Build one with :meth:`from_arrays`, :meth:`from_awkward` or ``dj.read``.

    Attributes
    ----------
    pt, rapidity, phi, mass
        Shape (particle,): GeV, dimensionless, rad, GeV. Rapidity, never pseudorapidity.
    offsets
        Shape (event + 1,): event ``i`` owns particles ``offsets[i]:offsets[i + 1]``.
    key
        Shape (event,): 64-bit identity, the key of every random draw.
    weight
        Shape (event,): event weight; 1 if the input has none.
    truth
        Shape (event,): true mass in GeV; NaN if the input has none.
    run, luminosity_block, event
        Shape (event,): identity in the input file; 0 if the input has none.
    file, entry
        Shape (event,): index into ``files``, and entry in that file.
    files
        Names of the inputs, for messages.
    dataset
        Name of the dataset, a part of the identity.
    columns
        Further numbers of the particles by name, each of shape (particle,), in the units of the
        input: charges, flags, impact parameters. Observables of constituents may read them.
    doubts
        What looks like a mistake in the values that were converted (:class:`InputWarning`).
    quarks
        Generated quarks of each event, if they were read (``quarks=True`` of a schema).

    Notes
    -----
    The memory is 32 bytes per particle (four float64), 8 for each further column, and 60 bytes per
    event. Quarks take 36 bytes each, and 8 per event.
    """

    pt: Floats
    rapidity: Floats
    phi: Floats
    mass: Floats
    offsets: NDArray[np.int64]
    key: Keys
    weight: Floats
    truth: Floats
    run: NDArray[np.uint32 | np.int64]
    luminosity_block: NDArray[np.uint32 | np.int64]
    event: NDArray[np.uint64]
    file: NDArray[np.int32]
    entry: NDArray[np.int64]
    files: tuple[str, ...]
    dataset: str = ""
    columns: Mapping[str, Floats] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    quarks: GeneratedQuarks | None = None

    @classmethod
    @takes_columns
    def from_arrays(
        cls,
        *,
        pt: ArrayLike,
        phi: ArrayLike,
        mass: ArrayLike,
        offsets: ArrayLike,
        rapidity: ArrayLike | None = None,
        eta: ArrayLike | None = None,
        **columns: Unpack[EventKeywords],
    ) -> EventBatch:
        """A batch from flat arrays, whose values are checked.

        Parameters
        ----------
        pt, phi, mass, rapidity, eta
            Shape (particle,), in GeV and rad. Exactly one of ``rapidity`` and ``eta``
            (pseudorapidity).
        offsets
            Shape (event + 1,), starting at 0 and ending at the number of particles.
        columns
            ``weight``, ``truth``, ``identity``, ``entry``, ``source``, ``dataset`` and ``columns``:
            see :class:`djservice.events.event_columns.EventKeywords`.

        Raises
        ------
        InputError
            If shapes disagree; if an array is masked, or holds complex numbers, text, dates or
            booleans; or if a particle has a pt that is not positive and finite, another field that
            is not finite, a negative mass, an energy of 1e150 GeV or more, or \\|eta\\| of 710 or
            more. The message names the source, the event and the particle.

        Warns
        -----
        InputWarning
            If phi lies beyond 2 pi, or pt and mass look like MeV.
        """
        batch = cls._checked(
            {"pt": pt, "phi": phi, "mass": mass, "rapidity": rapidity, "eta": eta},
            offsets,
            EventColumns(**columns),
        )
        say_doubts(batch)
        return batch

    @classmethod
    def _checked(
        cls, momenta: Mapping[str, Any], offsets: ArrayLike, beside: EventColumns
    ) -> EventBatch:
        """A batch from flat arrays, whose doubts are not said."""
        source, polar = beside.source, ("rapidity", "eta")
        names = [name for name in polar if momenta.get(name) is not None]
        if len(names) != 1:
            raise InputError(
                f"{source}: expected exactly one of rapidity and eta, found both or neither."
            )
        name = names[0]
        bounds = offsets_of(offsets, source)
        events, particles = len(bounds) - 1, int(bounds[-1])
        columns: dict[str, Any] = of_particles(
            {each: momenta[each] for each in ("pt", name, "phi", "mass")}, particles, source
        )
        columns["rapidity"] = columns.pop(name)
        # Built before the checks, so that an error can name the event.
        batch = cls(offsets=bounds, **columns, **beside.of(events, particles))
        check_batch(batch, name)
        batch = replace(batch, doubts=tuple(doubts(batch)))
        mass = np.maximum(batch.mass, 0.0)
        rapidity = batch.rapidity if name != "eta" else rapidity_of(batch.pt, batch.rapidity, mass)
        return replace(batch, mass=mass, phi=fold(batch.phi), rapidity=rapidity)

    @classmethod
    @takes_columns
    def from_awkward(cls, particles: Any, **columns: Unpack[EventKeywords]) -> EventBatch:
        """A batch from an awkward array of particles.

        The records have ``pt``, ``phi``, ``mass`` and either ``rapidity`` or ``eta``; or ``pt``,
        ``eta``, ``phi`` and ``E``; or ``px``, ``py``, ``pz`` and ``E``, in GeV and rad.

        Parameters
        ----------
        particles
            Shape (event, var), for example ``events.PFCands`` of NanoEvents. Other fields are not
            read.
        columns
            See :meth:`from_arrays`.

        Raises
        ------
        InputError
            If a field is missing, the array is not one list of particles per event, or an event or
            a particle is None. Errors of :meth:`from_arrays` are raised too.
        """
        batch = cls.of_file(particles, **columns)
        say_doubts(batch)
        return batch

    @classmethod
    @takes_columns
    def of_file(cls, particles: Any, **columns: Unpack[EventKeywords]) -> EventBatch:
        """The batch of :meth:`from_awkward`, whose doubts are left to the reader of the file.

        A worker that warned would print them beside what the run says.
        """
        flat = flat_particles(particles)
        return cls._checked(flat, flat.pop("offsets"), EventColumns(**columns))

    @classmethod
    def concatenate(cls, batches: Sequence[EventBatch]) -> EventBatch:
        """The events of several batches of one dataset, in order.

        A column that a batch lacks is 0 for its particles. Quarks are there if all batches have
        them.
        """
        if isinstance(batches, EventBatch) or not isinstance(batches, Sequence):
            raise InputError(f"expected a list of batches, found {type(batches).__name__}.")
        for batch in batches:
            need_batch(batch)
        if not batches:
            raise InputError("expected at least one batch to concatenate.")
        if len({batch.dataset for batch in batches}) > 1:
            raise InputError(
                f"batches of several datasets: {sorted({batch.dataset for batch in batches})}."
            )
        flat = {
            f.name: np.concatenate([getattr(batch, f.name) for batch in batches])
            for f in fields(cls)
            if f.name not in ("offsets", "file", *NOT_ARRAYS)
        }
        files = tuple(dict.fromkeys(name for batch in batches for name in batch.files))
        index = {name: np.int32(i) for i, name in enumerate(files)}
        file = [
            np.array([index[name] for name in batch.files], dtype=np.int32)[batch.file]
            for batch in batches
        ]
        steps = np.concatenate([np.diff(batch.offsets) for batch in batches])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps)])
        quarks = [batch.quarks for batch in batches if batch.quarks is not None]
        return cls(
            **flat,
            offsets=offsets,
            file=np.concatenate(file),
            files=files,
            dataset=batches[0].dataset,
            columns={
                name: np.concatenate(
                    [batch.columns.get(name, np.zeros(len(batch.pt))) for batch in batches]
                )
                for name in dict.fromkeys(name for batch in batches for name in batch.columns)
            },
            doubts=tuple(dict.fromkeys(doubt for batch in batches for doubt in batch.doubts)),
            quarks=GeneratedQuarks.concatenate(quarks) if len(quarks) == len(batches) else None,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        more = f" and {len(self.files) - 1:,} more" if len(self.files) > 1 else ""
        source = "".join(self.files[:1])
        return f"EventBatch({counted(len(self), 'event')} with {counted(len(self.pt), 'particle')} from {source}{more})"

    def _repr_html_(self) -> str:
        rows = {
            "events": f"{len(self):,}",
            "particles": f"{len(self.pt):,}",
            "particles of an event": _range(self.counts),
            "pT [GeV]": _range(self.pt),
            "sum of weights": f"{self.weight.sum():.6g}",
            "truth": _range(self.truth[np.isfinite(self.truth)]),
            "dataset": self.dataset,
            "files": "\n".join(self.files[:5]) + "\n..." * (len(self.files) > 5),
            "columns": ", ".join(self.columns),
            "quarks": "" if self.quarks is None else f"{len(self.quarks.pt):,}",
            "doubts": "\n".join(self.doubts),
        }
        return html_table("Events", rows)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Particles in each event, shape (event,)."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        arrays = [getattr(self, f.name) for f in fields(self) if f.name not in NOT_ARRAYS]
        arrays += [
            *self.columns.values(),
            *({} if self.quarks is None else self.quarks.columns).values(),
        ]
        return sum(array.nbytes for array in arrays)

    def __getitem__(self, index: Any) -> EventBatch:
        """Some of the events: ``events[7]``, ``events[3:10]``, ``events[mask]``, ``events[[4, 2]]``.

        Raises
        ------
        OutOfRangeError
            If there is no such event.
        InputError
            If the index is none of these.
        """
        if isinstance(index, slice):
            try:
                return self.select(np.arange(len(self))[index])
            except TypeError as error:
                raise InputError(f"events[{index}]: {error}.") from None
        return self.select(index)

    def __iter__(self) -> Iterator[EventBatch]:
        """The events one by one, as batches of one event."""
        return (self.select(i) for i in range(len(self)))

    def select(self, index: ArrayLike) -> EventBatch:
        """The events at ``index`` (positions or a mask), in that order.

        Raises
        ------
        OutOfRangeError
            If there is no such event.
        InputError
            If the index has another shape or kind.
        """
        rows = rows_of(index, len(self))
        counts = self.counts[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        particle = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        event_fields = (
            "key",
            "weight",
            "truth",
            "run",
            "luminosity_block",
            "event",
            "file",
            "entry",
        )
        return EventBatch(
            **{name: getattr(self, name)[particle] for name in _PARTICLE},
            **{name: getattr(self, name)[rows] for name in event_fields},
            offsets=offsets,
            **{name: getattr(self, name) for name in NAMES},
            columns={name: values[particle] for name, values in self.columns.items()},
            quarks=None if self.quarks is None else self.quarks.select(rows),
        )

    def keep(self, particles: NDArray[np.bool_]) -> EventBatch:
        """The events with some of their particles, those of a mask of shape (particle,)."""
        if particles.all():
            return self
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(particles)])[self.offsets]
        return replace(
            self,
            **{name: getattr(self, name)[particles] for name in _PARTICLE},
            offsets=offsets,
            columns={name: values[particles] for name, values in self.columns.items()},
        )

    def weighted(self, weights: Floats) -> EventBatch:
        """The events with the four-momentum of each particle multiplied by its weight.

        Particles of weight 0 are left out. The rapidities stay, as do ``columns``.
        """
        scaled = replace(self, pt=self.pt * weights, mass=self.mass * weights)
        return scaled.keep(weights > 0.0)

    def name(self, i: int) -> str:
        """Name of event ``i`` in messages."""
        text = f"{self.files[self.file[i]]}, entry {self.entry[i]}"
        if self.run[i] or self.luminosity_block[i] or self.event[i]:
            block = self.luminosity_block[i]
            # A branch of 32 bits holds event numbers above 2^31 as negative ones.
            event = self.event[i].astype(np.int64)
            text += f" (run {self.run[i]}, luminosityBlock {block}, event {event})"
        return text


def need_batch(events: Any) -> None:
    """Refuse what is no batch.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(events, EventBatch):
        raise InputError(
            f"expected an EventBatch, found {type(events).__name__}. Read one with djservice.read, "
            "or make one with EventBatch.from_arrays or EventBatch.from_awkward."
        )


def _range(values: NDArray[Any]) -> str:
    return f"{values.min():.4g} to {values.max():.4g}" if len(values) else ""
