"""Entry ranges of ROOT files -> EventBatch.

``read`` is for one process. A service takes the same steps apart: :func:`expand` the patterns, :func:`inspect` each
file, cut :func:`segments`, :func:`read_segments` in many tasks, then :func:`repeated_keys` over all of them and
:func:`tell_apart` in each. Every failure is one message with the place, what was expected, what was found and what to
do.
"""

from __future__ import annotations

import glob
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice import examples
from djservice.batch import EventBatch
from djservice.errors import InputError, MissingFileError
from djservice.identity import Keys, entry_keys
from djservice.particles import Branches, Get, batch_of
from djservice.redact import redacted
from djservice.remote import TIMEOUT, is_url, patiently
from djservice.rootfile import arrays, branches_of, find_tree, nano_events, opened
from djservice.schemas import Schema, nanoaod
from djservice.selection import branches_of_events, select
from djservice.tally import Tally


@dataclass(frozen=True)
class InputFile:
    """Identity of one input: what a result says it was made from.

    Attributes
    ----------
    path
        Absolute path or URL.
    size
        Bytes; 0 where a remote server does not tell.
    mtime_ns
        Time of the last change in ns since the epoch; 0 for a URL.
    entries
        Entries of the tree.
    uuid
        The identifier that ROOT wrote into the file.
    dataset
        That it belongs to.
    tree
        Name of its tree; None for the schema's.
    steps
        Ranges of entries that are read; None for all.
    """

    path: str
    size: int
    mtime_ns: int
    entries: int
    uuid: str
    dataset: str = ""
    tree: str | None = None
    steps: tuple[tuple[int, int], ...] | None = None

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The ranges of entries that are read."""
        return ((0, self.entries),) if self.steps is None else self.steps

    @property
    def selected(self) -> int:
        """How many entries that are."""
        return sum(last - first for first, last in self.ranges)


@dataclass(frozen=True)
class Segment:
    """Entries ``start`` to ``stop`` (exclusive) of one file, of a dataset; its tree where it is not the schema's."""

    path: str
    start: int
    stop: int
    dataset: str = ""
    tree: str | None = None

    def __str__(self) -> str:
        return f"{self.path}[{self.start}:{self.stop}]"


def read(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    schema: Schema | None = None,
    entries: tuple[int, int] | None = None,
    dataset: str = "",
) -> EventBatch:
    """Read events into one batch.

    Parameters
    ----------
    files
        Paths, globs, URLs or ``example:<name>``; one or several.
    schema
        Which branches to read, and the cuts on particles; ``schemas.nanoaod()`` by default.
    entries
        Range ``(start, stop)`` of entries, counted over all the files put one after the other; all by default.
    dataset
        A part of the identity of the events.

    Returns
    -------
    EventBatch
        float64 whatever the precision of the file. Events without particles are kept.

    Raises
    ------
    MissingFileError
        If a pattern matches nothing.
    InputFileError
        If a file is not a ROOT file, or is damaged.
    SchemaError
        If the tree or a branch is missing.
    InputError
        If there are no events, the range goes beyond them, or a particle or a weight has no meaning.

    Warns
    -----
    UserWarning
        If events share an identity; their draws are then keyed by file name and entry.
    """
    schema = nanoaod() if schema is None else schema
    if not isinstance(schema, Schema):
        raise InputError(f"schema is {schema!r}, expected a schema such as djservice.schemas.nanoaod(pt_min=0.5).")
    patterns = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    inputs = [inspect(path, schema) for path in expand([os.fspath(pattern) for pattern in patterns])]
    total = sum(file.entries for file in inputs)
    (whole,) = segments(inputs, entries, max(total, 1))
    batch = read_segments(whole, schema, dataset)
    repeated = repeated_keys(batch.key)
    if len(repeated) == 0:
        return batch
    _warn_repeated(batch, repeated)
    return tell_apart(batch, repeated)


