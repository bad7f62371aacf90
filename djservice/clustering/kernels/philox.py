"""Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011, 10.1145/2063384.2063405)."""

from __future__ import annotations

import numpy as np

from djservice.clustering.kernels.jit import jit

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@jit
def philox(
    k0: np.uint64, k1: np.uint64, c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Four random 32-bit words of a 64-bit key (two words) and a 128-bit counter (four words)."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@jit
def uniform(key: np.uint64, iteration: int, sample: int, step: int, draw: int) -> float:
    """A uniform in [0, 1) with 53 bits, for ``step`` of tree ``sample``.

    Draw 0 decides the step.
    """
    c0, c1, _, _ = philox(
        key & _LOW,
        key >> _32,
        np.uint64(iteration) & _LOW,
        np.uint64(sample) & _LOW,
        np.uint64(step) & _LOW,
        np.uint64(draw),
    )
    high, low = c0 >> np.uint64(5), c1 >> np.uint64(6)
    return (np.float64(high) * 67108864.0 + np.float64(low)) / 9007199254740992.0
