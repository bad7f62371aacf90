"""A cache of the events that were read: one Zarr file per bundle, named by a hash of its inputs.

With it a second run on the same input opens no ROOT file. A file is written aside and renamed, so
it is complete or absent. Everything in it has a checksum, and a damaged file is written again.
Nothing is ever removed: the folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from djservice.core.atomic import written_aside
from djservice.core.checksums import document_of, sealed, unsealed
from djservice.core.private import private_url
from djservice.core.provenance import READING, code_hash
from djservice.core.regular import read_regular
from djservice.core.urls import is_url
from djservice.errors import DamagedStoreError, InputFileError
from djservice.events.batch import NOT_ARRAYS, EventBatch
from djservice.events.quarks import GeneratedQuarks
from djservice.input.cutflow import Cutflow
from djservice.input.files import InputFile
from djservice.input.schemas import Schema
from djservice.input.segments import Segment
from djservice.store.archive import DAMAGE, Archive, write_archive
from djservice.store.checked import CheckedGroup, attributes_of
from djservice.store.fresh import NewGroup, create_array
from djservice.store.verify import verify

#: What the names of the arrays of generated quarks begin with.
_QUARKS = "quarks_"
#: Key under which a file keeps its own name: a copy of another is whole, and not what is asked for.
_NAME = "name"


def cached_inspection(
    cache: str, path: str, schema: Schema, look: Callable[[], InputFile]
) -> InputFile:
    """The result of ``look`` for a file, from the cache if the file has not changed.

    A local file has not changed if its path, size and modification time are the same. URLs are
    inspected every time, because only the identifier inside the file shows that they changed.
    """
    if is_url(path):
        return look()
    try:
        stat = os.stat(path)
    except OSError:
        return look()  # its error says what is wrong
    facts = [
        os.path.abspath(path),
        stat.st_size,
        stat.st_mtime_ns,
        schema.model_dump(mode="json"),
        code_hash(READING),
    ]
    place = Path(cache) / f"{_digest(facts)}.json"
    try:
        return InputFile(**_inspection(place))
    except (OSError, ValueError, TypeError):  # missing or damaged
        pass
    file = look()
    with _written(cache, place) as aside:
        aside.write_text(json.dumps(sealed({_NAME: place.name, **asdict(file)})))
    return file


def key_of(
    part: Sequence[Segment], files: Sequence[InputFile], schema: Schema, selection: str = ""
) -> str:
    """The name of a bundle in the cache: a hash of everything that determines its events.

    Parameters
    ----------
    part
        Ranges of entries.
    files
        The file of each range, with its path, size, modification time and identifier.
    schema, selection
        The schema, and the fingerprint of the user's selection.
    """
    ranges = [
        [
            str(private_url(segment.path)),
            file.size,
            file.mtime_ns,
            file.uuid,
            segment.start,
            segment.stop,
            segment.tree,
        ]
        for segment, file in zip(part, files, strict=True)
    ]
    return _digest(
        [ranges, part[0].dataset, schema.model_dump(mode="json"), selection, code_hash(READING)]
    )


def load_cached(cache: str, key: str) -> tuple[EventBatch, Cutflow] | None:
    """A bundle from the cache with the cutflow of its first reading.

    None if the bundle is missing or damaged.
    """
    began = time.perf_counter()
    place = Path(cache) / f"{key}.zarr.zip"
    try:
        archive = Archive(place)
        facts = _facts(archive, place)
        root = CheckedGroup(archive, archive.group("r"))
        columns: Any = {
            f.name: root.rows(f.name) for f in fields(EventBatch) if f.name not in NOT_ARRAYS
        }
        further = {name: root.rows(f"column_{i}") for i, name in enumerate(facts["columns"])}
        quarks: Any = {
            f.name: root.rows(_QUARKS + f.name) for f in fields(GeneratedQuarks) if facts["quarks"]
        }
        batch = EventBatch(
            **columns,
            files=tuple(facts["files"]),
            dataset=facts["dataset"],
            doubts=tuple(facts["doubts"]),
            columns=further,
            quarks=GeneratedQuarks(**quarks) if quarks else None,
        )
        cutflow = Cutflow(
            facts["entries"],
            facts["particles"],
            tuple((name, number) for name, number in facts["removed"]),
            absent=tuple((name, number) for name, number in facts["absent"]),
            doubts=batch.doubts,
        )
    except DAMAGE:  # missing or damaged
        return None
    return batch, replace(
        cutflow, bytes_read=place.stat().st_size, seconds=time.perf_counter() - began, cached=1
    )


def save_cached(cache: str, key: str, batch: EventBatch, cutflow: Cutflow) -> None:
    """Write a bundle into the cache.

    Raises
    ------
    InputFileError
        If it cannot be written.
    """
    place = Path(cache) / f"{key}.zarr.zip"

    def fill(root: NewGroup) -> None:
        arrays = {
            field.name: getattr(batch, field.name)
            for field in fields(EventBatch)
            if field.name not in NOT_ARRAYS
        }
        arrays |= {f"column_{i}": values for i, values in enumerate(batch.columns.values())}
        if batch.quarks is not None:
            arrays |= {_QUARKS + name: values for name, values in batch.quarks.columns.items()}
        for name, values in arrays.items():
            length = {"item": (len(values), max(1, len(values)))}
            create_array(root, name, values.dtype.str, length, values)
        facts: dict[str, Any] = {
            "files": list(batch.files),
            "dataset": batch.dataset,
            "doubts": list(batch.doubts),
            "columns": list(batch.columns),
            "quarks": batch.quarks is not None,
            "absent": [list(column) for column in cutflow.absent],
            "entries": cutflow.entries,
        }
        removed = [list(cut) for cut in cutflow.removed]
        facts |= {"particles": cutflow.particles, "removed": removed, _NAME: place.name}
        root.attrs.update(facts)

    with _written(cache, place) as aside:
        write_archive(aside, fill)


def verify_cache(cache: Path) -> int:
    """Verify the files of a cache, and return their number.

    Raises
    ------
    StoreError
        If a file is damaged; the message names all of them.
    """
    places, bad = sorted(cache.glob("*.zarr.zip")), []
    for place in places:
        try:
            archive = Archive(place)
            _facts(archive, place)
            whole = not verify(archive)[0]
        except DAMAGE:
            whole = False
        if not whole:
            bad.append(place.name)
    for place in cache.glob("*.json"):
        try:
            _inspection(place)
        except (OSError, ValueError):
            bad.append(place.name)
    if bad:
        raise DamagedStoreError(
            f"{cache}: damaged: {', '.join(bad)}. Delete them; a run reads the input again."
        )
    return len(places)


def unchanged(file: InputFile) -> bool:
    """True if a local file still has the size and modification time of its inspection."""
    if is_url(file.path):
        return True
    stat = os.stat(file.path)
    return (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)


def _inspection(place: Path) -> dict[str, Any]:
    """The content of an inspection; ValueError if it is damaged or has the name of another."""
    return _of_place(unsealed(document_of(read_regular(place))), place)


def _facts(archive: Archive, place: Path) -> dict[str, Any]:
    """The attributes of a bundle; ValueError if it has the name of another."""
    return _of_place(attributes_of(archive), place)


def _of_place(content: dict[str, Any], place: Path) -> dict[str, Any]:
    if content.pop(_NAME, None) != place.name:
        raise ValueError("was written under another name")
    return content


@contextmanager
def _written(cache: str, place: Path) -> Iterator[Path]:
    """A temporary path beside ``place``, renamed to ``place`` at the end."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(place) as aside:
            yield aside
    except OSError as error:
        raise InputFileError(
            f"{cache}: the cache cannot be written: {error.strerror or error}. Free space, mend "
            "the permissions, or leave out "
            "input.cache."
        ) from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
