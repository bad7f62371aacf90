"""Arrays and numbers that have no meaning as particles, events or weights: refused, or said aloud."""

from __future__ import annotations

import warnings
from typing import Any

import awkward as ak
import numpy as np
import pytest

from djservice.errors import InputError, InputWarning
from djservice.events.batch import EventBatch

#: Two events with 2 and 1 particles, with every argument that is an array.
GOOD: dict[str, Any] = {
    "pt": [5.0, 4.0, 3.0],
    "eta": [0.5, -3.0, 2.0],
    "phi": [0.1, -3.0, 3.0],
    "mass": [0.0, 0.14, 1.0],
    "offsets": [0, 2, 3],
    "weight": [1.0, 2.0],
    "truth": [125.0, 90.0],
    "identity": ([1, 1], [2, 2], [3, 4]),
    "entry": [0, 1],
}
INTEGERS = ("offsets", "identity", "entry")

#: What an array may be that is none of numbers, from the numbers.
KINDS = {
    "masked": lambda values: np.ma.array(values, mask=np.arange(len(values)) == 1),
    "complex": lambda values: np.asarray(values) + 0j,
    "text": lambda values: [str(value) for value in values],
    "bytes": lambda values: np.asarray(values).astype("S8"),
    "dates": lambda values: np.asarray(values).astype("datetime64[s]"),
    "differences of dates": lambda values: np.asarray(values).astype("timedelta64[s]"),
    "booleans": lambda values: np.asarray(values) > 0,
    "objects": lambda values: np.asarray(values, dtype=object),
    "None": lambda values: [None, *values[1:]],
    "lists": lambda values: [[value] * i for i, value in enumerate(values)],
}


def changed(name: str, change: Any) -> dict[str, Any]:
    """The good arguments with one changed; of the identity, one column."""
    value = GOOD[name]
    new = (value[0], change(value[1]), value[2]) if name == "identity" else change(value)
    return GOOD | {name: new}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GOOD)
def test_only_numbers_are_taken(name: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"in {name}|{name}="):
        EventBatch.from_arrays(**changed(name, KINDS[kind]))


@pytest.mark.parametrize("name", INTEGERS)
def test_counts_and_numbers_of_events_are_integers(name: str) -> None:
    with pytest.raises(InputError, match="integer"):
        EventBatch.from_arrays(**changed(name, lambda values: np.asarray(values) + 0.0))


@pytest.mark.parametrize("kind", ["float32", "float16", "longdouble", "int16", "uint64", ">f8"])
def test_all_real_numbers_are_taken(kind: str) -> None:
    batch = EventBatch.from_arrays(**changed("pt", lambda values: np.asarray(values, dtype=kind)))
    np.testing.assert_array_equal(batch.pt, GOOD["pt"])
    hides_nothing = np.ma.array(GOOD["pt"], mask=False)
    EventBatch.from_arrays(**GOOD | {"pt": hides_nothing})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pt", 1e155, "pt is 1e"),
        ("pt", np.longdouble("1e4000"), "pt is inf"),
        ("eta", 710.0, "eta is 710"),
        ("eta", -1e30, "eta is -1e"),
        ("eta", 700.0, "energy is "),
        ("mass", 1e200, "mass is 1e"),
    ],
)
def test_a_particle_whose_energy_overflows_is_named(name: str, value: Any, message: str) -> None:
    wrong = changed(name, lambda values: np.array([*values[:2], value]))
    with pytest.raises(InputError, match=rf"entry 1 .*event 4\), particle 0: {message}"):
        EventBatch.from_arrays(**wrong)


@pytest.mark.parametrize("weight", [1e-160, -1e150, np.inf, np.nan])
def test_a_weight_whose_square_is_lost_is_named(weight: float) -> None:
    with pytest.raises(InputError, match=r"event 4\): weight is "):
        EventBatch.from_arrays(**GOOD | {"weight": [0.0, weight]})
    with pytest.raises(InputError, match=r"event 4\): truth is inf"):
        EventBatch.from_arrays(**GOOD | {"truth": [np.nan, np.inf]})


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"phi": [0.0, 180.0, 90.0]}, "phi lies beyond 2 pi.*degrees"),
        ({"phi": [0.0, 7.0, 0.0]}, "phi lies beyond 2 pi"),
        ({"mass": [139.57, 139.57, 493.68]}, "masses are those of hadrons in MeV"),
        ({"pt": [5e4, 4e4, 3e4]}, "scalar sum of pT"),
    ],
)
def test_what_looks_like_degrees_or_mev_is_said_once(
    replaced: dict[str, Any], message: str
) -> None:
    particles = {**GOOD, **replaced}
    with pytest.warns(InputWarning, match=message):
        EventBatch.from_arrays(**particles)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for scale in (1.0, 1.1, 1.2):  # chunks of one source, with other numbers
            EventBatch.from_arrays(**particles | {"pt": scale * np.array(particles["pt"])})
    assert len(said) == 1


def test_usual_particles_are_silent() -> None:
    for phi in (2 * np.pi, -2 * np.pi, float(np.float32(2 * np.pi))):
        EventBatch.from_arrays(**GOOD | {"phi": [phi, 0.0, 0.0]})
    EventBatch.from_arrays(**GOOD | {"mass": [91.2, 125.0, 173.0]})  # jets, to be clustered again
    EventBatch.from_arrays(pt=[], eta=[], phi=[], mass=[], offsets=[0])


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        (np.array([0, 2**31 + 5]), "event 2147483653)"),
        (np.array([0, 2**31 + 5]).astype(np.int32), "event -2147483643)"),
        (np.array([0, 2**63 - 1], dtype=np.uint64), "event 9223372036854775807)"),
    ],
)
def test_numbers_of_events_are_shown_as_they_are_in_the_file(numbers: Any, shown: str) -> None:
    large = np.array([0, 2**33])
    batch = EventBatch.from_arrays(**GOOD | {"identity": (large, -large, numbers)})
    expected = f"run {2**33}, luminosityBlock {-(2**33)}, {shown}"
    for one in (batch, EventBatch.concatenate([batch, EventBatch.from_arrays(**GOOD)])):
        assert one.name(1).endswith(expected)


def test_awkward_arrays_too() -> None:
    flat = {name: ak.Array(GOOD[name]) for name in ("pt", "eta", "phi", "mass")}
    for name, wrong in (("pt", flat["pt"] > 0), ("mass", flat["mass"] + 0j)):
        particles = ak.zip(
            {field: ak.unflatten(v, [2, 1]) for field, v in (flat | {name: wrong}).items()}
        )
        with pytest.raises(InputError, match=f"numbers in {name}"):
            EventBatch.from_awkward(particles)
