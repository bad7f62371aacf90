"""One rigidity per event: each event is as if it were clustered alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError

ALPHA = np.array([1.0, 0.5, 1.0, 10.0, 0.5, 2.0])
MASS = dj.observables.dijet_mass


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    schema = dj.schemas.nanoaod(pt_min=5.0)
    return dj.read("example:ZHllbb_200", schema=schema, entries=(0, len(ALPHA)))


def test_each_event_is_as_if_alone(events: dj.EventBatch) -> None:
    asked: dict[str, Any] = {"trees": 8, "seed": 3}
    radii = np.linspace(0.4, 0.9, len(ALPHA))
    both = {"parameters": ("radius", "rigidity")}
    kept: dict[str, Any] = asked | both | {"states": True, "settled_pt": 1.0}
    sample = dj.cluster(events, radius=radii, rigidity=ALPHA, **kept)
    gradient = dj.gradient(events, MASS, radius=radii, rigidity=ALPHA, **asked, **both)
    mean = dj.expectation(events, MASS, radius=radii, rigidity=ALPHA, **asked)
    for i, event in enumerate(events):
        at: dict[str, Any] = {"radius": radii[i], "rigidity": ALPHA[i]}
        alone = dj.cluster(event, **at, **kept)
        for name in ("momenta", "scores", "numbers"):
            np.testing.assert_array_equal(getattr(sample, name)[i], getattr(alone, name)[0])
        assert sample.states is not None and alone.states is not None
        mine = sample.states.tree // 8 == i
        np.testing.assert_array_equal(sample.states.scores[mine], alone.states.scores)
        one = dj.gradient(event, MASS, **at, **asked, **both)
        np.testing.assert_allclose(gradient.per_event.gradients[i], one.per_event.gradients[0])
        np.testing.assert_allclose(mean.mean[i], dj.expectation(event, MASS, **at, **asked).mean[0])
    same = dj.gradient(events, MASS, radius=0.7, rigidity=np.full(len(ALPHA), 2.0), **asked)
    assert same.value == dj.gradient(events, MASS, radius=0.7, rigidity=2.0, **asked).value


@pytest.mark.parametrize(
    ("rigidity", "message"),
    [
        (ALPHA[:2], r"rigidity has shape \(2,\), expected one number or one per event \(6,\)"),
        (np.where(ALPHA > 5, math.inf, ALPHA), "rigidity of event 3 is inf, expected"),
        (np.where(ALPHA > 5, -1.0, ALPHA), "rigidity of event 3 is -1.0, expected"),
        (ALPHA > 1, "expected numbers in rigidity"),
    ],
)
def test_rigidities_without_meaning_are_refused(
    events: dj.EventBatch, rigidity: Any, message: str
) -> None:
    for call in (
        lambda: dj.cluster(events, radius=0.7, rigidity=rigidity),
        lambda: dj.gradient(events, MASS, radius=0.7, rigidity=rigidity, trees=4),
        lambda: dj.expectation(events, MASS, radius=0.7, rigidity=rigidity, trees=4),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_where_there_is_one_rigidity_an_array_is_refused(events: dj.EventBatch) -> None:
    for call in (
        lambda: dj.cluster_jets(events, radius=0.7, rigidity=ALPHA),
        lambda: dj.input_gradient(events, MASS, radius=0.7, rigidity=ALPHA),
        lambda: dj.reweight(events, MASS, radius=0.7, radii=[0.7], rigidity=ALPHA),
        lambda: dj.gradient([events, events], MASS, radius=0.7, rigidity=ALPHA, trees=4),
    ):
        with pytest.raises(InputError, match=r"rigidity.* expected one number"):
            call()
    with pytest.raises(InputError, match="history: expected none with one rigidity per event"):
        dj.cluster(events, radius=0.7, rigidity=ALPHA, history=True)
