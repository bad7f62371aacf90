"""``dj.LundReweighter``: weights of simulated jets that give them the Lund plane of data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.lund import constituents_of_jets
from djservice.clustering.particle_order import momenta_of
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require
from djservice.core.typing import Floats
from djservice.core.warn import warn
from djservice.errors import InputError, InputWarning
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch
from djservice.lund_planes.binning import Binning, PlaneSums, ratio_of
from djservice.lund_planes.matching import Quarks
from djservice.lund_planes.normalisation import normalised
from djservice.lund_planes.published import read_ratio, read_root
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.ratio_table import RatioTable
from djservice.lund_planes.subjets import Subjets, subjets_of
from djservice.lund_planes.weights import LundWeights

#: Limits of the factor of one emission.
FACTOR = (0.2, 5.0)
#: Factor up and down of a jet whose subjets are of no quarks for any number of prongs.
_UNMATCHED = 5.0
#: With fewer jets a sample has no plane of its own that could be compared.
DISTORTION_JETS = 1000


class LundReweighter:
    """Weights of jets by the ratio of the Lund plane of data to that of a simulation.

    A jet of N prongs has N exclusive kT subjets, and its weight is the product of the ratio over
    their primary emissions. See docs/guides/lund.md for the recipe and its uncertainties.

    Parameters
    ----------
    ratio
        The ratio, or the path of a file that ``djservice lund measure`` wrote, or of a published ROOT
        file whose name ends in ``.root``.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another version.

    References
    ----------
    CMS, arXiv:2507.07775 and CMS-DP-2023-046.
    """

    @checked_arguments
    def __init__(self, ratio: LundRatio | str | os.PathLike[str]) -> None:
        self.ratio = ratio if isinstance(ratio, LundRatio) else read_ratio(ratio)

    @classmethod
    def from_root(cls, path: str | os.PathLike[str]) -> LundReweighter:
        """A reweighter from a file of the published corrections.

        It has the histograms ``ratio_nom``, and may have ``mc_nom``, ``ratio_sys_tot_up`` and
        ``ratio_sys_tot_down``, ``h_bl_ratio`` and fits ``pt_extrap/func_i_j``.

        Raises
        ------
        InputFileError
            If it is no such file.
        """
        return cls(read_root(os.fspath(path)))

    @classmethod
    def measured(
        cls,
        data: tuple[Any, Any],
        simulation: tuple[Any, Any],
        *,
        prongs: ArrayLike,
        binning: Binning | None = None,
    ) -> LundReweighter:
        """A reweighter with the ratio of jets of data to those of a simulation.

        Parameters
        ----------
        data, simulation
            Particles and jets of each, as :meth:`weights` takes them; jets may be None.
        prongs
            Number of prongs of all jets.
        binning
            Bins of the ratio, those of the published correction by default.

        Raises
        ------
        InputError
            If the jets are none, or there is no jet.
        """
        bins = binning or Binning()
        planes = []
        for particles, jets in (data, simulation):
            of_event, batch = _jets(particles, jets)
            subjets = subjets_of(batch, _checked(prongs, len(batch)))
            planes.append(PlaneSums.of(subjets, of_event, bins))
        return cls(LundRatio.of(planes[0], planes[1], bins))

    @checked_arguments
    def weights(
        self,
        particles: Any,
        jets: Any = None,
        *,
        prongs: ArrayLike | None = None,
        quarks: Any = None,
        toys: int = 100,
        seed: int = 1,
    ) -> LundWeights:
        """Weights of jets with their uncertainties.

        Parameters
        ----------
        particles, jets
            See :func:`djservice.lund`; jets of random trees have no weights.
        prongs
            Number of prongs, of all jets or of each. Not needed with quarks.
        quarks
            Generated quarks: awkward records with eta, phi and pdgId, shape (jet, quark), for all
            jets of all events in order. A jet has as many prongs as quarks within 0.8 of its axis,
            and only subjets within 0.2 of a quark count. Without them, all do, and the
            uncertainties "b_quarks", "prongs" and "unmatched" are unknown and left out.
        toys
            Random changes of the bins, and of the fits.
        seed
            Seed of these.

        Raises
        ------
        InputError
            If the jets or numbers are none, or the prongs or quarks are not those of the jets.

        Warns
        -----
        InputWarning
            If more than 10 % of the jets, for each of their prongs, are matched badly.
        """
        require("seed", seed)
        require("trees", 1 if toys == 0 else toys, of="toys", more=", or 0")
        of_event, batch = _jets(particles, jets)
        sample = _Sample.of(batch, of_event, prongs, quarks)
        return _weights(self.ratio, sample, toys, seed)


def _jets(particles: Any, jets: Any) -> tuple[Floats, EventBatch]:
    """Weights of the events of jets, and the jets as events of their constituents."""
    if jets is not None and getattr(jets, "constituents", None) is None:
        raise InputError("expected jets with a field constituents, as cluster_jets returns them.")
    shape, batch = constituents_of_jets(particles, jets)
    if len(shape) > 1:
        raise InputError(
            "jets of random trees have no weights: expected those of one clustering, shape "
            "(event, jet)."
        )
    weight = np.asarray(as_events(particles).weight, np.float64)
    return (np.repeat(weight, shape[0]) if shape else weight), batch


@dataclass(frozen=True)
class _Sample:
    """Jets with their subjets, for the number of prongs and one more and one less."""

    of_event: Floats
    pt: Floats
    prongs: NDArray[np.int64]
    subjets: Subjets
    used: NDArray[np.bool_]
    is_b: NDArray[np.bool_]
    bad: NDArray[np.bool_]
    jets: EventBatch
    quarks: Quarks | None
    more: NDArray[np.bool_]
    less: NDArray[np.bool_]

    @classmethod
    def of(cls, jets: EventBatch, of_event: Floats, prongs: Any, quarks: Any) -> _Sample:
        number = len(jets)
        axes = (
            np.add.reduceat(np.vstack([momenta_of(jets), np.zeros(4)]), jets.offsets[:-1], axis=0)
            * (jets.counts > 0)[:, np.newaxis]
        )
        pt, none = np.hypot(axes[:, 0], axes[:, 1]), np.zeros(number, np.bool_)
        if quarks is None:
            count, more, less, of_quarks = _checked(prongs, number), none, none, None
        else:
            of_quarks = Quarks.of(quarks, number)
            eta = np.arcsinh(axes[:, 2] / np.where(pt > 0.0, pt, 1.0))
            count, more, less = of_quarks.prongs(eta, np.arctan2(axes[:, 1], axes[:, 0]))
        subjets, used, is_b, bad = _of_prongs(jets, count, of_quarks)
        bad = bad | (count == 0) | (jets.counts == 0)
        return cls(
            of_event, pt, count, subjets, used, is_b, bad, jets, of_quarks, more | bad, less | bad
        )


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
            f"of {jets}; or give quarks."
        )
    return np.broadcast_to(numbers, jets).astype(np.int64)


def _weights(ratio: LundRatio, sample: _Sample, toys: int, seed: int) -> LundWeights:
    """All weights of a sample."""
    jets = len(sample.jets)
    emissions = Emissions.of(ratio, sample.subjets, sample.used)

    def norm(raw: Floats) -> Floats:
        return normalised(raw, sample.prongs, sample.pt, sample.of_event)

    raw = emissions.products(ratio.nominal, jets)
    of_toys = {}
    for kind in ("statistics", "extrapolation"):
        tables = (ratio.nominal.toy(kind, seed, i) for i in range(toys))
        columns = [norm(emissions.products(table, jets)) for table in tables]
        of_toys[kind] = np.stack(columns, axis=1) if columns else np.empty((jets, 0))
    variations = {
        name: (norm(emissions.products(up, jets)), norm(emissions.products(down, jets)))
        for name, (up, down) in ratio.variations.items()
    }
    if sample.quarks is not None:
        _warn_of_matches(sample)
        variations |= _of_quarks(ratio, sample, emissions, raw, norm)
    if ratio.simulation is not None:
        variations |= _distortion(ratio, ratio.simulation, sample, emissions, raw, norm)
    return LundWeights(norm(raw), of_toys, variations, sample.prongs, sample.bad)


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


def _of_quarks(
    ratio: LundRatio, sample: _Sample, emissions: Emissions, raw: Floats, norm: Any
) -> dict[str, tuple[Floats, Floats]]:
    """The variations that need quarks: b quarks, number of prongs, and jets that never match."""
    jets, variations = len(sample.jets), {}
    if ratio.b_quarks is not None:
        factor = emissions.extra(ratio.b_quarks, jets, sample.is_b)
        variations["b_quarks"] = (norm(raw * factor), norm(raw / factor))
    never, pair = sample.bad.copy(), []
    for step, changed in ((1, sample.more), (-1, sample.less & (sample.prongs > 1))):
        rows, weights = np.flatnonzero(changed), raw.copy()
        if len(rows):
            subjets, used, _, bad = _of_prongs(
                sample.jets, np.maximum(sample.prongs + step * changed, 1), sample.quarks
            )
            others = Emissions.of(ratio, subjets, used).products(ratio.nominal, jets)
            weights[rows] = others[rows]
            never[rows] &= bad[rows]
        pair.append(norm(weights))
    variations["prongs"] = (pair[0], pair[1])
    factor = np.where(never, _UNMATCHED, 1.0)
    variations["unmatched"] = (norm(raw * factor), norm(raw / factor))
    return variations


def _distortion(
    ratio: LundRatio,
    simulation: PlaneSums,
    sample: _Sample,
    emissions: Emissions,
    raw: Floats,
    norm: Any,
) -> dict[str, tuple[Floats, Floats]]:
    """The plane of these jets over that of the jets of the measurement, as a variation."""
    jets = len(sample.jets)
    if jets < DISTORTION_JETS:
        return {}
    plane = PlaneSums.of(sample.subjets, sample.of_event, ratio.binning, sample.used)
    factor = emissions.extra(ratio_of(plane, simulation)[0], jets)
    return {"distortion": (norm(raw * factor), norm(raw / factor))}


def _warn_of_matches(sample: _Sample) -> None:
    prongs = max(float(sample.prongs.mean()), 1.0) if len(sample.prongs) else 1.0
    share = float(sample.bad.sum()) / max(len(sample.bad), 1)
    if share > 0.1 * prongs:
        warn(
            f"{share:.0%} of the jets have subjets that are not those of their quarks, more than "
            f"10 % for each of {prongs:.1f} prongs: the correction may not be valid for them.",
            InputWarning,
        )
