"""select_jets(events, ...): the jets of events that are measured or weighed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.awkward_jets import cluster_jets
from djservice.clustering.lund import constituents_of_jets, lund
from djservice.config.input import LundJets, LundWeightsSection
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.prong_jets import (
    QUARKS,
    Emissions,
    ProngJets,
    quark_variations,
    varied_by_quarks,
)
from djservice.lund_planes.published import read_ratio
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.ratio_table import RatioTable

#: Least z of mMDT.
_Z_CUT = 0.1


@dataclass(frozen=True)
class SelectedJets:
    """Jets as events of their constituents, with the event of each and its pT in GeV.

    They have the weights and the generated quarks of their events.
    """

    batch: EventBatch
    event: NDArray[np.int64]
    pt: Floats


def select_jets(events: EventBatch, section: LundJets) -> SelectedJets:
    """The leading jets that pass the selection."""
    import awkward as ak

    jets = cluster_jets(
        events,
        radius=section.radius,
        pt_min=section.pt_min,
        jets=section.number,
        threads=1,
        device="cpu",
    )
    if section.mass is not None:
        mass = groomed_mass(lund(events, jets))
        jets = jets[(mass > section.mass[0]) & (mass < section.mass[1])]
    _, batch = constituents_of_jets(events, jets)
    event = np.repeat(np.arange(len(events)), ak.to_numpy(ak.num(jets)))
    return SelectedJets(batch, event, np.asarray(ak.flatten(jets.pt), np.float64))


def groomed_mass(emissions: Any) -> Any:
    """Mass after mMDT in GeV, of each jet: that of its first splitting with z > 0.1, or 0."""
    import awkward as ak

    chosen = emissions[(emissions.plane == 1) & (emissions.z > _Z_CUT)].mass
    return ak.fill_none(ak.firsts(chosen, axis=-1), 0.0)


def plane_of(events: EventBatch, section: LundJets, prongs: int, binning: Binning) -> PlaneSums:
    """The sums of the selected jets of events with a number of prongs.

    By generated quarks, they are those of jets with as many quarks, each in a subjet of its own.
    """
    jets = ProngJets.of(select_jets(events, section).batch, section.prongs)
    return PlaneSums.of(jets.subjets, jets.jets.weight, binning, jets.matched(prongs))


@dataclass(frozen=True)
class LundWeighting:
    """How jets of events are weighed.

    Attributes
    ----------
    jets, ratio, table
        The jets, the ratio, and its variation that is taken.
    name
        Name of the variation.
    digest
        Checksum of the ratio.
    """

    jets: LundJets
    ratio: LundRatio
    table: RatioTable
    name: str
    digest: int

    @classmethod
    def of(cls, section: LundWeightsSection, seed: int) -> LundWeighting:
        """The weighting of a section of a configuration.

        Raises
        ------
        DjserviceError
            If the file cannot be read, is of other jets, or lacks the variation.
        """
        ratio = read_ratio(section.ratio)
        check_jets(ratio, section.jets)
        table = varied(ratio, section.variation, seed, section.jets.prongs == QUARKS)
        return cls(section.jets, ratio, table, section.variation, ratio.digest)


@dataclass(frozen=True)
class Products:
    """Of each selected jet of events: its event, pT in GeV, prongs, match, and product of ratios."""

    event: NDArray[np.int64]
    pt: Floats
    prongs: NDArray[np.int64]
    bad: NDArray[np.bool_]
    value: Floats


def products_of(events: EventBatch, by: LundWeighting) -> Products:
    """The products of ratios of the selected jets of events."""
    chosen = select_jets(events, by.jets)
    jets = ProngJets.of(chosen.batch, by.jets.prongs)
    emissions = Emissions.of(by.ratio, jets.subjets, jets.used)
    value = emissions.products(by.table, len(chosen.event))
    name, _, which = by.name.rpartition("_")
    if jets.quarks is not None and name in quark_variations(by.ratio):
        value = varied_by_quarks(name, by.ratio, jets, value)[which == "down"]
    return Products(chosen.event, chosen.pt, jets.prongs, jets.bad, value)


def varied(ratio: LundRatio, variation: str, seed: int, quarks: bool = False) -> RatioTable:
    """The table of a ratio for a variation, by its name; ``quarks`` is whether prongs are quarks.

    The variations of quarks have the nominal table (:func:`varied_by_quarks`).

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if variation == "nominal":
        return ratio.nominal
    name, _, which = variation.rpartition("_")
    if name in ratio.variations and which in ("up", "down"):
        return ratio.variations[name][which == "down"]
    of_quarks = quark_variations(ratio) if quarks else []
    if name in of_quarks and which in ("up", "down"):
        return ratio.nominal
    if name in ("statistics", "extrapolation") and re.fullmatch("[0-9]{1,6}", which):
        return ratio.nominal.toy(name, seed, int(which))
    names = [f"{name}_{way}" for name in (*ratio.variations, *of_quarks) for way in ("up", "down")]
    raise InputError(
        f"no variation {variation!r}; there are "
        f"{', '.join(['nominal', *names, 'statistics_0', 'extrapolation_0'])} and so on."
    )


def check_jets(ratio: LundRatio, section: LundJets) -> None:
    """Refuse jets of another radius than those of the measurement.

    Raises
    ------
    InputError
        If they are.
    """
    if section.radius != ratio.binning.radius:
        raise InputError(
            f"the ratio is that of jets with R = {ratio.binning.radius}, and these have R = "
            f"{section.radius}. Measure a ratio with that R."
        )
