"""EventBatch: building, checking, selecting and joining events."""

import awkward as ak
import numpy as np
import pytest
from same_events import assert_same_events

from djservice.clustering.awkward_jets import cluster_jets
from djservice.errors import InputError, InputWarning
from djservice.events.batch import EventBatch
from djservice.events.keys import entry_keys, event_keys

OFFSETS = [0, 2, 2, 5]


def arrays(**replaced):
    """Three events with 2, 0 and 3 particles."""
    particles = {
        "pt": [5.0, 4.0, 3.0, 2.0, 1.0],
        "eta": [0.5, -3.0, 2.0, 0.0, 4.5],
        "phi": [0.1, -3.0, 3.0, 2.0, 1.0],
        "mass": [0.0, 0.14, 1.0, 0.5, 0.94],
        "offsets": OFFSETS,
    }
    return {name: values for name, values in (particles | replaced).items() if values is not None}


def test_eta_and_rapidity_describe_the_same_particles():
    batch = EventBatch.from_arrays(**arrays())
    pt, eta, mass = (np.array(arrays()[name]) for name in ("pt", "eta", "mass"))
    energy, pz = np.sqrt(mass**2 + (pt * np.cosh(eta)) ** 2), pt * np.sinh(eta)
    np.testing.assert_allclose(batch.rapidity, np.arctanh(pz / energy), rtol=1e-12)
    assert batch.rapidity[0] == eta[0]
    assert_same_events(EventBatch.from_arrays(**arrays(eta=None, rapidity=batch.rapidity)), batch)


def test_eta_along_the_beam_is_finite():
    batch = EventBatch.from_arrays(**arrays(eta=[300.0, -300.0, 49.0, 51.0, 0.0]))
    expected = np.array(
        [300.0, -300.0 + np.log(np.hypot(4, 0.14) / 4), 49.0 - np.log(np.hypot(3, 1) / 3)]
    )
    np.testing.assert_allclose(batch.rapidity[:3], expected, rtol=1e-14)


def test_phi_is_folded_only_where_it_has_to_be():
    phi = np.array([np.pi, -np.pi, 3.1416016, 7.0, -1.0])
    with pytest.warns(InputWarning, match="phi lies beyond 2 pi"):
        batch = EventBatch.from_arrays(**arrays(phi=phi))
    np.testing.assert_array_equal(batch.phi[[0, 1, 4]], phi[[0, 1, 4]])
    assert np.all(np.abs(batch.phi) <= np.pi)
    np.testing.assert_allclose(np.exp(1j * batch.phi), np.exp(1j * phi), atol=1e-12)


def test_a_small_negative_mass_is_rounding_and_read_as_zero():
    assert EventBatch.from_arrays(**arrays(mass=[-0.01, 0, 0, 0, 0])).mass[0] == 0.0
    forward = arrays(mass=[-0.1, 0, 0, 0, 0], eta=[5.0, 0, 0, 0, 0])  # the energy rounds, not pT
    assert EventBatch.from_arrays(**forward).mass[0] == 0.0


def test_from_awkward_equals_from_arrays():
    flat = {name: np.array(values) for name, values in arrays().items() if name != "offsets"}
    particles = ak.zip(
        {name: ak.unflatten(values, np.diff(OFFSETS)) for name, values in flat.items()}
    )
    assert_same_events(EventBatch.from_awkward(particles), EventBatch.from_arrays(**arrays()))
    identity = ([1, 1, 1], [2, 2, 2], [3, 4, 5])
    batch = EventBatch.from_awkward(
        particles[1:], identity=tuple(np.array(part)[1:] for part in identity)
    )
    np.testing.assert_array_equal(batch.key, event_keys("", 1, 2, np.array([4, 5])))


def test_from_awkward_refuses_other_shapes():
    with pytest.raises(
        InputError, match="expected one list per event of records with pt, phi, mass"
    ):
        EventBatch.from_awkward(ak.Array([[1.0, 2.0]]))
    missing = ak.Array([[{"pt": 1.0, "eta": 0.0, "phi": 0.0, "mass": 0.0}], None])
    with pytest.raises(InputError, match=r"event 1 is None \(1 of 2 events\): drop them"):
        EventBatch.from_awkward(missing)


def test_events_are_known_by_identity_or_by_source_and_entry():
    batch = EventBatch.from_arrays(**arrays(), source="a", dataset="d")
    np.testing.assert_array_equal(batch.key, entry_keys("d", "a", np.arange(3)))
    assert batch.name(2) == "a, entry 2"
    named = EventBatch.from_arrays(
        **arrays(), identity=([1] * 3, [2] * 3, [3, 4, 5]), entry=[7, 8, 9]
    )
    assert named.name(1) == "arrays, entry 8 (run 1, luminosityBlock 2, event 4)"


def test_nbytes_is_what_the_documentation_says():
    for events in (0, 1, 50):
        counts = np.arange(events)
        n = counts.sum()
        ones = np.ones(n)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        batch = EventBatch.from_arrays(pt=ones, eta=ones, phi=ones, mass=ones, offsets=offsets)
        assert batch.nbytes == 32 * n + 60 * events + 8


