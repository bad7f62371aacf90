"""Which gradient is cheapest at each rigidity: variance and CPU of the estimators, relative to the state baseline.

ZH events with R = 0.7: n about 70 (pT > 1 GeV, 200 events), 140 (pT > 0.5 GeV, 150), and 400 (overlaid, 60); the
constituents of 100 fat jets ("fat"); or those of a file. The losses are that of the README and the mean mass with the same
cuts. The variance is that of an estimate from 20 trees per event, of ga - L gb (docs/how-it-works.md), summed over events.
Few events make most of it, so the range of 68 % of resampled events is printed beside it. CPU is that of `dj.gradient`'s
work, the median of rounds taken in turn. The last column is for R and alpha together: the mean of both variances times CPU.

The last lines of a setting are for numbers of trees by the spread of each event (djservice/evaluation/allocation.py), with
the state baseline: with the spread known; with that of a pilot of 20 trees, which are paid for out of 100; and with that of
ten trees at each of five other radii, as runs have it from their scan, for the first Newton step; and with that of 20 trees
near the radius too, for the later ones. Variance, CPU, and their product, relative to equal numbers.

    python benchmarks/cheapest.py [70 | 140 | 400 | fat | FILE ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
from events import generated, leading_jet_constituents, overlaid

import djservice as dj
from djservice.clustering.cluster import sample_trees
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.estimators.base import Estimator, StateValues, TreeValues
from djservice.evaluation.allocation import allotted, pooled
from djservice.evaluation.evaluate import EvaluationPart, evaluate, evaluate_each
from djservice.objectives.losses import Mean, Term

CUT = dj.cuts.two_jets(pt_min=20) & dj.cuts.mass_below(250)
LOSSES: dict[str, Term] = {
    "squared error": dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0, cut=CUT),
    "mean": Mean(dj.observables.dijet_mass, scale=125.0, cut=CUT),
}
RADIUS, RIGIDITIES = 0.7, (1.0, 3.0, 10.0, 30.0, 100.0)
#: Trees of one estimate, estimates of each event, and rounds of the times.
TREES, ESTIMATES, ROUNDS = 20, 20, 7
#: Mean trees per event for numbers by the spread, trees of a pilot and of a first step, and the radii of a scan and of
#: that step.
MANY, PILOT, NEAR, FIRST = 100, 20, (0.5, 0.6, 0.75, 0.8, 0.9), 0.72
BOTH = ("radius", "rigidity")
ESTIMATORS: dict[str, Estimator] = {
    "state baseline": dj.StateBaseline(),
    "leave-one-out": dj.LeaveOneOut(),
    "optimal baseline": dj.OptimalBaseline(),
    "score": dj.Score(),
    "alternative path": dj.AlternativePath(),
    "difference 0.05": dj.FiniteDifference(step=0.05),
    "difference 0.1": dj.FiniteDifference(step=0.1),
}


def events_of(sample: str) -> dj.EventBatch:
    """Events of a sample that the command line names."""
    if sample == "fat":
        boosted = generated("boosted_100.root", 100, "--pt-hat-min", "250")
        return leading_jet_constituents(boosted)
    if sample not in ("70", "140", "400"):
        return dj.read(sample, entries=(0, 100))
    pt_min, number = (1.0, 200) if sample == "70" else (0.5, 150)
    some = dj.read(
        "example:ZHllbb_1000", schema=dj.schemas.nanoaod(pt_min=pt_min), entries=(0, number)
    )
    return overlaid(some, 400, 60) if sample == "400" else some


def values_of(
    loss: Term, events: dj.EventBatch, estimator: Estimator, rigidity: float
) -> dict[str, TreeValues]:
    """Trees of an estimator, by parameter, in estimates of TREES trees."""
    number, radius = TREES * ESTIMATES, np.full(len(events), RADIUS)
    sampling = Sampling(rigidity, seed=3, threads=1)
    request = TreeRequest(number, loss.jets, settled_pt=loss.settled_pt)
    parameters = BOTH if estimator.in_any_parameter else BOTH[:1]
    full = replace(
        request, states=estimator.uses_states, flips=estimator.flips, parameters=parameters
    )
    sample = sample_trees(events, radius, sampling, full)

    def numbers(jets: object) -> tuple[np.ndarray, np.ndarray]:
        _, (quantity,), accepted = loss.evaluate(jets, events.truth)
        return quantity.reshape(-1, TREES), accepted.astype(float).reshape(-1, TREES)

    extra = tuple(
        (*numbers(jets), np.reshape(weight, (-1, TREES)) if np.ndim(weight) else weight)
        for jets, weight in estimator.extra_jets(events, radius, sampling, request, sample)
    )
    values = {}
    for k, parameter in enumerate(parameters):
        states = None
        if sample.states is not None:
            of = sample.states
            truth = events.truth[of.tree // number]
            _, (quantity,), accepted = loss.evaluate(of.jets[:, np.newaxis], truth)
            states = StateValues(
                quantity[:, 0], accepted[:, 0].astype(float), of.scores[:, k], of.tree
            )
        scores = sample.scores[..., k].reshape(-1, TREES)
        values[parameter] = TreeValues(*numbers(sample.jets), scores, states, extra, rigidity)
    return values


def estimates(values: TreeValues, estimator: Estimator, events: int) -> np.ndarray:
    """ga - L gb, shape (event, estimate)."""
    slopes = estimator.slopes(values)
    loss = values.quantity.sum() / values.accepted.sum()
    return (slopes.quantity - loss * slopes.accepted).mean(axis=1).reshape(events, ESTIMATES)


def costs(
    loss: Term, events: dj.EventBatch, rigidity: float, parameters: tuple[str, ...]
) -> dict[str, float]:
    """CPU of an estimate, relative to the state baseline."""
    able = {k: e for k, e in ESTIMATORS.items() if e.in_any_parameter or len(parameters) == 1}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(ROUNDS):
        for name, estimator in able.items():
            start = time.thread_time()
            evaluate(
                events,
                loss,
                estimator,
                Sampling(rigidity, threads=1),
                radius=RADIUS,
                trees=TREES,
                parameters=parameters,
            )
            times[name].append(time.thread_time() - start)
    base = np.array(times["state baseline"])
    return {name: float(np.median(np.array(each) / base)) for name, each in times.items()}


def spread_at(
    loss: Term, events: dj.EventBatch, rigidity: float, radius: float, trees: int
) -> np.ndarray:
    """The spread of the trees of each event at a radius."""
    ((_, per_event),) = evaluate_each(
        [EvaluationPart(events, radius)], loss, dj.StateBaseline(), Sampling(rigidity, threads=1),
        trees=trees, stream="pilot", spread=True,
    )  # fmt: skip
    return per_event.spread


def allotments(
    loss: Term, events: dj.EventBatch, rigidity: float, variance: np.ndarray
) -> Iterator[tuple[str, float, float]]:
    """Name, variance and CPU of numbers by the spread, given the variance of a tree of each event."""
    near = [spread_at(loss, events, rigidity, radius, 10) for radius in NEAR]
    first = spread_at(loss, events, rigidity, FIRST, PILOT)
    pilot = spread_at(loss, events, rigidity, RADIUS, PILOT)
    numbers = {
        "equal": np.full(len(events), MANY),
        "known": allotted(np.sqrt(variance), events.counts, MANY, 4, rigidity),
        "pilot": allotted(pilot, events.counts, MANY - PILOT, 4, rigidity),
        "scan": allotted(pooled(near), events.counts, MANY, 4, rigidity),
        "run": allotted(
            pooled([*near, first], [1.0] * len(near) + [4.0]), events.counts, MANY, 4, rigidity
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in numbers}
    for _ in range(ROUNDS):
        for name, trees in numbers.items():
            start = time.thread_time()
            if name == "pilot":
                spread_at(loss, events, rigidity, RADIUS, PILOT)
            evaluate_each(
                [EvaluationPart(events, RADIUS, trees=trees)], loss, dj.StateBaseline(),
                Sampling(rigidity, threads=1), trees=MANY,
            )  # fmt: skip
            times[name].append(time.thread_time() - start)
    equal = np.array(times.pop("equal"))
    for name, of_name in times.items():
        ratio = (variance / numbers[name]).sum() / (variance / MANY).sum()
        yield name, float(ratio), float(np.median(np.array(of_name) / equal))


def ratio_with_range(one: np.ndarray, base: np.ndarray) -> tuple[float, float, float]:
    """Ratio of sums over events, and the central 68 % of it in resampled events."""
    weights = np.random.default_rng(1).multinomial(len(one), np.full(len(one), 1 / len(one)), 400)
    low, high = np.quantile((weights @ one) / (weights @ base), (0.16, 0.84))
    return one.sum() / base.sum(), low, high


def main() -> None:
    """Print a line for each setting and estimator."""
    samples = sys.argv[1:] or ["70", "140", "400"]
    for sample, rigidity, (name, loss) in product(samples, RIGIDITIES, LOSSES.items()):
        events = events_of(sample)
        few = events.select(range(min(len(events), 12 if sample == "400" else 40)))
        cost, joint = (costs(loss, few, rigidity, names) for names in (BOTH[:1], BOTH))
        print(
            f"{sample}, n = {events.counts.mean():.0f}, alpha = {rigidity:g}, {name}: variance, its range, CPU, "
            "product, bias / its error; both: product"
        )
        base: dict[str, np.ndarray] = {}
        for key, estimator in ESTIMATORS.items():
            values = values_of(loss, events, estimator, rigidity)
            made = {p: estimates(v, estimator, len(events)) for p, v in values.items()}
            base = base or made
            ratios = {
                p: ratio_with_range(e.var(axis=1, ddof=1), base[p].var(axis=1, ddof=1))
                for p, e in made.items()
            }
            totals = [made["radius"].sum(axis=0), base["radius"].sum(axis=0)]
            error = np.hypot(*(np.std(t) for t in totals)) / ESTIMATES**0.5
            ratio, low, high = ratios["radius"]
            print(
                f"  {key:18s} {ratio:8.3g} [{low:.3g}, {high:.3g}] {cost[key]:6.2f} {ratio * cost[key]:8.3g} "
                f"{np.subtract(*totals).mean() / error:6.1f}",
                f"{np.mean([r for r, *_ in ratios.values()]) * joint[key]:8.3g}"
                if key in joint
                else "",
                flush=True,
            )
        variance = base["radius"].var(axis=1, ddof=1) * TREES
        for key, ratio, cpu in allotments(loss, events, rigidity, variance):
            print(f"  by spread, {key:7s} {ratio:8.3g} {cpu:6.2f} {ratio * cpu:8.3g}", flush=True)


if __name__ == "__main__":
    main()
