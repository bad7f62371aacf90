"""Events are known by the names that their file gives them, or by its own name and their entry."""

import warnings

import numpy as np
import pytest
from written_files import anonymous, write

from djservice.events.keys import entry_keys
from djservice.input.files import inspect
from djservice.input.read import read, read_segments
from djservice.input.repeats import repeated_keys, tell_apart
from djservice.input.schemas import nanoaod
from djservice.input.segments import segments


def test_inspect_identifies_a_file(tmp_path):
    path = tmp_path / "a.root"
    write(path)
    file = inspect(str(path), nanoaod())
    assert (file.path, file.size, file.mtime_ns) == (
        str(path),
        path.stat().st_size,
        path.stat().st_mtime_ns,
    )
    assert file.entries == 6 and file.uuid
    write(path)
    assert inspect(str(path), nanoaod()).uuid != file.uuid


def test_files_without_identity_are_known_by_name_and_entry(tmp_path):
    path = anonymous(tmp_path / "a.root")
    np.testing.assert_array_equal(
        read(path, dataset="d").key, entry_keys("d", "a.root", np.arange(6))
    )
    np.testing.assert_array_equal(
        read(path, entries=(2, 4)).key, entry_keys("", "a.root", np.arange(2, 4))
    )
    (tmp_path / "moved").mkdir()
    np.testing.assert_array_equal(anonymous_keys(tmp_path / "moved" / "a.root"), read(path).key)


def anonymous_keys(path):
    return read(anonymous(path)).key


def test_repeated_identities_are_told_apart_with_a_warning(two, tmp_path):
    again = write(tmp_path / "c.root", 3, first=5)
    with pytest.warns(
        UserWarning, match=r"4 of 14 events share .*a\.root, entry \d .*c\.root, entry \d"
    ):
        batch = read([*two, again])
    assert len(repeated_keys(batch.key)) == 0
    np.testing.assert_array_equal(batch.key[4:6], entry_keys("", "a.root", [4, 5]))
    np.testing.assert_array_equal(batch.key[11:13], entry_keys("", "c.root", [0, 1]))
    np.testing.assert_array_equal(batch.key[:4], read(two).key[:4])


def test_telling_apart_bundle_by_bundle_equals_telling_apart_the_whole(two, tmp_path):
    paths = [*two, write(tmp_path / "c.root", 3, first=5)]
    files = [inspect(path, nanoaod()) for path in paths]
    batches = [read_segments(bundle, nanoaod()) for bundle in segments(files, None, 4)]
    repeated = repeated_keys(np.concatenate([batch.key for batch in batches]))
    keys = np.concatenate([tell_apart(batch, repeated).key for batch in batches])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        np.testing.assert_array_equal(keys, read(paths).key)


def test_repeated_keys_are_sorted_and_unsigned():
    keys = np.array([9, 2**64 - 1, 3, 9, 2**64 - 1, 9], dtype=np.uint64)
    np.testing.assert_array_equal(repeated_keys(keys), np.array([9, 2**64 - 1], dtype=np.uint64))
    assert repeated_keys(keys).dtype == np.uint64


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    """As MadGraph names them; the keys stay when all files move together."""

    def keys(parent):
        paths = []
        for place in ("run_01/a.root", "run_02/a.root", "b.root"):
            (parent / place).parent.mkdir(parents=True, exist_ok=True)
            paths.append(anonymous(parent / place))
        with pytest.warns(UserWarning, match="12 of 18 events share"):
            return read(paths).key

    before = keys(tmp_path / "here")
    assert len(repeated_keys(before)) == 0
    np.testing.assert_array_equal(before, keys(tmp_path / "there"))
    np.testing.assert_array_equal(before[:6], entry_keys("", "run_01/a.root", range(6)))
    np.testing.assert_array_equal(before[12:], entry_keys("", "b.root", range(6)))
