"""The Gumbel-softmax estimator: its noises, its tangents against differences of its definition, and its bias."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy
from brute_force import Floats, shipped_events, to_batch

from djservice import GumbelSoftmax, observables
from djservice.clustering.cluster import cluster
from djservice.clustering.jet_tangents import jet_tangents
from djservice.clustering.kernels import gumbel, philox
from djservice.clustering.kernels.gumbel import FIRST_DRAW
from djservice.clustering.kernels.jit import entry
from djservice.errors import InputError
from djservice.evaluation.gradient import gradient
from djservice.events.keys import draw_keys

TABLES = Path(__file__).parents[1] / "clustering" / "data"


@entry
def uniform(key, iteration, sample, step, draw):
    return philox.uniform(key, iteration, sample, step, draw)


@entry
def exponential_of(key, iteration, sample, step, draw):
    return gumbel.exponential_of(key, iteration, sample, step, draw)


@entry
def race(weight, waits, count, chosen, norm):
    gumbel.race(weight, waits, count, chosen, norm)


@entry
def soften(times, slope, count, chosen, temperature):
    gumbel.soften(times, slope, count, chosen, temperature)


def softmax(values: Floats) -> Floats:
    weights = np.exp(values - values.max())
    return weights / weights.sum()


# The definition, in plain numpy: rows of momenta, every option, differences for derivatives.


def log_weights(
    rows: dict[int, Floats], radius: float, rigidity: float, power: float, asymmetry: float
) -> dict:
    """log w of every option: (i, j) a pair, i < j, and (i, i) a beam."""
    pt = {r: np.hypot(p[0], p[1]) for r, p in rows.items()}
    y = {r: np.arctanh(p[2] / p[3]) for r, p in rows.items()}
    phi = {r: np.arctan2(p[1], p[0]) for r, p in rows.items()}
    q, measure = {}, {}
    for i in rows:
        for j in rows:
            if i == j:
                q[i, i] = measure[i, i] = pt[i] ** (2 * power) * radius**2
            elif i < j:
                dphi = np.abs(phi[i] - phi[j])
                dphi = min(dphi, 2 * np.pi - dphi)
                q[i, j] = min(pt[i] ** (2 * power), pt[j] ** (2 * power)) * (
                    (y[i] - y[j]) ** 2 + dphi**2
                )
                measure[i, j] = q[i, j] * (max(pt[i], pt[j]) / min(pt[i], pt[j])) ** asymmetry
    least, scale = min(q.values()), min(measure.values())
    if least == 0.0:  # at one point: nothing else can happen, whatever R is
        return {option: 0.0 if value == 0.0 else -1e300 for option, value in q.items()}
    return {option: -rigidity * (value - least) / scale for option, value in q.items()}


def under(
    rows: dict[int, Floats], option: tuple[int, int], by: dict[int, Floats]
) -> dict[int, Floats]:
    """T_k(X): the rows under an option; in a pair the row that is harder in ``by`` holds the sum."""
    i, j = option
    if i == j:
        return {r: p for r, p in rows.items() if r != i}
    kept, gone = (i, j) if np.hypot(*by[i][:2]) >= np.hypot(*by[j][:2]) else (j, i)
    return {r: rows[kept] + rows[gone] if r == kept else p for r, p in rows.items() if r != gone}


def moved_jets(
    particles: Floats, choices: list, noises: list, temperature: float, step: float, **point: float
) -> list:
    """(momentum, moved momentum) of every jet when R is larger by ``step``, draws and noises held fixed."""
    rows = dict(enumerate(particles))
    moved, jets = dict(rows), []
    shifted = {**point, "radius": point["radius"] + step}
    for option, noise in zip(choices, noises, strict=True):
        here, there = log_weights(rows, **point), log_weights(moved, **shifted)
        g = np.array([noise[k] for k in here])
        change = softmax((np.array([there[k] for k in here]) + g) / temperature)
        change -= softmax((np.array(list(here.values())) + g) / temperature)
        if option[0] == option[1]:
            i = option[0]
            jets.append((rows[i], moved[i] + change[list(here).index(option)] * rows[i]))
        after = under(moved, option, rows)
        for k, dq in zip(here, change, strict=True):
            branch = under(rows, k, rows)
            after = {r: p + dq * branch.get(r, 0.0) for r, p in after.items()}
        rows, moved = under(rows, option, rows), after
    return sorted(jets, key=lambda pair: -np.hypot(*pair[0][:2]))


def rows_of(history: Floats, particles: Floats) -> list[tuple[int, int]]:
    """A history as options (i, j) of rows, i <= j."""
    rows, row, choices = dict(enumerate(particles)), {k: k for k in range(len(particles))}, []
    for step, (a, b) in enumerate(history.tolist()):
        choices.append((row[a], row[a]) if b < 0 else (min(row[a], row[b]), max(row[a], row[b])))
        rows = under(rows, choices[-1], rows)
        if b >= 0:
            row[len(particles) + step] = next(r for r in choices[-1] if r in rows)
    return choices


def noises_of(
    particles: Floats, choices: list, key: np.uint64, tree: int, **point: float
) -> list[dict]:
    """The Gumbel noises of every step, given its choice: what is said of them in the kernel's docstring."""
    rows, noises, n = dict(enumerate(particles)), [], len(particles)
    for step, option in enumerate(choices):
        w = log_weights(rows, **point)
        norm = np.log(np.exp(list(w.values())).sum())
        wait = {
            (i, j): np.log(
                -np.log(max(uniform(key, 0, tree, step, FIRST_DRAW + i * n + j), 2.0**-54))
            )
            for i, j in w
        }
        first = wait[option]
        noises.append(
            {
                k: -(first if k == option else np.logaddexp(first, wait[k] - (w[k] - norm)))
                - (w[k] - norm)
                for k in w
            }
        )
        rows = under(rows, option, rows)
    return noises


