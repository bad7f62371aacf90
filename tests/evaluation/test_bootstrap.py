"""The bootstrap over events: its counts, sums that can be added, and the error that it gives."""

from dataclasses import replace

import numpy as np
import pytest

import djservice as dj
from djservice.evaluation.bootstrap import REPLICAS, counts_of, replica_sums
from djservice.events.batch import EventBatch
from djservice.events.keys import mix, text_key

KEYS = mix(text_key("test"), np.arange(3_000))


def test_counts_are_poisson_and_those_of_the_event() -> None:
    counts = counts_of(KEYS)
    assert counts.shape == (REPLICAS, len(KEYS))
    for moment, expected, variance in ((1, 1.0, 1.0), (2, 2.0, 11.0)):
        assert abs((counts**moment).mean() - expected) < 4 * np.sqrt(variance / counts.size)
    among = np.corrcoef(counts) - np.eye(REPLICAS)
    assert abs(among).max() < 5.5 / np.sqrt(len(KEYS))
    np.testing.assert_array_equal(counts_of(KEYS[5:9]), counts[:, 5:9])


def test_sums_of_parts_add_up() -> None:
    rng = np.random.default_rng(1)
    z, categories = rng.normal(size=(len(KEYS), 3)), rng.integers(0, 4, len(KEYS))
    whole = replica_sums(z, KEYS, categories, 4)
    parts = [replica_sums(z[k], KEYS[k], categories[k], 4) for k in (slice(7), slice(7, None))]
    np.testing.assert_allclose(sum(parts), whole, atol=1e-10)
    np.testing.assert_allclose(
        whole[3, 2], (counts_of(KEYS)[3] * (categories == 2)) @ z, atol=1e-10
    )


@pytest.fixture(scope="module")
def events() -> EventBatch:
    schema = dj.schemas.nanoaod(pt_min=3.0, truth="GenVisH_mass")
    return dj.read("example:ZHllbb_1000", schema=schema)


@pytest.mark.parametrize("kind", ["information", "significance"])
def test_the_error_is_that_of_the_delta_method(events: EventBatch, kind: str) -> None:
    mass = dj.observables.dijet_mass
    batches, objective = (
        [events],
        dj.MutualInformation(mass, bins=(4, 4), range=(40.0, 200.0), truth_range=(90.0, 125.1)),
    )
    if kind == "significance":
        rows = np.arange(len(events)) < 300
        batches = [
            replace(events.select(rows == (name == "s")), dataset=name) for name in ("s", "b")
        ]
        objective = dj.Significance(
            mass, signal=("s",), background=("b",), luminosity=0.1, bins=(40.0, 100.0, 140.0, 200.0)
        )
    found = dj.gradient(batches, objective, radius=0.7, trees=2)
    assert found.moments.bootstrap_error() == pytest.approx(found.loss.error, rel=4 / 14)
    scaled = found.moments.rescaled(1e-70)
    if kind == "information":
        assert scaled.bootstrap_error() == pytest.approx(found.moments.bootstrap_error())
