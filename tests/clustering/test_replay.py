"""Trees that are grown again along a given history, and their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from brute_force import Setting, to_batch, walk
from every_tree import enumerate_trees
from steps import ASYMMETRIES, OTHERS, POWERS, RIGIDITIES, SIZES, TWIN, assert_step, event_near

from djservice.clustering.cluster import cluster, replay
from djservice.events.batch import EventBatch

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
