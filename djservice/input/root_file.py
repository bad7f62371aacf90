"""Files of ROOT, through uproot.

uproot is imported inside functions, because its import takes half a second.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from operator import getitem
from typing import Any

from djservice.core.private import full_url
from djservice.core.redact import shareable
from djservice.core.suggest import listed
from djservice.errors import InputFileError, SchemaError
from djservice.input.file_damage import damage_explained
from djservice.input.kept_trees import KeptTree, kept_tree
from djservice.input.open_file import OpenFile, field_of
from djservice.input.schemas import Schema

#: Name in a file of what `djservice skim` cut away.
CUT = "djservice_skim"
#: What to do about objects that uproot cannot read.
_SPLIT = "Write them split (split level 99), or as lists of numbers."


class RootFile(OpenFile):
    """A TTree or RNTuple of an open file.

    Attributes
    ----------
    file
        uproot's file.
    """

    def __init__(self, file: Any, kept: KeptTree, name: str, place: str) -> None:
        self.file, self._kept, self._tree = file, kept, kept.tree
        self.text, self._place = f"the tree {name!r}", place
        self.size = int(file.file.source.num_bytes or 0)
        self.uuid, self.entries = str(file.file.uuid), int(kept.tree.num_entries)
        if CUT in file.keys(cycle=False):
            self.pt_min = float(json.loads(str(file[CUT]))["pt_min"])

    @property
    def names(self) -> dict[str, Any]:
        return self._kept.branches

    def has(self, name: str) -> bool:
        if name in self.names:
            return True
        branch, member = self._member(name)
        return bool(branch) and member in self._members(branch)

    def hint(self, collection: str) -> str:
        import uproot

        if collection not in self.names or self._kept.is_rntuple:
            return ""
        branch = self.names[collection]
        members = self._members(collection)
        if members:
            return f"{collection!r} has whole objects: name {', '.join(members)} in columns."
        if not isinstance(branch.interpretation, uproot.AsObjects):
            return ""
        return f"{collection!r} has whole objects ({branch.typename}). {_SPLIT}"

    def _branch(self, name: str) -> str:
        return name if name in self.names else self._member(name)[0]

    def _member(self, name: str) -> tuple[str, str]:
        """The branch of whole objects that a column is a member of, and its name in them."""
        ends = [end for end, letter in enumerate(name) if letter == "."]
        branch = next((name[:end] for end in reversed(ends) if name[:end] in self.names), "")
        return branch, name[len(branch) + 1 :]

    def _members(self, branch: str) -> list[str]:
        """The members of the objects in a branch, as of unsplit TLorentzVectors."""
        import uproot

        if self._kept.is_rntuple:
            return []
        whole = self.names[branch].interpretation
        content = getattr(whole, "content", whole)
        if not isinstance(content, uproot.AsStridedObjects):
            return []
        columns: list[str] = content.awkward_form(self._tree.file).columns()
        return columns

    @property
    def bytes_read(self) -> int:
        return int(self.file.file.source.num_requested_bytes)

    def arrays(self, names: Collection[str], start: int, stop: int) -> dict[str, Any]:
        if self._kept.is_rntuple:
            in_file = [self.names[name] for name in names]
            columns = self._tree.arrays(
                filter_name=in_file.__contains__, entry_start=start, entry_stop=stop, how=dict
            )
            return {name: field_of(columns, self.names[name]) for name in names}
        branches = dict.fromkeys(map(self._branch, names))
        # One by one, for the arrays of a tree are looked for among all of its branches.
        columns = {branch: self._array(branch, start, stop) for branch in branches}
        return {
            name: columns[name] if name in columns else self._of_objects(name, columns)
            for name in names
        }

    def _array(self, branch: str, start: int, stop: int) -> Any:
        try:
            return self.names[branch].array(entry_start=start, entry_stop=stop, library="ak")
        except Exception as error:
            if not self._members(branch):
                raise
            raise SchemaError(
                f"{self._place}: uproot cannot read the objects in branch {branch!r} "
                f"({type(error).__name__}). {_SPLIT} If other files of the kind are read, this "
                "one is damaged."
            ) from shareable(error)

    def _of_objects(self, name: str, columns: dict[str, Any]) -> Any:
        branch, member = self._member(name)
        return functools.reduce(getitem, member.split("."), columns[branch])

    def bounds(self, names: Collection[str] | None) -> Iterable[int]:
        if self._kept.is_rntuple:
            return {cluster.num_first_entry for cluster in self._tree.cluster_summaries}
        branches = self.names if names is None else map(self._branch, names)
        return {bound for branch in branches for bound in self.names[branch].entry_offsets}


@contextmanager
def opened_root(path: str, schema: Schema, place: str) -> Iterator[RootFile]:
    """The tree of the schema in a ROOT file that is as long as its header says."""
    with _damage(path, place):
        import uproot

        # A dict keeps a colon in the name from being read as "file:tree".
        with uproot.open({full_url(path): None}, array_cache=None) as file:
            size, expected = file.file.source.num_bytes, file.file.fEND
            if size is not None and size < expected:
                raise InputFileError(
                    f"{place}: expected {expected} bytes from the header of the ROOT file, found "
                    f"{size}: the file is truncated. Copy it again, or remove it."
                )
            _check_has_tree(file, schema, place)
            with kept_tree(file, path, schema.tree) as kept:
                yield RootFile(file, kept, schema.tree, place)


@contextmanager
def _damage(path: str, place: str) -> Iterator[None]:
    import cramjam
    import uproot

    more = (uproot.DeserializationError, cramjam.DecompressionError)
    with damage_explained(path, place, "ROOT", more):
        yield


def _check_has_tree(file: Any, schema: Schema, place: str) -> None:
    classes = file.classnames(cycle=False)
    trees = [
        name
        for name, kind in classes.items()
        if kind.startswith(("TTree", "TNtuple", "ROOT::RNTuple"))
    ]
    if schema.tree not in trees:
        raise SchemaError(
            f"{place}: expected a tree {schema.tree!r}, found {listed(trees, schema.tree)}. "
            "Name the tree in the schema (tree=...), or give other files."
        )
