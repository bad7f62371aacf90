"""Trees that were read from files, kept by a process without their files.

The description of a tree with a thousand branches takes half a second to read. A file is opened for
each range of its entries and closed afterwards, and the description is read once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from djservice.core.private import full_url
from djservice.core.urls import is_url

#: Trees that a process keeps, at some 20 MB for a thousand branches.
MOST = 2


class KeptTree:
    """A TTree or RNTuple, and what was learnt of it.

    Attributes
    ----------
    tree
        As uproot has it.
    """

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    @property
    def is_rntuple(self) -> bool:
        """Whether it is an RNTuple."""
        return hasattr(self.tree, "cluster_summaries")

    @cached_property
    def branches(self) -> dict[str, Any]:
        """The branches of a TTree, or the names of those of an RNTuple, by their names here.

        A nested branch has its short name, and fields of records in an RNTuple are "PFCands.pt".
        ATLAS writes "AuxDyn:pt" into one for what is "AuxDyn.pt" in a TTree.
        """
        if self.is_rntuple:
            names = self.tree.keys(full_paths=True)
            return {re.sub(r"(Aux|AuxDyn):", r"\1.", name): name for name in names}
        return dict(reversed(self.tree.items(full_paths=False)))  # of two names the first counts


_kept: dict[tuple[Any, ...], KeptTree] = {}


@contextmanager
def kept_tree(file: Any, path: str, name: str) -> Iterator[KeptTree]:
    """The TTree or RNTuple of an open file, as it was read before if the file is the same.

    Nobody else has the tree meanwhile. It is kept unless an error is raised.
    """
    key = _key(file, path, name)
    kept = _kept.pop(key, None)
    if kept is None:
        kept = KeptTree(file[name])
    else:
        kept.tree.file._source = file.file.source  # uproot has no other way to open a file again
        file.file.object_cache[file.key(name).cache_key] = kept.tree  # coffea asks the file for it
    yield kept
    _kept[key] = kept
    for oldest in list(_kept)[:-MOST]:  # a list, for other threads may change it meanwhile
        _kept.pop(oldest, None)


def _key(file: Any, path: str, name: str) -> tuple[Any, ...]:
    """What is the same as long as the tree of a file is."""
    path, head = full_url(path), file.key(name)
    changed = 0 if is_url(path) else os.stat(path).st_mtime_ns
    return path, str(file.file.uuid), file.file.fEND, changed, name, head.fSeekKey, head.fNbytes
