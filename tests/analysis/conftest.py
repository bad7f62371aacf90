"""Events of the shipped example, flat and as awkward records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import pytest

import djservice as dj


@pytest.fixture(scope="session")
def batch() -> dj.EventBatch:
    """24 events, particles above 2 GeV."""
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 24))


@pytest.fixture(scope="session")
def records() -> Callable[[dj.EventBatch], Any]:
    """``records(batch)``: its particles as awkward records, with a field that is not needed."""

    def make(batch: dj.EventBatch) -> Any:
        fields = {name: getattr(batch, name) for name in ("pt", "rapidity", "phi", "mass")}
        flat = ak.zip(fields | {"charge": batch.pt * 0})
        return ak.unflatten(flat, batch.counts)

    return make


@pytest.fixture(scope="session")
def identity(batch: dj.EventBatch) -> tuple[Any, Any, Any]:
    """Run, luminosity block and event."""
    return batch.run, batch.luminosity_block, batch.event
