"""Removal of dead candidates from the lists.

The candidates of an object that was merged or became a jet are dead. Each is replaced by the last
on its list, from the highest on. A row of pairs dies at once with its owner.
"""

from __future__ import annotations

from djservice.clustering.kernels.candidates import Candidates, Workspace, end_list
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import (
    WIDE,
    bit_count,
    bits_below,
    holds,
    lowest,
    natural,
    thread_bits,
    word,
)
from djservice.clustering.kernels.lanes.team import ballot, size, sync
from djservice.clustering.kernels.object_slopes import ObjectSlopes, add_pair
from djservice.clustering.kernels.pseudojets import Ints
from djservice.clustering.kernels.rows import drop_row, span


@jit
def remove_pairs(
    pairs: Candidates,
    count: int,
    a: int,
    b: int,
    minimum: float,
    safe: bool,
    dead: Ints,
    slopes: ObjectSlopes | None,
    weight: float,
) -> tuple[int, bool]:
    """Remove the pairs of objects ``a`` and ``b`` from part 0 of the list.

    Returns the length of the list, and whether the minimum went. ``dead`` is work space for as many
    places as there are such pairs. ``slopes`` and ``weight`` are those of
    :mod:`djservice.clustering.kernels.input_score`, None and 0 without it.
    """
    if size() > 1:
        return _remove_by_team(pairs, count, a, b, minimum, safe, slopes)
    if slopes is not None:
        _add_pairs_of(pairs, natural(0), count, a, b, slopes, weight)
    minimum_lost, number = False, _places_of(pairs, count, a, b, dead)
    while number > 0:
        number = natural(number - 1)
        count = natural(count - 1)
        k = natural(dead[number])
        minimum_lost = minimum_lost | (pairs.q[k] <= minimum)
        _move(pairs, count, k, safe, slopes)
    return count, minimum_lost


@jit
def _move(
    pairs: Candidates, source: int, target: int, safe: bool, slopes: ObjectSlopes | None
) -> None:
    """Put the pair at one place of the list at another one too."""
    if slopes is not None:
        slopes.pair[target] = slopes.pair[source]
    pairs.q[target] = pairs.q[source]
    pairs.w[target] = pairs.w[source]
    pairs.owner[target] = pairs.owner[source]
    pairs.other[target] = pairs.other[source]
    if safe:
        pairs.s[target] = pairs.s[source]


@jit
def _places_of(pairs: Candidates, count: int, a: int, b: int, places: Ints) -> int:
    """Find the pairs of two objects; returns their number.

    Two places of a group are written, dead or not, and others only if there are more: how many it
    has is what a processor would mispredict.
    """
    first = number = natural(0)
    while first < count:
        bits = _pairs_of(pairs, first, count, a, b)
        place, number = number, natural(number + bit_count(bits))
        for _ in range(2):
            places[place] = first + lowest(bits)
            bits &= bits - 1
            place = natural(place + 1)
        while bits != 0:
            places[place] = first + lowest(bits)
            bits &= bits - 1
            place = natural(place + 1)
        first = natural(first + WIDE)
    return int(number)


@jit
def _pairs_of(pairs: Candidates, first: int, count: int, a: int, b: int) -> int:
    """Mask of the pairs of two objects in a group."""
    bits = holds(pairs.owner, pairs.other, first, a, b)
    if first + WIDE > count:
        bits &= (1 << (count - first)) - 1
    return int(bits)


@jit
def _add_pairs_of(
    pairs: Candidates, first: int, end: int, a: int, b: int, slopes: ObjectSlopes, weight: float
) -> None:
    """Add the pairs of two objects on a part of the list to the slopes, the last group first."""
    group = (end - 1) & -WIDE
    while group >= first:
        bits = _pairs_of(pairs, group, end, a, b)
        while bits != 0:
            add_listed_pair(pairs, group + lowest(bits), slopes, weight)
            bits &= bits - 1
        group -= WIDE


