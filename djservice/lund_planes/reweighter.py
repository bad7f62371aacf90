"""``dj.LundReweighter``: weights of simulated jets that give them the Lund plane of data."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from djservice.clustering.lund import constituents_of_jets
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require
from djservice.core.typing import Floats
from djservice.core.warn import warn
from djservice.errors import InputError, InputWarning
from djservice.events.batch import EventBatch
from djservice.lund_planes.binning import Binning, PlaneSums, ratio_of
from djservice.lund_planes.matching import Quarks
from djservice.lund_planes.normalisation import normalised
from djservice.lund_planes.prong_jets import (
    Emissions,
    ProngJets,
    doubt_of_matches,
    quark_variations,
    varied_by_quarks,
)
from djservice.lund_planes.published import read_ratio, read_root
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.weights import LundWeights

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
        if isinstance(prongs, str):
            raise InputError(f"prongs is {prongs!r}, expected a number: data have no quarks.")
        bins = binning or Binning()
        planes = []
        for particles, jets in (data, simulation):
            batch = _jets(particles, jets)
            subjets = ProngJets.of(batch, prongs).subjets
            planes.append(PlaneSums.of(subjets, batch.weight, bins))
        return cls(LundRatio.of(planes[0], planes[1], bins))

    @checked_arguments
    def weights(
        self,
        particles: Any,
        jets: Any = None,
        *,
        prongs: ArrayLike | Literal["quarks"] | None = None,
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
            Number of prongs, of all jets or of each. "quarks": the quarks of each event are those
            that were read with it, by a schema with ``quarks=True``.
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
        batch = _jets(particles, jets)
        of_quarks = None if quarks is None else Quarks.of(quarks, len(batch))
        return _weights(self.ratio, ProngJets.of(batch, prongs, of_quarks), toys, seed)


def _jets(particles: Any, jets: Any) -> EventBatch:
    """Jets as events of their constituents, with the weights and quarks of their events."""
    if jets is not None and getattr(jets, "constituents", None) is None:
        raise InputError("expected jets with a field constituents, as cluster_jets returns them.")
    shape, batch = constituents_of_jets(particles, jets)
    if len(shape) > 1:
        raise InputError(
            "jets of random trees have no weights: expected those of one clustering, shape "
            "(event, jet)."
        )
    return batch


def _weights(ratio: LundRatio, sample: ProngJets, toys: int, seed: int) -> LundWeights:
    """All weights of a sample."""
    jets = len(sample.jets)
    emissions = Emissions.of(ratio, sample.subjets, sample.used)

    def norm(raw: Floats) -> Floats:
        return normalised(raw, sample.prongs, sample.pt, sample.jets.weight)

    raw = emissions.products(ratio.nominal, jets)
    of_toys = {}
    for kind in ("statistics", "extrapolation"):
        tables = (ratio.nominal.toy(kind, seed, i) for i in range(toys))
        columns = [norm(emissions.products(table, jets)) for table in tables]
        of_toys[kind] = np.stack(columns, axis=1) if columns else np.empty((jets, 0))
    variations = {
        name: (emissions.products(up, jets), emissions.products(down, jets))
        for name, (up, down) in ratio.variations.items()
    }
    if sample.quarks is not None:
        if doubt := doubt_of_matches(sample.prongs, sample.bad):
            warn(doubt, InputWarning)
        for name in quark_variations(ratio):
            variations[name] = varied_by_quarks(name, ratio, sample, raw)
    if ratio.simulation is not None and jets >= DISTORTION_JETS:
        factor = _distortion(ratio, ratio.simulation, sample, emissions)
        variations["distortion"] = (raw * factor, raw / factor)
    normed = {name: (norm(up), norm(down)) for name, (up, down) in variations.items()}
    return LundWeights(norm(raw), of_toys, normed, sample.prongs, sample.bad)


def _distortion(
    ratio: LundRatio, simulation: PlaneSums, sample: ProngJets, emissions: Emissions
) -> Floats:
    """The product over the plane of these jets over that of the jets of the measurement."""
    plane = PlaneSums.of(sample.subjets, sample.jets.weight, ratio.binning, sample.used)
    return emissions.extra(ratio_of(plane, simulation)[0], len(sample.jets))
