"""What a run says of its reading: events, particles, cuts, bytes; on the screen, in the store and in the report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.events import checks
from djservice.input.cutflow import Cutflow, reading_text
from djservice.input.read import read_with_cutflow
from djservice.input.segments import Segment
from djservice.reports.html import report
from djservice.service.journal import Journal
from djservice.store.run_store import Store

PATH = dj.examples.path("ZHllbb_200")


class Heard(Lines):
    """Plain lines that are kept, and the phases and steps in their order."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.calls: list[Any] = []

    def phase(self, name: str, total: int, done: int) -> None:
        self.calls.append((name, total, done))
        super().phase(name, total, done)

    def step(self, numbers: dict[str, float]) -> None:
        self.calls.append(None)
        super().step(numbers)


def test_each_cut_counts_what_it_removes_of_what_the_others_left() -> None:
    with uproot.open({PATH: "Events"}) as tree:
        pt, eta = (tree[f"PFCands_{f}"].array(entry_start=5, entry_stop=45) for f in ("pt", "eta"))
    schema = dj.schemas.nanoaod(pt_min=1.5, eta_max=2.0)
    batch, cutflow = read_with_cutflow([Segment(PATH, 5, 20), Segment(PATH, 20, 45)], schema)
    soft, forward = int(ak.sum(pt <= 1.5)), int(ak.sum((pt > 1.5) & (abs(eta) >= 2.0)))
    assert cutflow.removed == (("pt_min", soft), ("eta_max", forward))
    assert cutflow.particles == int(ak.sum(ak.num(pt))) == len(batch.pt) + soft + forward
    assert cutflow.seconds > 0


def test_bytes_are_those_asked_of_the_file() -> None:
    size = Path(PATH).stat().st_size
    some, more = (
        read_with_cutflow([Segment(PATH, 0, last)], dj.schemas.nanoaod())[1].bytes_read
        for last in (1, 200)
    )
    assert 0 < some <= more < size  # no branch is read that is not needed
    with uproot.open({PATH: "Events"}) as tree:
        needed = sum(tree[f"PFCands_{f}"].compressed_bytes for f in ("pt", "eta", "phi", "mass"))
    assert needed < more


def test_tallies_add_up() -> None:
    one, other = (
        Cutflow(2, 5, (("pt_min", 2),), 100, 0.5, doubts=("a", "b")),
        Cutflow(1, 3, (("weight 0", 1), ("pt_min", 1)), 10, 0.25, doubts=("b",)),
    )
    assert one + other == Cutflow(
        3, 8, (("pt_min", 3), ("weight 0", 1)), 110, 0.75, doubts=("a", "b")
    )


@pytest.mark.filterwarnings("ignore::djservice.errors.InputWarning")
def test_a_run_says_what_it_read_and_keeps_it(
    tiny: dict[str, Any], scheduler: str, monkeypatch: pytest.MonkeyPatch, without_figures: None
) -> None:
    monkeypatch.setattr(checks, "_LARGEST_SUM", 1.0)  # sums of pT look like MeV
    monkeypatch.setattr(checks, "_LARGE_PT", 1.0)
    heard = Heard()
    run = Run.from_dict(tiny | {"cluster": {"scheduler": scheduler}})
    dj.run(run, watch=heard)
    assert (
        heard.calls[:5] == [("read", 4, 0), None, None, None, None]
        and heard.calls[5][0] == "optimise"
    )
    batch, cutflow = read_with_cutflow([Segment(PATH, 0, 40)], dj.schemas.nanoaod(pt_min=2.0))
    found = Store.read(run.output.store).attributes["reading"]
    assert (found["events"], found["particles"], found["files"]) == (40, len(batch.pt), 1)
    assert (found["particles_in_files"], found["removed"]) == (
        cutflow.particles,
        dict(cutflow.removed),
    )
    np.testing.assert_allclose(found["particles_mean"], batch.counts.mean())
    lines = heard.stream.getvalue().splitlines()  # type: ignore[union-attr]
    assert lines.count(reading_text(found)) == 1
    assert not any(line.startswith("read 4/4") for line in lines)  # the summary says it
    assert (
        f"of {cutflow.particles:,} were removed {dict(cutflow.removed)['pt_min']:,} by pt_min;"
        in reading_text(found)
    )
    page = report(run.output.store).read_text()
    assert f"R{reading_text(found)[1:]}." in page
    (doubt,) = found["doubts"]
    assert "If they are in MeV" in doubt
    assert lines.count(f"warning: {doubt}") == page.count(doubt) == 1


def test_a_run_on_a_scheduler_is_loading_while_it_reads() -> None:
    begun: list[str] = []
    journal = Journal(lambda: begun.append("begun"))
    journal.phase("read", 2, 0)
    journal.step({})
    assert begun == [] and journal.progress["done"] == 1
    journal.phase("optimise", 5, 0)
    journal.phase("scan", 4, 0)
    assert begun == ["begun"]


def test_plain_lines_tell_of_a_reading_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines = Lines(io.StringIO())
    lines.phase("read", 3, 0)
    for seconds in (1.0, 6.0, 1.0):
        now[0] += seconds
        lines.step({})
    assert lines.stream.getvalue().splitlines() == ["read 2/3  4 s left"]  # type: ignore[attr-defined]
