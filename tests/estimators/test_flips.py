"""Flips of the alternative path: what follows when another pair merges at one step."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import shipped_events, to_batch

from djservice import SquaredError, cuts, observables
from djservice.clustering.cluster import cluster
from djservice.errors import InputError
from djservice.estimators.alternative_path import AlternativePath
from djservice.evaluation.gradient import gradient


def test_flipping_all_steps_is_the_mean_over_the_step_that_is_flipped() -> None:
    """The same trees: equal in expectation to one flip of each, pairwise, with less variance."""
    events = shipped_events().select(range(6))
    loss = SquaredError(observables.dijet_mass, target=80.0, scale=80.0)
    loss = loss.where(cuts.two_jets(pt_min=15.0) & cuts.mass_below(150.0))
    one, every = (
        gradient(events, loss, radius=0.7, trees=200, estimator=AlternativePath(all_steps), seed=8)
        for all_steps in (False, True)
    )
    # Var(one) = Var(every) + E[Var(one | tree)], so the variance of the difference of the two is the difference.
    apart = np.sqrt(one.tree_error**2 - every.tree_error**2)
    assert abs(one.value - every.value) < 4 * apart
    assert every.tree_error < 0.7 * one.tree_error


def test_all_flips_and_the_one_that_is_kept() -> None:
    """W is the sum of the rates of all steps; the flip that is kept is among them, as often as its rate says."""
    event, trees = shipped_events().select([3]), 2000
    one, every = (
        cluster(event, radius=0.7, rigidity=1.0, trees=trees, seed=2, flips=f)
        for f in (True, "all")
    )
    np.testing.assert_array_equal(one.momenta, every.momenta)
    assert one.flips.shape == (1, trees, 1, 4)
    kept, flips = one.flips[0, :, 0], every.flips[0]
    np.testing.assert_allclose(kept[:, 0], flips[..., 0].sum(axis=1), rtol=1e-12)
    same = (flips[..., 1] == kept[:, np.newaxis, 1]) & (flips[..., 0] > 0)
    assert (same.sum(axis=1) == (kept[:, 0] > 0)).all()
    np.testing.assert_array_equal(
        flips[same], np.column_stack([flips[same][:, 0], kept[kept[:, 0] > 0, 1:]])
    )
    there = flips[..., 1] >= 0
    assert (np.diff(there.astype(int), axis=1) <= 0).all() and (flips[~there][:, 0] == 0).all()
    share = np.divide(
        flips[..., 0], kept[:, :1], out=np.zeros_like(flips[..., 0]), where=kept[:, :1] > 0
    )
    for flip in range(5):  # the first, second ... of a tree
        expected, variance = share[:, flip].sum(), (share[:, flip] * (1 - share[:, flip])).sum()
        assert abs(same[:, flip].sum() - expected) < 4 * np.sqrt(variance)


def test_flips_of_other_trees_and_of_none() -> None:
    event = shipped_events().select([0])
    with pytest.raises(InputError, match="flips are those of 3 trees, expected one for each of 2"):
        cluster(event, radius=0.7, rigidity=1.0, trees=2, flips=np.zeros((1, 3, 4)))
    alone = to_batch([[[50.0, 0.0, 0.0, 5.0]], []])  # nothing else could happen to it
    for all_steps in (False, True):
        found = gradient(
            alone, observables.dijet_mass, radius=0.7, trees=2, estimator=AlternativePath(all_steps)
        )
        assert found.value == 0.0


@pytest.mark.parametrize("all_steps", [False, True])
def test_a_flip_by_rounding_leads_nowhere(all_steps: bool) -> None:
    """Three soft particles at the same distance from a hard one, beams beyond the cut: the mean of equal numbers is off by an ulp."""
    for pt in np.linspace(50.0, 120.0, 20):
        event = to_batch(
            [
                [
                    [pt, 1.0, 0.5, 0.0],
                    [1.0, 0.0, 0.5, 0.0],
                    [1.0, 2.0, 0.5, 0.0],
                    [1.0, 1.0, 1.5, 0.0],
                ]
            ]
        )
        point = {"radius": 5.0, "rigidity": 100.0, "scale": "safe", "trees": 20}
        found = gradient(
            event, observables.dijet_mass, **point, estimator=AlternativePath(all_steps)
        )
        assert abs(found.value) < 1e-9
