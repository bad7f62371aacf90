"""A folder that is reprocessed, for each test."""

from pathlib import Path

import pytest
from places import Place, Settings


@pytest.fixture
def place(tmp_path: Path, tiny: Settings, scheduler: str) -> Place:
    return Place(tmp_path, tiny, scheduler)
