"""Events of generators in HepMC's text (versions 3 and 2, packed or not), through pyhepmc.

A file is looked through once per process for the places of its events. They are parsed one by one.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.private import full_url
from djservice.core.urls import is_url
from djservice.errors import InputFileError
from djservice.input.file_damage import damage_explained
from djservice.input.momentum_forms import standard
from djservice.input.open_file import OpenFile
from djservice.input.schemas import Schema

#: Neutrinos, which no detector sees.
_NEUTRINOS = (12, 14, 16)
#: Particles without a decay or an interaction.
_STABLE = 1
#: Collections: all particles, those that are stable, and of these all but neutrinos.
COLLECTIONS = ("GenPart", "Stable", "Visible")
#: Columns of particles by the names that pyhepmc has for them.
_NUMBERS = {
    "px": "px",
    "py": "py",
    "pz": "pz",
    "E": "e",
    "mass": "generated_mass",
    "pdgId": "pid",
    "status": "status",
}
#: Columns that follow from others.
_POLAR = ("pt", "eta", "phi")
_MOTHER = "mother"
#: Bytes of text that are looked through at a time.
_BLOCK = 1 << 22
#: The first line of an event begins so.
_EVENT = re.compile(rb"\nE ")
#: Numbers of the particles that a vertex of version 3 takes in.
_INCOMING = re.compile(rb"\nV -?\d+ -?\d+ \[([^\]\n]*)\]")
#: Bytes of the text before the first event, and of an event, that are taken for damage.
_LARGEST_HEAD, _LARGEST_EVENT = 1 << 24, 1 << 28
#: Bytes at the end of a text that hold its last line.
_LAST = 100


@dataclass(frozen=True)
class _Index:
    """Where the events of a file are.

    Attributes
    ----------
    starts
        Place of the first byte of each event in the unpacked text, and of its end.
    head
        The text before the first event.
    uuid
        A hash of the whole text.
    size
        Bytes of the file as it is packed; 0 if a server does not report them.
    """

    starts: tuple[int, ...]
    head: bytes
    uuid: str
    size: int


class HepMCFile(OpenFile):
    """The events of an open HepMC file, in GeV."""

    def __init__(self, text: Any, index: _Index, place: str) -> None:
        self._text, self._index, self._place = text, index, place
        self.size, self.uuid, self.entries = index.size, index.uuid, len(index.starts) - 1
        self._bytes_read = len(index.head)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        fields = [f"{collection}.{field}" for collection in COLLECTIONS for field in _NUMBERS]
        fields += [f"GenPart.{field}" for field in (*_POLAR, _MOTHER)]
        weights = [] if not self.entries else _weight_names(self._event(0))
        return tuple(dict.fromkeys([*fields, "event", "weight", *weights]))

    @property
    def bytes_read(self) -> int:
        return self._bytes_read

    def arrays(self, names: Collection[str], start: int, stop: int) -> dict[str, Any]:
        import awkward as ak

        events = [self._columns(entry, names) for entry in range(start, stop)]
        columns: dict[str, Any] = {}
        for name in names:
            parts = [event[name] for event in events]
            if np.ndim(parts[0]) == 0:
                columns[name] = ak.Array(np.array(parts))
            else:
                counts = [len(part) for part in parts]
                columns[name] = ak.unflatten(np.concatenate(parts), counts)
        return columns

    def bounds(self, names: Collection[str] | None) -> Iterable[int]:
        return range(self.entries)

    def _event(self, entry: int) -> Any:
        """An event as pyhepmc has it.

        Raises
        ------
        InputFileError
            If its text is none, or lacks particles.
        """
        import pyhepmc

        first, last = self._index.starts[entry : entry + 2]
        self._text.seek(first)
        text = self._text.read(last - first)
        self._bytes_read += len(text)
        head = self._index.head
        numbers = text[: text.find(b"\n")].split()
        expected = numbers[3] if b"Asciiv3" in head and len(numbers) == 4 else None
        incoming = (int(n) for ids in _INCOMING.findall(text) for n in ids.split(b",") if n)
        if expected is not None and not max(incoming, default=0) <= int(expected):
            # pyhepmc would end the process.
            raise InputFileError(
                f"{self._place}: a vertex of event {entry} of the file has a particle beyond its "
                f"{_shown(expected)}: the file is damaged. Copy it again, or remove it."
            )
        reader = pyhepmc.io.ReaderAscii if b"Asciiv3" in head else pyhepmc.io.ReaderAsciiHepMC2
        with pyhepmc.io.pyiostream(io.BytesIO(head + text)) as stream, reader(stream) as events:
            event = events.read()
        if event is None or (expected is not None and len(event.particles) != int(expected)):
            particles = 0 if event is None else len(event.particles)
            raise InputFileError(
                f"{self._place}: expected {_shown(expected)} particles in event {entry} of the "
                f"file, found {particles}: the file is damaged. Copy it again, or remove it."
            )
        if event.event_number != int(numbers[1]):
            raise InputFileError(
                f"{self._place}: expected event numbers of 32 bits, found {_shown(numbers[1])}. "
                "Number the events anew."
            )
        event.set_units(pyhepmc.Units.GEV, pyhepmc.Units.MM)
        return event

    def _columns(self, entry: int, names: Collection[str]) -> dict[str, Any]:
        """The columns of one event."""
        event = self._event(entry)
        particles = event.numpy.particles
        stable = particles.status == _STABLE
        chosen = {
            "GenPart": np.ones_like(stable),
            "Stable": stable,
            "Visible": stable & ~np.isin(np.abs(particles.pid), _NEUTRINOS),
        }
        columns: dict[str, Any] = {}
        for name in names:
            collection, _, field = name.partition(".")
            if collection in chosen and field:
                columns[name] = _numbers(event, field)[chosen[collection]]
            elif name == "event":
                columns[name] = event.event_number
            else:
                number = 0 if name == "weight" else _weight_names(event).index(name)
                columns[name] = event.weights[number] if event.weights else 1.0
        return columns


def _weight_names(event: Any) -> list[str]:
    """The names of an event's weights; a file may have weights without names."""
    try:
        return list(event.weight_names)
    except RuntimeError:
        return []


