"""Every step of sampled trees against brute force: what mean values and the deterministic limit do not see."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from brute_force import (
    BEAM,
    Floats,
    Objects,
    Setting,
    Step,
    enumerate_trees,
    event_of,
    options,
    shipped_events,
    to_batch,
    walk,
)
from scipy import stats

from djservice.clustering.cluster import cluster, replay
from djservice.clustering.radius import VariableR
from djservice.errors import ClusteringError
from djservice.events.batch import EventBatch

RIGIDITIES = (0.1, 1.0, 10.0, 100.0, 1e4, 1e6)
POWERS = (-1.0, 0.0, 1.0, -0.5)
RADII = (0.4, 1.0)
ASYMMETRIES = (None, 1.0)
#: particles wanted: (trees, steps of each that are checked); brute force costs n^2 a step
SIZES = {30: (3, 30), 70: (1, 70), 140: (1, 45), 300: (1, 12)}


def event_near(particles: int) -> EventBatch:
    """The shipped event whose number of particles is nearest, as a batch of one event."""
    events = shipped_events()
    return events.select([int(np.abs(events.counts - particles).argmin())])


def spread_steps(n: int, wanted: int, seed: int) -> set[int]:
    """Steps to check: all of a small event; of a large one the first and the last few, and others drawn at random."""
    if wanted >= n:
        return set(range(n))
    ends = {0, 1, n // 2, n - 3}
    rest = np.random.default_rng(seed).choice(n - 1, wanted - len(ends), replace=False)
    return ends | set(rest.tolist())


def assert_step(got: Any, step: Step, drawn: int, where: str) -> None:
    """One row of the trace against brute force, within the rounding that the step's conditioning allows."""

    def near(name: str, value: float, expected: float, error: float) -> None:
        text = f"{where}: {name} {value!r}, expected {expected!r} within {error!r}"
        assert abs(value - expected) <= 1e-12 * abs(expected) + error, text

    near("minimum", got["minimum"], step.minimum, step.minimum_error)
    if (
        step.blurred.any()
    ):  # one of the distances of 0 is drawn; which of them count as 0 is up to rounding
        assert step.q[drawn] == 0 or step.blurred[drawn], where
        assert abs(got["score"]) < math.exp(-step.limit), where
        return
    near("scale", got["scale"], step.scale, step.scale_error)
    surely = int((step.exponent + step.exponent_error + 1e-9 <= step.limit).sum())
    perhaps = int((step.exponent - step.exponent_error - 1e-9 <= step.limit).sum())
    assert surely <= got["options"] <= perhaps, (
        f"{where}: {got['options']} options, expected {surely} to {perhaps}"
    )
    near("norm", got["norm"], step.norm, step.norm * step.norm_error)
    probability = step.probability[drawn]
    near(
        "probability", got["probability"], probability, probability * step.probability_error[drawn]
    )
    if not step.kink:
        # Options beyond the truncation may stay on the list with a weight of no more than e^-limit.
        beyond = math.exp(-step.limit)
        near(
            "score", got["score"], step.score_radius[drawn], step.score_radius_error[drawn] + beyond
        )


def assert_sums(trees: Any, tree: int) -> None:
    """The sums over the steps are the tree's."""
    trace = trees.trace_of(0, tree)
    scores, logs = trace["score"], np.log(trace["probability"])
    assert trees.score[0, tree] == pytest.approx(
        math.fsum(scores), rel=0, abs=1e-12 * (1e-3 + np.abs(scores).sum())
    )
    assert trees.log_prob[0, tree] == pytest.approx(
        math.fsum(logs), rel=0, abs=1e-12 * (1 + np.abs(logs).sum())
    )


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("rigidity", RIGIDITIES)
def test_every_step_is_what_brute_force_finds(
    rigidity: float, power: float, asymmetry: float | None
) -> None:
    checked = exact_counts = 0
    norms: list[float] = []
    for (size, (count, wanted)), radius in itertools.product(SIZES.items(), RADII):
        batch = event_near(size)
        setting = Setting(radius, rigidity, power, asymmetry)
        trees = cluster(
            batch, **setting.arguments, trees=count, seed=size, history=True, trace=True
        )
        event, n = event_of(batch, 0), int(batch.counts[0])
        for tree in range(count):
            trace, history = trees.trace_of(0, tree), trees.history_of(0, tree)
            assert history.shape == (n, 2)
            assert trees.n_jets[0, tree] == (history[:, 1] == BEAM).sum()
            assert_sums(trees, tree)
            for t, step, drawn in walk(event, history, setting, spread_steps(n, wanted, seed=tree)):
                assert_step(trace[t], step, drawn, f"n = {n}, {setting}, tree {tree}, step {t}")
                checked += 1
                exact_counts += int(trace["options"][t] == step.kept.sum())
                norms.append(abs(trace["norm"][t] / step.norm - 1))
    # the tolerances above follow the conditioning; these say that it is good nearly everywhere
    assert exact_counts >= 0.998 * checked
    assert np.median(norms) <= 1e-14 * max(10.0, rigidity)


