"""Exact stopping: the leading jets are those of the whole tree, and expectations do not change."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import shipped_events

from djservice import cuts, observables
from djservice.clustering.cluster import cluster
from djservice.errors import ClusteringError, InputError
from djservice.events.batch import EventBatch


@pytest.mark.parametrize(("jets", "settled_pt"), [(1, 20.0), (2, 0.0), (3, 20.0)])
@pytest.mark.parametrize("rigidity", [0.1, 1.0, 10.0, 100.0, np.inf])
def test_leading_jets_are_those_of_the_whole_tree(
    rigidity: float, settled_pt: float, jets: int
) -> None:
    events = shipped_events()
    settings = {
        "radius": 0.5,
        "rigidity": rigidity,
        "trees": 1 if np.isinf(rigidity) else 5,
        "jets": jets,
        "seed": 4,
    }
    whole, stopped = cluster(events, **settings), cluster(events, **settings, settled_pt=settled_pt)
    above = whole.jets.pt > settled_pt  # a missing jet is NaN
    # Every jet above the threshold is there, in its place, and no other is.
    np.testing.assert_array_equal(stopped.jets.pt > settled_pt, above)
    np.testing.assert_array_equal(stopped.momenta[above], whole.momenta[above])
    assert (stopped.steps <= whole.steps).all()
    np.testing.assert_array_equal(
        whole.steps, np.broadcast_to(events.counts[:, np.newaxis], whole.steps.shape)
    )
    if jets < 3:
        assert stopped.steps.mean() < 0.8 * whole.steps.mean()


@pytest.mark.parametrize("rigidity", [1.0, 10.0])
def test_gradients_agree_on_the_same_trees(rigidity: float) -> None:
    """Paired: f (S_whole - S_stopped) has mean 0, as has the difference itself."""
    events = shipped_events().select(range(40))
    settings = {"radius": 0.6, "rigidity": rigidity, "trees": 200, "seed": 9}
    whole, stopped = cluster(events, **settings), cluster(events, **settings, settled_pt=20.0)
    accepted = (cuts.two_jets(pt_min=20.0) & cuts.mass_below(250.0))(whole.jets)
    mass = np.where(accepted, observables.dijet_mass(whole.jets), 0.0)
    for f in (mass, accepted.astype(float), np.ones_like(mass)):
        difference = (f - f.mean(axis=1, keepdims=True) * (f.std() > 0)) * (
            whole.score - stopped.score
        )
        per_event, error = (
            difference.mean(axis=1),
            difference.std(axis=1, ddof=1) / np.sqrt(settings["trees"]),
        )
        assert abs(per_event.sum()) / np.sqrt((error**2).sum()) < 4
    centred = mass - mass.mean(axis=1, keepdims=True)
    assert (centred * stopped.score).var() < (centred * whole.score).var()


def test_what_a_stopped_tree_does_not_have() -> None:
    event = EventBatch.from_arrays(
        pt=[30.0, 20.0], rapidity=[0, 1], phi=[0, 3], mass=[0, 0], offsets=[0, 2]
    )
    stopped = cluster(event, radius=0.4, rigidity=1.0, settled_pt=0.0)
    for name in ("log_prob", "n_jets"):
        with pytest.raises(ClusteringError, match="trees were stopped early"):
            getattr(stopped, name)
    with pytest.raises(
        InputError, match=r"settled_pt is -1.0, expected a finite number of 0 GeV or more"
    ):
        cluster(event, radius=0.4, rigidity=1.0, settled_pt=-1.0)


def test_the_threshold_that_a_selection_allows() -> None:
    two, light = cuts.two_jets(pt_min=20.0), cuts.mass_below(100.0)
    assert (two & light).settled_pt == 20.0
    assert (light & two & cuts.two_jets(pt_min=30.0)).settled_pt == 30.0
    assert (two | light).settled_pt == 0.0
    assert (~two).settled_pt == 0.0
    # A third jet below 20 GeV may still matter to an observable of three.
    assert (two & cuts.below(observables.n_jet_mass(3), 1.0)).settled_pt == 0.0
