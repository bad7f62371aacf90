"""Mend a damaged store: what is lost becomes absent, so that the run computes it again.

What a new store holds too (metadata, identities of events, radii of the scan) is written anew. Rows
are lost from the first damaged one on, because later ones may follow from it. The rows of a run are
a function of the run and the rows before, so they come back with the same bits.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from djservice.core.checksums import of_json
from djservice.errors import DamagedStoreError
from djservice.store.checked import Damage, damaged
from djservice.store.columns import DERIVED, StoreColumns, create_groups
from djservice.store.fresh import Files, packed
from djservice.store.written import WrittenGroup


def mend_run(groups: Sequence[WrittenGroup], shape: StoreColumns) -> tuple[Damage, ...]:
    """Mend the groups of the store of a run, and return what was damaged."""

    @functools.cache
    def fresh() -> Files:
        lengths = {group.name: _iterations(group) for group in groups}
        model = shape.model and replace(
            shape.model,
            iterations=max(shape.model.iterations, lengths.get(shape.model.group, 0)),
        )
        iterations = max(shape.iterations, lengths["history"])
        return packed(
            lambda root: create_groups(root, replace(shape, iterations=iterations, model=model))
        )

    damages: list[Damage] = []
    for group in groups:
        damages += mend(group, fresh)
        with contextlib.suppress(DamagedStoreError):
            for name in group.attributes["groups"]:
                within = WrittenGroup(group.files, group.root, group.path(name), group.of)
                damages += mend(within, fresh)
    return tuple(damages)


def mend(group: WrittenGroup, fresh: Callable[[], Files]) -> list[Damage]:
    """Mend one group, and return what was damaged.

    Parameters
    ----------
    group
        The group, open for writing.
    fresh
        Returns the files of a new hierarchy of the same layout.

    Raises
    ------
    DamagedStoreError
        If it cannot be mended: it is the root, or the layout has no such group.
    """
    lost = group.unreadable()
    if lost is not None:
        files = {key: data for key, data in fresh().items() if key.startswith(f"{group.name}/")}
        if not group.name or not files:
            raise damaged(group.where, [lost])
        group.files.delete(group.name)
        for key in sorted(files, key=lambda key: key == lost.file):  # its own metadata last
            group.files.write(key, files[key])
        return [lost]
    damages = group.damages()
    for damage in damages:
        if damage.file.endswith("zarr.json"):
            _write_metadata(group, damage, fresh())
    chunks = [damage for damage in damages if not damage.file.endswith("zarr.json")]
    for array in {damage.array for damage in damages} - {damage.array for damage in chunks}:
        chunks += group.lost(array.rpartition("/")[2])
    for damage in chunks:
        group.files.delete(damage.file)
    _forget(group, chunks, fresh)
    return damages + [damage for damage in chunks if damage not in damages]


def _write_metadata(group: WrittenGroup, damage: Damage, fresh: Files) -> None:
    """Write the metadata of an array as a new store has them."""
    group.files.write(damage.file, fresh[damage.file])
    entries = group.attributes["arrays"]
    entries[damage.array.rpartition("/")[2]]["metadata"] = [of_json(json.loads(fresh[damage.file]))]
    group.update(arrays=entries)


def _forget(group: WrittenGroup, chunks: Sequence[Damage], fresh: Callable[[], Files]) -> None:
    """Write again what is known, and declare invalid what is not."""
    entries = group.attributes["arrays"]
    rows: list[int] = []
    for damage in chunks:
        name = damage.array.rpartition("/")[2]
        if "fixed" in entries[name]:
            _write_fixed(group, name, damage, fresh())
        elif name in DERIVED:
            group.cut(0, [derived for derived in DERIVED if derived in entries])
        elif damage.rows:
            rows.append(damage.rows[0])
    if rows:
        # Only whole bundles of events are fitted again, and bundles do not end where chunks end.
        group.rewind(0 if group.name == "per_event" else min(rows))


def _write_fixed(group: WrittenGroup, name: str, damage: Damage, fresh: Files) -> None:
    """Write an array that a new store holds too, if it is that array."""
    before = f"{group.name}/zarr.json".lstrip("/")
    entry = json.loads(fresh[before])["attributes"]["arrays"][name]
    entries = group.attributes["arrays"]
    if entry["rows"] == entries[name]["rows"] and entry["checksum"] != entries[name]["checksum"]:
        raise damaged(group.where, [damage])
    for key, data in fresh.items():
        if key.startswith(f"{damage.array}/"):
            group.files.write(key, data)
    group.update(arrays={**entries, name: entry})


def _iterations(group: WrittenGroup) -> int:
    """The length of the arrays of iterations, from those that are sound; 0 if there is none."""
    lengths = [0]
    with contextlib.suppress(DamagedStoreError):
        for name in group.attributes["arrays"]:
            with contextlib.suppress(DamagedStoreError):
                metadata = group.metadata(name)
                if metadata["dimension_names"][0] == "iteration":
                    lengths.append(metadata["shape"][0])
    return max(lengths)
