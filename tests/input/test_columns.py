"""Further columns of the particles: read by name, cut with them, kept in the cache, and missing in some files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import djservice as dj
from djservice.config.run import Run
from djservice.errors import InputError, InputWarning
from djservice.events import augment
from djservice.input.cache import load_cached, save_cached
from djservice.input.cutflow import reading_of, reading_text
from djservice.input.files import inspect
from djservice.input.read import read_segments, read_with_cutflow
from djservice.input.schemas import schema_of
from djservice.input.segments import segments

COUNTS = [3, 0, 2]
SCHEMA = dj.schemas.nanoaod(pt_min=2.5, columns={"charge": "charge", "d0": "dxy"})


def write(path: Path, *names: str, first: int = 0, collection: str = "PFCands", **bad: Any) -> str:
    """Events whose particles have a pT of 1 to 5 GeV, and columns of 10 pT."""
    pt = np.arange(1.0, 6.0)
    columns = {"pt": pt, "eta": 0.1 * pt, "phi": 0.2 * pt, "mass": 0.0 * pt}
    columns |= dict.fromkeys(names, 10.0 * pt) | bad
    data: dict[str, Any] = {
        f"{collection}_{n}": ak.unflatten(values, COUNTS) for n, values in columns.items()
    }
    data |= {name: np.full(3, 1) for name in ("run", "luminosityBlock")}
    data["event"] = first + np.arange(3)
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: ak.Array(x).type for name, x in data.items()}).extend(data)
    return str(path)


def test_columns_follow_their_particles(tmp_path: Path) -> None:
    batch = dj.read(write(tmp_path / "a.root", "charge", "dxy"), schema=SCHEMA)
    assert batch.counts.tolist() == [1, 0, 2]
    for name in ("charge", "d0"):
        np.testing.assert_array_equal(batch.columns[name], 10.0 * batch.pt)
    assert (
        batch.nbytes
        == dj.read(tmp_path / "a.root", schema=dj.schemas.nanoaod(pt_min=2.5)).nbytes + 48
    )
    swapped = batch.select([2, 0])
    np.testing.assert_array_equal(swapped.columns["d0"], 10.0 * swapped.pt)


def test_what_a_file_lacks_counts_as_zero_and_is_said(tmp_path: Path) -> None:
    files = [
        inspect(path, SCHEMA)
        for path in (
            write(tmp_path / "a.root", "charge", "dxy"), write(tmp_path / "b.root", "charge", first=9),
        )
    ]  # fmt: skip
    (bundle,) = segments(files, None, 100)
    batch, cutflow = read_with_cutflow(bundle, SCHEMA)
    np.testing.assert_array_equal(batch.columns["charge"], 10.0 * batch.pt)
    np.testing.assert_array_equal(batch.columns["d0"], [30.0, 40.0, 50.0, 0.0, 0.0, 0.0])
    assert cutflow.absent == (("d0", 3),)
    text = reading_text(reading_of([cutflow], batch.counts, 2, 1, batch.nbytes, 1.0))
    assert "d0 is in no branch of 3 entries and counts as its default" in text
    save_cached(str(tmp_path / "cache"), "key", batch, cutflow)
    found = load_cached(str(tmp_path / "cache"), "key")
    assert found is not None and found[1].absent == cutflow.absent
    for name, values in batch.columns.items():
        np.testing.assert_array_equal(found[0].columns[name], values)
    with pytest.warns(InputWarning, match="d0 is in no branch of 3 entries.*names 'dxy'"):
        lacking = dj.read(str(files[1].path), schema=SCHEMA)
    assert list(lacking.columns) == ["charge"]
    alone = read_segments(bundle[1:], SCHEMA)
    assert list(alone.columns) == ["charge"]


def test_a_collection_may_lack_what_another_has(tmp_path: Path) -> None:
    one = uproot.open(write(tmp_path / "a.root", "charge"))["Events"].arrays()
    other = uproot.open(write(tmp_path / "b.root", collection="Other"))["Events"].arrays()
    data = {name: one[name] for name in one.fields} | {
        n: other[n] for n in other.fields if n.startswith("Other_")
    }
    with uproot.recreate(tmp_path / "c.root") as file:
        file.mktree("Events", {n: ak.Array(x).type for n, x in data.items()}).extend(data)
    schema = dj.schemas.nanoaod(("PFCands", "Other"), columns=["charge"])
    batch = dj.read(tmp_path / "c.root", schema=schema)
    np.testing.assert_array_equal(batch.columns["charge"], [10.0, 20, 30, 0, 0, 0, 40, 50, 0, 0])


@pytest.mark.parametrize(
    "change", [augment.Collinear(), augment.Soft(number=2), augment.Drop(0.5, below=100.0)], ids=str
)
def test_augmentations_keep_the_columns_of_their_particles(change: Any, tmp_path: Path) -> None:
    """Pieces have those of their particle, and new particles have 0."""
    batch = dj.read(
        write(tmp_path / "a.root", "charge"), schema=dj.schemas.nanoaod(columns=["charge"])
    )
    changed = change(batch, seed=3)
    charge, (values, numbers) = (
        changed.columns["charge"],
        np.unique(batch.columns["charge"], return_counts=True),
    )
    assert len(charge) == len(changed.pt) != len(batch.pt)
    assert set(charge) <= {0.0, *values} and numbers.sum() == len(batch.pt)


def test_a_configuration_names_them(tiny: dict[str, Any]) -> None:
    for given in (["charge", "d0"], {"charge": "charge", "d0": "d0"}):
        run = Run.from_dict(tiny | {"input": tiny["input"] | {"columns": given}})
        assert schema_of(run.input).columns == {"charge": "charge", "d0": "d0"}
    assert run.numbers["input.columns.d0"] == "d0"


def test_a_value_that_is_not_finite_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", dxy=np.array([0.0, np.nan, np.nan, 0.0, 0.0]))
    with pytest.raises(InputError, match=r"a\.root, entry 0.*particle 2: d0 is nan"):
        dj.read(path, schema=SCHEMA)
    with pytest.raises(InputError, match="d0 has shape"):
        dj.EventBatch.from_arrays(
            pt=[1.0], eta=[0.0], phi=[0.0], mass=[0.0], offsets=[0, 1], columns={"d0": [1.0, 2.0]}
        )