UNUSUAL = (
    Setting(0.05, 1.0, -2.0),
    Setting(3.0, 1.0, 2.0),
    Setting(0.7, 0.001, -1.0),
    Setting(0.7, 0.001, 0.3, 1.0),
    Setting(0.7, 3.0, -1.0, 0.5),
    Setting(0.7, 3.0, -1.0, 2.0),
    Setting(0.7, 1e9, -1.0),
)


@pytest.mark.parametrize("setting", UNUSUAL, ids=str)
def test_every_step_at_unusual_settings(setting: Setting) -> None:
    for size, (_, wanted) in SIZES.items():
        batch = event_near(size)
        trees = cluster(batch, **setting.arguments, trees=1, seed=size, history=True, trace=True)
        event, n = event_of(batch, 0), int(batch.counts[0])
        assert_sums(trees, 0)
        for t, step, drawn in walk(
            event, trees.history_of(0, 0), setting, spread_steps(n, wanted, seed=1)
        ):
            assert_step(trees.trace_of(0, 0)[t], step, drawn, f"n = {n}, {setting}, step {t}")


def ranks(
    batch: EventBatch, setting: Setting, trees: int, wanted: int, seed: int
) -> Iterator[float]:
    """For each draw a uniform number, if and only if the draws follow brute force's probabilities.

    Options are ordered by q: a preference for small or large distances would show as a slope.
    """
    random = np.random.default_rng(seed)
    sample = cluster(batch, **setting.arguments, trees=trees, seed=seed, history=True)
    event, n = event_of(batch, 0), int(batch.counts[0])
    for tree in range(trees):
        for _, step, drawn in walk(
            event, sample.history_of(0, tree), setting, spread_steps(n, wanted, seed=tree)
        ):
            probability = step.probability
            if probability.max() < 0.99:
                below = probability[step.q < step.q[drawn]].sum()
                yield below + random.random() * probability[step.q == step.q[drawn]].sum()


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("rigidity", (0.1, 1.0, 10.0, 100.0))
def test_draws_follow_the_probabilities(rigidity: float, asymmetry: float | None) -> None:
    setting = Setting(0.7, rigidity, -1.0, asymmetry)
    small = ranks(event_near(30), setting, trees=30, wanted=30, seed=1)
    large = ranks(event_near(140), setting, trees=12, wanted=20, seed=2)
    values = [*small, *large]
    assert len(values) > 40
    assert stats.kstest(values, "uniform").pvalue > 1e-3


# identical particles: a distance of zero


