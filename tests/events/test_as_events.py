"""One door for particles: all forms are the same events, and what is none of them is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from same_events import assert_same_events

import djservice as dj
from djservice.errors import InputError, OutOfRangeError

RNG = np.random.default_rng(4)
SHAPE = (5, 7)
COLUMNS = {
    "pt": RNG.exponential(9.0, SHAPE) + 1.0,
    "eta": RNG.normal(0.0, 1.5, SHAPE),
    "phi": RNG.uniform(-3.0, 3.0, SHAPE),
    "mass": np.full(SHAPE, 0.14),
}
VECTORS = vector.array(COLUMNS)
MOMENTA = np.stack([VECTORS.px, VECTORS.py, VECTORS.pz, VECTORS.E], axis=-1)
MASK = RNG.uniform(size=SHAPE) < 0.7
RECORDS = ak.zip(COLUMNS)[ak.from_regular(ak.Array(MASK))]
PADDED = np.where(MASK[..., np.newaxis], MOMENTA, 0.0)
HIDDEN = np.repeat(~MASK[..., np.newaxis], 4, axis=-1)
FIELDS = {name: RECORDS[name] for name in COLUMNS}
EVENTS = dj.EventBatch.from_awkward(RECORDS)


class OnDevice:
    """An array of another library, which hands over a copy in the memory of the host when it is asked to."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, dl_device: Any = None, **asked: Any) -> Any:
        assert dl_device == (1, 0)
        return self.array.__dlpack__()


FORMS: dict[str, tuple[Any, Any]] = {
    "awkward": (RECORDS, None),
    "awkward of vector": (vector.zip(FIELDS), None),
    "awkward that vector knows": (vector.Array(RECORDS), None),
    "vector in uncommon coordinates": (
        vector.zip(
            {"rho": FIELDS["pt"], "phi": FIELDS["phi"]}
            | {"theta": vector.zip(FIELDS).theta, "tau": FIELDS["mass"]}
        ),
        None,
    ),
    "array of vector": (VECTORS, MASK),
    "padded": (MOMENTA, MASK),
    "padded with zeros": (PADDED, MASK),
    "padded with NaN": (np.where(HIDDEN, np.nan, MOMENTA), MASK),
    "masked": (np.ma.array(MOMENTA, mask=HIDDEN), None),
    "DLPack on a device": (OnDevice(MOMENTA), MASK),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_events(form: str) -> None:
    particles, mask = FORMS[form]
    events = dj.as_events(particles, mask, source="arrays")
    np.testing.assert_array_equal(events.offsets, EVENTS.offsets)
    np.testing.assert_array_equal(events.key, EVENTS.key)
    for name in ("pt", "rapidity", "phi", "mass"):
        np.testing.assert_allclose(
            getattr(events, name), getattr(EVENTS, name), rtol=1e-9, atol=1e-6
        )


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_arrays_of_other_libraries_are_read_where_they_are_installed(library: str) -> None:
    module = pytest.importorskip(library)
    particles = module.asarray(PADDED.astype(np.float32))
    events = dj.as_events(particles, module.asarray(MASK))
    np.testing.assert_allclose(events.pt, EVENTS.pt, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda p, m: dj.cluster(p, radius=0.7, rigidity=1.0, mask=m).momenta,
        lambda p, m: dj.gradient(p, dj.observables.dijet_mass, radius=0.7, trees=4, mask=m).value,
        lambda p, m: dj.expectation(p, dj.observables.dijet_mass, radius=0.7, trees=4, mask=m).mean,
        lambda p, m: ak.flatten(dj.cluster_jets(p, radius=0.7, mask=m).px),
        lambda p, m: (
            dj.input_gradient(p, dj.observables.dijet_mass, radius=0.7, trees=4, mask=m).value
        ),
    ],
    ids=["cluster", "gradient", "expectation", "cluster_jets", "input_gradient"],
)
def test_every_function_of_particles_has_the_door(call: Callable[..., Any]) -> None:
    np.testing.assert_array_equal(call(MOMENTA, MASK), call(dj.as_events(MOMENTA, MASK), None))
    np.testing.assert_allclose(call(MOMENTA, MASK), call(RECORDS, None), rtol=1e-6, atol=1e-9)
    for wrong in (None, "events.root", 3, [], {}, object(), np.zeros(3), ak.Array([1.0])):
        with pytest.raises(InputError, match="expected"):
            call(wrong, None)


