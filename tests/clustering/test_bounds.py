"""Bounds of settings: one table for functions, configurations and grids, within which all numbers are finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.config.run import Run
from djservice.core.bounds import BOUNDS
from djservice.errors import ClusteringError, ConfigError, InputError
from djservice.estimators.score_function import LeaveOneOut
from djservice.runs.grid import Grid, fill


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    rng = np.random.default_rng(1)
    counts = [0, 1, 12]
    n = sum(counts)
    return dj.EventBatch.from_arrays(
        pt=10 ** rng.uniform(-4, 3, n),
        eta=rng.normal(size=n),
        phi=rng.uniform(-3, 3, n),
        mass=np.zeros(n),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
    )


SAMPLING = ("rigidity", "power", "asymmetry", "seed", "threads")
REQUEST = ("trees", "jets", "iteration", "first_tree")
#: What is no number, of any bound.
NO_NUMBERS = (math.nan, True, "1", None, 1 + 0j, np.ma.masked, [1.0], np.datetime64("2026-01-01"))


@pytest.mark.parametrize("name", [*SAMPLING, *REQUEST, "radius", "rho"])
def test_settings_outside_of_their_bounds_are_refused(name: str, events: dj.EventBatch) -> None:
    make: Callable[[Any], Any]
    if name == "radius":
        make = lambda value: dj.cluster(events, radius=value, rigidity=1.0)  # noqa: E731
    elif name == "rho":
        make = lambda value: dj.VariableR(value)  # noqa: E731
    else:
        kind = Sampling if name in SAMPLING else TreeRequest
        make = lambda value: kind(**{name: value})  # noqa: E731
    bound = BOUNDS[name]
    for value in (bound.low, bound.high, np.asarray(bound.low)[()]):
        if name != "first_tree":  # together with the number of trees
            make(value)
    step = 1 if bound.whole else abs(bound.low)
    wrong = [bound.low - step, bound.high * 2, *NO_NUMBERS, *([1.5, 2.0] if bound.whole else [])]
    if name == "threads":
        wrong.remove(None)
    for value in wrong:
        with pytest.raises(InputError, match=name):
            make(value)


def test_counters_of_the_random_numbers_do_not_start_again(events: dj.EventBatch) -> None:
    one = events.select([2])
    last = dj.cluster(one, radius=0.7, rigidity=1.0, iteration=2**32 - 1, first_tree=2**32 - 1)
    assert np.isfinite(last.scores).all()
    for wrong in (
        {"iteration": 2**32},
        {"first_tree": 2**32},
        {"first_tree": 2**32 - 1, "trees": 2},
    ):
        with pytest.raises(InputError, match="4,294,967,295"):
            dj.cluster(one, radius=0.7, rigidity=1.0, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed is -1"):
        dj.cluster(one, radius=0.7, rigidity=1.0, seed=-1)
    with pytest.raises(InputError, match="trees is 10000000"):
        dj.cluster(one, radius=0.7, rigidity=1.0, trees=10**7)


def test_narrow_integers_of_numpy_are_their_numbers(events: dj.EventBatch) -> None:
    few = events.select([2])
    of = [
        dj.cluster(
            few, radius=0.7, rigidity=1.0, trees=kind(100), seed=kind(7), jets=kind(2)
        ).scores
        for kind in (int, np.int8, np.uint16)
    ]
    assert np.array_equal(of[0], of[1]) and np.array_equal(of[0], of[2])


@pytest.mark.parametrize("scale", ["minimum", "safe"])
@pytest.mark.parametrize("power", [-10.0, 0.0, 10.0])
def test_scores_are_finite_up_to_the_bounds(
    power: float, scale: Any, events: dj.EventBatch
) -> None:
    names = ("radius", "rigidity", *(["power"] if power else []))
    for rigidity in (1e-12, 1.0, 1e12):
        for radius in (1e-6, 1e3):
            sample = dj.cluster(
                events,
                radius=radius,
                rigidity=rigidity,
                power=power,
                scale=scale,
                asymmetry=10.0,
                trees=2,
                parameters=names,
                device="cpu",
            )
            assert np.isfinite(sample.scores).all() and np.isfinite(sample.log_prob).all()


@pytest.mark.parametrize(("pt", "power"), [(1e-20, 10.0), (1e20, -10.0), (1e-20, -10.0)])
def test_an_event_whose_distances_are_lost_is_named(pt: float, power: float) -> None:
    event = (
        dj.EventBatch.from_arrays(
            pt=[1.0, pt, pt],
            rapidity=[0.0, 1.0, 2.0],
            phi=[0.0] * 3,
            mass=[0.0] * 3,
            offsets=[0, 3],
        )
        if pt < 1
        else None
    )
    if event is None:
        with pytest.warns(dj.errors.InputWarning):
            event = dj.EventBatch.from_arrays(
                pt=[1.0, pt], rapidity=[0.0, 1.0], phi=[0.0] * 2, mass=[0.0] * 2, offsets=[0, 2]
            )
    with pytest.raises(ClusteringError, match="arrays, entry 0"):
        dj.cluster(event, radius=0.7, rigidity=1.0, power=power)


def opposite() -> dj.EventBatch:
    """Two particles whose momenta cancel to the last bit, and a third."""
    phi = 0.4209278197011611
    return dj.EventBatch.from_arrays(
        pt=[5.0, 5.0, 3.0],
        rapidity=[0.0, 0.1, -0.3],
        phi=[phi, phi - math.pi, 2.0],
        mass=[0.2, 0.2, 0.1],
        offsets=[0, 3],
    )


SUM_FIRST = ([[0, 1], [3, -1], [2, -1]], [[0, 1], [2, -1], [3, -1]], [[0, 1], [2, 3], [4, -1]])


@pytest.mark.parametrize("history", SUM_FIRST)
@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("scale", ["minimum", "safe"])
def test_a_sum_without_pt_has_finite_scores_or_is_refused(
    scale: Any, power: float, history: Any
) -> None:
    settings = {"power": power, "scale": scale, "rigidity": 0.3, "device": "cpu"}
    in_power = ("power",) if power else ()
    for radius, names in (
        (0.8, ("radius", "rigidity", *in_power)),
        (dj.VariableR(4.0, 0.2, 1.5), ("rho", "radius_min", "radius_max", "rigidity", *in_power)),
        (dj.VariableR(4.0, 0.2), ("rho", "radius_min", "rigidity", *in_power)),
    ):
        if power < 0 or (names[0] == "rho" and "radius_max" not in names):
            with pytest.raises(ClusteringError, match=r"entry 0, tree 0: .* pT = 0.*radius_max"):
                dj.replay(opposite(), [history], radius=radius, parameters=names, **settings)
        else:
            sample = dj.replay(opposite(), [history], radius=radius, parameters=names, **settings)
            assert np.isfinite(sample.scores).all() and not np.isnan(sample.log_prob).any()


#: Keys of a configuration, with a value that is too small and one that is too large.
KEYS = {
    "clustering.power": (-11, 11),
    "clustering.rigidity": (0, 1e300),
    "clustering.asymmetry": (0, 1e3),
    "clustering.learn_rigidity": ([0, 1], [1, 1e300]),
    "radius.minimum": (0, 1e4),
    "radius.maximum": (1e-7, 1e200),
    "radius.reach": ([0, 0], [0, 1e200]),
    "radius.reference_pt": (1e-200, 1e200),
    "optimiser.iterations": (0, 10**7),
    "optimiser.trees": (0, 10**7),
    "optimiser.batch_events": (0, 2**40),
    "scan.radii": ([0.0, 1, 2, 3], [1, 2, 3, 1e200]),
    "scan.trees": (1, 10**7),
    "spectrum.trees": (1, 10**7),
    "spectrum.radii": ([0.0], [1e200]),
    "per_event.iterations": (0, 2**32),
    "per_event.choose_trees": (1, 10**7),
    "radius_model.trees": (0, 10**7),
    "radius_model.feature_radius": (0, 1e200),
    "particle_weights.trees": (1, 10**7),
    "particle_weights.score_trees": (1, 10**7),
    "particle_weights.iterations": (0, 10**7),
    "particle_weights.radius": (0, 1e200),
    "particle_weights.start": (0.0, 1.0),
    "seed": (-1, 2**63),
    "cluster.workers": (0, 10**9),
    "loss.bins": (3, 10**9),
    "input.timeout": (0, 1e300),
}


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_a_configuration_have_the_same_bounds(key: str, tiny: dict[str, Any]) -> None:
    section, _, name = key.rpartition(".")
    for value in KEYS[key]:
        own = {name: value} if section else value
        data = tiny | {(section or name): {**tiny.get(section, {}), **own} if section else own}
        with pytest.raises(ConfigError, match=name):
            Run.from_dict(data)


@pytest.mark.parametrize(
    ("axis", "value"),
    [("rigidities", (1e300,)), ("radii", (0.5, 1e200)), ("trees", 10**7), ("repetitions", 10**9)],
)
def test_grids_have_the_same_bounds(axis: str, value: Any) -> None:
    axes: dict[str, Any] = {"rigidities": (1.0,), "radii": (0.5,), "trees": 4, "repetitions": 1}
    grid = Grid(estimators=(LeaveOneOut(),), **axes | {axis: value})
    with pytest.raises(ConfigError, match=r"expected (different, positive|a whole number)"):
        fill(None, grid, "x.zarr")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: dj.cuts.mass_below(math.nan),
        lambda: dj.cuts.two_jets(pt_min=math.nan),
        lambda: dj.cuts.two_jets(rapidity_max=math.nan),
        lambda: dj.observables.jet_multiplicity(pt_min=math.nan),
        lambda: dj.observables.n_jet_mass(1.5),
        lambda: dj.observables.n_jet_mass(10**9),
        lambda: dj.SquaredError(dj.observables.dijet_mass, target=math.nan),
        lambda: dj.SquaredError(dj.observables.dijet_mass, target=1.0, coefficient=math.inf),
        lambda: dj.RobustWidth(dj.observables.dijet_mass, bins=10**9),
    ],
)
def test_parameters_of_objectives_are_numbers(make: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        make()


@pytest.mark.parametrize(
    "returned",
    [
        lambda jets: np.ma.masked_less(jets.pt[..., 0], 1e9),
        lambda jets: jets.pt[..., 0] + 0j,
        lambda jets: np.full(jets.shape[:-1], "a"),
        lambda jets: np.full(jets.shape[:-1], None),
    ],
)
def test_what_an_observable_returns_are_numbers(returned: Any, events: dj.EventBatch) -> None:
    with pytest.raises(InputError, match=r"observable 'mine' returned .* expected numbers"):
        dj.gradient(
            events.select([2]),
            dj.observable(name="mine", jets=1)(returned),
            radius=0.7,
            trees=4,
        )


@pytest.mark.parametrize(
    "wrong", [[0.5, 0.6, 1e200], ["0.5"] * 3, np.ma.array([0.5] * 3, mask=[1, 0, 0])]
)
def test_one_radius_per_event_is_a_number_each(wrong: Any, events: dj.EventBatch) -> None:
    with pytest.raises(InputError, match="radius"):
        dj.cluster(events, radius=wrong, rigidity=1.0)
