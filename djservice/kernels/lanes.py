"""Eight float64 side by side, as the kernels see them: one source, whatever the registers of the machine.

Where numba compiles, :mod:`djservice.kernels.lanes_llvm` makes them LLVM vectors; where it is switched off (the CUDA
simulator, debugging), :mod:`djservice.kernels.lanes_numpy` makes them arrays of length 8. Results do not depend on the
width of the registers: sums over lanes have a fixed order, and multiply-adds are fused only where ``fma`` says so.

Lanes support ``+``, ``-`` and ``*`` with lanes. Masks are integers with a bit per lane, lane 0 lowest.
"""

from __future__ import annotations

import numba

#: float64 in one group of lanes. Arrays that are read in lanes are padded by as many.
LANES = 8
#: Ids that are compared at once by ``holds``.
WIDE = 32

if numba.config.DISABLE_JIT:
    from djservice.kernels.lanes_numpy import (
        absolute,
        below,
        fill,
        fma,
        highest,
        holds,
        least,
        load,
        lowest,
        natural,
        power_of_two,
        smallest_lane,
        store,
        total,
        where_below,
    )
else:
    from djservice.kernels.lanes_llvm import (
        absolute,
        below,
        fill,
        fma,
        highest,
        holds,
        least,
        load,
        lowest,
        natural,
        power_of_two,
        smallest_lane,
        store,
        total,
        where_below,
    )

__all__ = [
    "LANES",
    "WIDE",
    "absolute",
    "below",
    "fill",
    "fma",
    "highest",
    "holds",
    "least",
    "load",
    "lowest",
    "natural",
    "power_of_two",
    "smallest_lane",
    "store",
    "total",
    "where_below",
]
