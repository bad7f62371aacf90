"""Scores in every parameter, and variable-R jets, step by step against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from brute_force import BEAM, Setting, event_of, shipped_events, to_batch, walk
from every_tree import enumerate_trees, exact

from djservice.clustering.cluster import cluster, replay
from djservice.clustering.radius import VariableR
from djservice.errors import InputError

TINY = np.array(
    [[60.0, 0.0, 0.0, 5.0], [18.0, 0.5, 2.6, 0.1], [15.0, 0.3, 1.4, 0.0], [8.0, 0.2, 0.5, 0.1]]
)
VARIABLE = (20.0, 0.3, 1.2)
SETTINGS = [
    Setting(0.7, 1.0, -1.0),
    Setting(0.7, 1.0, -1.0, 1.0),
    Setting(0.4, 10.0, 1.0),
    Setting(1.0, 0.1, -0.5),
    Setting(VARIABLE, 1.0, -1.0),
    Setting(VARIABLE, 1.0, -1.0, 1.0),
    Setting(VARIABLE, 10.0, 0.5),
    Setting((5.0, 0.0, math.inf), 1.0, -1.0),
]


def parameters_of(setting: Setting) -> tuple[str, ...]:
    if not isinstance(setting.radius, tuple):
        return ("radius", "rigidity", "power")
    bounds = tuple(
        n
        for n, v in zip(("radius_min", "radius_max"), setting.radius[1:], strict=True)
        if 0 < v < math.inf
    )
    return ("rho", *bounds, "rigidity", "power")


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_scores_are_the_sums_of_brute_force(setting: Setting) -> None:
    events = shipped_events()
    names = parameters_of(setting)
    compared = 0
    for size in (30, 70):
        batch = events.select([int(np.abs(events.counts - size).argmin())])
        trees = cluster(
            batch, **setting.arguments, trees=2, seed=size, history=True, parameters=names
        )
        again = replay(batch, trees.history, **setting.arguments, parameters=names)
        for tree in range(2):
            expected, error = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
            smooth = dict.fromkeys(names, True)
            for _, step, drawn in walk(event_of(batch, 0), trees.history_of(0, tree), setting):
                assert not step.blurred.any()
                for name in names:
                    if name == "rigidity":
                        expected[name] += step.score_rigidity[drawn]
                        error[name] += (
                            step.score_error(step.exponent)[drawn] + step.probability_error[drawn]
                        )
                        continue
                    slope = step.slopes[name]
                    smooth[name] &= not step.kink_in(slope)
                    expected[name] += step.score(slope)[drawn]
                    error[name] += step.score_error(slope)[drawn] + math.exp(-step.limit)
            for name in names:
                for found in (trees, again):
                    if smooth[name]:
                        tolerance = 10 * error[name] + 1e-11 * abs(expected[name])
                        assert abs(found.score_in(name)[0, tree] - expected[name]) <= tolerance, (
                            size,
                            tree,
                            name,
                        )
                        compared += 1
    assert compared >= 0.9 * 8 * len(names)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.rigidity <= 1], ids=str)
def test_scores_of_all_trees_of_a_tiny_event(setting: Setting) -> None:
    event = TINY
    histories = np.array(list(enumerate_trees(event)))
    names = parameters_of(setting)
    found = replay(to_batch([event]), histories, **setting.arguments, parameters=names)
    expected = exact(event, setting)
    possible = expected.probability > 1e-15  # below, some of the steps are beyond the truncation
    np.testing.assert_allclose(
        np.exp(found.log_prob[0]), expected.probability, rtol=1e-11, atol=1e-17
    )
    columns = {
        names[0]: expected.score_radius,
        "rigidity": expected.score_rigidity,
        "power": expected.score_power,
    }
    for name, column in columns.items():
        scale = np.abs(column[possible]).max()
        np.testing.assert_allclose(
            found.score_in(name)[0, possible], column[possible], rtol=1e-9, atol=1e-11 * scale
        )
    probability = np.exp(found.log_prob[0])
    for name in names:  # E[S] = 0 in every parameter
        score = np.where(probability > 0, found.score_in(name)[0], 0.0)
        assert (
            abs(math.fsum(probability * score))
            < 1e-11 * math.fsum(probability * np.abs(score)) + 1e-13
        )


def test_variable_r_between_equal_bounds_is_that_radius() -> None:
    events = shipped_events().select(range(20))
    settings: dict[str, Any] = {"rigidity": 1.0, "trees": 5, "seed": 2, "history": True}
    constant = cluster(events, radius=0.6, **settings)
    nearly = cluster(
        events,
        radius=VariableR(20.0, 0.6, np.nextafter(0.6, 1)),
        **settings,
        parameters=("radius_min",),
    )
    np.testing.assert_array_equal(constant.history, nearly.history)


def test_variable_r_shrinks_hard_jets() -> None:
    """At infinite rigidity two particles merge if they are nearer than rho / pT of the harder one."""
    for pt, together in ((30.0, True), (60.0, False)):
        event = to_batch([[[pt, 0.0, 0.0, 0.0], [10.0, 0.5, 0.0, 0.0]]])
        trees = cluster(event, radius=VariableR(20.0, 0.1, 1.5), rigidity=math.inf, history=True)
        assert (trees.n_jets[0, 0] == 1) == together
        assert (trees.history_of(0, 0)[0, 1] != BEAM) == together


def test_more_parameters_do_not_change_the_trees() -> None:
    events = shipped_events().select(range(30))
    settings: dict[str, Any] = {"radius": 0.6, "rigidity": 1.0, "trees": 5, "seed": 6}
    plain = cluster(events, **settings)
    wide = cluster(events, **settings, parameters=("rigidity", "radius", "power"))
    assert wide.scores.shape == (30, 5, 3) and wide.parameters == ("rigidity", "radius", "power")
    np.testing.assert_array_equal(wide.momenta, plain.momenta)
    np.testing.assert_array_equal(wide.log_prob, plain.log_prob)
    np.testing.assert_allclose(wide.score_in("radius"), plain.score, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(wide.score, wide.score_in("rigidity"))


@pytest.mark.parametrize("radius", [0.7, VariableR(*VARIABLE)], ids=["constant", "variable"])
@pytest.mark.parametrize("parameters", [(), ("rigidity",), ("power", "rigidity")])
def test_a_trace_shows_the_score_in_the_first_parameter(
    radius: Any, parameters: tuple[str, ...]
) -> None:
    event = shipped_events().select([0])
    trees = cluster(event, radius=radius, rigidity=1.0, trees=2, trace=True, parameters=parameters)
    for tree in range(2):
        steps = trees.trace_of(0, tree)["score"]
        assert steps.sum() == pytest.approx(
            trees.score[0, tree], rel=1e-10, abs=1e-10 * np.abs(steps).sum()
        )


def test_slopes_of_the_mean_agree_with_finite_differences() -> None:
    """E[n_jets] at t + h and t - h, independent trees, against E[n_jets S]."""
    event = to_batch([TINY])
    point: dict[str, Any] = {"radius": 1.2, "rigidity": 1.0, "power": -0.5}
    trees, step = 200_000, {"radius": 0.05, "rigidity": 0.2, "power": 0.1}
    sample = cluster(event, **point, trees=trees, seed=1, parameters=tuple(point))
    jets = sample.n_jets[0] - sample.n_jets[0].mean()
    for name, h in step.items():
        terms = jets * sample.score_in(name)[0]
        ends = [
            cluster(
                event, **{**point, name: point[name] + sign * h}, trees=trees, seed=2 + sign
            ).n_jets[0]
            for sign in (-1, 1)
        ]
        slope = (ends[1].mean() - ends[0].mean()) / (2 * h)
        variance = terms.var() / trees + (ends[0].var() + ends[1].var()) / trees / (2 * h) ** 2
        assert abs(terms.mean() - slope) < 4 * math.sqrt(variance), name
        assert abs(slope) > 8 * math.sqrt(variance), name  # else this could not fail


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"radius": 0.6, "parameters": ("rho",)},
            r"expected a tuple of different names among radius, rigidity, power",
        ),
        (
            {"radius": VariableR(20.0), "parameters": ("radius",)},
            r"among rho, radius_min, radius_max, rigidity, power",
        ),
        ({"radius": 0.6, "parameters": "radius"}, r"expected a tuple"),
        (
            {"radius": 0.6, "power": 0.0, "parameters": ("power",)},
            r"no derivative in the power at power = 0",
        ),
    ],
)
def test_parameters_that_have_no_meaning(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cluster(shipped_events().select([0]), rigidity=1.0, **arguments)


@pytest.mark.parametrize(
    "arguments", [(0.0,), (math.inf,), (20.0, 1.0, 0.5), (20.0, -1.0), (20.0, 0.5, 0.5)]
)
def test_variable_r_without_meaning(arguments: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected"):
        VariableR(*arguments)
