"""A tree is read from a file once per process, and a file that changed is noticed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import awkward as ak
import coffea.nanoevents
import numpy as np
import pytest
import uproot

import djservice as dj
from djservice.errors import ChangedFileError
from djservice.input import kept_trees
from djservice.input.files import inspect
from djservice.input.ranges import nano_events
from djservice.input.read import read_segments
from djservice.input.segments import segments

SCHEMA = dj.schemas.nanoaod()


def write(path: Path, kind: str, scale: float = 1.0) -> str:
    """Twelve events with 0, 1 and 2 particles in turn."""
    pt = scale * np.arange(1.0, 13.0)
    columns = {"pt": pt, "eta": 0.1 * pt / scale, "phi": 0.2 * pt / scale, "mass": 0.0 * pt}
    data = {
        f"PFCands_{name}": ak.unflatten(column, [0, 1, 2] * 4) for name, column in columns.items()
    }
    with uproot.recreate(path) as file:
        if kind == "tree":
            file.mktree("Events", {n: x.type.content for n, x in data.items()}).extend(data)
        else:
            file.mkrntuple("Events", ak.zip(data, depth_limit=1))
    return str(path)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is read from files as a whole."""
    keys: list[Any] = []
    read = uproot.reading.ReadOnlyKey.get_uncompressed_chunk_cursor
    monkeypatch.setattr(
        uproot.reading.ReadOnlyKey,
        "get_uncompressed_chunk_cursor",
        lambda self: (keys.append(self.fName), read(self))[1],
    )
    return keys


def open_files() -> set[str]:
    return {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("kind", ["tree", "rntuple"])
def test_a_tree_is_read_once_for_all_bundles_and_its_file_is_closed(
    kind: str, tmp_path: Path, parsed: list[Any]
) -> None:
    path = write(tmp_path / "a.root", kind)
    bundles = segments([inspect(path, SCHEMA)], None, 2)
    parts = [read_segments(bundle, SCHEMA) for bundle in bundles]
    assert len(parts) == 6 and parsed.count("Events") == 1
    np.testing.assert_array_equal(np.concatenate([part.pt for part in parts]), np.arange(1.0, 13.0))
    assert path not in open_files()
    write(tmp_path / "a.root", kind, scale=2.0)
    with pytest.raises(ChangedFileError, match="the file changed since"):
        read_segments(bundles[0], SCHEMA)
    np.testing.assert_array_equal(dj.read(path).pt, 2.0 * np.arange(1.0, 13.0))


def test_coffea_takes_the_tree_that_is_kept(tmp_path: Path, parsed: list[Any]) -> None:
    path = write(tmp_path / "a.root", "tree")
    for (segment,) in segments([inspect(path, SCHEMA)], None, 4):
        with nano_events(segment, SCHEMA) as (events, _):
            assert ak.num(events.PFCands.pt).tolist() == [
                entry % 3 for entry in range(segment.start, segment.stop)
            ]
    assert coffea.nanoevents and parsed.count("Events") == 1


def test_few_trees_are_kept(tmp_path: Path) -> None:
    for number in range(kept_trees.MOST + 2):
        dj.read(write(tmp_path / f"{number}.root", "tree"))
    assert len(kept_trees._kept) == kept_trees.MOST
