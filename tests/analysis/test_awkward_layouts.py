"""Every layout of awkward arrays is read as its particles are, and what has no meaning is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError

Records = Callable[[dj.EventBatch], Any]
Identity = tuple[Any, Any, Any]
MASS = dj.observables.dijet_mass


def indexed(array: Any) -> Any:
    """An IndexedArray: records in memory in another order than that of the events."""
    content = array.layout.content
    back = np.arange(content.length)[::-1]
    shuffled = content._carry(ak.index.Index64(back), allow_lazy=False)
    index = ak.contents.IndexedArray(ak.index.Index64(back.copy()), shuffled)
    return ak.Array(ak.contents.ListOffsetArray(array.layout.offsets, index))


def with_gaps(array: Any) -> Any:
    """A ListArray whose lists lie in memory out of order, with unused particles between them."""
    offsets = np.asarray(array.layout.offsets)
    counts = np.diff(offsets)
    place = np.zeros(len(counts), np.int64)
    place[::-1] = np.cumsum(np.concatenate([[3], counts[::-1][:-1] + 2]))
    index = np.zeros(place.max() + counts.max() + 5, np.int64)
    for start, count, first in zip(place, counts, offsets[:-1], strict=True):
        index[start : start + count] = np.arange(first, first + count)
    content = array.layout.content._carry(ak.index.Index64(index), allow_lazy=False)
    return ak.Array(
        ak.contents.ListArray(ak.index.Index64(place), ak.index.Index64(place + counts), content)
    )


def virtual(array: Any) -> Any:
    """Every buffer comes when it is asked for."""
    form, length, buffers = ak.to_buffers(array)
    return ak.from_buffers(
        form, length, {name: (lambda b=buffer: b) for name, buffer in buffers.items()}
    )


LAYOUTS = {
    "ListOffsetArray": lambda a: a,
    "sliced ListOffsetArray": lambda a: ak.concatenate([a[:2], a])[2:],
    "ListArray with gaps": with_gaps,
    "IndexedArray": indexed,
    "RegularArray": lambda a: ak.to_regular(a[:, : ak.min(ak.num(a))], axis=1),
    "option type without a None": lambda a: ak.mask(a, np.ones(len(a), bool)),
    "BitMaskedArray": lambda a: ak.Array(
        ak.mask(a, np.ones(len(a), bool)).layout.to_BitMaskedArray(True, True)
    ),
    "particles of option type": lambda a: ak.mask(a, a.pt > 0),
    "fields of option type": lambda a: ak.with_field(a, ak.mask(a.pt, a.pt > 0), "pt"),
    "virtual": virtual,
    "single precision": lambda a: ak.values_astype(ak.values_astype(a, np.float32), np.float64),
    "extra fields of other depths": lambda a: ak.with_field(a, a.pt[:, :, np.newaxis], "hits"),
    "a selection": lambda a: a[a.pt > 3.0],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, batch: dj.EventBatch, records: Records, identity: Identity) -> None:
    array = LAYOUTS[name](records(batch))
    plain = ak.Array(ak.to_list(array))
    columns = {
        field: ak.to_numpy(ak.flatten(plain[field])) for field in ("pt", "rapidity", "phi", "mass")
    }
    offsets = np.concatenate([[0], np.cumsum(ak.num(plain))])
    expected = dj.EventBatch.from_arrays(**columns, offsets=offsets, identity=identity)
    found = dj.EventBatch.from_awkward(array, identity=identity)
    for field in ("pt", "rapidity", "phi", "mass", "offsets", "key"):
        np.testing.assert_array_equal(
            getattr(found, field), getattr(expected, field), err_msg=field
        )
    mean = dj.expectation(array, MASS, radius=0.7, trees=2, identity=identity).mean
    np.testing.assert_array_equal(mean, dj.expectation(expected, MASS, radius=0.7, trees=2).mean)
    assert (
        ak.num(dj.cluster_jets(array, radius=0.7)).to_list()
        == ak.num(dj.cluster_jets(plain, radius=0.7)).to_list()
    )


def test_a_virtual_array_is_read_only_where_it_is_needed(
    batch: dj.EventBatch, records: Records
) -> None:
    form, length, buffers = ak.to_buffers(records(batch))
    read: set[str] = set()

    def buffer(name: str) -> Any:
        read.add(name)
        return buffers[name]

    lazy = ak.from_buffers(form, length, {name: (lambda n=name: buffer(n)) for name in buffers})
    charge = {name for name in buffers if np.array_equal(buffers[name], batch.pt * 0)}
    assert len(charge) == 1
    dj.cluster_jets(lazy, radius=0.7)
    assert read == set(buffers) - charge


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda a: ak.mask(a, np.arange(len(a)) != 3),
            r"event 3 is None \(1 of 24 events\): drop them .*ak\.is_none",
        ),
        (
            lambda a: ak.mask(a, a.pt < 30),
            r"event \d+, particle \d+: pt is None \(\d+ such particles\): drop them with",
        ),
        (
            lambda a: ak.with_field(a, ak.mask(a.mass, a.mass != a.mass[2, 1]), "mass"),
            r"event \d+, particle \d+: mass is None",
        ),
        (
            lambda a: a[["pt", "phi", "mass"]],
            "expected one list per event of records with pt, phi, mass and rapidity",
        ),
        (lambda a: a.pt, "expected one list per event of records"),
        (lambda a: ak.flatten(a), "expected one list per event of records"),
        (lambda a: a[:, :, np.newaxis], "expected one list per event of records"),
        (
            lambda a: ak.with_field(a, a.pt[:, :, np.newaxis], "pt"),
            "expected one pt for each particle",
        ),
        (
            lambda a: ak.with_field(a, "x", "phi"),
            "expected (one phi for each particle|numbers in phi)",
        ),
        (
            lambda a: ak.to_list(a),
            "expected particles, found list",
        ),
        (lambda a: ak.Array([]), "expected one list per event of records"),
        (lambda a: ak.with_field(a, a.pt - 4.0, "pt"), r"entry \d+, particle \d+: pt is -"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    spoil: Callable[[Any], Any], message: str, batch: dj.EventBatch, records: Records
) -> None:
    for call in (
        lambda particles: dj.expectation(particles, MASS, radius=0.7, trees=2),
        lambda particles: dj.cluster_jets(particles, radius=0.7),
        lambda particles: dj.gradient(particles, MASS, radius=0.7, trees=2),
    ):
        with pytest.raises(InputError, match=message):
            call(spoil(records(batch)))


def test_the_advice_of_the_errors_helps(
    batch: dj.EventBatch, records: Records, identity: Identity
) -> None:
    particles = records(batch)
    some = ak.mask(particles, np.arange(len(batch)) % 5 != 3)
    with pytest.raises(
        InputError,
        match=r"events\[~ak\.is_none\(particles\)\].*ak\.fill_none\(particles, \[\], axis=0\)",
    ):
        dj.EventBatch.from_awkward(some)
    keep = ~ak.is_none(some)
    dropped = dj.EventBatch.from_awkward(
        some[keep], identity=tuple(ak.Array(x)[keep] for x in identity)
    )
    np.testing.assert_array_equal(dropped.key, batch.select(np.arange(len(batch)) % 5 != 3).key)
    np.testing.assert_array_equal(dropped.pt, batch.select(np.arange(len(batch)) % 5 != 3).pt)
    filled = dj.EventBatch.from_awkward(ak.fill_none(some, [], axis=0))
    np.testing.assert_array_equal(
        filled.counts, np.where(np.arange(len(batch)) % 5 == 3, 0, batch.counts)
    )
    np.testing.assert_array_equal(filled.mass, dropped.mass)
    hard = ak.mask(particles, particles.pt > 4.0)
    with pytest.raises(InputError, match=r"particles\[~ak\.is_none\(particles\.pt, axis=1\)\]"):
        dj.EventBatch.from_awkward(hard)
    rest = dj.EventBatch.from_awkward(hard[~ak.is_none(hard.pt, axis=1)])
    np.testing.assert_array_equal(rest.pt, batch.pt[batch.pt > 4.0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda run, block, event: (run, block), "found 2 columns"),
        (
            lambda run, block, event: (run[1:], block, event),
            r"each an integer for each of 24 events, found uint32 of",
        ),
        (lambda run, block, event: (run, block, event + 0.5), "found float64 of shape"),
        (
            lambda run, block, event: (run, block, ak.mask(event, event > 3)),
            "expected numbers in identity, without None",
        ),
    ],
)
def test_identities_without_meaning_are_refused(
    wrong: Callable[..., Any],
    message: str,
    batch: dj.EventBatch,
    records: Records,
    identity: Identity,
) -> None:
    with pytest.raises(InputError, match=message):
        dj.expectation(
            records(batch), MASS, radius=0.7, trees=2, identity=wrong(*map(ak.Array, identity))
        )
