"""Compiled kernels on disk are used only with the sources that they were compiled from."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numba
from numba.core.caching import IndexDataCacheFile

from djservice.clustering.kernels.jit import keyed_by_sources


def test_an_index_of_other_sources_is_not_read(tmp_path: Path) -> None:
    """It may name classes that are gone, and then it cannot be read."""
    unreadable = b"cdjservice.clustering.kernels.grow\nNoSuchClass\n."
    (tmp_path / "kernel.nbi").write_bytes(pickle.dumps(numba.__version__) + unreadable)
    file = IndexDataCacheFile(tmp_path, "kernel", "stamp")
    assert keyed_by_sources(SimpleNamespace(_cache=SimpleNamespace(_cache_file=file)))
    assert file.load("signature") is None
    file.save("signature", "code")
    assert file.load("signature") == "code"


def test_a_numba_with_another_cache_is_noticed() -> None:
    assert not keyed_by_sources(SimpleNamespace())
