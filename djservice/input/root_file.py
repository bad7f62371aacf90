"""Files of ROOT, through uproot.

uproot is imported inside functions, because its import takes half a second.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from operator import getitem
from typing import Any

from djservice.core.private import full_url
from djservice.core.redact import shareable
from djservice.core.suggest import listed
from djservice.errors import InputFileError, SchemaError
from djservice.input.file_damage import damage_explained
from djservice.input.kept_trees import kept_tree
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
    file, tree
        uproot's file and tree.
    """

    def __init__(self, file: Any, tree: Any, name: str) -> None:
        self.file, self.tree = file, tree
        self.text = f"the tree {name!r}"
        self.size = int(file.file.source.num_bytes or 0)
        self.uuid, self.entries = str(file.file.uuid), int(tree.num_entries)
        if CUT in file.keys(cycle=False):
            self.pt_min = float(json.loads(str(file[CUT]))["pt_min"])

    @cached_property
    def names(self) -> dict[str, str]:  # type: ignore[override]
        """All branches, and their names in the file; a nested branch has its short name.

        Fields of records in an RNTuple are "PFCands.pt". ATLAS writes "AuxDyn:pt" into one for what
        is "AuxDyn.pt" in a TTree.
        """
        names = self.tree.keys(full_paths=self._is_rntuple)
        return {re.sub(r"(Aux|AuxDyn):", r"\1.", name): name for name in names}

    def has(self, name: str) -> bool:
        return name in self.names or self._member(name)[1] in self._members(self._member(name)[0])

    def hint(self, collection: str) -> str:
        import uproot

        if collection not in self.names or self._is_rntuple:
            return ""
        branch = self.tree[self.names[collection]]
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

        if not branch or self._is_rntuple:
            return []
        whole = self.tree[self.names[branch]].interpretation
        content = getattr(whole, "content", whole)
        if not isinstance(content, uproot.AsStridedObjects):
            return []
        columns: list[str] = content.awkward_form(self.tree.file).columns()
        return columns

    @property
    def _is_rntuple(self) -> bool:
        return hasattr(self.tree, "cluster_summaries")

    @property
    def bytes_read(self) -> int:
        return int(self.file.file.source.num_requested_bytes)

    def arrays(self, names: Collection[str], start: int, stop: int) -> dict[str, Any]:
        plain = [name for name in names if name in self.names]
        columns = self._read([self.names[name] for name in plain], start, stop)
        arrays = {name: field_of(columns, self.names[name]) for name in plain}
        members = {name: self._member(name) for name in names if name not in self.names}
        objects = self._objects(
            dict.fromkeys(branch for branch, _ in members.values()), start, stop
        )
        for name, (branch, member) in members.items():
            arrays[name] = functools.reduce(getitem, member.split("."), objects[branch])
        return arrays

    def _read(self, branches: Collection[str], start: int, stop: int) -> dict[str, Any]:
        columns: dict[str, Any] = self.tree.arrays(
            filter_name=branches.__contains__, entry_start=start, entry_stop=stop, how=dict
        )
        return columns

    def _objects(self, branches: Collection[str], start: int, stop: int) -> dict[str, Any]:
        """Branches of whole objects, which uproot reads if their class writes them plainly."""
        objects = {}
        for branch in branches:
            try:
                (objects[branch],) = self._read([self.names[branch]], start, stop).values()
            except Exception as error:
                raise SchemaError(
                    f"{self.file.file_path}: uproot cannot read the objects in branch {branch!r} "
                    f"({type(error).__name__}). {_SPLIT} If other files of the kind are read, this "
                    "one is damaged."
                ) from shareable(error)
        return objects

    def bounds(self, names: Collection[str] | None) -> Iterable[int]:
        if self._is_rntuple:
            return {cluster.num_first_entry for cluster in self.tree.cluster_summaries}
        in_file = names and {self.names[self._branch(name)] for name in names}
        branches = self.tree.itervalues(filter_name=in_file and in_file.__contains__)
        return {bound for branch in branches for bound in branch.entry_offsets}


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
            with kept_tree(file, path, schema.tree) as tree:
                yield RootFile(file, tree, schema.tree)


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
