"""ProngJets: jets in as many subjets as they have prongs, and products of ratios over their emissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.particle_order import momenta_of
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.lund_planes.matching import Quarks
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.ratio_table import RatioTable
from djservice.lund_planes.subjets import Subjets, subjets_of

#: Limits of the factor of one emission.
FACTOR = (0.2, 5.0)
#: Factor up and down of a jet whose subjets are of no quarks for any number of prongs.
_UNMATCHED = 5.0
#: The number of prongs of jets that is that of the generated quarks in them.
QUARKS = "quarks"


@dataclass(frozen=True)
class ProngJets:
    """Jets with their subjets.

    Attributes
    ----------
    jets
        The constituents of each jet as an event.
    pt, prongs
        Shape (jet,): pT in GeV and number of prongs.
    subjets
        As many of each jet as it has prongs, or one.
    used, is_b
        Shape (subjet,): whether its emissions count, and whether it is of a b quark.
    bad
        Shape (jet,): whether a subjet is of no quark or of two, or there are none.
    quarks
        Generated quarks, or None if the numbers of prongs were known without them.
    more, less
        Shape (jet,): whether one more, or one less prong is possible.
    """

    jets: EventBatch
    pt: Floats
    prongs: NDArray[np.int64]
    subjets: Subjets
    used: NDArray[np.bool_]
    is_b: NDArray[np.bool_]
    bad: NDArray[np.bool_]
    quarks: Quarks | None
    more: NDArray[np.bool_]
    less: NDArray[np.bool_]

    @classmethod
    def of(cls, jets: EventBatch, prongs: Any, quarks: Quarks | None = None) -> ProngJets:
        """Jets with a number of prongs, with one for each, or with those of generated quarks.

        Raises
        ------
        InputError
            If prongs are no such numbers, or the jets have no generated quarks.
        """
        number = len(jets)
        if quarks is None and isinstance(prongs, str) and prongs == QUARKS:
            quarks = Quarks.of_events(jets)
        axes = (
            np.add.reduceat(np.vstack([momenta_of(jets), np.zeros(4)]), jets.offsets[:-1], axis=0)
            * (jets.counts > 0)[:, np.newaxis]
        )
        pt, none = np.hypot(axes[:, 0], axes[:, 1]), np.zeros(number, np.bool_)
        if quarks is None:
            count, more, less = _checked(prongs, number), none, none
        else:
            eta = np.arcsinh(axes[:, 2] / np.where(pt > 0.0, pt, 1.0))
            count, more, less = quarks.prongs(eta, np.arctan2(axes[:, 1], axes[:, 0]))
        subjets, used, is_b, bad = _of_prongs(jets, count, quarks)
        bad = bad | (count == 0) | (jets.counts == 0)
        return cls(jets, pt, count, subjets, used, is_b, bad, quarks, more | bad, less | bad)

    def matched(self, prongs: int) -> NDArray[np.bool_]:
        """Which subjets are those of all quarks of a jet with this number of prongs."""
        whole = (self.prongs == prongs) & ~self.bad
        return np.asarray(self.used & whole[self.subjets.jet])


def _of_prongs(
    jets: EventBatch, prongs: NDArray[np.int64], quarks: Quarks | None
) -> tuple[Subjets, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Subjets, which of them count, which are of b quarks, and which jets match badly."""
    subjets = subjets_of(jets, np.maximum(prongs, 1))
    if quarks is None:
        every = np.ones(len(subjets.jet), np.bool_)
        return subjets, every, ~every, np.zeros(len(jets), np.bool_)
    used, is_b, bad = quarks.match(subjets, len(jets))
    return subjets, used, is_b, bad


def _checked(prongs: Any, jets: int) -> NDArray[np.int64]:
    """The number of prongs of each jet."""
    numbers = np.asarray(-1 if prongs is None else prongs)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (jets,)) or (numbers < 1).any():
        raise InputError(
            f"prongs is {prongs}, expected the number of prongs, 1 or more, of all jets or of each "
            f"of {jets}; or {QUARKS!r}, or give quarks."
        )
    return np.broadcast_to(numbers, jets).astype(np.int64)