OTHERS = [
    [40.0, 0.4, -1.0, 0.1],
    [25.0, -0.8, 2.5, 0.0],
    [3.0, 0.45, -1.2, 0.14],
    [1.0, 1.9, 0.3, 0.5],
]
TWIN, OTHER_TWIN = [7.5, 0.3, -0.9, 0.14], [2.5, -1.1, 3.0, 0.0]
DUPLICATES = {
    "two": ([TWIN] * 2, 1),
    "three": ([TWIN] * 3, 3),
    "four": ([TWIN] * 4, 6),
    "two pairs": ([TWIN] * 2 + [OTHER_TWIN] * 2, 2),
    "two and three": ([TWIN] * 2 + [OTHER_TWIN] * 3, 4),
}
SEVERAL = {name: case for name, case in DUPLICATES.items() if case[1] > 1}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", DUPLICATES)
def test_identical_particles_merge_first_and_without_score(
    name: str, power: float, asymmetry: float | None
) -> None:
    twins, choices = DUPLICATES[name]
    event = np.array([*twins, *OTHERS])
    for rigidity in RIGIDITIES:
        setting = Setting(0.4, rigidity, power, asymmetry)
        trees = cluster(
            to_batch([event]), **setting.arguments, trees=3, seed=11, history=True, trace=True
        )
        assert np.isfinite(trees.score).all() and np.isfinite(trees.log_prob).all()
        for tree in range(3):
            trace, history = trees.trace_of(0, tree), trees.history_of(0, tree)
            assert trace["minimum"][0] == 0 and trace["scale"][0] == 0 and trace["score"][0] == 0
            assert trace["norm"][0] == trace["options"][0] == choices
            assert trace["probability"][0] == pytest.approx(1 / choices, rel=1e-15)
            first, second = sorted(history[0].tolist())
            assert first >= 0 and event[first].tolist() == event[second].tolist()
            assert_sums(trees, tree)
            for t, step, drawn in walk(event, history, setting):
                assert_step(trace[t], step, drawn, f"{setting}, tree {tree}, step {t}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
def test_simulated_particles_at_one_point(asymmetry: float | None) -> None:
    """They occur in files of reduced precision, where massless."""
    events = shipped_events("ZHllbb_1000.root", massless=True)
    at = np.stack(
        [np.repeat(np.arange(len(events)), events.counts), events.rapidity, events.phi], axis=1
    )
    places, count = np.unique(at, axis=0, return_counts=True)
    twice = places[count > 1, 0].astype(int)
    assert len(twice) > 0
    batch = events.select([twice[events.counts[twice].argmin()]])
    for power, rigidity in itertools.product(POWERS, (0.1, 100.0)):
        setting = Setting(0.4, rigidity, power, asymmetry)
        trees = cluster(batch, **setting.arguments, trees=1, seed=1, history=True, trace=True)
        trace = trees.trace_of(0, 0)
        assert trace["minimum"][0] == 0 and trace["norm"][0] == 1 and trace["score"][0] == 0
        for t, step, drawn in walk(event_of(batch, 0), trees.history_of(0, 0), setting):
            assert_step(trace[t], step, drawn, f"{setting}, step {t}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scale", ("minimum", "safe"))
@pytest.mark.parametrize("name", SEVERAL)
def test_zero_distances_are_equally_likely(name: str, scale: str) -> None:
    twins, choices = SEVERAL[name]
    draws = 6000
    batch = to_batch([[*twins, *OTHERS]])
    sample = cluster(
        batch, radius=0.7, rigidity=1.0, power=-1.0, trees=draws, seed=5, scale=scale, history=True
    )
    first = [tuple(sorted(sample.history_of(0, tree)[0].tolist())) for tree in range(draws)]
    counts = [first.count(pair) for pair in sorted(set(first))]
    assert len(counts) == choices
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.timeout(300)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", DUPLICATES)
def test_identical_particles_at_infinite_rigidity(name: str, power: float) -> None:
    event = np.array([*DUPLICATES[name][0], *OTHERS])
    trees = cluster(
        to_batch([event]), radius=0.4, rigidity=math.inf, power=power, jets=len(event), history=True
    )
    assert (trees.log_prob == 0).all()
    for _, step, drawn in walk(event, trees.history_of(0, 0), Setting(0.4, math.inf, power)):
        assert step.q[drawn] <= step.minimum + step.error[drawn] + step.minimum_error


# the deterministic limit


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("radius", RADII)
def test_infinite_rigidity_takes_the_smallest_distance(radius: float, power: float) -> None:
    setting = Setting(radius, math.inf, power)
    for size, (_, wanted) in SIZES.items():
        batch = event_near(size)
        trees = cluster(batch, radius=radius, rigidity=math.inf, power=power, history=True)
        assert trees.log_prob.shape == (1, 1) and trees.log_prob[0, 0] == 0
        history = trees.history_of(0, 0)
        for _, step, drawn in walk(
            event_of(batch, 0), history, setting, spread_steps(len(history), wanted, seed=1)
        ):
            assert step.q[drawn] <= step.minimum + step.error[drawn] + step.minimum_error


def test_infinite_rigidity_has_no_score() -> None:
    trees = cluster(event_near(30), radius=0.7, rigidity=math.inf, power=-1.0)
    with pytest.raises(ClusteringError):
        _ = trees.score


# degenerate events


def test_empty_and_single_particle_events() -> None:
    batch = to_batch([np.empty((0, 4)), [[5.0, 0.3, 1.0, 0.2]], [TWIN, *OTHERS]])
    trees = cluster(
        batch,
        radius=0.7,
        rigidity=1.0,
        power=-1.0,
        trees=4,
        jets=2,
        seed=3,
        history=True,
        trace=True,
    )
    assert trees.n_jets[:2].tolist() == [[0] * 4, [1] * 4]
    assert (trees.score[:2] == 0).all() and (trees.log_prob[:2] == 0).all()
    assert np.isnan(trees.jets.pt[0]).all() and np.isnan(trees.jets.pt[1, :, 1]).all()
    assert trees.jets.pt[1, :, 0] == pytest.approx([5.0] * 4, rel=1e-14)
    assert trees.jets.mass[1, :, 0] == pytest.approx([0.2] * 4, rel=1e-10)
    assert trees.history_of(0, 0).shape == (0, 2)
    assert trees.history_of(1, 0).tolist() == [[0, BEAM]]
    assert trees.trace_of(1, 0)["norm"].tolist() == [1.0]


def opposite_pair() -> Floats:
    """Two particles whose transverse momenta cancel exactly."""
    for phi in np.linspace(-3, -0.1, 500):
        other = phi + math.pi
        cancel = [m.cos(phi) == -m.cos(other) and m.sin(phi) == -m.sin(other) for m in (math, np)]
        if all(cancel):
            return np.array([[1.0, 0.0, phi, 0.0], [1.0, 0.0, other, 0.0]])
    raise AssertionError("no such pair of angles")


@pytest.mark.timeout(300)
def test_a_sum_without_pt_is_an_error_that_names_the_event() -> None:
    batch = to_batch([[[5.0, 0.3, 1.0, 0.2]], opposite_pair()], source="cancels.root")
    with pytest.raises(ClusteringError, match=r"cancels\.root, entry 1"):
        cluster(batch, radius=1.0, rigidity=0.1, power=-1.0, trees=200, seed=3)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("power", (0.0, 1.0))
def test_a_sum_without_pt_is_no_error_where_its_distance_is_defined(power: float) -> None:
    batch = to_batch([opposite_pair()])
    trees = cluster(batch, radius=1.0, rigidity=0.1, power=power, trees=200, seed=3, history=True)
    assert np.isfinite(trees.score).all() and np.isfinite(trees.log_prob).all()
    merged = trees.n_jets[0] == 1
    assert 20 < merged.sum() < 180
    assert (trees.jets.pt[0, merged, 0] == 0).all()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("power", (0.0, 0.5, 1.0))
def test_an_infinite_variable_radius_is_an_error_that_names_the_event(power: float) -> None:
    batch = to_batch([[[5.0, 0.3, 1.0, 0.2]], opposite_pair()], source="cancels.root")
    settings: dict[str, Any] = {"rigidity": 0.1, "power": power, "trees": 200, "seed": 3}
    with pytest.raises(
        ClusteringError, match=r"cancels\.root, entry 1.*add up to pT = 0.*finite radius_max"
    ):
        cluster(batch, radius=VariableR(20.0), **settings)
    assert (cluster(batch, radius=VariableR(20.0, 0.1, 1.5), **settings).n_jets > 0).all()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("pt", "power"), [(1e-170, -1.0), (1e-40, -4.0)])
