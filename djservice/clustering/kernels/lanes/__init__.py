"""Lanes: eight float64 side by side, in one source for all machines.

Where numba compiles, :mod:`djservice.clustering.kernels.lanes.llvm` makes lanes LLVM vectors. Where
it is switched off (the CUDA simulator, debugging),
:mod:`djservice.clustering.kernels.lanes.reference` makes them arrays of length 8. Results do not
depend on the width of the registers: sums over lanes have a fixed order, and multiply-adds are
fused only where ``fma`` says so.

Lanes support ``+``, ``-`` and ``*`` with lanes. Masks are integers with a bit per lane, lane 0
lowest. On a GPU each thread of a team (:mod:`djservice.clustering.kernels.lanes.team`) holds some
of the lanes. Every thread holds the masks and whatever is computed from all lanes.
"""

from __future__ import annotations

import importlib
from typing import Any

import numba

#: float64 in one group of lanes; the padding of arrays that are read in lanes.
LANES = 8
#: Ids that ``holds`` compares at once.
WIDE = 32


def _functions(compiled: str) -> Any:
    name = "reference" if numba.config.DISABLE_JIT else compiled
    return importlib.import_module(f"djservice.clustering.kernels.lanes.{name}")


_lanes, _hits, _hints = _functions("llvm"), _functions("hits"), _functions("hints")

load = _lanes.load
store = _lanes.store
fill = _lanes.fill
fma = _lanes.fma
least = _lanes.least
absolute = _lanes.absolute
where_below = _lanes.where_below
power_of_two = _lanes.power_of_two
below = _lanes.below
smallest_lane = _lanes.smallest_lane
smallest_natural = _lanes.smallest_natural
total = _lanes.total
compresses = _hits.compresses
store_where = _hits.store_where
holds = _lanes.holds
lowest = _lanes.lowest
thread_bits = _lanes.thread_bits
bit_count = _lanes.bit_count
bits_below = _lanes.bits_below
bits_of = _lanes.bits_of
float_of = _lanes.float_of
natural = _hints.natural
seldom = _hints.seldom
word = _hints.word
width = _lanes.width
sum_of_eight = _lanes.sum_of_eight
