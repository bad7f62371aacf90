"""Drawing a candidate: weights, their sums, and the candidate that a uniform in [0, 1) picks.

The uniform times the sum of all weights falls into the pairs or, beyond them, into the beams. Among
the pairs it falls into a part: the common one, then the rows. There it falls into a run of 64
candidates, in their order, and within the run into a lane. The first lane has candidates 0, 8, 16
... of the run, the second 1, 9, 17 ..., because sums are formed lane by lane. In the lane it falls
on one candidate.
"""

from __future__ import annotations

from typing import Any

from djservice.clustering.kernels.candidates import (
    Candidates,
    Scratch,
    Workspace,
    count_relevant,
)
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import (
    LANES,
    fill,
    fma,
    load,
    natural,
    power_of_two,
    store,
    sum_of_eight,
    total,
    where_below,
    width,
    word,
)
from djservice.clustering.kernels.lanes.team import rank, size, sync, value_of_rank
from djservice.clustering.kernels.pseudojets import Floats
from djservice.clustering.kernels.rows import has_rows, part_of, span

#: Candidates in a run.
BLOCK = 64

_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93145751953125e-1
_LN2_LOW = 1.42860682030941723212e-6
_SHIFT = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer in the low bits


@jit
def exponential(x: Any) -> Any:
    """exp(x) of each lane to 2 ulp, for -700 < x < 700; the value is undefined below.

    The argument is reduced to k ln 2 / 8 + r. The polynomial of degree 7 is within 1e-17 of exp(r)
    - 1 (Chebyshev fit of (exp(r) - 1 - r) / r^2), and 2^(k/8) comes from a table of eight.
    """
    shifted = fma(x, fill(8.0 * _LOG2E), fill(_SHIFT))
    k = shifted - fill(_SHIFT)
    r = fma(k, fill(-_LN2_LOW / 8.0), fma(k, fill(-_LN2_HIGH / 8.0), x))
    r2 = r * r
    low = fma(r, fill(0.16666666666666724), fill(0.5000000000000051))
    middle = fma(r, fill(0.008333333327871156), fill(0.0416666666175068))
    high = fma(r, fill(0.0001984204579240919), fill(0.0013889587247893672))
    p = fma(r2, fma(r2, fma(r2, high, middle), low), r)
    scale = power_of_two(shifted)
    return fma(scale, p, scale)


@jit
def weigh(
    candidates: Candidates, first: int, count: int, minimum: float, rate: float, length: float
) -> None:
    """Set the weights exp(-rate (q - minimum)) of candidates ``first`` to ``count``.

    A weight is 0 where the exponent is below -``length``.
    """
    minima, rates, least_exponent, zero = fill(minimum), fill(rate), fill(-length), fill(0.0)
    index, count = first & -width(), word(count)
    while word(index) < count:
        x = (minima - load(candidates.q, index)) * rates
        store(candidates.w, index, where_below(x, least_exponent, zero, exponential(x)))
        index += width()


@jit
def sum_weights(w: Floats, count: int, scratch: Scratch) -> float:
    """The sum of ``count`` weights; partial sums stay in the scratch for :func:`choose`."""
    if size() > LANES:
        return _sum_runs_side_by_side(w, count, scratch)
    norm, index, block = 0.0, 0, natural(0)
    while index < count:
        lanes, stop = fill(0.0), min(index + BLOCK, count)
        while index < stop:
            lanes = lanes + load(w, index)
            index += LANES
        store(scratch.sums, block * LANES, lanes)
        run = total(lanes)
        scratch.blocks[block] = run
        norm += run
        block = natural(block + 1)
    return norm


@jit
def sum_both(
    pairs: Floats, n_pairs: int, beams: Floats, n_beams: int, scratch: Scratch
) -> tuple[float, float]:
    """The sums of the weights of both lists; the partial sums in the scratch are the pairs'."""
    half = size() // (2 * LANES) * BLOCK
    if size() > LANES and word(n_pairs) <= half and word(n_beams) <= half:
        return _sum_lists_side_by_side(pairs, n_pairs, beams, n_beams, scratch)
    beam_norm = sum_weights(beams, n_beams, scratch)
    return sum_weights(pairs, n_pairs, scratch), beam_norm


