"""Tiny events of which every merge sequence was enumerated by an independent program."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy
from brute_force import Floats, Setting, final_jets, to_batch
from every_tree import enumerate_trees, exact

from djservice.clustering.cluster import cluster, replay

DATA = Path(__file__).parent / "data"
TABLES = {name: DATA / f"exact_trees_{name}.json" for name in ("n4", "n4_safe", "n5")}
TREES = 40_000
#: The tables are float64 themselves: a derivative cannot be known better than this part of a GeV.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Row:
    """One event at one setting, and what the table says of its leading-two-jet mass."""

    table: str
    event: int
    particles: Floats
    setting: Setting
    expect: dict[str, float | None]

    def assert_equal(self, name: str, value: float) -> None:
        expected = self.expect[name]
        if expected is not None:
            where = f"{self.table}, event {self.event}, {self.setting}, {name}"
            assert value == pytest.approx(expected, rel=1e-10, abs=ROUNDING), where


@cache
def rows() -> tuple[Row, ...]:
    found = []
    for table, path in TABLES.items():
        for event, entry in enumerate(json.loads(path.read_text())):
            for line in entry["expect"]:
                setting = Setting(
                    line["radius"], line["rigidity"], line["exponent"], line["asymmetry"] or None
                )
                found.append(
                    Row(table, event, np.array(entry["particles_pt_y_phi_m"]), setting, line)
                )
    return tuple(found)


def select(table: str) -> list[Row]:
    return [row for row in rows() if row.table == table]


@cache
def enumerated(table: str, event: int) -> tuple[np.ndarray, Floats]:
    """All histories of one event, and the leading-two-jet mass that each ends with."""
    particles = next(row.particles for row in select(table) if row.event == event)
    histories = list(enumerate_trees(particles))
    masses = [
        objects.leading_mass(jets)
        for objects, jets in (final_jets(particles, each) for each in histories)
    ]
    return np.array(histories, dtype=np.int32), np.array(masses)


def test_the_tables_are_complete() -> None:
    assert {table: len(select(table)) for table in TABLES} == {"n4": 66, "n4_safe": 44, "n5": 33}


@pytest.mark.parametrize("table", TABLES)
def test_brute_force_reproduces_the_tables(table: str) -> None:
    for row in select(table):
        _, mass = enumerated(row.table, row.event)
        trees = exact(row.particles, row.setting)
        probability = trees.probability
        mean = math.fsum(probability * mass)
        assert math.fsum(probability) == pytest.approx(1, rel=1e-13)
        row.assert_equal("mean", mean)
        row.assert_equal("second_moment", math.fsum(probability * mass**2))
        centred = probability * (mass - mean)  # the mean score is 0: less to cancel
        row.assert_equal("d_radius", math.fsum(centred * trees.score_radius))
        row.assert_equal("d_rigidity", math.fsum(centred * trees.score_rigidity))
        row.assert_equal("d_exponent", math.fsum(centred * trees.score_power))


@pytest.mark.parametrize("table", TABLES)
def test_the_kernel_enumerated_reproduces_the_tables(table: str) -> None:
    for row in select(table):
        histories, mass = enumerated(row.table, row.event)
        smooth = row.expect["d_exponent"] is not None
        parameters = ("radius", "rigidity", "power") if smooth else ("radius", "rigidity")
        batch = to_batch([row.particles])
        trees = replay(batch, histories, **row.setting.arguments, parameters=parameters)
        plain = replay(batch, histories, **row.setting.arguments)
        probability = np.exp(trees.log_prob[0])
        scores = {
            name: np.where(probability > 0, trees.score_in(name)[0], 0.0) for name in parameters
        }
        score = np.where(probability > 0, plain.score[0], 0.0)
        mean = math.fsum(probability * mass)
        assert math.fsum(probability) == pytest.approx(1, rel=1e-12)
        row.assert_equal("mean", mean)
        row.assert_equal("second_moment", math.fsum(probability * mass**2))
        row.assert_equal("d_radius", math.fsum(probability * score * (mass - mean)))
        for name, column in (
            ("radius", "d_radius"),
            ("rigidity", "d_rigidity"),
            ("power", "d_exponent"),
        ):
            if name in scores:
                row.assert_equal(column, math.fsum(probability * scores[name] * (mass - mean)))
        rounding = 1e-11 * math.fsum(probability * np.abs(score)) + ROUNDING
        assert abs(math.fsum(probability * score)) < rounding


def leading_mass(jets: np.ndarray) -> Floats:
    """Mass of the sum of the two leading jets, shape (tree,); a missing second jet counts as nothing."""
    px, py, pz, energy = (
        np.nan_to_num(component).sum(axis=-1) for component in (jets.px, jets.py, jets.pz, jets.E)
    )
    return np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))


def z_score(terms: Floats, expected: float) -> float:
    return float((terms.mean() - expected) / (terms.std(ddof=1) / math.sqrt(len(terms))))


def sampled(row: Row, seed: int) -> tuple[float, float, float]:
    """z-scores of the mean, of its derivative in R (leave-one-out), and of the mean score, whose expectation is 0."""
    trees = cluster(
        to_batch([row.particles]), **row.setting.arguments, trees=TREES, jets=2, seed=seed
    )
    mass, score = leading_mass(trees.jets[0]), trees.score[0]
    others = (mass.sum() - mass) / (TREES - 1)
    mean, slope = row.expect["mean"], row.expect["d_radius"]
    assert mean is not None and slope is not None
    return z_score(mass, mean), z_score((mass - others) * score, slope), z_score(score, 0.0)


def test_sampled_trees_agree_with_the_tables() -> None:
    """Settings above rigidity 1 rest on trees too rare to be sampled; they are enumerated above."""
    chosen = [row for row in rows() if row.setting.rigidity <= 1]
    assert len(chosen) == 104
    z = np.array([sampled(row, seed=1000 + i) for i, row in enumerate(chosen)])
    assert np.isfinite(z).all()
    for name, column in zip(("mean", "d_radius", "score"), z.T, strict=True):
        worst = int(np.abs(column).argmax())
        assert abs(column[worst]) < 4, f"{name}: z = {column[worst]:.2f} for {chosen[worst]}"
        m, mean, variance = len(column), column.mean(), column.var(ddof=1)
        assert abs(mean) < 4 / math.sqrt(m), f"{name}: the z have mean {mean:.3f}"
        assert abs(variance - 1) < 4 * math.sqrt(2 / (m - 1)), (
            f"{name}: the z have variance {variance:.3f}"
        )
        assert scipy.stats.kstest(column, "norm").pvalue > 1e-4, name