def momenta(event: Floats) -> Floats:
    pt, y, phi, mass = event.T
    transverse = np.hypot(pt, mass)
    return np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(y), transverse * np.cosh(y)],
        axis=1,
    )


def event_in_order(seed: int, number: int, power: float) -> Floats:
    """Particles within reach of each other, in the kernel's order: by falling pT^(2p)."""
    rng = np.random.default_rng(seed)
    event = np.stack(
        [
            rng.uniform(low, high, number)
            for low, high in ((3, 60), (-0.8, 0.8), (2.4, 4.0), (0.1, 2))
        ],
        1,
    )
    return event[np.argsort(event[:, 0] if power <= 0 else -event[:, 0])]


@pytest.mark.parametrize("asymmetry", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("number", [2, 9])
def test_tangents_are_the_differences_of_the_definition(
    number: int, power: float, asymmetry: float
) -> None:
    """Two particles are one decision; nine are many, whose tangents run through all later steps."""
    trees, jets, temperature, h = 6, 3, 0.6, 1e-6
    point = {"radius": 0.7, "rigidity": 1.5, "power": power, "asymmetry": asymmetry}
    compared = 0
    for index in range(3):
        event = event_in_order(index, number, power)
        batch = to_batch([event])
        given = {"rigidity": 1.5, "power": power, "seed": 5, "stream": "sample", "iteration": 0}
        scale = {"scale": "safe", "asymmetry": asymmetry} if asymmetry else {}
        sample = cluster(batch, radius=0.7, trees=trees, jets=jets, history=True, **given, **scale)
        found = jet_tangents(
            batch, sample, np.array([0.7]), temperature, asymmetry=asymmetry, **given
        )[0]
        key = draw_keys(batch.key, 5, "sample")[0]
        particles = momenta(event)
        for tree in range(trees):
            choices = rows_of(sample.history_of(0, tree), particles)
            noises = noises_of(particles, choices, key, tree, **point)
            ends = [
                moved_jets(particles, choices, noises, temperature, s, **point)[:jets]
                for s in (h, -h)
            ]
            expected = np.array(
                [(up[1] - down[1]) / (2 * h) for up, down in zip(*ends, strict=True)]
            )
            there = len(expected)
            np.testing.assert_allclose(
                sample.momenta[0, tree, :there], [jet for jet, _ in ends[0]], rtol=1e-9, atol=1e-9
            )
            largest = np.abs(expected).max()
            allowed = (
                1e-7 * largest + 1e-8 * particles[:, 3].sum()
            )  # of the difference, with rounding over 2 h
            np.testing.assert_allclose(found[tree, :there], expected, rtol=0, atol=allowed)
            assert np.isnan(found[tree, there:]).all()
            compared += largest > 0.1
    assert compared >= 6  # GeV per unit of R: not zeros among themselves


def test_noises_are_gumbel_and_the_drawn_option_is_their_argmax() -> None:
    """First step of 8,000 trees as the kernel draws them: over the trees every option's noise is a standard Gumbel."""
    event = event_in_order(0, 4, -1.0)
    point = {"radius": 0.7, "rigidity": 0.1, "power": -1.0, "asymmetry": 0.0}
    trees, batch = 8_000, to_batch([event])
    sample = cluster(batch, radius=0.7, rigidity=0.1, trees=trees, seed=11, history=True)
    key = draw_keys(batch.key, 11, "sample")[0]
    weights = log_weights(dict(enumerate(momenta(event))), **point)
    options, weight = list(weights), np.exp(list(weights.values()))
    norm, noise = weight.sum(), np.empty((trees, len(weight)))
    assert (weight / norm > 0.1).sum() >= 4  # several are drawn
    for tree in range(trees):
        a, b = sample.history_of(0, tree)[0]
        chosen = options.index((a, a) if b < 0 else (min(a, b), max(a, b)))
        waits = np.array(
            [exponential_of(key, 0, tree, 0, FIRST_DRAW + i * 4 + j) for i, j in options]
        )
        times = weight.copy()
        race(times, waits, len(times), chosen, norm)
        assert times.argmin() == chosen
        noise[tree] = -np.log(times) - np.log(weight / norm)
    for k in range(len(options)):
        assert scipy.stats.kstest(noise[:, k], scipy.stats.gumbel_r.cdf).pvalue > 6e-5  # |z| < 4
    # Independent of each other: correlations of standard normals made of them.
    normal = scipy.stats.norm.ppf(np.clip(scipy.stats.gumbel_r.cdf(noise), 1e-12, 1 - 1e-12))
    correlation = np.corrcoef(normal.T)[np.triu_indices(len(options), 1)]
    assert np.abs(correlation).max() * np.sqrt(trees) < 4


@pytest.mark.parametrize("t", [-1.0, 0.3, 2.0])
def test_bias_on_one_decision(t: float) -> None:
    """sin with probability sigmoid(t), else cos: mean as by quadrature; a cold softmax has less bias and more variance."""
    rng, samples = np.random.default_rng(int(100 * (t + 5))), 10_000
    p, branch, slope = (
        1.0 / (1.0 + np.exp(-t)),
        np.array([np.sin(t), np.cos(t)]),
        np.array([np.cos(t), -np.sin(t)]),
    )
    exact = p * (1 - p) * (branch[0] - branch[1]) + p * slope[0] + (1 - p) * slope[1]
    weight = np.array([p, 1 - p])
    biases, spreads = [], []
    for temperature in (1.0, 0.5, 0.1):
        found = np.empty(samples)
        for sample in range(samples):
            chosen = int(rng.random() >= p)
            times, dq = weight.copy(), np.array([1 - p, -p])  # d log P / dt
            race(times, rng.exponential(size=2), 2, chosen, 1.0)
            soften(times, dq, 2, chosen, temperature)
            found[sample] = dq @ branch + slope[chosen]

        def integrand(x: float, temperature: float = temperature) -> float:
            """Logistic noise: q (1 - q) / T of q = sigmoid((t + x) / T)."""
            return (
                scipy.stats.logistic.pdf(x)
                * scipy.stats.logistic.pdf((t + x) / temperature)
                / temperature
            )

        soft = scipy.integrate.quad(integrand, -40, 40, points=[-t], limit=200)[0]
        expected = soft * (branch[0] - branch[1]) + p * slope[0] + (1 - p) * slope[1]
        assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(samples)
        biases.append(abs(expected - exact))
        spreads.append(found.std())
    assert biases[2] < 0.1 * min(biases[:2])  # at t = 2 the bias changes sign between 1 and 0.5
    assert spreads[0] < spreads[1] < spreads[2]


def test_bias_on_the_exact_tables() -> None:
    """What its docstring says of the bias, and that a colder softmax has less of it and more variance."""
    events = json.loads((TABLES / "exact_trees_n4.json").read_text())
    rows = [
        (e["particles_pt_y_phi_m"], row)
        for e in events
        for row in e["expect"]
        if row["rigidity"] <= 1
    ]
    bias, error = np.empty((2, 2, len(rows)))
    for number, (particles, row) in enumerate(rows):
        for at, temperature in enumerate((1.0, 0.2)):
            found = gradient(
                to_batch([particles]),
                observables.dijet_mass,
                radius=row["radius"],
                rigidity=row["rigidity"],
                power=row["exponent"],
                estimator=GumbelSoftmax(temperature),
                trees=6_000,
                seed=4000 + number,
            )
            bias[at, number] = (found.value - row["d_radius"]) / abs(row["d_radius"])
            error[at, number] = found.tree_error / abs(row["d_radius"])
    hot, cold = np.median(np.abs(bias), axis=1)
    # 0.586 and 0.334 with 100,000 trees.
    assert 0.5 < hot < 0.67 and 0.25 < cold < 0.42
    assert (np.abs(bias[0]) > 4 * error[0]).mean() > 0.8  # far beyond the noise
    assert np.median(error[1] / error[0]) > 2


SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
from test_gumbel_softmax import few_tangents
print(few_tangents().tolist())
"""


def few_tangents() -> Floats:
    """Tangents of a few trees of eight particles, the safe scale."""
    batch = to_batch([event_in_order(1, 8, -1.0)])
    given = {"rigidity": 1.0, "power": -1.0, "seed": 2, "stream": "sample", "iteration": 3}
    sample = cluster(batch, radius=0.6, trees=3, scale="safe", history=True, threads=1, **given)
    return jet_tangents(batch, sample, np.array([0.6]), 0.5, asymmetry=1.0, **given)


def test_the_same_tangents_without_a_compiler() -> None:
    """numba switched off: the same but for the rounding of powers and logarithms."""
    folders = os.pathsep.join([os.path.dirname(__file__), str(TABLES.parent)])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": folders}
    arguments = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), few_tangents(), rtol=1e-9)


def test_a_step_at_zero_distance_adds_no_tangent() -> None:
    """Two particles at one point merge first, with certainty: the tangents are those of the steps after it."""
    rest = event_in_order(3, 5, -1.0)
    event = np.vstack([rest[0], rest])
    batch = to_batch([event])
    given = {"rigidity": 1.0, "power": -1.0, "seed": 2, "stream": "sample", "iteration": 0}
    point = {"radius": 0.6, "rigidity": 1.0, "power": -1.0, "asymmetry": 0.0}
    sample = cluster(batch, radius=0.6, trees=20, history=True, **given)
    found = jet_tangents(batch, sample, np.array([0.6]), 0.5, asymmetry=0.0, **given)[0]
    key, particles, h, largest = draw_keys(batch.key, 2, "sample")[0], momenta(event), 1e-6, 0.0
    for tree in range(20):
        choices = rows_of(sample.history_of(0, tree), particles)
        assert choices[0] == (0, 1)
        noises = noises_of(particles, choices, key, tree, **point)
        ends = [moved_jets(particles, choices, noises, 0.5, s, **point)[:2] for s in (h, -h)]
        expected = np.array([(up[1] - down[1]) / (2 * h) for up, down in zip(*ends, strict=True)])
        largest = max(largest, np.abs(expected).max())
        np.testing.assert_allclose(
            found[tree, : len(expected)], expected, rtol=0, atol=1e-7 * largest + 1e-6
        )
    assert largest > 0.1


def test_the_slope_of_the_mass_along_the_tangents() -> None:
    """What each tree contributes, against the derivative of the mass by hand; no tree passes or fails because of it."""
    batch = to_batch([event_in_order(5, 10, -1.0)])
    found = gradient(
        batch, observables.dijet_mass, radius=0.6, trees=30, estimator=GumbelSoftmax(0.7), seed=2
    )
    given = {"rigidity": 1.0, "power": -1.0, "seed": 2, "stream": "sample", "iteration": 0}
    sample = cluster(batch, radius=0.6, trees=30, history=True, **given)
    tangents = jet_tangents(batch, sample, np.array([0.6]), 0.7, asymmetry=0.0, **given)
    total, along = np.nansum(sample.momenta, axis=2)[0], np.nansum(tangents, axis=2)[0]
    metric = np.array([-1.0, -1.0, -1.0, 1.0])
    mass = np.sqrt((metric * total**2).sum(axis=1))
    slopes = (metric * total * along).sum(axis=1) / mass
    assert found.value == pytest.approx(slopes.mean(), rel=1e-6)
    assert found.loss.value == pytest.approx(mass.mean(), rel=1e-12)
    assert np.abs(slopes).max() > 1.0


def test_temperatures_and_rigidities_without_meaning() -> None:
    for temperature in (0.0, -1.0, np.inf):
        with pytest.raises(InputError, match=r"expected a (positive|finite) number"):
            GumbelSoftmax(temperature)
    with pytest.raises(InputError, match="gumbel_softmax needs a finite rigidity"):
        gradient(
            shipped_events().select([0]),
            observables.dijet_mass,
            radius=0.7,
            rigidity=np.inf,
            trees=2,
            estimator=GumbelSoftmax(),
        )