@pytest.mark.parametrize(
    ("particles", "mask", "message"),
    [
        (PADDED, None, r"event \d, particle \d: px, py, pz and E are 0 .*Give a mask"),
        (MOMENTA, MASK[0], r"mask is bool of shape \(7,\), expected bool of shape \(5, 7\)"),
        (MOMENTA, MASK.astype(int), "mask is int64 of shape"),
        (MOMENTA > 0, None, "expected numbers in particles, without None, found bool"),
        (MOMENTA[0], None, r"shape \(7, 4\), expected \(event, particle, 4\)"),
        (VECTORS[0], None, r"shape \(7,\), expected \(event, particle\)"),
        (vector.array({k: COLUMNS[k] for k in ("pt", "eta", "phi")}), None, "pt, eta, phi and E"),
        (RECORDS, MASK, "mask: expected none with an awkward array"),
        (EVENTS, MASK, "mask: an EventBatch has its own"),
        (np.ma.array(MOMENTA, mask=HIDDEN), MASK, "without another mask"),
        (np.ma.array(MOMENTA, mask=HIDDEN & [True, False, True, True]), None, "or none"),
        (MOMENTA * [1, 1, 1, 0.5], None, "event 0, particle 0: E is .* the size of the momentum"),
        (np.full((1, 1, 4), np.nan), None, "is nan"),
    ],
)
def test_what_has_no_meaning_is_refused(particles: Any, mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dj.as_events(particles, mask)


def test_what_a_library_does_not_hand_over_is_said_in_one_line() -> None:
    class Attached(OnDevice):
        def __dlpack__(self, **asked: Any) -> Any:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")

    with pytest.raises(InputError, match=r"the Attached cannot be read: .*djservice.torch"):
        dj.as_events(Attached(MOMENTA))


def test_columns_of_events_come_with_their_particles() -> None:
    numbers = np.arange(5)
    events = dj.as_events(
        MOMENTA, MASK, weight=numbers + 1.0, truth=125.0, identity=(numbers, numbers, numbers)
    )
    np.testing.assert_array_equal(events.weight, numbers + 1.0)
    np.testing.assert_array_equal(events.event, numbers)
    assert len(dj.as_events(np.zeros((0, 5, 4)))) == 0
    assert len(dj.as_events(np.zeros((3, 0, 4)))) == 3


def test_events_are_chosen_like_those_of_an_array() -> None:
    for index, rows in (
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, -2), [4, 2, 0]),
        (-1, [4]),
        (np.uint8(2), [2]),
        ([3, 3], [3, 3]),
        (EVENTS.counts > 4, np.flatnonzero(EVENTS.counts > 4)),
        (ak.Array([True, False, False, True, False]), [0, 3]),
        ([], []),
    ):
        assert_same_events(EVENTS[index], EVENTS.select(rows))
    assert [len(event) for event in EVENTS] == [1] * 5
    assert_same_events(dj.EventBatch.concatenate(list(EVENTS)), EVENTS)


@pytest.mark.parametrize(
    "index", [5, -6, [0, 7], "pt", None, 1.5, [True], [[0]], slice("a", None), (0, 1, [2])]
)
def test_an_index_without_meaning_is_refused(index: Any) -> None:
    far = index in (5, -6) or index == [0, 7]
    with pytest.raises(OutOfRangeError if far else InputError):
        EVENTS[index]


@pytest.mark.parametrize("batches", [None, 3, "x", EVENTS, [1], [EVENTS, None]])
def test_only_batches_are_concatenated(batches: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        dj.EventBatch.concatenate(batches)
