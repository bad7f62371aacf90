"""What a run tells, for one who watches."""

import pytest

from djservice.service.journal import KEPT_EVENTS, Journal


def test_one_who_watches_hears_everything_once() -> None:
    begun: list[int] = []
    journal = Journal(lambda: begun.append(1))
    assert journal.since(None) == (0, [])
    assert journal.progress == {}
    journal.say("hello token=abc")
    journal.phase("optimise", 10, 2)
    journal.step({"radius": 1.0})
    number, events = journal.since(0)
    assert (number, [call for call, _ in events]) == (3, ["say", "phase", "step"])
    assert journal.since(number) == (3, [])
    journal.step({"radius": 0.9, "steps": 3})
    assert journal.since(number) == (4, [("step", [{"radius": 0.9, "steps": 3}])])
    assert 0.0 <= journal.progress["seconds_left"] < 300.0
    totals = {"trees": 0, "iteration": 6, "radius": 0.9}
    now = {"phase": "optimise", "total": 10, "done": 6, "numbers": {"radius": 0.9, "steps": 3}}
    progress = journal.progress
    assert {key: progress[key] for key in progress if key != "seconds_left"} == now | totals
    journal.phase("scan", 4, 0)
    journal.step({"radius": 0.4, "trees": 60})
    assert journal.progress["numbers"] == {"radius": 0.4, "trees": 60}
    assert {name: journal.progress[name] for name in totals} == totals | {"trees": 60}
    assert begun == [1]
    assert [line for _, line in journal.lines] == ["hello token=***"]


@pytest.mark.parametrize("known", [None, 3, 10**6])
def test_one_who_missed_something_begins_with_the_phase_as_it_stands(known: int | None) -> None:
    journal = Journal()
    journal.phase("optimise", 10**6, 0)
    for _ in range(KEPT_EVENTS + 10):
        journal.step({"radius": 1.0})
    assert journal.since(known) == (
        KEPT_EVENTS + 11,
        [("phase", ["optimise", 10**6, KEPT_EVENTS + 10])],
    )


def test_the_first_step_behind_the_reading_is_told_once() -> None:
    stepped: list[int] = []
    journal = Journal(on_step=lambda: stepped.append(1))
    journal.phase("read", 2, 0)
    journal.step({})
    assert stepped == []
    journal.phase("optimise", 2, 0)
    journal.step({"radius": 1.0})
    journal.step({"radius": 1.0})
    assert stepped == [1]


def test_a_line_has_an_end() -> None:
    journal = Journal()
    journal.say("x" * 640_000)
    ((_, line),) = journal.lines
    assert len(line) < 5_000
