"""EventBatch: particles of many events as one flat array per field, with offsets and identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.elementary import arcsinh, sinh
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.from_awkward import flat_particles
from djservice.events.keys import Keys, entry_keys, event_keys

#: Largest negative mass, relative to pt, that is taken for rounding in a reduced-precision file and
#: read as zero.
MASS_ROUNDING = 1e-2

#: Most particles of an event: ids have 16 bits, and an event of n particles has 2 n - 1 objects.
MOST_PARTICLES = 2**15


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

    Notes
    -----
    The memory is 32 bytes per particle (four float64) and 60 bytes per event.
    """

    pt: Floats
    rapidity: Floats
    phi: Floats
    mass: Floats
    offsets: NDArray[np.int64]
    key: Keys
    weight: Floats
    truth: Floats
    run: NDArray[np.uint32]
    luminosity_block: NDArray[np.uint32]
    event: NDArray[np.uint64]
    file: NDArray[np.int32]
    entry: NDArray[np.int64]
    files: tuple[str, ...]
    dataset: str = ""

    @classmethod
    def from_arrays(
        cls,
        *,
        pt: ArrayLike,
        phi: ArrayLike,
        mass: ArrayLike,
        offsets: ArrayLike,
        rapidity: ArrayLike | None = None,
        eta: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        truth: ArrayLike | None = None,
        identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
        entry: ArrayLike | None = None,
        source: str = "arrays",
        dataset: str = "",
    ) -> EventBatch:
        """A batch from flat arrays, whose values are checked.

        Parameters
        ----------
        pt, phi, mass, rapidity, eta
            Shape (particle,), in GeV and rad. Exactly one of ``rapidity`` and ``eta``
            (pseudorapidity).
        offsets
            Shape (event + 1,), starting at 0 and ending at the number of particles.
        weight, truth
            One number or shape (event,): event weight (default 1), true mass in GeV (default
            unknown).
        identity
            ``(run, luminosityBlock, event)``, each of shape (event,). Without it the identity is
            ``(source, entry)``, and draws depend on how the input was cut into arrays.
        entry
            Shape (event,): index in ``source``; counted from 0 by default.
        source, dataset
            Names used in messages and in the identity.

        Raises
        ------
        InputError
            If shapes disagree, or a particle has a pt that is not positive and finite, another
            field that is not finite, or a negative mass. The message names the source, the event
            and the particle.
        """
        if (rapidity is None) == (eta is None):
            raise InputError(
                f"{source}: expected exactly one of rapidity and eta, found both or neither."
            )
        bounds = np.ascontiguousarray(offsets, dtype=np.int64)
        if bounds.ndim != 1 or len(bounds) == 0 or bounds[0] != 0 or np.any(np.diff(bounds) < 0):
            raise InputError(
                f"{source}: offsets must be one-dimensional, start at 0 and never decrease."
            )
        events = len(bounds) - 1
        name, polar = ("rapidity", rapidity) if eta is None else ("eta", eta)
        columns = {"pt": pt, name: polar, "phi": phi, "mass": mass}
        with np.errstate(invalid="ignore"):  # the checks below report a signalling NaN
            values = {
                field: np.ascontiguousarray(column, dtype=np.float64)
                for field, column in columns.items()
            }
        for field, column in values.items():
            if column.shape != (bounds[-1],):
                raise InputError(
                    f"{source}: {field} has shape {column.shape}, expected ({bounds[-1]},) from "
                    "offsets."
                )
        place = np.arange(events) if entry is None else np.asarray(entry)
        run, block, event = _identity(identity, events, source)
        keys = (
            entry_keys(dataset, source, place)
            if identity is None
            else event_keys(dataset, run, block, event)
        )
        batch = cls(  # built before the checks, so that an error can name the event
            pt=values["pt"],
            rapidity=values[name],
            phi=values["phi"],
            mass=values["mass"],
            offsets=bounds,
            key=keys,
            weight=_per_event(1.0 if weight is None else weight, events, "weight", source),
            truth=_per_event(np.nan if truth is None else truth, events, "truth", source),
            run=run.astype(np.uint32),
            luminosity_block=block.astype(np.uint32),
            event=event.astype(np.uint64),
            file=np.zeros(events, dtype=np.int32),
            entry=place.astype(np.int64),
            files=(source,),
            dataset=dataset,
        )
        batch._check(name)
        positive = np.maximum(batch.mass, 0.0)
        true_rapidity = (
            batch.rapidity if eta is None else _rapidity(batch.pt, batch.rapidity, positive)
        )
        return replace(batch, mass=positive, phi=_fold(batch.phi), rapidity=true_rapidity)

    @classmethod
    def from_awkward(cls, particles: Any, **keywords: Any) -> EventBatch:
        """A batch from an awkward array of particles.

        The records have ``pt``, ``phi``, ``mass`` and either ``rapidity`` or ``eta``.

        Parameters
        ----------
        particles
            Shape (event, var), for example ``events.PFCands`` of NanoEvents. Other fields are not
            read.
        keywords
            Keywords of :meth:`from_arrays`.

        Raises
        ------
        InputError
            If a field is missing, the array is not one list of particles per event, or an event or
            a particle is None. Errors of :meth:`from_arrays` are raised too.
        """
        return cls.from_arrays(**flat_particles(particles), **keywords)

    @classmethod
    def concatenate(cls, batches: Sequence[EventBatch]) -> EventBatch:
        """The events of several batches of one dataset, in order."""
        if not batches:
            raise InputError("expected at least one batch to concatenate.")
        if len({batch.dataset for batch in batches}) > 1:
            raise InputError(
                f"batches of several datasets: {sorted({batch.dataset for batch in batches})}."
            )
        flat = {
            f.name: np.concatenate([getattr(batch, f.name) for batch in batches])
            for f in fields(cls)
            if f.name not in ("offsets", "file", "files", "dataset")
        }
        files = tuple(dict.fromkeys(name for batch in batches for name in batch.files))
        index = {name: np.int32(i) for i, name in enumerate(files)}
        file = [
            np.array([index[name] for name in batch.files], dtype=np.int32)[batch.file]
            for batch in batches
        ]
        steps = np.concatenate([np.diff(batch.offsets) for batch in batches])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps)])
        return cls(
            **flat,
            offsets=offsets,
            file=np.concatenate(file),
            files=files,
            dataset=batches[0].dataset,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        more = f" and {len(self.files) - 1:,} more" if len(self.files) > 1 else ""
        source = "".join(self.files[:1])
        return (
            f"EventBatch({len(self):,} events with {len(self.pt):,} particles from {source}{more})"
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Particles in each event, shape (event,)."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return sum(
            getattr(self, f.name).nbytes for f in fields(self) if f.name not in ("files", "dataset")
        )

    def select(self, index: ArrayLike) -> EventBatch:
        """The events at ``index`` (positions or a mask), in that order."""
        rows = np.arange(len(self))[np.asarray(index) if np.size(index) else np.zeros(0, np.int64)]
        counts = self.counts[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        particle = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        particle_fields = ("pt", "rapidity", "phi", "mass")
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
            **{name: getattr(self, name)[particle] for name in particle_fields},
            **{name: getattr(self, name)[rows] for name in event_fields},
            offsets=offsets,
            files=self.files,
            dataset=self.dataset,
        )

    def name(self, i: int) -> str:
        """Name of event ``i`` in messages."""
        text = f"{self.files[self.file[i]]}, entry {self.entry[i]}"
        if self.run[i] or self.luminosity_block[i] or self.event[i]:
            block = self.luminosity_block[i]
            text += f" (run {self.run[i]}, luminosityBlock {block}, event {self.event[i]})"
        return text

    def _check(self, polar: str) -> None:
        """Raise an :class:`InputError` that names the first invalid particle or weight."""
        rules = (
            (
                "pt",
                self.pt,
                np.isfinite(self.pt) & (self.pt > 0),
                "a positive, finite number of GeV",
            ),
            (polar, self.rapidity, np.isfinite(self.rapidity), "a finite number"),
            ("phi", self.phi, np.isfinite(self.phi), "a finite number of rad"),
            (
                "mass",
                self.mass,
                np.isfinite(self.mass) & (self.mass >= -MASS_ROUNDING * self.pt),
                "0 GeV or more",
            ),
        )
        for field, values, good, expected in rules:
            if not good.all():
                particle = int(np.flatnonzero(~good)[0])
                event = int(np.searchsorted(self.offsets, particle, side="right")) - 1
                raise InputError(
                    f"{self.name(event)}, particle {particle - self.offsets[event]}: {field} is "
                    f"{values[particle]}, expected {expected} ({int((~good).sum())} such "
                    f"particles in {len(self)} events). Remove or correct them in the input."
                )
        if not np.isfinite(self.weight).all():
            event = int(np.flatnonzero(~np.isfinite(self.weight))[0])
            raise InputError(
                f"{self.name(event)}: weight is {self.weight[event]}, expected a finite number."
            )


def as_batch(
    particles: Any,
    *,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    truth: ArrayLike | None = None,
) -> EventBatch:
    """A batch unchanged, or awkward particles through :meth:`EventBatch.from_awkward`.

    Raises
    ------
    InputError
        If :meth:`EventBatch.from_awkward` refuses the particles, or an identity, a weight or a
        truth comes with a batch, which has its own.
    """
    keywords = {
        name: value
        for name, value in (("identity", identity), ("weight", weight), ("truth", truth))
        if value is not None
    }
    if not isinstance(particles, EventBatch):
        return EventBatch.from_awkward(particles, **keywords)
    if keywords:
        raise InputError(
            f"{', '.join(keywords)}: an EventBatch has its own. Give it where the batch is built."
        )
    return particles


def _per_event(value: ArrayLike, events: int, field: str, source: str) -> Floats:
    with np.errstate(invalid="ignore"):
        array = _plain(value, field, source).astype(np.float64)
    if array.shape not in ((), (events,)):
        raise InputError(
            f"{source}: {field} has shape {array.shape}, expected one number or shape ({events},)."
        )
    return np.ascontiguousarray(np.broadcast_to(array, (events,)))


def _plain(values: ArrayLike, field: str, source: str) -> NDArray[Any]:
    """A column as an array, if it holds numbers."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise InputError(
            f"{source}: expected numbers in {field}, without None, found {message}"
        ) from None
    if np.ma.is_masked(values) or array.dtype.kind not in "biuf":
        raise InputError(
            f"{source}: expected numbers in {field}, without None, found {array.dtype}, or masked "
            "values."
        )
    return array


def _identity(
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None, events: int, source: str
) -> list[NDArray[Any]]:
    """(run, luminosityBlock, event), each one integer per event; 0 without an identity."""
    if identity is None:
        return [np.zeros(events, np.int64)] * 3
    columns = [_plain(column, "identity", source) for column in identity]
    wrong = [
        f"{c.dtype} of shape {c.shape}"
        for c in columns
        if c.shape != (events,) or (events and c.dtype.kind not in "iu")
    ]
    if len(columns) != 3 or wrong:
        raise InputError(
            f"{source}: expected identity=(run, luminosityBlock, event), each an integer for each "
            f"of {events} events, found {', '.join(wrong) or f'{len(columns)} columns'}."
        )
    return columns


def _rapidity(pt: Floats, eta: Floats, mass: Floats) -> Floats:
    """Rapidity from pseudorapidity. The two are equal if the mass is zero."""
    # Beyond 50, y - eta is constant to the last bit, and sinh soon overflows.
    central = np.clip(eta, -50.0, 50.0)
    y, massive = eta.copy(), mass > 0.0
    pt, mass, central = pt[massive], mass[massive], central[massive]
    beta = pt / np.sqrt(pt * pt + mass * mass)
    y[massive] = arcsinh(beta * sinh(central)) + (eta[massive] - central)
    return y


def _fold(phi: Floats) -> Floats:
    """phi in [-pi, pi]; values in this range stay unchanged."""
    outside = np.abs(phi) > np.pi
    return (
        np.where(outside, np.remainder(phi + np.pi, 2 * np.pi) - np.pi, phi)
        if outside.any()
        else phi
    )


def check_counts(events: EventBatch) -> None:
    """Refuse events with more particles than can be clustered.

    Raises
    ------
    InputError
        If there is such an event. The message names the largest.
    """
    if len(events) and events.counts.max() > MOST_PARTICLES:
        large = int(events.counts.argmax())
        raise InputError(
            f"{events.name(large)} has {events.counts[large]} particles, expected "
            f"{MOST_PARTICLES} at most: raise pt_min."
        )
