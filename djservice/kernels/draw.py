"""From the options on the list to a choice: their weights, the sums of these, and the option that a uniform picks."""

from __future__ import annotations

from djservice.kernels.jit import jit, jit_contracted
from djservice.kernels.objects import PAD, Floats
from djservice.kernels.options import BLOCK, Options, Scratch

_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93145751953125e-1
_LN2_LOW = 1.42860682030941723212e-6
_SHIFT = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which then stands in the low bits


@jit_contracted
def weigh(options: Options, start: int, stop: int, minimum: float, rate: float, scratch: Scratch) -> None:
    """Weights exp(-rate (q - minimum)) of options ``start`` to ``stop``, to 2 ulp.

    Written out because calls of the library's exponential do not vectorise: the argument is reduced to
    k ln 2 + r, exp(r) is the Taylor series to r^13 (remainder below 1e-17), and 2^k is put together from its bits.
    """
    q, w = options.q[start:], options.w[start:]
    exponent, bits = scratch.exponent, scratch.exponent_bits
    count = (stop - start + PAD - 1) // PAD * PAD
    for k in range(count):
        x = (minimum - q[k]) * rate
        x = x if x > -100.0 else -100.0
        shifted = x * _LOG2E + _SHIFT
        whole = shifted - _SHIFT
        r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        w[k] = p * r + 1.0
        exponent[k] = shifted
    for k in range(count):
        bits[k] = (bits[k] + 1023) << 52
    for k in range(count):
        w[k] *= exponent[k]


@jit
def block_sums(w: Floats, count: int, blocks: Floats) -> float:
    """Sum of ``count`` weights; ``blocks`` gets the sum of each run of BLOCK.

    Eight running sums in a fixed order: vector instructions without leave to reorder, so the same bits everywhere.
    """
    total = 0.0
    for block in range((count + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        stop = min(start + BLOCK, count)
        whole = start + (stop - start) // 8 * 8
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for k in range(start, whole, 8):
            s0 += w[k]
            s1 += w[k + 1]
            s2 += w[k + 2]
            s3 += w[k + 3]
            s4 += w[k + 4]
            s5 += w[k + 5]
            s6 += w[k + 6]
            s7 += w[k + 7]
        rest = 0.0
        for k in range(whole, stop):
            rest += w[k]
        blocks[block] = (((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))) + rest
        total += blocks[block]
    return total


@jit
def weighted_sum(options: Options, count: int) -> float:
    """Sum of w q over an option list, in eight running sums."""
    w, q = options.w, options.q
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = count // 8 * 8
    for k in range(0, whole, 8):
        s0 += w[k] * q[k]
        s1 += w[k + 1] * q[k + 1]
        s2 += w[k + 2] * q[k + 2]
        s3 += w[k + 3] * q[k + 3]
        s4 += w[k + 4] * q[k + 4]
        s5 += w[k + 5] * q[k + 5]
        s6 += w[k + 6] * q[k + 6]
        s7 += w[k + 7] * q[k + 7]
    for k in range(whole, count):
        s0 += w[k] * q[k]
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))


@jit
def choose(w: Floats, count: int, blocks: Floats, target: float) -> int:
    """The option whose stretch of the summed weights holds ``target``."""
    block, last = 0, (count - 1) // BLOCK
    while block < last and target >= blocks[block]:
        target -= blocks[block]
        block += 1
    return pick(w, block * BLOCK, min((block + 1) * BLOCK, count), target)


@jit
def pick(w: Floats, start: int, stop: int, target: float) -> int:
    """As :func:`choose`, among options ``start`` to ``stop``; where rounding leaves none, the last."""
    for k in range(start, stop - 1):
        if target < w[k]:
            return k
        target -= w[k]
    return stop - 1


@jit
def choose_zero(options: Options, count: int, target: float) -> int:
    """The option at zero distance whose unit stretch holds ``target``."""
    last = -1
    for k in range(count):
        if options.q[k] == 0.0:
            last = k
            if target < 1.0:
                return k
            target -= 1.0
    return last