def test_a_distance_that_overflows_is_an_error_that_names_the_event(
    pt: float, power: float
) -> None:
    with pytest.raises(ClusteringError, match=r"all distances that are left are infinite"):
        cluster(
            to_batch([[[pt, 0.0, 0.0, 0.0], [5.0, 3.0, 1.0, 0.0]]]),
            radius=0.5,
            rigidity=1.0,
            power=power,
        )


# replay


def paired(batch: EventBatch, setting: Setting, radius: Any, trees: int = 20) -> tuple[Any, Any]:
    """Sampled trees, and the same histories evaluated anew."""
    arguments = {**setting.arguments, "radius": radius}
    trees_ = cluster(batch, **arguments, trees=trees, seed=9, history=True)
    return trees_, replay(batch, trees_.history, **arguments)


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("rigidity", RIGIDITIES)
def test_replay_gives_the_trees_that_were_sampled(
    rigidity: float, power: float, asymmetry: float | None
) -> None:
    batch = EventBatch.concatenate([event_near(size) for size in SIZES])
    setting = Setting(0.7, rigidity, power, asymmetry)
    for radius in (0.7, np.array([0.3, 0.5, 0.8, 1.1])):
        trees, again = paired(batch, setting, radius, trees=5)
        np.testing.assert_allclose(again.log_prob, trees.log_prob, rtol=1e-12, atol=1e-12)
        # a score is a sum of terms as large as the rigidity that cancel
        np.testing.assert_allclose(
            again.score, trees.score, rtol=1e-12, atol=1e-12 * max(1.0, rigidity)
        )


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("rigidity", (0.1, 1.0, 10.0))
def test_score_is_the_derivative_of_the_log_probability(
    rigidity: float, power: float, asymmetry: float | None
) -> None:
    batch = EventBatch.concatenate([event_near(30), event_near(70)])
    setting = Setting(0.7, rigidity, power, asymmetry)
    trees = cluster(batch, **setting.arguments, trees=20, seed=9, history=True)
    h = 1e-5
    arguments = setting.arguments
    up, down = (
        replay(batch, trees.history, **{**arguments, "radius": 0.7 + s}).log_prob for s in (h, -h)
    )
    slope = (up - down) / (2 * h)
    off = np.abs(slope - trees.score) / (1 + np.abs(trees.score))
    # a tree in which a minimum changes between R - h and R + h has a kink there
    assert np.quantile(off, 0.9) < 1e-5
    assert np.median(off) < 1e-6


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
def test_replay_of_every_history_of_a_tiny_event(asymmetry: float | None) -> None:
    event = np.array([OTHERS[0], OTHERS[1], OTHERS[2], TWIN])
    histories = np.array(list(enumerate_trees(event)))
    setting = Setting(0.6, 0.5, -1.0, asymmetry)
    trees = replay(to_batch([event]), histories, **setting.arguments, trace=True)
    assert np.exp(trees.log_prob).sum() == pytest.approx(1, rel=1e-13)
    for tree, history in enumerate(histories):
        for t, step, drawn in walk(event, history, setting):
            if step.kept[drawn]:
                assert_step(
                    trees.trace_of(0, tree)[t], step, drawn, f"{history.tolist()}, step {t}"
                )


