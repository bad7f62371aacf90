"""The leading jets of a tree, and what they would be if it ended at once: the state that a baseline may know."""

from __future__ import annotations

import math

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.pseudojets import Floats, Objects


@jit
def clear_jets(jets: Floats, pt2: Floats) -> None:
    """No jets yet."""
    for j in range(len(pt2)):
        pt2[j] = -1.0
        for c in range(4):
            jets[j, c] = math.nan


@jit
def insert_jet(objects: Objects, slot: int, jets: Floats, pt2: Floats) -> None:
    """Put the object in ``slot`` among the leading jets, which are in falling pT, if it belongs there."""
    kept = len(pt2)
    own = objects.pt2[slot]
    at = kept
    while at > 0 and own > pt2[at - 1]:
        at -= 1
    if at == kept:
        return
    for j in range(kept - 1, at, -1):
        pt2[j] = pt2[j - 1]
        for c in range(4):
            jets[j, c] = jets[j - 1, c]
    pt2[at] = own
    jets[at, 0] = objects.px[slot]
    jets[at, 1] = objects.py[slot]
    jets[at, 2] = objects.pz[slot]
    jets[at, 3] = objects.e[slot]


@jit
def leading_so_far(
    objects: Objects, m: int, jets: Floats, pt2: Floats, state: Floats, state_pt2: Floats
) -> None:
    """Fill ``state`` with the hardest among the final jets and the active objects."""
    for j in range(len(pt2)):
        state_pt2[j] = pt2[j]
        for c in range(4):
            state[j, c] = jets[j, c]
    for slot in range(m):
        if objects.pt2[slot] > state_pt2[-1]:
            insert_jet(objects, slot, state, state_pt2)
