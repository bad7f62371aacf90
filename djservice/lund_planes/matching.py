"""Match subjets to generated quarks: how many prongs a jet has, and which subjets are of quarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.lund_planes.subjets import Subjets

#: A quark within this distance is in the jet, and within the other in the subjet.
IN_JET, IN_SUBJET = 0.8, 0.2
#: Distances at which one more, or one less quark may be in the jet.
_MORE, _LESS = (0.8, 0.9), (0.7, 0.8)


@dataclass(frozen=True)
class Quarks:
    """Generated quarks of jets.

    Attributes
    ----------
    jet
        Shape (quark,): number of the jet, rising.
    eta, phi
        Pseudorapidity and phi in rad.
    is_b
        Whether it is a b quark.
    """

    jet: NDArray[np.int64]
    eta: Floats
    phi: Floats
    is_b: NDArray[np.bool_]

    @classmethod
    def of(cls, quarks: Any, jets: int) -> Quarks:
        """Quarks from awkward records with eta, phi and pdgId, shape (jet, quark).

        Raises
        ------
        InputError
            If they are not such records, or one is not finite.
        """
        import awkward as ak

        if not {"eta", "phi", "pdgId"} <= set(ak.fields(quarks)) or quarks.ndim != 2:
            raise InputError(
                "quarks: expected awkward records with eta, phi and pdgId, shape (jet, quark), "
                f"found {getattr(quarks, 'type', type(quarks))}."
            )
        if len(quarks) != jets:
            raise InputError(f"quarks: there are those of {len(quarks)} jets, and {jets} jets.")
        eta, phi = (np.asarray(ak.flatten(quarks[name]), np.float64) for name in ("eta", "phi"))
        if not (np.isfinite(eta).all() and np.isfinite(phi).all()):
            raise InputError("quarks: expected finite eta and phi, found others.")
        is_b = np.abs(ak.to_numpy(ak.flatten(quarks.pdgId))) == 5
        return cls(np.repeat(np.arange(jets), ak.to_numpy(ak.num(quarks))), eta, phi, is_b)

    @classmethod
    def of_events(cls, jets: EventBatch) -> Quarks:
        """The generated quarks that a batch has, here of jets as events of their constituents.

        Raises
        ------
        InputError
            If it has none.
        """
        quarks = jets.quarks
        if quarks is None:
            raise InputError(
                "prongs is 'quarks', and the events have no generated quarks. Read them with a "
                "schema that has quarks=True, or give the number of prongs."
            )
        return cls(quarks.event, quarks.eta, quarks.phi, np.abs(quarks.pdg_id) == 5)

    def distances(self, eta: Floats, phi: Floats) -> Floats:
        """Distance of each quark to the axis of its jet; the axes have shape (jet,)."""
        return _distance(self.eta - eta[self.jet], self.phi - phi[self.jet])

    def prongs(self, eta: Floats, phi: Floats) -> tuple[NDArray[np.int64], Any, Any]:
        """Number of quarks in each jet, and whether one more or one less is near its edge."""
        distance, jets = self.distances(eta, phi), len(eta)

        def between(low: float, high: float) -> NDArray[np.int64]:
            inside = (distance >= low) & (distance < high)
            return np.bincount(self.jet[inside], minlength=jets)

        return between(0.0, IN_JET), between(*_MORE) > 0, between(*_LESS) > 0

    def match(self, subjets: Subjets, jets: int) -> tuple[Any, Any, NDArray[np.bool_]]:
        """Which subjets are of one quark, of a b quark; and which jets have others.

        A quark belongs to the subjet that is closest to it, if that is within 0.2.
        """
        counts = np.bincount(subjets.jet, minlength=jets)
        first = np.cumsum(counts) - counts
        repeats = counts[self.jet]
        quark = np.repeat(np.arange(len(self.jet)), repeats)
        start = np.cumsum(repeats) - repeats
        subjet = first[self.jet][quark] + np.arange(len(quark)) - start[quark]
        distance = _distance(
            self.eta[quark] - subjets.eta[subjet], self.phi[quark] - subjets.phi[subjet]
        )
        order = np.lexsort((distance, quark))
        closest = order[np.searchsorted(quark, np.flatnonzero(repeats))]  # one for each quark
        closest = closest[distance[closest] < IN_SUBJET]
        quarks = np.bincount(subjet[closest], minlength=len(subjets.jet))
        is_b = np.zeros(len(subjets.jet), np.bool_)
        is_b[subjet[closest][self.is_b[quark[closest]]]] = True
        matched = quarks == 1
        bad = np.bincount(subjets.jet[~matched], minlength=jets) > 0
        return matched, is_b & matched, bad


def _distance(eta: Floats, phi: Floats) -> Floats:
    return np.hypot(eta, np.remainder(phi + np.pi, 2.0 * np.pi) - np.pi)
