"""A browser."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from visits import CHROMIUM, Shown, opened


@pytest.fixture
def browse(requires: Callable[[str, object], None], tmp_path: Path) -> Callable[[str], Shown]:
    """``browse(address)``: a page as it stands some seconds after a browser opened it."""
    requires("chromium", CHROMIUM)
    return partial(opened, tmp_path / "browser")
