"""A CUDA kernel of its own: a block of threads grows a tree together, with all its pairs in shared memory.

For events of some 150 particles at most, whole histories of which never leave the multiprocessor. There is no list: at every step the
threads share all pairs and beams, each the options k, k + threads, k + 2 threads ..., and a uniform picks a thread by the threads'
sums and an option among its own. So a tree has the probability that :mod:`djservice.kernels.clustering` gives it, by other draws.

Published scale, finite rigidity, the score in a constant R; histories and states, no traces and flips.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numba import cuda, float64

from djservice.kernels.clustering import NO_DISTANCE, OK, STATES_FULL, ZERO_PT, Setting, truncation
from djservice.kernels.cuda import Turn, compiled_kernel, objects_at
from djservice.kernels.items import Batch, Results, reach_of
from djservice.kernels.jit import jit
from djservice.kernels.kinematics import TWO_PI, momentum_scale
from djservice.kernels.leading import clear_jets, insert_jet, leading_so_far
from djservice.kernels.objects import Floats, Objects, merge, radius2, remove_slot
from djservice.kernels.random import uniform
from djservice.kernels.settled import Spread, changed, largest_pt, whole_event

#: Sums of each thread: least pair and beam, weights of pairs and beams, w q of the kind that does not set the scale.
_SUMS = 5


class Shared(NamedTuple):
    """What the threads of a block share: objects and pairs of the tree, sums of each thread, the option drawn."""

    objects: Objects
    slots: Any  # of each id; nobody asks
    pairs: Floats  # q of slots i > j at i (i - 1) / 2 + j: those of the first m slots are the first m (m - 1) / 2
    sums: Floats
    drawn: Floats  # its slots a and b (-1: beam), and q
    failed: Floats
    jet_pt2: Floats
    state_pt2: Floats


def shared_bytes(particles: int, threads: int, jets: int) -> int:
    """Of a block for events of so many particles."""
    return 8 * (13 * particles + particles * (particles - 1) // 2 + _SUMS * threads + 4 + 2 * jets)


@jit
def shared_of(floats: Any, n: int, threads: int, jets: int) -> Shared:
    """The shared memory of a block, laid out."""
    slots = 11 * n
    pairs = slots + 2 * n
    sums = pairs + n * (n - 1) // 2
    drawn = sums + _SUMS * threads
    return Shared(
        objects_at(floats, 0, n),
        floats[slots:pairs],
        floats[pairs:sums],
        floats[sums:drawn],
        floats[drawn : drawn + 3],
        floats[drawn + 3 : drawn + 4],
        floats[drawn + 4 : drawn + 4 + jets],
        floats[drawn + 4 + jets : drawn + 4 + 2 * jets],
    )


@jit
def place(i: int, j: int) -> int:
    """Of the pair in slots ``i`` and ``j``."""
    high, low = max(i, j), min(i, j)
    return high * (high - 1) // 2 + low


@jit
def distance(objects: Objects, i: int, j: int) -> float:
    """q of the pair in slots ``i`` and ``j``."""
    dy, dphi = objects.y[j] - objects.y[i], abs(objects.phi[j] - objects.phi[i])
    dphi = min(dphi, TWO_PI - dphi)
    return float(min(objects.d[i], objects.d[j]) * (dy * dy + dphi * dphi))


@jit
def weight(q: float, minimum: float, rate: float, length: float) -> float:
    """exp(-rate (q - minimum)), 0 below exp(-``length``); with minimum 0 all of q = 0 have the same."""
    if minimum == 0.0:
        return 1.0 if q == 0.0 else 0.0
    x = (minimum - q) * rate
    return math.exp(x) if x >= -length else 0.0


@jit
def load_objects(batch: Batch, event: int, n: int, power: float, shared: Shared, thread: int, threads: int) -> None:
    """The particles of an event, and then its pairs; the threads share the work."""
    objects, particles, start, reach = shared.objects, batch.particles, batch.offsets[event], reach_of(batch, event)
    for j in range(thread, n, threads):
        objects.pt2[j] = particles[start + j, 0] * particles[start + j, 0]
        objects.y[j] = particles[start + j, 1]
        objects.phi[j] = particles[start + j, 2]
        objects.px[j] = particles[start + j, 3]
        objects.py[j] = particles[start + j, 4]
        objects.pz[j] = particles[start + j, 5]
        objects.e[j] = particles[start + j, 6]
        objects.d[j] = momentum_scale(objects.pt2[j], power)
        objects.beam[j] = objects.d[j] * radius2(reach, objects.pt2[j])
        objects.lower[j] = math.inf
        objects.ident[j] = j
    cuda.syncthreads()
    for i in range(thread, n, threads):
        for j in range(i):
            shared.pairs[place(i, j)] = distance(objects, i, j)


@jit
def least_options(shared: Shared, m: int, thread: int, threads: int) -> tuple[float, float]:
    """The least pair and the least beam."""
    least_pair = least_beam = math.inf
    for k in range(thread, m * (m - 1) // 2, threads):
        least_pair = min(least_pair, shared.pairs[k])
    for j in range(thread, m, threads):
        least_beam = min(least_beam, shared.objects.beam[j])
    sums = shared.sums
    sums[_SUMS * thread], sums[_SUMS * thread + 1] = least_pair, least_beam
    cuda.syncthreads()
    for t in range(threads):
        least_pair, least_beam = min(least_pair, sums[_SUMS * t]), min(least_beam, sums[_SUMS * t + 1])
    return least_pair, least_beam


@jit
def weigh_options(
    shared: Shared, m: int, minimum: float, rate: float, length: float, of_pairs: bool, thread: int, threads: int
) -> tuple[float, float, float]:
    """Sums of the weights of pairs and of beams, and of w q of the pairs or else of the beams."""
    pair_norm = beam_norm = moment = 0.0
    for k in range(thread, m * (m - 1) // 2, threads):
        w = weight(shared.pairs[k], minimum, rate, length)
        pair_norm += w
        if of_pairs and w > 0.0:
            moment += w * shared.pairs[k]
    for j in range(thread, m, threads):
        w = weight(shared.objects.beam[j], minimum, rate, length)
        beam_norm += w
        if not of_pairs and w > 0.0:
            moment += w * shared.objects.beam[j]
    sums, own = shared.sums, _SUMS * thread
    sums[own + 2], sums[own + 3], sums[own + 4] = pair_norm, beam_norm, moment
    cuda.syncthreads()
    pair_norm = beam_norm = moment = 0.0
    for t in range(threads):
        pair_norm += sums[_SUMS * t + 2]
        beam_norm += sums[_SUMS * t + 3]
        moment += sums[_SUMS * t + 4]
    return pair_norm, beam_norm, moment


@jit
def draw_option(
    shared: Shared, m: int, minimum: float, rate: float, length: float, target: float, pair_norm: float, thread: int, threads: int
) -> None:  # fmt: skip
    """The thread whose sum ``target`` falls on writes down which of its options it is."""
    is_beam = not target < pair_norm
    if is_beam:
        target -= pair_norm
    chosen, left = 0, target
    for t in range(threads):
        part = shared.sums[_SUMS * t + (3 if is_beam else 2)]
        if part > 0.0:
            chosen, left = t, target
            if target < part:
                break
            target -= part
    if thread == chosen:
        values, number = (shared.objects.beam, m) if is_beam else (shared.pairs, m * (m - 1) // 2)
        found, q = -1, 0.0
        for k in range(thread, number, threads):
            part = weight(values[k], minimum, rate, length)
            if part > 0.0:
                found, q = k, values[k]
                if left < part:
                    break
                left -= part
        high = found
        low = -1
        if not is_beam:
            high = int((1.0 + math.sqrt(1.0 + 8.0 * found)) / 2.0)
            if high * (high - 1) // 2 > found:  # the root was rounded up
                high -= 1
            low = found - high * (high - 1) // 2
        shared.drawn[0], shared.drawn[1], shared.drawn[2] = high, low, q
    cuda.syncthreads()


@jit
def grow_together(
    k: int, trees: int, first_tree: int, iteration: int, setting: Setting, batch: Batch, results: Results, turn: Turn,
    floats: Any, thread: int, threads: int,
) -> int:  # fmt: skip
    """Grow tree ``k`` of a turn with all threads of the block; returns a status code."""
    item = turn.items[k]
    event, index = item // trees, item % trees
    n = batch.offsets[event + 1] - batch.offsets[event]
    row, jets = batch.offsets[event] * trees + index * n, results.jets[item]
    alpha, length, reach, kept = setting.rigidity, truncation(n), reach_of(batch, event), len(jets)
    shared = shared_of(floats, n, threads, kept)
    objects, jet_pt2, states = shared.objects, shared.jet_pt2, turn.state_scores[k]
    load_objects(batch, event, n, setting.power, shared, thread, threads)
    if thread == 0:
        clear_jets(jets, jet_pt2)
        shared.failed[0] = OK
    cuda.syncthreads()
    spread = whole_event(objects, n) if setting.stops else Spread(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    score, log_prob, probability, n_jets, steps, m = 0.0, 0.0, 1.0, 0, 0, n
    state, state_is_old, state_edge = -1, True, math.inf
    settled_pt2 = setting.settled_pt * setting.settled_pt
    for step in range(n):
        if setting.stops:
            most = largest_pt(spread)
            if most < setting.settled_pt or most * most < jet_pt2[kept - 1]:
                break
        steps += 1
        least_pair, least_beam = least_options(shared, m, thread, threads)
        minimum, scale_is_beam = min(least_pair, least_beam), least_beam < least_pair
        if math.isinf(minimum):
            return NO_DISTANCE
        rate = alpha / minimum if minimum > 0.0 else 0.0
        pair_norm, beam_norm, moment = weigh_options(
            shared, m, minimum, rate, length, scale_is_beam, thread, threads
        )  # fmt: skip
        norm = pair_norm + beam_norm
        target = uniform(batch.keys[event], iteration, first_tree + index, step, 0) * norm
        draw_option(shared, m, minimum, rate, length, target, pair_norm, thread, threads)

        a, b, q = int(shared.drawn[0]), int(shared.drawn[1]), shared.drawn[2]
        chance = weight(q, minimum, rate, length) / norm
        step_score = 0.0
        if minimum > 0.0:
            contrast = (0.0 if b < 0 else q) if scale_is_beam else (q if b < 0 else 0.0)
            step_score = 2.0 * rate * (contrast - moment / norm) * (1.0 if scale_is_beam else -1.0)
        score += step_score
        probability *= chance
        if probability < 1e-200:
            log_prob += math.log(probability)
            probability = 1.0
        new_state = len(states) > 0 and (state_is_old or state < 0) and jet_pt2[0] > settled_pt2
        if new_state and (state < 0 or states[state, 0] != 0.0):
            state += 1
            if state == len(states):
                return STATES_FULL
        if setting.stops:
            spread = changed(spread, objects.px[a], objects.py[a], -1.0)
        if b < 0:
            n_jets += 1
        elif setting.stops:
            spread = changed(spread, objects.px[b], objects.py[b], -1.0)
        hardest = max(objects.pt2[a], objects.pt2[b]) if b >= 0 else 0.0
        one, other = objects.ident[a], objects.ident[b] if b >= 0 else -1.0
        cuda.syncthreads()

        gone, kept_slot = (a, -1) if b < 0 else (a, b)  # a is the larger slot
        if thread == 0:
            if len(results.history) > 0:
                results.history[row + step, 0] = int(max(one, other))
                results.history[row + step, 1] = int(min(one, other))
            if new_state:
                leading_so_far(objects, m, jets, jet_pt2, turn.state_jets[k, state], shared.state_pt2)
                states[state, 0] = 0.0
            if state >= 0:
                states[state, 0] += step_score
            if b < 0:
                insert_jet(objects, a, jets, jet_pt2)
            elif not merge(objects, kept_slot, gone, n + step, setting.power, reach):
                shared.failed[0] = ZERO_PT
            remove_slot(objects, gone, m, shared.slots)
        cuda.syncthreads()
        if shared.failed[0] != OK:
            return ZERO_PT
        m -= 1
        if new_state:
            state_is_old, state_edge = False, shared.state_pt2[kept - 1]
        if b >= 0:
            state_is_old = state_is_old or max(hardest, objects.pt2[kept_slot]) >= state_edge
            if setting.stops:
                spread = changed(spread, objects.px[kept_slot], objects.py[kept_slot], 1.0)
        for j in range(thread, m, threads):
            if j != gone and j != kept_slot and gone < m:  # what was in the last slot is now in the one that got free
                shared.pairs[place(gone, j)] = shared.pairs[place(m, j)]
            if kept_slot >= 0 and j != kept_slot:
                shared.pairs[place(kept_slot, j)] = distance(objects, kept_slot, j)
        cuda.syncthreads()
    if thread == 0:
        results.scores[item, 0] = score
        results.numbers[item, 0] = log_prob + math.log(probability)
        results.numbers[item, 1] = n_jets
        results.numbers[item, 2] = steps
        results.numbers[item, 3] = state + 1
    return OK


def grow_in_blocks(
    turn: Turn, trees: int, first_tree: int, iteration: int, setting: Setting, batch: Batch, results: Results
) -> None:
    """Kernel: grow the trees of a turn; a block takes one, then the one as many further on as there are blocks.

    Its dynamic shared memory has :func:`shared_bytes` of the largest event.
    """
    floats = cuda.shared.array(0, float64)
    for k in range(cuda.blockIdx.x, len(turn.items), cuda.gridDim.x):
        status = grow_together(
            k, trees, first_tree, iteration, setting, batch, results, turn, floats, cuda.threadIdx.x, cuda.blockDim.x
        )
        if cuda.threadIdx.x == 0:
            turn.status[k] = status
        cuda.syncthreads()


grow_in_blocks_kernel = compiled_kernel(grow_in_blocks)
