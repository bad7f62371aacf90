"""The work space of trees: one table of its arrays, which every allocation and layout follows.

A processor's thread has an array for each line of the table. A GPU has one block of memory for each
type, in which the arrays of an event or a tree stand one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.candidates import PAD, Candidates, Parts, Scratch, Workspace
from djservice.clustering.kernels.close_pairs import LEVELS, ROOM, ClosePairs
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import Pseudojets
from djservice.clustering.kernels.rows import PARTS, row_room

#: Types of the arrays, a block of a GPU's memory for each; int64 and int32 share one.
TYPES = (np.float64, np.uint16, np.int32, np.uint8)
_BLOCK = {np.float64: 0, np.uint16: 1, np.int32: 2, np.int64: 2, np.uint8: 3}

#: Bytes of a line of a processor's cache.
LINE = 64

Line = tuple[Any, int]  # type and length of an array


class Room(NamedTuple):
    """The sizes that memory is laid out for: particles of an event, pairs on the list, jets.

    ``slopes`` says whether the score in the particles is wanted, which takes memory of its own.
    """

    particles: int
    pairs: int
    jets: int
    slopes: bool = False


class Bounds(NamedTuple):
    """Start and end of each array in its block of memory: start, end, start, end ..."""

    event: tuple[int, ...]
    tree: tuple[int, ...]


def pairs_at_first(particles: int) -> int:
    """Initial room for pairs on the list.

    A tree that needs more is grown again with twice as much.
    """
    return 16 * particles + 256


def close_pairs_room(particles: int) -> int:
    """Room for close pairs."""
    return math.ceil(ROOM * particles * math.sqrt(particles)) + PAD


def event_arrays(room: Room) -> list[Line]:
    """The arrays of an event: its pseudojets, its closest pairs, and a row of distances."""
    slots, n_pairs = room.particles + PAD, close_pairs_room(room.particles)
    close_pairs = {
        "q": (np.float64, n_pairs),
        "owner": (np.uint16, n_pairs),
        "other": (np.uint16, n_pairs),
        "ends": (np.int64, LEVELS),
        "top": (np.float64, 1),
        "unsorted_q": (np.float64, n_pairs),
        "unsorted_owner": (np.uint16, n_pairs),
        "unsorted_other": (np.uint16, n_pairs),
    }
    pseudojets = [(np.float64, slots) for _ in Pseudojets._fields]
    return [*pseudojets, *(close_pairs[name] for name in ClosePairs._fields), (np.float64, slots)]


def tree_arrays(room: Room) -> list[Line]:
    """The arrays of a tree: its pseudojets, its lists of pairs and of beams, scratch, slopes.

    Those of slopes have length 0 if they are not wanted. The pseudojets come first, all arrays of
    one length: threads of a GPU find the fields of an object by it.
    """
    slots, ids = room.particles + PAD, 2 * room.particles
    longest = max(room.pairs, room.particles) + PAD

    def candidates(length: int) -> list[Line]:
        kinds = {"owner": np.uint16, "other": np.uint16}
        return [(kinds.get(name, np.float64), length) for name in Candidates._fields]

    scratch = {
        "row": (np.float64, slots),
        "sums": (np.float64, longest // 8 + 8),
        "blocks": (np.float64, longest // 64 + 1),
        "slot": (np.uint16, ids),
        "marked": (np.uint16, room.particles),
        "beam_place": (np.int32, ids),
        "alive": (np.uint8, ids),
        "log_pt2": (np.float64, ids),
        "step_scores": (np.float64, 5),
        "jet_pt2": (np.float64, room.jets),
        "state_pt2": (np.float64, room.jets),
        "dead": (np.int32, ids + PAD),
    }
    parts = {"least": (np.float64, PAD), "sum": (np.float64, PARTS)}
    pseudojets = [(np.float64, slots) for _ in Pseudojets._fields]
    lists = [*candidates(_list_room(room)), *candidates(slots)]
    return [
        *pseudojets,
        *lists,
        *(parts.get(name, (np.int32, PARTS)) for name in Parts._fields),
        *(scratch[name] for name in Scratch._fields),
        *((kind, length * room.slopes) for kind, length in slope_arrays(room)),
    ]


def _list_room(room: Room) -> int:
    """The places on the list of pairs, with those of its rows."""
    places, row = room.pairs + PAD, row_room(room.particles)
    return places + (-places % PAD + (PARTS - 1) * row if row else 0)


def slope_arrays(room: Room) -> list[Line]:
    """The arrays of the score in the particles, for a tree."""
    slots, ids = room.particles + PAD, 2 * room.particles
    slopes = {
        "pair": (np.float64, _list_room(room)),
        "beam": (np.float64, slots),
        "coordinates": (np.float64, 4 * ids),
        "momenta": (np.float64, 4 * ids),
        "objects": (np.float64, 4 * ids),
        "children": (np.int32, 2 * ids),
        "leading": (np.int32, room.jets),
        "adjoint": (np.float64, 8 * ids),
    }
    return [slopes[name] for name in ObjectSlopes._fields]


def allocate(particles: int, pairs: int, jets: int) -> Workspace:
    """Allocate the work space of a thread, for events and lists up to these sizes.

    It takes about 350 bytes a particle, 28 a pair on the list, and 36 for each of n^1.5 close
    pairs. Rows take 420 bytes a particle more, where events are large enough for them. Memory beyond
    the live objects is read without effect on the results, so all begins as zeros.
    """
    room = Room(particles, pairs, jets)
    event, tree = event_arrays(room)[:-1], tree_arrays(room)  # both have a row of distances
    arrays = _zeros([*event, *tree])

    def build(kind: Any) -> Any:
        return kind(*(next(arrays) for _ in kind._fields))

    origin, close_pairs, pseudojets = build(Pseudojets), build(ClosePairs), build(Pseudojets)
    pair_list, beam_list = build(Candidates), build(Candidates)
    pair_list.other[:] = beam_list.other[:] = 0xFFFF
    return Workspace(
        origin, pseudojets, close_pairs, pair_list, beam_list, build(Parts), build(Scratch)
    )


def allocate_slopes(particles: int, pairs: int, jets: int) -> ObjectSlopes:
    """Allocate what the score in the particles takes: 350 bytes a particle, and 8 a pair.

    Rows take 120 bytes a particle more.
    """
    return ObjectSlopes(*_zeros(slope_arrays(Room(particles, pairs, jets))))


def _zeros(table: list[Line]) -> Iterator[NDArray[Any]]:
    """The arrays of a table, each from the beginning of a line of the cache on.

    A group of lanes then lies in one line. All arrays share one block of memory: the C library
    keeps a freed block for the next work space, but gives many small ones back to the system.
    """
    kinds = [np.dtype(kind) for kind, _ in table]
    sizes = [kind.itemsize * length for kind, (_, length) in zip(kinds, table, strict=True)]
    memory = np.zeros(sum(size + -size % LINE for size in sizes) + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    for kind, size in zip(kinds, sizes, strict=True):
        yield memory[start : start + size].view(kind)
        start += size + -size % LINE


def bounds_of(room: Room) -> Bounds:
    """The bounds of all arrays, for a GPU's memory."""
    return Bounds(_bounds(event_arrays(room)), _bounds(tree_arrays(room)))


def _bounds(table: list[Line]) -> tuple[int, ...]:
    ends, bounds = [0] * len(TYPES), []
    for kind, length in table:
        block = _BLOCK[kind]
        bounds += [ends[block], ends[block] + length]
        ends[block] += length
    return tuple(bounds)


def blocks_of(table: list[Line]) -> list[Line]:
    """Type and length of the blocks of memory that hold the arrays of a table."""
    blocks: list[Line] = [(kind, 0) for kind in TYPES]
    for kind, length in table:
        blocks[_BLOCK[kind]] = kind, blocks[_BLOCK[kind]][1] + length
    return blocks


def bytes_of(table: list[Line]) -> int:
    """The bytes that the arrays of a table take."""
    return sum(np.dtype(kind).itemsize * length for kind, length in table)