# brute force itself


def test_brute_force_on_a_step_done_by_hand() -> None:
    event = [[10.0, 0.0, 3.1, 0.0], [5.0, 0.6, -3.1, 0.0]]
    step = options(Objects(event), [0, 1], Setting(0.5, 2.0, -1.0))
    distance = 0.6**2 + (2 * math.pi - 6.2) ** 2
    q = np.array([0.25 / 100, 0.25 / 25, distance / 100])
    weights = np.exp(-2.0 * (q / q[0] - 1))
    np.testing.assert_allclose(step.q, q, rtol=1e-12)
    np.testing.assert_allclose(step.probability, weights / weights.sum(), rtol=1e-12)
    assert step.minimum == pytest.approx(0.0025)
    # the minimum is a beam: only the pair's x moves, by -2/R
    slope = -2 / 0.5 * q[2] / q[0]
    expected = -2.0 * (np.array([0, 0, slope]) - step.probability[2] * slope)
    np.testing.assert_allclose(step.score_radius, expected, rtol=1e-11)


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
def test_brute_force_scores_are_derivatives(asymmetry: float | None) -> None:
    event = [*OTHERS, TWIN, [12.0, 0.5, -0.7, 0.2]]
    active, h = range(len(event)), 1e-6

    def log_probability(radius: float, rigidity: float, power: float) -> Floats:
        return np.log(
            options(Objects(event), active, Setting(radius, rigidity, power, asymmetry)).probability
        )

    def slope(which: int) -> Floats:
        high, low = ([0.7, 0.3, -0.8] for _ in range(2))
        high[which] += h
        low[which] -= h
        return (log_probability(*high) - log_probability(*low)) / (2 * h)

    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = [slope(which) for which in range(3)]
    step = options(Objects(event), active, Setting(0.7, 0.3, -0.8, asymmetry))
    for numerical, analytic in zip(
        slopes, (step.score_radius, step.score_rigidity, step.score_power), strict=True
    ):
        np.testing.assert_allclose(analytic[step.kept], numerical[step.kept], rtol=1e-6, atol=1e-7)


def test_replay_where_the_exponential_underflows() -> None:
    """A history drawn at a low rigidity has a finite log-probability at a high one, however small."""
    batch = event_near(30)
    history = cluster(
        batch, radius=0.7, rigidity=0.1, power=-1.0, trees=5, seed=3, history=True
    ).history
    assert history is not None
    found = replay(batch, history, radius=0.7, rigidity=1000.0, power=-1.0)
    lower = replay(batch, history, radius=0.7, rigidity=999.0, power=-1.0)
    higher = replay(batch, history, radius=0.7, rigidity=1001.0, power=-1.0)
    assert np.isfinite(found.log_prob).all()
    assert (found.log_prob < -745).all()
    # log P is as good as linear in the rigidity here: the normalisations are those of the minimum alone.
    np.testing.assert_allclose(
        higher.log_prob - lower.log_prob, 2 * found.log_prob / 1000.0, rtol=0.05
    )
