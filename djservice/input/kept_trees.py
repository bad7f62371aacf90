"""Trees that were read from files, kept by a process without their files.

The description of a tree with a thousand branches takes half a second to read. A file is opened for
each range of its entries and closed afterwards, and the description is read once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from djservice.core.private import full_url
from djservice.core.urls import is_url

#: Trees that a process keeps, at some 20 MB for a thousand branches.
MOST = 2

_kept: dict[tuple[Any, ...], Any] = {}


@contextmanager
def kept_tree(file: Any, path: str, name: str) -> Iterator[Any]:
    """The TTree or RNTuple of an open file, as it was read before if the file is the same.

    Nobody else has the tree meanwhile. It is kept unless an error is raised.
    """
    key = _key(file, path, name)
    tree = _kept.pop(key, None)
    if tree is None:
        tree = file[name]
    else:
        tree.file._source = file.file.source  # uproot has no other way to open a file again
        file.file.object_cache[file.key(name).cache_key] = tree  # coffea asks the file for it
    yield tree
    _kept[key] = tree
    for oldest in list(_kept)[:-MOST]:  # a list, for other threads may change it meanwhile
        _kept.pop(oldest, None)


def _key(file: Any, path: str, name: str) -> tuple[Any, ...]:
    """What is the same as long as the tree of a file is."""
    path, head = full_url(path), file.key(name)
    changed = 0 if is_url(path) else os.stat(path).st_mtime_ns
    return path, str(file.file.uuid), file.file.fEND, changed, name, head.fSeekKey, head.fNbytes
