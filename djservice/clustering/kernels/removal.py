"""Options of objects that are gone come off the lists: each is replaced by the last, from the highest on."""

from __future__ import annotations

from djservice.clustering.kernels.candidates import Options
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import (
    WIDE,
    bit_count,
    bits_below,
    holds,
    lowest,
    natural,
    own,
)
from djservice.clustering.kernels.lanes.team import ballot, sync
from djservice.clustering.kernels.pseudojets import Ints


@jit
def remove_pairs(
    pairs: Options, count: int, a: int, b: int, minimum: float, safe: bool
) -> tuple[int, bool]:
    """Take the options of objects ``a`` and ``b`` off the list; returns its length and whether the minimum went."""
    owner, other = pairs.owner, pairs.other
    lost = False
    at = (count - 1) & -WIDE
    within = (1 << (count - at)) - 1 if count > 0 else 0
    while at >= 0:  # from the end, so that what comes after is alive
        dead = holds(owner, other, at, a, b) & within
        within = (1 << WIDE) - 1
        if dead != 0:
            mine = own(dead)
            while mine != 0:
                lane = lowest(mine)
                mine &= mine - 1
                k = natural(at + lane)
                lost = lost | (pairs.q[k] <= minimum)
                last = natural(_replacement(dead, lane, at, count))
                pairs.q[k] = pairs.q[last]
                pairs.w[k] = pairs.w[last]
                owner[k] = owner[last]
                other[k] = other[last]
                if safe:
                    pairs.s[k] = pairs.s[last]
            count -= bit_count(dead)
            sync()
        at -= WIDE
    return count, ballot(lost) != 0


@jit
def _replacement(dead: int, lane: int, at: int, count: int) -> int:
    """Which of ``count`` options comes to where ``at`` + ``lane`` is dead: taken off from the highest, each is replaced by the last."""
    found = count - bit_count(dead) + bits_below(dead, lane)
    while (
        at + lane < found < at + WIDE and dead >> (found - at) & 1 != 0
    ):  # it is dead, and had been replaced itself
        found = count - bit_count(dead) + bits_below(dead, found - at)
    return int(found)


@jit
def remove_beam(
    beams: Options, count: int, ident: int, minimum: float, beam_at: Ints
) -> tuple[int, bool]:
    """As :func:`remove_pairs`, for the beam option of an object, if it is there."""
    at = beam_at[ident]
    if at < 0:
        return count, False
    lost = beams.q[at] <= minimum
    count = natural(count - 1)
    q, w, s, last = beams.q[count], beams.w[count], beams.s[count], beams.owner[count]
    sync()
    beams.q[at] = q
    beams.s[at] = s
    beams.w[at] = w
    beams.owner[at] = last
    beam_at[last] = at
    beam_at[ident] = -1
    return count, lost
