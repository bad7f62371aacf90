"""``dj.input_gradient``: its values against exact ones, its errors, its parts, and what it refuses."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest
from brute_force import Floats, shipped_events, to_batch
from input_tables import mass_and_slope, table

import djservice as dj
from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats as Array
from djservice.errors import InputError
from djservice.evaluation import input_gradient as module
from djservice.evaluation.jet_derivatives import jet_derivatives

#: They compare at given particles, where a jump has no weight.
pytestmark = pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")

MASS = dj.observables.dijet_mass
LOSS = dj.SquaredError(MASS, target=125.0, scale=125.0)
CUT = dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0)
OBJECTIVES = {
    "dijet_mass": MASS,
    "leading_mass": dj.observables.leading_jet_mass,
    "leading_pt": dj.observables.Observable(lambda jets: jets[..., 0].pt, "pt", "GeV", 1),
    "loss": LOSS,
}


@dj.observable(units="GeV")
def mass_and_pt(jets: Any) -> Array:
    """Anything that depends on all components."""
    values: Array = MASS(jets) + 0.3 * jets[..., 0].pt - 0.1 * np.nan_to_num(jets[..., 1].rapidity)
    return values


def gradient(events: Any, objective: Any = MASS, **changes: Any) -> dj.InputGradient:
    settings = {"radius": 0.7, "trees": 20, "seed": 3, "device": "cpu", "threads": 1, **changes}
    return dj.input_gradient(events, objective, **settings)


def z_scores(trees: int, rows: int) -> Floats:
    """Of all components of the table that so many trees can sample."""
    z = []
    for event, entry in enumerate(table("exact_inputs_n4")):
        for number, row in enumerate(entry["expect"][event % rows :: rows]):
            name = list(OBJECTIVES)[number % 4]
            found = gradient(
                to_batch([entry["particles_pt_y_phi_m"]]), OBJECTIVES[name], trees=trees,
                radius=row["radius"], rigidity=row["rigidity"], power=row["power"],
                scale=row["scale"], seed=event * 100 + number, coordinates="pt_y_phi_m",
            )  # fmt: skip
            expected = {key: np.array(value) for key, value in row["pt_y_phi_m"][name].items()}
            sampled = (expected["tree_sd"] > 1e-9) & (expected["tree_kurtosis"] < trees / 40)
            z.append((found.value - expected["gradient"])[sampled] / found.error[sampled])
            exact = expected["tree_sd"] == 0.0
            np.testing.assert_allclose(
                found.value[exact], expected["gradient"][exact], rtol=1e-7, atol=1e-7
            )
    return np.concatenate(z)


def test_estimates_agree_with_the_table() -> None:
    z = z_scores(trees=4000, rows=9)
    assert len(z) > 100
    assert np.abs(z).max() < 4.5
    assert 0.9 < z.std() < 1.1


def test_the_score_without_baseline_is_unbiased_too() -> None:
    entry = table("exact_inputs_n4")[1]
    row, name = entry["expect"][0], "dijet_mass"
    found = gradient(
        to_batch([entry["particles_pt_y_phi_m"]]), trees=4000, radius=row["radius"],
        rigidity=row["rigidity"], power=row["power"], scale=row["scale"],
        coordinates="pt_y_phi_m", estimator=dj.Score(),
    )  # fmt: skip
    z = (found.value - np.array(row["pt_y_phi_m"][name]["gradient"])) / found.error
    assert np.abs(z).max() < 4.5


@pytest.mark.long
def test_estimates_agree_with_all_rows_of_the_table() -> None:
    z = z_scores(trees=20_000, rows=1)
    assert len(z) > 1500
    assert np.abs(z).max() < 4.5
    assert 0.95 < z.std() < 1.05


def copies(event: int, number: int) -> dj.EventBatch:
    """One event so many times, with its own draws each time."""
    events = shipped_events().select([event] * number)
    return replace(events, key=np.arange(number, dtype=np.uint64))


@pytest.mark.parametrize(
    ("objective", "part"),
    [(MASS, "both"), *((LOSS.where(CUT), part) for part in ("both", "pathwise", "score"))],
)
def test_errors_are_the_spread_of_estimates(objective: Any, part: Any) -> None:
    found = gradient(copies(4, 200), objective, trees=15, part=part)
    values, errors = (x.reshape(200, -1) for x in (found.value, found.error))
    spread, error = values.std(axis=0, ddof=1), np.sqrt((errors**2).mean(axis=0))
    sampled = spread > 1e-9 * spread.max()
    assert sampled.sum() > 100
    ratio = np.median(spread[sampled] / error[sampled])
    assert abs(ratio - 1.0) < 4 / math.sqrt(2 * 200)  # the pathwise parts move together


def test_a_selection_gives_the_derivative_of_the_ratio() -> None:
    """Of a mean over accepted trees; at particles a step apart no tree crosses the edge of the selection."""
    particles = np.array(table("exact_inputs_n4")[0]["particles_pt_y_phi_m"])
    objective = LOSS.where(dj.cuts.leading_jets(2, 30.0))
    setting: dict[str, Any] = {"radius": 1.0, "rigidity": 0.1, "trees": 20_000}
    found = gradient(to_batch([particles]), objective, coordinates="pt_y_phi_m", **setting)
    passed = dj.expectation(
        to_batch([particles]), MASS, where=objective.cut, device="cpu", **setting
    )
    assert 0.2 < passed.acceptance[0] < 0.8
    step, values = 0.01 * particles[0, 0], []
    for sign in (1.0, -1.0):
        moved = particles.copy()
        moved[0, 0] += sign * step
        values.append(gradient(to_batch([moved]), objective, **setting))
    slope = (values[0].expectation - values[1].expectation)[0] / (2 * step)
    error = math.hypot(*(each.expectation_error[0] for each in values)) / (2 * step)
    assert found.error[0, 0] > 0.0
    assert abs(found.value[0, 0] - slope) < 4 * math.hypot(error, found.error[0, 0])
    assert abs(found.value[0, 0]) > 10 * found.error[0, 0]


def test_parts_and_coordinates_fit_together() -> None:
    events = shipped_events().select(range(4))
    for coordinates in ("px_py_pz_E", "pt_y_phi_m"):
        both, pathwise, score = (
            gradient(events, coordinates=coordinates, part=part)
            for part in ("both", "pathwise", "score")
        )
        scale = np.abs(both.value).max(axis=0)
        assert (np.abs(pathwise.value + score.value - both.value) <= 1e-12 * scale).all()
    cartesian = gradient(events).value
    px, py = events.pt * np.cos(events.phi), events.pt * np.sin(events.phi)
    mt = np.hypot(events.pt, events.mass)
    pz, e = mt * np.sinh(events.rapidity), mt * np.cosh(events.rapidity)
    along = (cartesian[:, 2] * pz + cartesian[:, 3] * e) / mt
    chained = np.stack(
        [
            (cartesian[:, 0] * px + cartesian[:, 1] * py) / events.pt + events.pt / mt * along,
            cartesian[:, 2] * e + cartesian[:, 3] * pz,
            cartesian[:, 1] * px - cartesian[:, 0] * py,
            events.mass / mt * along,
        ],
        axis=1,
    )
    angular = gradient(events, coordinates="pt_y_phi_m")
    np.testing.assert_allclose(
        chained, angular.value, rtol=1e-9, atol=1e-9 * np.abs(angular.value).max()
    )
    assert not angular.value[events.mass == 0.0, 3].any()


def test_results_by_event(monkeypatch: pytest.MonkeyPatch) -> None:
    events = shipped_events().select(range(5))
    found = gradient(events, LOSS.where(CUT), radius=np.linspace(0.5, 0.9, 5))
    same = dj.expectation(events, MASS, radius=0.7, trees=20, seed=3, device="cpu")
    np.testing.assert_array_equal(gradient(events).expectation, same.mean)
    np.testing.assert_array_equal(gradient(events).expectation_error, same.error)
    array = found.to_awkward()
    assert array.fields == ["value", "error"] and array.value.fields == ["px", "py", "pz", "E"]
    np.testing.assert_array_equal(ak.num(array), events.counts)
    np.testing.assert_array_equal(ak.flatten(array.error.E), found.error[:, 3])
    monkeypatch.setattr(module, "trees_at_once", lambda device, loss: 40)
    for threads in (1, 3):
        again = gradient(events, LOSS.where(CUT), radius=np.linspace(0.5, 0.9, 5), threads=threads)
        for name in ("value", "error", "expectation"):
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_events_without_accepted_trees_are_nan_and_no_others() -> None:
    events = shipped_events().select([0, 1])
    empty = replace(
        events.select([0]), offsets=np.zeros(2, np.int64),
        **{name: np.empty(0) for name in ("pt", "rapidity", "phi", "mass")},
    )  # fmt: skip
    one_soft = replace(events.select([0]), offsets=np.array([0, 1]), **{
        name: getattr(events, name)[:1] for name in ("pt", "rapidity", "phi", "mass")
    })  # fmt: skip
    batch = dj.EventBatch.concatenate([empty, one_soft, events])
    found = gradient(batch, LOSS.where(dj.cuts.two_jets(pt_min=5.0)))
    assert np.isnan(found.expectation[:2]).all() and np.isfinite(found.expectation[2:]).all()
    assert np.isnan(found.value[:1]).all() and np.isfinite(found.value[1:]).all()
    assert gradient(events.select([])).value.shape == (0, 4)


def test_the_deterministic_clustering_has_its_pathwise_part() -> None:
    events = shipped_events().select(range(3))
    found = gradient(events, rigidity=math.inf, trees=50)
    assert not found.error.any() and found.value.any()
    step = 1e-5 * events.pt[0]
    up, down = (
        gradient(replace(events, pt=events.pt + sign * step * (np.arange(len(events.pt)) == 0)),
                 rigidity=math.inf).expectation[0]
        for sign in (1.0, -1.0)
    )  # fmt: skip
    angular = gradient(events, rigidity=math.inf, coordinates="pt_y_phi_m")
    assert (up - down) / (2 * step) == pytest.approx(angular.value[0, 0], rel=1e-6)


def test_derivatives_in_jets_are_those_of_the_formulas() -> None:
    sample = dj.cluster(shipped_events().select(range(30)), radius=0.7, rigidity=1.0, trees=20)
    momenta = sample.momenta
    numbers = np.nan_to_num(momenta)
    _, slope = mass_and_slope(numbers.sum(axis=2).reshape(-1, 4))
    slope = np.broadcast_to(slope.reshape(30, 20, 1, 4), momenta.shape)
    found = jet_derivatives(MASS, momenta)
    np.testing.assert_allclose(found, np.where(np.isnan(momenta), 0.0, slope), rtol=1e-8, atol=1e-8)
    found = jet_derivatives(mass_and_pt, momenta)
    jets = as_vectors(momenta)
    pt, mt2 = jets.pt, (jets.E + jets.pz) * (jets.E - jets.pz)
    expected = slope + np.stack(
        [
            np.stack([0.3 * jets.px / pt, 0.3 * jets.py / pt, 0 * pt, 0 * pt], axis=-1)[:, :, 0],
            np.stack([0 * pt, 0 * pt, -0.1 * jets.E / mt2, 0.1 * jets.pz / mt2], axis=-1)[:, :, 1],
        ],
        axis=2,
    )
    both = ~np.isnan(momenta).any(axis=(2, 3))
    np.testing.assert_allclose(found[both], expected[both], rtol=1e-7, atol=1e-8)


def test_a_threshold_of_an_observable_is_held_fixed() -> None:
    """A jet within a step of it, on either side."""
    for pt in (20.0 * (1 + 2e-4), 20.0 * (1 - 2e-4), 20.0 * (1 + 1.5e-3), 30.0):
        momenta = np.array([[[[50.0, 0.0, 10.0, 60.0], [0.0, pt, 5.0, pt + 3.0]]]])
        ht = dj.observables.scalar_ht(pt_min=20.0, jets=5)
        found = jet_derivatives(
            ht, np.concatenate([momenta, np.full((1, 1, 3, 4), np.nan)], axis=2)
        )
        expected = [0.0, 1.0 if pt > 20.0 else 0.0, 0.0, 0.0]
        np.testing.assert_allclose(found[0, 0, 1], expected, atol=1e-3)
        np.testing.assert_allclose(found[0, 0, 0], [1.0, 0.0, 0.0, 0.0], atol=1e-8)
        assert not found[0, 0, 2:].any()


def test_memory_does_not_grow_with_particles_times_trees() -> None:
    events, peaks = shipped_events().select([3]), []
    for trees in (100, 600):
        tracemalloc.start()
        gradient(events, trees=trees)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    of_a_tree = (peaks[1] - peaks[0]) / 500
    assert of_a_tree < 0.5 * 32 * len(events.pt)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": dj.StateBaseline()}, "state baseline made gradients in particles 1.3 to 9"),
        ({"estimator": "leave_one_out"}, "estimator is 'leave_one_out', expected djservice.Leave"),
        ({"trees": 1}, "trees is 1, expected 2 or more with the leave_one_out estimator"),
        ({"coordinates": "x_y_z_t"}, "coordinates is 'x_y_z_t', expected 'px_py_pz_E' or"),
        ({"part": "all"}, "part is 'all', expected 'both', 'pathwise' or 'score'"),
        ({"part": "score", "rigidity": math.inf}, "infinite rigidity there is no score part"),
        ({"radius": [0.4, 0.5]}, r"radius has shape \(2,\), expected one number or one per event"),
        ({"radius": [0.4, 0.5, math.nan]}, r"radius is nan \(event 2\)"),
        ({"objective": dj.Width(MASS)}, "Width is not a mean over the trees of an event"),
        (
            {"objective": dj.SquaredErrorOfMean(MASS, target=1.0)},
            "SquaredErrorOfMean is not a mean",
        ),
        ({"objective": lambda jets: jets.pt}, "expected a loss or an observable"),
        ({"objective": LOSS.where(CUT) + LOSS}, "the sum have different selections"),
        ({"objective": dj.SquaredError(MASS)}, "has no target, and event 0 has no truth"),
        (
            {"objective": dj.observables.Observable(lambda jets: jets.constituents, "c")},
            "the objective reads what jets do not have: .*constituents.*four-momenta alone",
        ),
        (
            {"objective": dj.observables.Observable(lambda jets: jets.pt, "pts")},
            r"observable 'pts' returned shape \(1, 1, 2\)",
        ),
    ],
)
def test_arguments_without_meaning_are_refused_before_any_work(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = replace(shipped_events().select(range(3)), truth=np.full(3, np.nan))
    if "selections" not in message:  # this one depends on the trees
        monkeypatch.delattr(module, "sample_trees")
    with pytest.raises(InputError, match=message):
        gradient(events, changes.pop("objective", MASS), **changes)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pt", math.nan, "entry 1, particle 0: pt is nan, expected a positive"),
        ("pt", 0.0, "entry 1, particle 0: pt is 0.0, expected a positive"),
        ("phi", math.inf, "entry 1, particle 0: phi is inf"),
        ("mass", -1.0, "entry 1, particle 0: mass is -1.0, expected 0 GeV or more"),
    ],
)
def test_a_bad_particle_is_named(field: str, value: float, message: str) -> None:
    columns = {
        "pt": [9.0, 5.0, 4.0],
        "rapidity": [0.0] * 3,
        "phi": [0.0, 1.0, 2.0],
        "mass": [0.0] * 3,
    }
    columns[field][1] = value
    particles = ak.unflatten(ak.zip(columns), [1, 2])
    with pytest.raises(InputError, match=message):
        gradient(particles)


def test_an_objective_without_finite_derivatives_names_the_event() -> None:
    events = shipped_events().select(range(3))

    sample = dj.cluster(events, radius=0.7, rigidity=1.0, trees=20, seed=3, jets=1, settled_pt=0.0)
    peaks = sample.jets[1, :, 0].pt

    @dj.observable(jets=1)
    def steep(jets: Any) -> Array:
        distance = np.abs(jets[..., 0].pt[..., np.newaxis] / peaks - 1.0).min(axis=-1)
        return np.where((distance > 0.0) & (distance < 3e-3), np.inf, 1.0)

    with pytest.raises(InputError, match=r"entry 1: .* no finite derivatives in the momenta"):
        gradient(events, steep)
