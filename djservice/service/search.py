"""Search for the files of a pattern, in a process of its own that can be stopped.

A walk through a large or slow file system would hold up the scheduler, whose interpreter it shares.
This file is also the script of that process, so it imports nothing outside of the standard library.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence


class OutsideError(Exception):
    """A symbolic link leaves the allowed folders; its argument is the path of the link."""


def search(pattern: str, folders: Sequence[str] | None, most: int) -> list[str]:
    """The paths that match an absolute pattern, as ``glob.glob(pattern, recursive=True)`` finds.

    Parameters
    ----------
    pattern
        Absolute path with ``*``, ``?``, ``[...]`` or ``**``.
    folders
        Folders that no symbolic link on the way may leave; None allows all.
    most
        Number of paths after which the search ends.

    Raises
    ------
    OutsideError
        At the first link that leads out of the folders, whatever is behind it.
    """
    allowed = None if folders is None else [os.path.realpath(folder) for folder in folders]
    parts = pattern.split(os.path.sep)
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    start = os.path.join(os.path.sep, *parts[:first])
    paths: set[str] = set()
    for path in _walk(_checked(start, allowed), parts[first:], allowed):
        paths.add(path)
        if len(paths) > most:
            break
    return sorted(paths)


def _walk(folder: str, parts: Sequence[str], allowed: Sequence[str] | None) -> Iterator[str]:
    """Matches of the parts of a pattern below a folder."""
    first, rest = parts[0], parts[1:]
    if first == "**":
        if rest:
            yield from _walk(folder, rest, allowed)
        elif os.path.isdir(folder):
            yield os.path.join(folder, "")
        for path, is_folder in _entries(folder, "*", allowed):
            if not rest:
                yield path
            if is_folder:
                below = _walk(path, parts, allowed)
                yield from (match for match in below if rest or match != os.path.join(path, ""))
        return
    if glob.has_magic(first):
        matches = _entries(folder, first, allowed)
    else:
        path = _checked(os.path.join(folder, first), allowed)
        matches = iter([(path, os.path.isdir(path))] if os.path.lexists(path) else [])
    for path, is_folder in matches:
        if not rest:
            yield path
        elif is_folder:
            yield from _walk(path, rest, allowed)


def _entries(
    folder: str, pattern: str, allowed: Sequence[str] | None
) -> Iterator[tuple[str, bool]]:
    """Paths in a folder that match a part of a pattern, and whether they are folders."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:  # no folder, or one that cannot be read: glob skips them too
        return
    for name in names:
        hidden = name.startswith(".") and not pattern.startswith(".")
        if not hidden and fnmatch.fnmatchcase(name, pattern):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                _checked(path, allowed)
            yield path, os.path.isdir(path)


def _checked(path: str, allowed: Sequence[str] | None) -> str:
    """The path, if it lies in one of the allowed folders after links are resolved."""
    if allowed is not None:
        target = os.path.realpath(path)
        if not any(target == at or target.startswith(os.path.join(at, "")) for at in allowed):
            raise OutsideError(path)
    return path


def main() -> None:
    """Answer a search: arguments of :func:`search` as JSON on stdin, its result on stdout."""
    answer: dict[str, object]
    try:
        answer = {"paths": search(**json.load(sys.stdin))}
    except OutsideError as error:
        answer = {"outside": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