def expand(patterns: Sequence[str]) -> list[str]:
    """The files that patterns stand for, in the order given; the matches of one pattern are sorted.

    Parameters
    ----------
    patterns
        Paths and globs (``~`` and ``**`` work), which become absolute; ``example:<name>``; URLs, passed on untouched.

    Raises
    ------
    MissingFileError
        If a pattern matches nothing.
    InputError
        If a file is named twice, or none at all.
    """
    paths = [path for pattern in patterns for path in _matches(pattern)]
    if not paths:
        raise InputError("no input files: expected at least one path, glob, URL or example:<name>.")
    seen: dict[str, str] = {}
    for path in paths:
        place = path if is_url(path) else os.path.realpath(path)
        if place in seen:
            other = f" (as {seen[place]})" if seen[place] != path else ""
            raise InputError(f"{path}: named twice among the inputs{other}. Remove one: its events would count twice.")
        seen[place] = path
    return paths


def inspect(path: str, schema: Schema, timeout: float = TIMEOUT) -> InputFile:
    """Open a file, check that it is whole and has the tree and the branches, and count its entries.

    Parameters
    ----------
    path, schema
        The file, and what it must have.
    timeout
        Seconds that an attempt at a URL may take.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        As :func:`read`.
    """

    def look() -> InputFile:
        with opened(path, path) as file:
            tree = find_tree(file, schema, path)
            branches_of(tree, schema, path)
            size = int(file.file.source.num_bytes or 0)
            entries, uuid = int(tree.num_entries), str(file.file.uuid)
        return InputFile(path, size, 0 if is_url(path) else os.stat(path).st_mtime_ns, entries, uuid)

    return patiently(look, path, timeout)


def segments(
    files: Sequence[InputFile], entries: tuple[int, int] | None, bundle_events: int
) -> list[tuple[Segment, ...]]:
    """Cut a range of entries into bundles of ``bundle_events`` events of one dataset; the last of each may be smaller.

    Parameters
    ----------
    files
        Read one after the other, in this order; a bundle may span several.
    entries
        Range ``(start, stop)`` counted over all files; all by default.
    bundle_events
        Events of one bundle, at least 1.

    Raises
    ------
    InputError
        If the files have no entries, or fewer than the range asks for.
    """
    total = sum(file.selected for file in files)
    start, stop = (0, total) if entries is None else entries
    if bundle_events < 1:
        raise InputError(f"bundle_events is {bundle_events}, expected 1 or more.")
    if total == 0:
        raise InputError(f"no events: 0 entries in {', '.join(file.path for file in files)}. Give files with events.")
    if not 0 <= start < stop <= total:
        raise InputError(
            f"entries {start}:{stop} are not a range within the {total} entries of {len(files)} file(s), "
            f"expected 0 <= start < stop <= {total}. Change the range or add files."
        )
    bundles: list[tuple[Segment, ...]] = []
    bundle: list[Segment] = []
    room, before = bundle_events, 0
    for file in files:
        for first, last in file.ranges:
            at, end = max(first, first + start - before), min(last, first + stop - before)
            before += last - first
            while at < end:
                if bundle and (room == 0 or bundle[-1].dataset != file.dataset):
                    bundles.append(tuple(bundle))
                    bundle, room = [], bundle_events
                taken = min(room, end - at)
                bundle.append(Segment(file.path, at, at + taken, file.dataset, file.tree))
                at, room = at + taken, room - taken
    return [*bundles, tuple(bundle)]


def read_segments(segments: Sequence[Segment], schema: Schema, dataset: str = "") -> EventBatch:
    """One batch of the events of several entry ranges, in order. Repeated identities are left as they are.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError, InputError
        As :func:`read`.
    """
    return read_tallied(segments, schema, dataset)[0]


def read_tallied(
    segments: Sequence[Segment], schema: Schema, dataset: str = "", timeout: float = TIMEOUT
) -> tuple[EventBatch, Tally]:
    """The same, and what came of reading them; an attempt at a range of a URL may take ``timeout`` seconds."""
    read = [_read_segment(segment, schema, dataset, timeout) for segment in segments]
    return EventBatch.concatenate([batch for batch, _ in read]), sum((tally for _, tally in read), Tally())


def repeated_keys(keys: Keys) -> Keys:
    """The keys that occur more than once, sorted."""
    unique, counts = np.unique(keys, return_counts=True)
    return unique[counts > 1]