def _shown(number: bytes | None) -> str:
    return "the" if number is None else number.decode(errors="replace")


def _numbers(event: Any, field: str) -> NDArray[Any]:
    """A column of all particles of an event."""
    particles = event.numpy.particles
    if field in _NUMBERS:
        return np.array(getattr(particles, _NUMBERS[field]))
    if field == _MOTHER:
        parents = [particle.parents[:1] for particle in event.particles]
        return np.array([parent[0].id - 1 if parent else -1 for parent in parents])
    momenta = {name: np.array(getattr(particles, name)) for name in ("px", "py", "pz")}
    whole = np.array([len(momenta["px"])])
    return standard(momenta, whole, "", np.zeros(1))[field]


@contextmanager
def opened_hepmc(path: str, schema: Schema, place: str) -> Iterator[HepMCFile]:
    """The events of a HepMC file whose last line is the one that ends a listing."""
    with damage_explained(path, place, "HepMC", extra="hepmc"):
        import fsspec
        import pyhepmc  # noqa: F401  (its absence is an error before the file is looked through)

        index = _index(path, _changed(path))
        with fsspec.open(full_url(path), "rb", compression="infer") as text:
            yield HepMCFile(text, index, place)


def _changed(path: str) -> str:
    """What differs after a file has changed, as far as its place tells."""
    if not is_url(path):
        status = os.stat(path)
        return f"{status.st_size} {status.st_mtime_ns}"
    import fsspec

    files, location = fsspec.url_to_fs(full_url(path))
    return str(files.info(location))


def _too_large(path: str, where: str, limit: int) -> str:
    return (
        f"{path}: expected at most {limit:,} bytes {where}, found more: the file is damaged. Copy "
        "it again, or remove it."
    )


@functools.lru_cache(maxsize=16)
def _index(path: str, changed: str) -> _Index:
    """The places of the events of a file, from the whole of it; ``changed`` tells its versions."""
    import fsspec

    files, location = fsspec.url_to_fs(full_url(path))
    digest, starts, head, end, at = hashlib.sha256(), [], b"", b"\n", 0
    with fsspec.open(full_url(path), "rb", compression="infer") as text:
        while block := text.read(_BLOCK):
            if not at and not block.lstrip().startswith(b"HepMC::"):
                raise InputFileError(
                    f"{path}: expected HepMC:: in the first line, found {block[:20]!r}: it is no "
                    "text of HepMC, or damaged. Copy it again, or remove it."
                )
            digest.update(block)
            before = end[-2:]  # a match may begin in the block before
            starts += [
                at + match.start() + 1 - len(before) for match in _EVENT.finditer(before + block)
            ]
            head += block if not starts or len(head) < starts[0] else b""
            if (starts[0] if starts else at + len(block)) > _LARGEST_HEAD:
                raise InputFileError(_too_large(path, "before the first event", _LARGEST_HEAD))
            end, at = (end + block)[-_LAST:], at + len(block)
    if b"END_EVENT_LISTING" not in end:
        raise InputFileError(
            f"{path}: expected END_EVENT_LISTING in the last line of HepMC, found {end[-20:]!r}: "
            "the file is truncated, or still being written. Copy it again, or remove it."
        )
    starts.append(at)
    if max(np.diff(starts), default=0) > _LARGEST_EVENT:
        raise InputFileError(_too_large(path, "in an event", _LARGEST_EVENT))
    return _Index(
        tuple(starts), head[: starts[0]], digest.hexdigest()[:32], files.size(location) or 0
    )
