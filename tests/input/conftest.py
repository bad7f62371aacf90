"""A fixture of processes.py."""

import pytest
from processes import make_cluster
from written_files import write

__all__ = ["make_cluster"]


@pytest.fixture
def two(tmp_path):
    return [write(tmp_path / "a.root", 6), write(tmp_path / "b.root", 5, first=101)]