def tell_apart(batch: EventBatch, repeated: Keys) -> EventBatch:
    """The batch with the events whose key is in ``repeated`` keyed by dataset, file name and entry instead.

    Raises
    ------
    InputError
        If two of these events of the batch are in files of the same name at the same entry.
    """
    rows = np.flatnonzero(np.isin(batch.key, repeated))
    key = batch.key.copy()
    for file in np.unique(batch.file[rows]):
        of_file = rows[batch.file[rows] == file]
        key[of_file] = entry_keys(batch.dataset, basename(batch.files[file]), batch.entry[of_file])
    again = repeated_keys(key[rows])
    if len(again):
        one, other = rows[key[rows] == again[0]][:2]
        raise InputError(
            f"{batch.name(int(one))} and {batch.name(int(other))} have the same identity and the same file name and "
            "entry: they cannot be told apart. Rename one of the files, or read them as two datasets."
        )
    return replace(batch, key=key)


def _warn_repeated(batch: EventBatch, repeated: Keys) -> None:
    shared = np.isin(batch.key, repeated)
    one, other = np.flatnonzero(batch.key == repeated[0])[:2]
    warnings.warn(
        f"{int(shared.sum())} of {len(batch)} events share their identity with another, for example "
        f"{batch.name(int(one))} and {batch.name(int(other))}: their random draws are keyed by file name and entry.",
        UserWarning,
        stacklevel=3,
    )


def basename(path: str) -> str:
    """Name of a file; the query of a URL, which may be a token, is no part of it."""
    return (path.partition("?")[0] if is_url(path) else path).rsplit("/", 1)[-1]


def _matches(pattern: str) -> list[str]:
    if pattern.startswith("example:"):
        return [examples.path(pattern.removeprefix("example:"))]
    if is_url(pattern):
        return [pattern]
    path = os.path.abspath(os.path.expanduser(pattern))
    if os.path.exists(path):  # before globbing: a name may have brackets of its own
        return [path]
    found = sorted(glob.glob(path, recursive=True))
    if not found:
        what = "no file matches this pattern" if glob.has_magic(pattern) else "there is no such file"
        raise MissingFileError(f"{pattern}: {what} (looked for {path}). Check the spelling and the working directory.")
    return found


def _read_segment(segment: Segment, schema: Schema, dataset: str, timeout: float) -> tuple[EventBatch, Tally]:
    began = time.perf_counter()
    if segment.tree is not None:
        schema = schema.model_copy(update={"tree": segment.tree})
    entries = np.arange(segment.start, segment.stop)

    def read() -> tuple[EventBatch, dict[str, int], int]:
        if schema.selection is not None:
            return _read_selected(segment, schema, dataset)
        branches, found, bytes_read = arrays(segment.path, segment.start, segment.stop, schema)
        return *_batch(segment, schema, dataset, branches, found.__getitem__, entries), bytes_read

    from djservice.cluster import check_counts  # imports numba

    batch, removed, bytes_read = patiently(read, segment.path, timeout)
    check_counts(batch)  # here, and not when it is clustered: an event that is too large may be set aside
    particles = len(batch.pt) + sum(removed.values())
    seconds = time.perf_counter() - began
    return batch, Tally(len(entries), particles, tuple(removed.items()), bytes_read, seconds)


def _read_selected(segment: Segment, schema: Schema, dataset: str) -> tuple[EventBatch, dict[str, int], int]:
    """The events that the schema's selection lets through."""
    assert schema.selection is not None
    with nano_events(segment.path, segment.start, segment.stop, schema) as (events, file):
        chosen, entries = select(events, schema.selection, str(segment), segment.start)
        branches, get = branches_of_events(chosen, schema, str(segment))
        batch, removed = _batch(segment, schema, dataset, branches, get, entries)
        return batch, removed, int(file.file.source.num_requested_bytes)


def _batch(
    segment: Segment, schema: Schema, dataset: str, branches: Branches, get: Get, entries: NDArray[np.int64]
) -> tuple[EventBatch, dict[str, int]]:
    source = redacted(segment.path)
    batch, removed = batch_of(branches, get, schema, place=str(segment), source=source, dataset=dataset, entry=entries)
    if not branches.identity:  # the directory is no part of the identity: files may move
        batch = replace(batch, key=entry_keys(dataset, basename(segment.path), entries))
    return batch, removed