@dataclass(frozen=True)
class Emissions:
    """Emissions that count, with their cells, and the jets and pT of their subjets."""

    jet: NDArray[np.int64]
    subjet: NDArray[np.int64]
    pt: Floats
    bins: NDArray[np.int64]
    cell: NDArray[np.int64]

    @classmethod
    def of(cls, ratio: LundRatio, subjets: Subjets, used: NDArray[np.bool_]) -> Emissions:
        cell = ratio.binning.of_emissions(subjets)
        rows = np.flatnonzero((cell >= 0) & used[subjets.subjet])
        subjet = subjets.subjet[rows]
        pt = subjets.pt[subjet]
        return cls(subjets.jet[subjet], subjet, pt, ratio.binning.of_pt(pt), cell[rows])

    def products(self, table: RatioTable, jets: int) -> Floats:
        """The product of the limited ratios over the emissions of each jet."""
        factors = np.clip(table.at(self.pt, self.bins, self.cell), *FACTOR)
        return np.exp(np.bincount(self.jet, np.log(factors), jets))

    def extra(self, value: Floats, jets: int, chosen: Any = None) -> Floats:
        """The same of a ratio without fits, over the emissions of chosen subjets."""
        factors = np.clip(value.reshape(len(value), -1)[self.bins, self.cell], *FACTOR)
        size = np.log(factors) if chosen is None else np.log(factors) * chosen[self.subjet]
        return np.exp(np.bincount(self.jet, size, jets))


def quark_variations(ratio: LundRatio) -> list[str]:
    """Names of the uncertainties of a ratio that need generated quarks."""
    return [*(["b_quarks"] if ratio.b_quarks is not None else []), "prongs", "unmatched"]


def varied_by_quarks(
    name: str, ratio: LundRatio, sample: ProngJets, raw: Floats
) -> tuple[Floats, Floats]:
    """Products up and down of one of :func:`quark_variations`, from the nominal ones.

    They are of b quarks, of the number of prongs, and of jets that never match.
    """
    jets = len(sample.jets)
    if name == "b_quarks":
        assert ratio.b_quarks is not None
        emissions = Emissions.of(ratio, sample.subjets, sample.used)
        factor = emissions.extra(ratio.b_quarks, jets, sample.is_b)
        return raw * factor, raw / factor
    never, pair = sample.bad.copy(), []
    for step, changed in ((1, sample.more), (-1, sample.less & (sample.prongs > 1))):
        rows, products = np.flatnonzero(changed), raw.copy()
        if len(rows):
            subjets, used, _, bad = _of_prongs(
                sample.jets, np.maximum(sample.prongs + step * changed, 1), sample.quarks
            )
            others = Emissions.of(ratio, subjets, used).products(ratio.nominal, jets)
            products[rows] = others[rows]
            never[rows] &= bad[rows]
        pair.append(products)
    if name == "prongs":
        return pair[0], pair[1]
    factor = np.where(never, _UNMATCHED, 1.0)
    return raw * factor, raw / factor


def doubt_of_matches(prongs: NDArray[np.int64], bad: NDArray[np.bool_]) -> str:
    """What to say of jets that are matched badly, more than 10 % of them for each prong; or "".

    Jets without quarks have no prongs that could be.
    """
    prongs, bad = prongs[prongs > 0], bad[prongs > 0]
    if not len(prongs) or bad.mean() <= 0.1 * prongs.mean():
        return ""
    share, mean = float(bad.mean()), float(prongs.mean())
    return (
        f"{share:.0%} of the jets with quarks have subjets that are not those of their quarks, more than "
        f"10 % for each of {mean:.1f} prongs: the correction may not be valid for them."
    )