def test_select_takes_events_in_the_order_asked_for():
    batch = EventBatch.from_arrays(**arrays(), weight=[1.0, 2.0, 3.0])
    chosen = batch.select([2, 0])
    np.testing.assert_array_equal(chosen.pt, [3, 2, 1, 5, 4])
    np.testing.assert_array_equal(chosen.offsets, [0, 3, 5])
    np.testing.assert_array_equal(chosen.weight, [3, 1])
    np.testing.assert_array_equal(chosen.key, batch.key[[2, 0]])
    assert_same_events(batch.select([True, False, True]), batch.select([0, 2]))
    assert len(batch.select([])) == 0
    np.testing.assert_array_equal(batch.select([1, 1]).offsets, [0, 0, 0])


def test_concatenate_joins_what_select_takes_apart():
    batch = EventBatch.from_arrays(**arrays(), source="a")
    assert_same_events(EventBatch.concatenate([batch.select([0]), batch.select([1, 2])]), batch)
    other = EventBatch.from_arrays(**arrays(), source="b")
    joined = EventBatch.concatenate([batch, other])
    assert joined.files == ("a", "b") and joined.name(4) == "b, entry 1"
    assert_same_events(joined.select(np.arange(3, 6)).select([0]), joined.select([3]))


def test_concatenate_wants_one_dataset_and_something_to_join():
    one = EventBatch.from_arrays(**arrays(), dataset="x")
    with pytest.raises(InputError, match="several datasets"):
        EventBatch.concatenate([one, EventBatch.from_arrays(**arrays(), dataset="y")])
    with pytest.raises(InputError, match="at least one"):
        EventBatch.concatenate([])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rapidity": [0.0] * 5}, "exactly one of rapidity and eta"),
        ({"eta": None}, "exactly one of rapidity and eta"),
        ({"offsets": [1, 5]}, "offsets must be"),
        ({"offsets": [0, 3, 2, 5]}, "offsets must be"),
        ({"offsets": []}, "offsets must be"),
        ({"offsets": [0, 4]}, r"pt has shape \(5,\), expected \(4,\)"),
        ({"mass": [0.0] * 4}, r"mass has shape \(4,\)"),
        ({"weight": [1.0]}, r"weight has shape \(1,\), expected one number or shape \(3,\)"),
        ({"pt": [1, 1, 1, 1, 0]}, "entry 2, particle 2: pt is 0.0, expected a positive"),
        (
            {"phi": [np.nan] * 5},
            r"entry 0, particle 0: phi is nan.*\(5 such particles in 3 events\)",
        ),
        ({"weight": np.inf}, "entry 0: weight is inf"),
    ],
)
def test_arrays_without_meaning_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        EventBatch.from_arrays(**arrays(**wrong))


def test_it_prints_in_one_line_and_not_its_arrays():
    batch = EventBatch.from_arrays(**arrays(), source="a.root")
    assert repr(batch) == "EventBatch(3 events with 5 particles from a.root)"
    both = EventBatch.concatenate([batch, EventBatch.from_arrays(**arrays(), source="b.root")])
    assert repr(both) == "EventBatch(6 events with 10 particles from a.root and 1 more)"


@pytest.mark.parametrize(
    "names",
    [
        ("px", "py", "pz", "E"),
        ("x", "y", "z", "t"),
        ("px", "py", "pz", "energy"),
        ("pt", "eta", "phi", "E"),
    ],
)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_particles_may_have_components_and_an_energy(names, kind):
    expected = EventBatch.from_arrays(**arrays())
    pt, phi, eta = expected.pt, expected.phi, np.array(arrays()["eta"])
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + expected.mass**2)
    columns = [pt, eta, phi, energy] if names[0] == "pt" else [px, py, pz, energy]
    particles = ak.zip(
        {
            name: ak.unflatten(values.astype(kind), np.diff(OFFSETS))
            for name, values in zip(names, columns, strict=True)
        }
    )
    batch = EventBatch.from_awkward(particles)
    close = {"rtol": 1e-9, "atol": 1e-9} if kind is np.float64 else {"rtol": 1e-5, "atol": 1e-5}
    for name in ("pt", "rapidity", "phi"):
        np.testing.assert_allclose(getattr(batch, name), getattr(expected, name), **close)
    rounding = 4.0 * np.sqrt(np.finfo(kind).eps) * energy  # of a difference of squares
    assert (np.abs(batch.mass - expected.mass) <= rounding).all()


def test_jets_can_be_clustered_again():
    particles = ak.zip(
        {
            name: ak.unflatten(np.array(values), np.diff(OFFSETS))
            for name, values in arrays().items()
            if name != "offsets"
        }
    )
    jets = cluster_jets(particles, radius=0.01)
    again = cluster_jets(jets, radius=10.0)
    np.testing.assert_allclose(ak.sum(again.E, axis=1), ak.sum(jets.E, axis=1))


def test_an_energy_below_the_momentum_is_refused():
    particles = ak.Array([[], [{"px": 3.0, "py": 0.0, "pz": 4.0, "E": 4.9}]])
    with pytest.raises(InputError, match=r"event 1, particle 0: E is 4.9, expected 5.0 or more"):
        EventBatch.from_awkward(particles)