@jit
def _sum_runs_side_by_side(w: Floats, count: int, scratch: Scratch) -> float:
    """The sum of :func:`sum_weights`, bit for bit, by a large team: eight threads to each run."""
    sync()  # they read weights that other threads wrote
    first, norm = 0, 0.0
    while word(first) < word(count):
        run = natural(first // BLOCK + rank() // LANES)
        run_sum = _sum_run(w, run, count, True, scratch)
        norm = _add_runs(norm, run_sum, 0, min(word(count - first), size() // LANES * BLOCK))
        first += BLOCK // LANES * size()
    return norm


@jit
def _sum_lists_side_by_side(
    pairs: Floats, n_pairs: int, beams: Floats, n_beams: int, scratch: Scratch
) -> tuple[float, float]:
    """:func:`sum_both` of short lists: half of the team has the pairs, and half the beams."""
    sync()
    half, group = size() // 2, rank() // LANES
    of_beams = rank() >= half
    run = natural(group % (half // LANES))
    run_sum = _sum_run(
        beams if of_beams else pairs, run, n_beams if of_beams else n_pairs, not of_beams, scratch
    )
    return _add_runs(0.0, run_sum, 0, n_pairs), _add_runs(0.0, run_sum, half, n_beams)


@jit
def _sum_run(w: Floats, run: int, count: int, keeps: bool, scratch: Scratch) -> float:
    """The sum of a run, by the eight threads that have it: 0 if it lies beyond the end.

    Partial sums stay in the scratch if it ``keeps`` them.
    """
    lane, begin, end = 0.0, natural(run * BLOCK), word(count)
    index, stop = begin + rank() % LANES, min(word(begin + BLOCK), end)
    while word(index) < stop:
        lane += w[word(index)]
        index += LANES
    run_sum: float = sum_of_eight(lane)
    if keeps and begin < end:
        scratch.sums[natural(run * LANES + rank() % LANES)] = lane
        scratch.blocks[run] = run_sum
    return run_sum


@jit
def _add_runs(norm: float, run_sum: float, thread: int, count: int) -> float:
    """Add the sums of the runs of ``count`` weights, the first of which ``thread`` has."""
    thread, stop = word(thread), word(thread + (count + LANES - 1) // LANES)
    while word(thread) < stop:
        norm += value_of_rank(run_sum, word(thread))
        thread += LANES
    return norm


@jit
def weighted_sum(candidates: Candidates, count: int) -> float:
    """The sum of w q over a list of candidates."""
    a = b = fill(0.0)
    index, count = 0, word(count)
    while word(index + width()) < count:
        a = fma(load(candidates.w, index), load(candidates.q, index), a)
        b = fma(load(candidates.w, index + width()), load(candidates.q, index + width()), b)
        index += 2 * width()
    if word(index) < count:
        a = fma(load(candidates.w, index), load(candidates.q, index), a)
    return float(total(a + b))


@jit
def weigh_rows(
    workspace: Workspace, n_parts: int, weighed: int, minimum: float, rate: float, length: float
) -> float:
    """The sum of the weights of all rows. Those from ``weighed`` on get new weights."""
    parts, norm = workspace.parts, 0.0
    for k in range(1, n_parts):
        part = natural(k)
        row, count = part_of(workspace, part, 0)
        if part >= weighed:
            weigh(row, 0, count, minimum, rate, length)
        if part >= weighed or parts.sum[part] < 0.0:
            row_sum = sum_weights(row.w, count, workspace.scratch)
            sync()
            parts.sum[part] = row_sum
        norm += parts.sum[part]
    return norm


@jit
def weighted_sum_of_pairs(workspace: Workspace, n_pairs: int, n_parts: int) -> float:
    """The sum of w q over all pairs on the list."""
    weighted, part = weighted_sum(workspace.pairs, n_pairs), natural(1)
    while has_rows(workspace, n_parts) and part < n_parts:
        row, count = part_of(workspace, part, 0)
        weighted += weighted_sum(row, count)
        part = natural(part + 1)
    return weighted


@jit
def choose_part(
    workspace: Workspace, n_pairs: int, n_parts: int, target: float
) -> tuple[Floats, int, int, float]:
    """The part of the list of pairs that ``target`` falls on.

    Returns its weights, where it begins, its length, and the distance into it. The partial sums in
    the scratch are its own then; before, they are those of part 0.
    """
    part, target = _pick(workspace.parts.sum, natural(0), n_parts, natural(1), target)
    first, end = span(workspace.parts, part, n_pairs)
    w, count = workspace.pairs.w[first:], natural(end - first)
    if part > 0:
        sum_weights(w, count, workspace.scratch)
    return w, first, count, target


@jit
def choose(w: Floats, count: int, scratch: Scratch, target: float) -> int:
    """The candidate that ``target`` falls on, which is below the sum of the weights."""
    sync()
    one = natural(1)  # a literal would compile the callee twice
    blocks = word(count + BLOCK - 1) // BLOCK
    block, target = _pick(scratch.blocks, natural(0), blocks, one, target)
    lane, target = _pick(scratch.sums, block * LANES, (block + 1) * LANES, one, target)
    start = block * BLOCK
    candidate, target = _pick(
        w, start + lane - block * LANES, min(start + BLOCK, count), natural(LANES), target
    )
    return candidate


@jit
def _pick(values: Floats, start: int, stop: int, stride: int, target: float) -> tuple[int, float]:
    """The value that ``target`` falls on, and the distance into it.

    Where rounding leaves none, it is the last value that is not 0.
    """
    position, remainder, k, stop = natural(start), target, natural(start), word(stop)
    while word(k) < stop:
        value = values[word(k)]
        if value > 0.0:
            position, remainder = word(k), target
            if target < value:
                break
            target -= value
        k = natural(k + stride)
    return position, remainder


@jit
def choose_zero(candidates: Candidates, count: int, target: float) -> int:
    """The candidate at distance 0 that ``target`` falls on, each with a weight of 1."""
    last = -1
    for k in range(count):
        if candidates.q[k] == 0.0:
            last = k
            if target < 1.0:
                return k
            target -= 1.0
    return last


@jit
def choose_zero_pair(workspace: Workspace, n_pairs: int, n_parts: int, target: float) -> int:
    """The place of the pair at distance 0 that ``target`` falls on, each with a weight of 1."""
    part = natural(0)
    pairs, count = part_of(workspace, part, n_pairs)
    zeros = count_relevant(pairs, count, 0.0)
    while part + 1 < n_parts and target >= zeros:
        target, part = target - zeros, natural(part + 1)
        pairs, count = part_of(workspace, part, n_pairs)
        zeros = count_relevant(pairs, count, 0.0)
    first, _ = span(workspace.parts, part, n_pairs)
    return int(first + choose_zero(pairs, count, target))