@jit
def _remove_by_team(
    pairs: Candidates,
    count: int,
    a: int,
    b: int,
    minimum: float,
    safe: bool,
    slopes: ObjectSlopes | None,
) -> tuple[int, bool]:
    """:func:`remove_pairs` by a team, whose threads share the dead of a group."""
    minimum_lost = False
    first = (count - 1) & -WIDE
    valid = word((1 << word(count - first)) - 1) if count > 0 else 0
    while first >= 0:  # from the end, so that what comes after is alive
        dead = word(holds(pairs.owner, pairs.other, first, a, b) & valid)
        valid = (1 << WIDE) - 1
        if dead != 0:
            bits = thread_bits(dead)
            while word(bits) != 0:
                lane = lowest(bits)
                bits &= bits - 1
                k = natural(first + lane)
                minimum_lost = minimum_lost | (pairs.q[k] <= minimum)
                last = natural(_replacement(dead, lane, first, count))
                _move(pairs, last, k, safe, slopes)
            count = word(count - bit_count(dead))
            sync()
        first -= WIDE
    return count, ballot(minimum_lost) != 0


@jit
def add_listed_pair(pairs: Candidates, k: int, slopes: ObjectSlopes, weight: float) -> None:
    """Add a pair on the list to the slopes of its objects."""
    k = natural(k)
    c = slopes.pair[k] + pairs.w[k] * weight
    add_pair(slopes, int(pairs.owner[k]), int(pairs.other[k]), pairs.q[k], c)


@jit
def _replacement(dead: int, lane: int, first: int, count: int) -> int:
    """The place of the candidate that replaces the dead one at ``first`` + ``lane``.

    There are ``count`` candidates. Dead candidates are removed from the highest on, and each is
    replaced by the last.
    """
    end = word(count - bit_count(dead))
    place = end + bits_below(dead, lane)
    while (
        word(first + lane) < word(place) < word(first + WIDE)
        and word(dead >> word(place - first)) & 1 != 0
    ):  # it is dead, so it was replaced itself
        place = end + bits_below(dead, word(place - first))
    return int(place)


@jit
def remove_rows(
    workspace: Workspace,
    n_parts: int,
    a: int,
    b: int,
    safe: bool,
    slopes: ObjectSlopes | None,
    weight: float,
) -> tuple[int, int]:
    """Remove the pairs of objects ``a`` and ``b`` from the rows.

    Returns the number of parts, and that of pairs in the rows of ``a`` and ``b``.
    """
    parts, part, dead = workspace.parts, natural(n_parts - 1), natural(0)
    while part > 0:  # from the end, so that the last row is alive
        first, end = span(parts, part, 0)
        if slopes is not None and size() == 1:
            _add_pairs_of(workspace.pairs, first, end, a, b, slopes, weight)
        owner = parts.owner[part]
        if (owner == a) | (owner == b):
            dead = natural(dead + end - first)
            n_parts = natural(n_parts - 1)
            drop_row(parts, part, n_parts)
        else:
            _remove_from_row(workspace, part, a, b, safe, slopes)
        part = natural(part - 1)
    return n_parts, dead


@jit
def _remove_from_row(
    workspace: Workspace, part: int, a: int, b: int, safe: bool, slopes: ObjectSlopes | None
) -> None:
    """Remove the pairs of a row with objects that are not its owner."""
    pairs, parts = workspace.pairs, workspace.parts
    first, end = span(parts, part, 0)
    group = (end - 1) & -WIDE
    while group >= first:  # from the end, so that what comes after is alive
        bits = holds(pairs.other, pairs.other, group, a, b)
        if group + WIDE > end:
            bits &= (1 << (end - group)) - 1
        if bits == 0:
            group -= WIDE
        else:
            k = natural(group + lowest(bits))
            least_lost = pairs.q[k] <= parts.least[part]
            end = natural(end - 1)
            sync()
            _move(pairs, end, k, safe, slopes)
            parts.length[part] = end - first
            parts.sum[part] = -1.0
            if least_lost:
                parts.least[part] = -1.0
            sync()
            end_list(pairs, end, safe)
            sync()


@jit
def remove_beam(
    beams: Candidates,
    count: int,
    ident: int,
    minimum: float,
    beam_place: Ints,
    slopes: ObjectSlopes | None,
) -> tuple[int, bool]:
    """Remove the beam of an object if it is on the list.

    Returns the length of the list, and whether the minimum went.
    """
    place = beam_place[ident]
    if place < 0:
        return count, False
    minimum_lost = beams.q[place] <= minimum
    count = natural(count - 1)
    q, w, s, last = beams.q[count], beams.w[count], beams.s[count], beams.owner[count]
    slope = 0.0
    if slopes is not None:
        slope = slopes.beam[count]
    sync()
    if slopes is not None:
        slopes.beam[place] = slope
    beams.q[place] = q
    beams.s[place] = s
    beams.w[place] = w
    beams.owner[place] = last
    beam_place[last] = place
    beam_place[ident] = -1
    return count, minimum_lost
