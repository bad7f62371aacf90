"""Constituents of the leading jets of trees, listed when they are asked for.

Trees share many jets. Each distinct jet of an event is evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.jet_vectors import host_vectors
from djservice.clustering.kernels.leading_constituents import (
    Histories,
    Summary,
    Work,
    list_constituents,
    list_members,
    summarise_jets,
)
from djservice.clustering.particle_order import momenta_of
from djservice.core.array_module import array_module, to_host
from djservice.core.columns import returned
from djservice.core.formatting import counted
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.events.batch import EventBatch

#: Number of constituents of each jet that a function gets; "all" for every one of them.
Length = int | Literal["all"]
#: Jets that a function gets at once.
BLOCK = 2_048
#: Least number of constituents for which there is room if all are listed.
_LEAST_ROOM = 8


@dataclass(frozen=True)
class Constituents:
    """Constituents of the leading jets of the trees of some events.

    Attributes
    ----------
    index
        Shape (event, tree, jet, constituent), int32, without the first axis for one event: places
        of the particles in their event, in falling pT; -1 where a jet has fewer.
    count
        Shape (event, tree, jet), int32: number of constituents; 0 where there is no jet.
    """

    index: NDArray[np.int32]
    count: NDArray[np.int32]


@dataclass(frozen=True)
class JetParticles:
    """Constituents of jets as a function gets them, in falling pT and padded.

    Attributes
    ----------
    momenta
        A ``vector`` momentum array of shape (jet, constituent) in GeV; 0 in the padding.
    mask
        Shape (jet, constituent): True where there is a constituent.
    count
        Shape (jet,): number of constituents, those without room included.
    index, event
        Shapes (jet, constituent) and (jet,): places of the particles in their event, -1 in the
        padding, and place of the event in ``events``.
    events
        Events of the jets.
    """

    momenta: Any
    mask: NDArray[np.bool_]
    count: NDArray[np.int32]
    index: NDArray[np.int32]
    event: NDArray[np.int64]
    events: EventBatch = field(repr=False)

    def column(self, name: str) -> Floats:
        """A further column of the particles (``EventBatch.columns``); 0 in the padding.

        Raises
        ------
        InputError
            If the events have no such column.
        """
        columns = self.events.columns
        if name not in columns:
            raise InputError(
                f"the particles have no column {name!r}, expected one of "
                f"{', '.join(columns) or 'none'}. Name its branch in the schema (columns=...)."
            )
        place = self.events.offsets[self.event][:, np.newaxis] + np.maximum(self.index, 0)
        values: Floats = np.where(self.mask, columns[name][place * self.mask], 0.0)
        return values


class TreeConstituents:
    """Constituents of the leading jets of the trees of each event.

    ``constituents[i]`` and ``constituents[i:j]`` list those of one event or several, as
    :class:`Constituents`; nothing is listed before. Iterating gives those of one event after the
    other.

    Parameters
    ----------
    events
        Events with their particles.
    trees
        Histories of the trees. Their arrays are NumPy's, or CuPy's on a GPU.
    trees_each, jets
        Trees of each event, and leading jets of each tree.
    """

    def __init__(self, events: EventBatch, trees: Histories, trees_each: int, jets: int) -> None:
        self.events, self.trees, self.trees_each, self.jets = events, trees, trees_each, jets
        #: For each function and length, its value for each distinct jet, and which are known.
        self._values: dict[tuple[Any, Length], tuple[Floats, NDArray[np.bool_]]] = {}

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"TreeConstituents({counted(len(self), 'event')}, {counted(self.trees_each, 'tree')}, {counted(self.jets, 'jet')})"

    def __iter__(self) -> Iterator[Constituents]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, events: int | slice) -> Constituents:
        rows = np.arange(len(self))[events]
        per_event = self.trees_each * self.jets
        places = (np.atleast_1d(rows)[:, np.newaxis] * per_event + np.arange(per_event)).ravel()
        counts = self.summary.counts.ravel()[places]
        index = self.listed(places, int(counts.max(initial=0)))
        shape = (*np.shape(rows), self.trees_each, self.jets)
        return Constituents(index.reshape(*shape, index.shape[1]), counts.reshape(shape))

    @property
    def slots(self) -> NDArray[np.int64]:
        """Number of each jet, shape (event, tree, jet)."""
        shape = (len(self), self.trees_each, self.jets)
        return np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)

    @cached_property
    def summary(self) -> Summary:
        """What tells the leading jets apart, on the host."""
        items = len(self.trees.steps)
        module = array_module(self.trees.history)
        summary = Summary(
            module.empty((items, self.jets), np.int32),
            module.empty((items, self.jets, 4)),
            module.empty((items, self.jets, 2), np.uint64),
        )
        largest = int(self.events.counts.max(initial=0))
        codes = _random_bits(largest)
        self._run(summarise_jets, items, codes, summary)
        return Summary(*(to_host(array) for array in summary))

    @cached_property
    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first slot of each distinct jet of an event, and the distinct jet of each slot.

        The latter is -1 where there is no jet. Jets are the same if both hashes of their sets, the
        numbers of constituents and the sums of these are.
        """
        counts, momenta, codes = self.summary
        present = np.flatnonzero(counts.ravel())
        event = present // (self.trees_each * self.jets)
        columns = np.column_stack(
            [event, counts.ravel()[present], codes.reshape(-1, 2).view(np.int64)[present],
             momenta.reshape(-1, 4).view(np.int64)[present]]
        )  # fmt: skip
        order = np.lexsort((columns[:, 2], event))
        differs = (np.diff(columns[order], axis=0) != 0).any(axis=1)
        begins = np.concatenate([np.ones(min(len(order), 1), np.bool_), differs])
        number = np.full(counts.size, -1)
        number[present[order]] = np.cumsum(begins) - 1
        return present[order][begins], number

    def listed(self, slots: NDArray[np.int64], length: int) -> NDArray[np.int32]:
        """Places of the constituents of jets in their event, shape (jet, constituent)."""
        module = array_module(self.trees.history)
        index = module.empty((len(slots), length), np.int32)
        self._run(list_constituents, len(slots), np.asarray(slots), index)
        listed: NDArray[np.int32] = to_host(index)
        return listed

    def members(self) -> list[NDArray[np.int32]]:
        """Place of the jet of each particle among the leading jets, -1 if it is in none of them.

        There is an array of shape (tree, particle) for each event.
        """
        module, trees = array_module(self.trees.history), self.trees_each
        member = module.empty(len(self.trees.history), np.int32)
        self._run(list_members, len(self.trees.steps), member)
        parts = np.split(to_host(member), self.events.offsets[1:-1] * trees) if len(self) else []
        return [part.reshape(trees, -1) for part in parts]

    def evaluate(
        self, function: Callable[[Any, JetParticles], Any], slots: Any, length: Length, what: str
    ) -> Any:
        """Evaluate a function once for each distinct jet, and return its value for each slot.

        Parameters
        ----------
        function
            Takes jets, shape (jet,), and their :class:`JetParticles`; returns an array of shape
            (jet,). The values are kept, so it is not called again for these jets.
        slots
            Numbers of jets, in any shape; they may be on a GPU, and so are the values then.
        length
            Number of constituents of each jet that the function gets.
        what
            Name of the function in messages.

        Raises
        ------
        InputError
            If the function returns another shape, or no numbers.
        """
        first, number = self.distinct
        # The last entry stands for no jet.
        nothing = np.full(len(first) + 1, np.nan), np.arange(len(first) + 1) == len(first)
        values, evaluated = self._values.setdefault((function, length), nothing)
        numbers = number[to_host(slots)]
        requested = np.zeros(len(evaluated), np.bool_)
        requested[numbers] = True
        new = np.flatnonzero(requested & ~evaluated)
        for room, rows in self._blocks(first[new], length):
            jets, particles = self._arguments(first[new][rows], room)
            column = returned(called(what, function, jets, particles), what)
            if column.shape != (len(rows),):
                raise InputError(
                    f"{what} returned shape {column.shape}, expected ({len(rows)},), a number for "
                    "each jet."
                )
            values[new[rows]] = column
        evaluated[new] = True
        return array_module(slots).asarray(values[numbers])

    def padded(
        self, slots: NDArray[np.int64], length: int
    ) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
        """Constituents of each distinct set of jets of a tree, once, in falling pT and padded.

        Parameters
        ----------
        slots
            Numbers of jets, shape (..., jet).
        length
            Number of constituents of each jet.

        Returns
        -------
        tuple
            Momenta, shape (set, jet, constituent, 4): px, py, pz and E in GeV, 0 in the padding;
            their mask, False for a jet that is absent; and the set of each of the ``slots``, shape
            (...).
        """
        first, number = self.distinct
        jets, place = np.unique(number[slots], return_inverse=True)
        sets, which = np.unique(place.reshape(-1, slots.shape[-1]), axis=0, return_inverse=True)
        absent = jets < 0  # then its number is -1, and another jet stands in, which is masked
        momenta, _, mask, _ = self._momenta_of(first[jets], length)
        momenta[absent], mask[absent] = 0.0, False
        return momenta[sets], mask[sets], which.reshape(slots.shape[:-1])

    def _blocks(
        self, slots: NDArray[np.int64], length: Length
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Room for constituents and rows of the blocks of jets that a function gets at once.

        The room of a jet depends on nothing else, and so do the bits of a sum over it.
        """
        if length == "all":
            counts = np.maximum(self.summary.counts.ravel()[slots], _LEAST_ROOM)
            rooms = 2 ** np.ceil(np.log2(counts)).astype(np.int64)
        else:
            rooms = np.full(len(slots), length)
        for room in np.unique(rooms):
            rows = np.flatnonzero(rooms == room)
            for start in range(0, len(rows), BLOCK):
                yield int(room), rows[start : start + BLOCK]

    def _arguments(self, slots: NDArray[np.int64], length: int) -> tuple[Any, JetParticles]:
        """What a function gets of some jets."""
        momenta, index, mask, event = self._momenta_of(slots, length)
        count = self.summary.counts.ravel()[slots]
        jets = host_vectors(self.summary.momenta.reshape(-1, 4)[slots])
        return jets, JetParticles(host_vectors(momenta), mask, count, index, event, self.events)

    def _momenta_of(
        self, slots: NDArray[np.int64], length: int
    ) -> tuple[Floats, NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
        """Momenta of the constituents of jets, their places and mask, and the event of each jet."""
        index = self.listed(slots, length)
        event = slots // (self.trees_each * self.jets)
        mask = index >= 0
        place = self.events.offsets[event][:, np.newaxis] + np.maximum(index, 0)
        return np.where(mask[..., np.newaxis], self._momenta[place], 0.0), index, mask, event

    @cached_property
    def _momenta(self) -> Floats:
        return momenta_of(self.events)

    def _run(self, kernel: Any, rows: int, *arguments: Any) -> None:
        """Run a kernel over rows: items or chosen jets."""
        largest = 2 * int(self.events.counts.max(initial=0))
        if array_module(self.trees.history) is not np:
            from djservice.clustering.histories_on_gpu import follow_on_gpu

            threads = rows, largest, self.jets
            follow_on_gpu(kernel, threads, self.trees_each, self.trees, arguments)
            return
        work = Work(
            np.empty(largest, np.int32), np.empty((3, largest)), np.empty(self.jets, np.int32)
        )
        kernel(0, 1, self.trees_each, self.trees, work, *arguments)


def constituents_of(
    events: EventBatch, history: Any, steps: Any, particles: Floats, order: NDArray[np.int32],
    power: float, jets: int, renamed: bool,
) -> TreeConstituents:  # fmt: skip
    """Constituents of trees that were grown from particles in an order of their own.

    Parameters
    ----------
    events, history, steps, jets
        Events, merges and number of steps of each tree, and leading jets. Merges and steps may be
        on a GPU.
    particles, order, power
        Particles as :func:`djservice.clustering.particle_order.sorted_particles` gave them for a
        power of pT.
    renamed
        Whether the history has the names of the batch instead of those of the order.
    """
    first = np.repeat(events.offsets[:-1], events.counts)
    rank = np.arange(len(order)) - first
    if power <= 0:  # falling d is rising pT
        rank = np.repeat(events.counts, events.counts) - 1 - rank
    names = order[first + rank]
    if renamed:
        by_name = np.empty_like(particles)
        by_name[first + order] = particles
        particles = by_name
    numbers = names if renamed else rank
    scan = np.column_stack([numbers, names]).astype(np.int32)
    module = array_module(history)
    trees = Histories(
        *(module.asarray(x) for x in (events.offsets, history, steps.ravel(), particles, scan))
    )
    return TreeConstituents(events, trees, steps.shape[1], jets)


def _random_bits(particles: int) -> NDArray[np.uint64]:
    """The same bits at every call for each particle of an event, shape (particle, 2)."""
    bits: Any = np.random.SeedSequence(0).generate_state(2 * particles, np.uint64)
    return np.asarray(bits, np.uint64).reshape(-1, 2)
