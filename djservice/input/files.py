"""File patterns of a configuration -> files with their identities."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from djservice.core.private import full_url, private_url
from djservice.core.urls import is_url, visible_part
from djservice.errors import InputError, MissingFileError
from djservice.input import examples
from djservice.input.formats import opened
from djservice.input.ranges import branches_of, lacking
from djservice.input.retries import TIMEOUT, patiently
from djservice.input.schemas import Schema

#: From an absolute pattern to the paths that match it.
Search = Callable[[str], list[str]]
#: The search of the standard library.
GLOB: Search = functools.partial(glob.glob, recursive=True)


@dataclass(frozen=True)
class InputFile:
    """Identity of one input file, which a result records.

    Attributes
    ----------
    path
        Absolute path or URL.
    size
        Bytes; 0 if a remote server does not report it.
    mtime_ns
        Time of the last change in ns since the epoch; 0 for a URL.
    entries
        Entries of the tree.
    uuid
        What ROOT wrote into the file to identify it, or a hash of what is in it.
    dataset
        Name of its dataset.
    tree
        Name of its tree; None for the schema's.
    steps
        Ranges of entries that are read; None for all.
    lacking
        Optional branches that the file lacks, such as those of the identity and the weight.
    pt_min
        GeV; softer particles were removed when the file was made by ``djservice skim``.
    """

    path: str
    size: int
    mtime_ns: int
    entries: int
    uuid: str
    dataset: str = ""
    tree: str | None = None
    steps: tuple[tuple[int, int], ...] | None = None
    lacking: tuple[str, ...] = ()
    pt_min: float = 0.0

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The ranges of entries that are read."""
        return ((0, self.entries),) if self.steps is None else self.steps

    @property
    def selected(self) -> int:
        """Number of entries that are read."""
        return sum(last - first for first, last in self.ranges)


def expand(patterns: Sequence[str], search: Search = GLOB) -> list[str]:
    """The files that match patterns, in the order of the patterns; matches of a pattern are sorted.

    Parameters
    ----------
    patterns
        Paths and globs (``~`` and ``**`` work), which become absolute; ``example:<name>``; and
        URLs, which stay unchanged and do not show their credentials.
    search
        Finds the files of a pattern.

    Raises
    ------
    MissingFileError
        If a pattern matches nothing.
    InputError
        If a file is named twice, or none at all.
    """
    paths = [path for pattern in patterns for path in _matches(private_url(pattern), search)]
    if not paths:
        raise InputError("no input files: expected at least one path, glob, URL or example:<name>.")
    seen: dict[Any, str] = {}
    for path in paths:
        place = path if is_url(path) else _place(path)
        if place in seen:
            alias = f" (as {seen[place]})" if seen[place] != path else ""
            raise InputError(
                f"{path}: named twice among the inputs{alias}. Remove one: its events would count "
                "twice."
            )
        seen[place] = path
    return paths


def _place(path: str) -> Any:
    """What two names of one file share, also those of hard links."""
    try:
        status = os.stat(path)
    except OSError:  # a dangling link, which its reader names
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def inspect(path: str, schema: Schema, timeout: float = TIMEOUT) -> InputFile:
    """Open a file, check that it is complete and has the tree and branches, and count its entries.

    Parameters
    ----------
    path, schema
        The file, and the tree and branches that it must have.
    timeout
        Limit in seconds on one attempt at a URL.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        See :func:`djservice.input.read.read`.
    """

    path = private_url(path)

    def look() -> InputFile:
        with opened(path, schema, path) as file:
            # Files without events may lack all branches, and a selection may make what is read.
            if file.entries and schema.selection is None:
                branches_of(file, schema, path)
            without = lacking(file, schema)
        changed = 0 if is_url(path) else os.stat(path).st_mtime_ns
        return InputFile(
            path, file.size, changed, file.entries, file.uuid, lacking=without, pt_min=file.pt_min
        )

    return patiently(look, path, timeout)


def differences(files: Sequence[InputFile], schema: Schema) -> list[str]:
    """What to say of files: skims with a higher cut, and identities that only some have.

    Raises
    ------
    InputError
        If some have a weight, a mass or a column that others lack, whose events would count as 1,
        or whose particles would be massless or have defaults, without a word.
    """
    said = [
        f"{file.path} is a skim of particles above {file.pt_min:g} GeV: with pt_min "
        f"{schema.pt_min:g} the softer ones are missing."
        for file in files
        if file.pt_min > schema.pt_min
    ]
    columns = {
        name
        for collection in schema.particles
        for column in schema.further
        for name in schema.names(collection, column)
    }
    for dataset in dict.fromkeys(file.dataset for file in files):
        for name in dict.fromkeys(name for file in files for name in file.lacking):
            # Observables of constituents see events of all datasets together.
            those = [
                file
                for file in files
                if file.entries and (name in columns or file.dataset == dataset)
            ]
            without = [file.path for file in those if name in file.lacking]
            having = [file.path for file in those if name not in file.lacking]
            if not having or not without:
                continue
            text = (
                f"branch {name!r} is in {having[0]} and not in {without[0]} ({len(without)} of "
                f"{len(those)} files lack it)"
            )
            if name not in (schema.identity or schema.layout.identity):
                raise InputError(
                    f"{text}: expected it in all or in none. Leave it out of the configuration (a "
                    "weight: null), or read the files apart."
                )
            said.append(f"{text}: their events are known by file and entry.")
    return said


def _matches(pattern: str, search: Search) -> list[str]:
    if pattern.startswith("example:"):
        return [examples.path(pattern.removeprefix("example:"))]
    if is_url(pattern):
        return [pattern]
    path = os.path.abspath(os.path.expanduser(full_url(pattern)))
    if os.path.exists(path):  # before globbing: a file name may contain brackets
        return [path]
    paths = sorted(search(path)) if glob.has_magic(path) else []
    if not paths:
        problem = (
            "no file matches this pattern" if glob.has_magic(pattern) else "there is no such file"
        )
        raise MissingFileError(
            f"{pattern}: {problem} (looked for {visible_part(path)[0]}). Check the spelling and the working "
            "directory."
        )
    return paths
