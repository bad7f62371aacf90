"""The parts of the list of pairs: a common one, and the rows of objects with many pairs.

In a large event a hard object merges again and again. Each time all its pairs die, and those of the
sum come, which are about as many. So the pairs with which such a sum comes are a row: it dies at
once with its owner, and the sum of its weights is kept until the weights or the pairs change. All
other pairs, of all owners, are in part 0.
"""

from __future__ import annotations

import math

from djservice.clustering.kernels.candidates import (
    PAD,
    Candidates,
    Parts,
    Workspace,
    count_relevant,
    end_list,
    smallest,
)
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import fill, natural, store, width
from djservice.clustering.kernels.lanes.team import rank, sync
from djservice.clustering.kernels.pseudojets import LARGE, have_tiles

#: Parts of the list at most.
PARTS = 16
#: The sum of two objects that had so many pairs begins a row.
ROW = 64


def row_room(particles: int) -> int:
    """The places of a row in a work space for so many particles, in whole lines of the cache."""
    return (particles + 3 * PAD) & -PAD if particles >= LARGE else 0


_row_room = jit(row_room)


@jit
def clear_parts(workspace: Workspace) -> None:
    """No rows yet."""
    parts, room = workspace.parts, _row_room(len(workspace.beams.q) - PAD)
    end = len(workspace.pairs.q) - (PARTS - 1) * room
    parts.place[0] = end
    for part in range(1, PARTS):
        parts.place[part] = end + (part - 1) * room
    for first in range(0, PAD, width()):
        store(parts.least, first, fill(math.inf))


@jit
def span(parts: Parts, part: int, n_pairs: int) -> tuple[int, int]:
    """Where a part begins and ends on the list. Part 0 has ``n_pairs``."""
    first, end = natural(0), natural(n_pairs)
    if part > 0:
        first = natural(int(parts.place[part]))
        end = natural(first + int(parts.length[part]))
    return first, end


@jit
def part_of(workspace: Workspace, part: int, n_pairs: int) -> tuple[Candidates, int]:
    """The pairs of a part, and their number, which is ``n_pairs`` for part 0."""
    pairs, (first, end) = workspace.pairs, span(workspace.parts, part, n_pairs)
    view = Candidates(
        pairs.q[first:], pairs.w[first:], pairs.s[first:], pairs.owner[first:], pairs.other[first:]
    )
    return view, natural(end - first)


@jit
def count_pairs(workspace: Workspace, n_pairs: int, n_parts: int, cut: float) -> int:
    """The number of pairs that survive the truncation."""
    number = 0
    for part in range(n_parts):
        pairs, count = part_of(workspace, natural(part), n_pairs)
        number += count_relevant(pairs, count, cut)
    return number


@jit
def has_rows(workspace: Workspace, n_parts: int) -> bool:
    """Whether the list of pairs has rows beside its part 0."""
    return n_parts > 1 and have_tiles(workspace.pseudojets)


@jit
def begins_row(ordered: bool, n_parts: int, dead: int) -> bool:
    """Whether the sum of two objects with ``dead`` pairs begins a row: in an event with tiles."""
    return dead >= ROW and n_parts < PARTS and ordered


@jit
def is_full(parts: Parts, n_pairs: int) -> bool:
    """Whether part 0 has more pairs than it has room for, which may lie where rows were."""
    return n_pairs < 0 or n_pairs + PAD > parts.place[0]


@jit
def add_row(
    workspace: Workspace, part: int, owner: int, count: int, nearest: float, safe: bool
) -> None:
    """Make a row of the pairs that were put in its place, which are the newest object's."""
    parts = workspace.parts
    sync()
    parts.owner[part] = owner
    parts.length[part] = count
    parts.least[part] = nearest if count > 0 else math.inf
    sync()
    end_list(workspace.pairs, int(parts.place[part]) + count, safe)


@jit
def drop_row(parts: Parts, part: int, last: int) -> None:
    """Forget a row. The ``last`` one takes its number."""
    sync()
    if rank() == 0:
        place = parts.place[part]
        parts.place[part] = parts.place[last]
        parts.owner[part] = parts.owner[last]
        parts.length[part] = parts.length[last]
        parts.least[part] = parts.least[last]
        parts.sum[part] = parts.sum[last]
        parts.place[last] = place
        parts.least[last] = math.inf
    sync()


@jit
def least_of_rows(workspace: Workspace, n_parts: int) -> float:
    """The smallest distance in all rows, of which there are some."""
    parts = workspace.parts
    for part in range(1, n_parts):
        if parts.least[part] < 0.0:
            row, count = part_of(workspace, natural(part), 0)
            least = smallest(row.q, count)
            sync()
            parts.least[part] = least
    sync()
    return smallest(parts.least, n_parts)
