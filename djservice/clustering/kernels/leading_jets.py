"""The leading jets of a tree, final or provisional.

Provisional ones are the leading jets if the tree ended now: the state that a baseline may depend
on.
"""

from __future__ import annotations

import math

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.pseudojets import Floats, Pseudojets


@jit
def clear_jets(jets: Floats, pt2: Floats) -> None:
    """Empty the list of leading jets."""
    for j in range(len(pt2)):
        pt2[j] = -1.0
        for c in range(4):
            jets[j, c] = math.nan


@jit
def insert_jet(pseudojets: Pseudojets, slot: int, jets: Floats, pt2: Floats) -> None:
    """Insert the object in ``slot`` into the leading jets, in falling pT, if it is hard enough."""
    n_jets = len(pt2)
    new_pt2 = pseudojets.pt2[slot]
    place = n_jets
    while place > 0 and new_pt2 > pt2[place - 1]:
        place -= 1
    if place == n_jets:
        return
    for j in range(n_jets - 1, place, -1):
        pt2[j] = pt2[j - 1]
        for c in range(4):
            jets[j, c] = jets[j - 1, c]
    pt2[place] = new_pt2
    jets[place, 0] = pseudojets.px[slot]
    jets[place, 1] = pseudojets.py[slot]
    jets[place, 2] = pseudojets.pz[slot]
    jets[place, 3] = pseudojets.e[slot]


@jit
def leading_so_far(
    pseudojets: Pseudojets, m: int, jets: Floats, pt2: Floats, state: Floats, state_pt2: Floats
) -> None:
    """Fill ``state`` with the hardest among the final jets and the active objects."""
    for j in range(len(pt2)):
        state_pt2[j] = pt2[j]
        for c in range(4):
            state[j, c] = jets[j, c]
    for slot in range(m):
        if pseudojets.pt2[slot] > state_pt2[-1]:
            insert_jet(pseudojets, slot, state, state_pt2)
