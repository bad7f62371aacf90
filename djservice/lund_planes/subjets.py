"""Exclusive kT subjets of jets, with the primary emissions in their kT trees.

The correction of Lund planes (arXiv:2507.07775) takes kT and not Cambridge/Aachen here, so that an
emission that looks like a prong is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.awkward_jets import jets_of_trees
from djservice.clustering.cluster import cluster
from djservice.clustering.lund import WHOLE, emissions_of
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch

#: Emissions closer than this, or softer in GeV, are not resolved, and take no part.
DELTA_MIN, KT_MIN = 0.005, 0.02


@dataclass(frozen=True)
class Subjets:
    """Subjets of jets, by jet and falling pT, and their resolved primary emissions.

    Attributes
    ----------
    jet, pt, eta, rapidity, phi
        Shape (subjet,): number of the jet, pT in GeV, pseudorapidity, rapidity and phi in rad.
    subjet, delta, kt
        Shape (emission,): number of the subjet, distance in (y, phi), and kT in GeV.
    """

    jet: NDArray[np.int64]
    pt: Floats
    eta: Floats
    rapidity: Floats
    phi: Floats
    subjet: NDArray[np.int64]
    delta: Floats
    kt: Floats


def subjets_of(jets: EventBatch, prongs: NDArray[np.int64]) -> Subjets:
    """The subjets of jets.

    Parameters
    ----------
    jets
        The constituents of each jet as an event.
    prongs
        Shape (jet,): number of subjets. A jet of fewer particles has as many as it has particles.

    Raises
    ------
    InputError
        If a number of prongs is below 1.
    """
    import awkward as ak

    if len(prongs) and prongs.min() < 1:
        raise InputError(f"prongs is {prongs.min()} for a jet, expected 1 or more.")
    sample = cluster(
        jets, radius=WHOLE, rigidity=math.inf, power=1.0, jets=1, history=True, device="cpu"
    )
    assert sample.history is not None
    history = exclusive(sample.history, jets.offsets, prongs)
    emissions = emissions_of(jets, history, 1, of_trees=True)[:, 0]
    momenta = jets_of_trees(jets, history, 1, 0.0, None, per_tree=False)
    flat = ak.flatten(momenta)
    primary = ak.flatten(emissions)
    primary = primary[(primary.plane == 1) & (primary.delta > DELTA_MIN) & (primary.kt > KT_MIN)]
    names = ("pt", "eta", "rapidity", "phi")
    return Subjets(
        jet=np.repeat(np.arange(len(jets)), ak.to_numpy(ak.num(momenta))),
        **{name: np.asarray(getattr(flat, name), np.float64) for name in names},
        subjet=np.repeat(np.arange(len(primary)), ak.to_numpy(ak.num(primary))),
        delta=ak.to_numpy(ak.flatten(primary.delta)),
        kt=ak.to_numpy(ak.flatten(primary.kt)),
    )


def exclusive(
    history: NDArray[np.int32], offsets: NDArray[np.int64], number: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Histories of one jet per event, ended when ``number`` objects are left in each."""
    counts = np.diff(offsets)
    event = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(history)) - offsets[event]
    merges = np.maximum(counts - number, 0)
    merged = step < merges[event]
    base = 2 * offsets[event]  # an event of n particles has at most 2 n objects
    gone: Any = np.zeros(2 * len(history), np.bool_)
    for column in (0, 1):
        gone[base[merged] + history[merged, column]] = True
    names = np.arange(2 * len(history)) - np.repeat(2 * offsets[:-1], 2 * counts)
    alive = ~gone & (names < np.repeat(counts + merges, 2 * counts))
    ended = history.copy()
    ended[~merged, 0] = names[alive]
    ended[~merged, 1] = -1
    return ended
