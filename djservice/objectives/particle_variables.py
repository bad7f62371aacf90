"""Variables of particles and jets that a tagger may read, by the names that weaver and CMSSW use.

Kinematic ones are computed from the momenta. Identity and track variables are read from columns of
the particles (``input.columns``); a column that the events lack counts as :data:`DEFAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats

#: The columns that variables read, with the value of particles of events that lack the column.
DEFAULTS: dict[str, float] = {
    "charge": 0.0,
    "pdgId": 0.0,
    "d0": 0.0,
    "d0Err": 0.0,
    "dz": 0.0,
    "dzErr": 0.0,
    "puppiWeight": 1.0,
    "lostInnerHits": 0.0,
    "normchi2": 999.0,  # as CMSSW for a candidate without a track
    "quality": 0.0,
}
_CHARGED_HADRONS = (211, 321, 2212)
_PION_MASS = 0.13957  # GeV, of a track


class Source:
    """The numbers of some jets that variables are made of, each of shape (jet, constituent).

    ``jets`` are their momenta, ``particles`` a
    :class:`djservice.clustering.constituents.JetParticles`.
    """

    def __init__(self, jets: Any, particles: Any, read: dict[str, None] | None = None) -> None:
        self.jets, self.particles = jets, particles
        #: Names of the columns that were read.
        self.read = {} if read is None else read
        self.mask: NDArray[np.bool_] = particles.mask

    def column(self, name: str) -> Floats:
        """A column of the particles, or its default."""
        self.read[name] = None
        if name in self.particles.events.columns:
            values: Floats = self.particles.column(name)
            return values
        return np.where(self.mask, DEFAULTS[name], 0.0)

    def track(self, name: str) -> Floats:
        """A column of tracks: particles without a charge count as its default."""
        values = self.column(name)
        if "charge" not in self.particles.events.columns:
            return values
        return np.where((self.charge != 0.0) | ~self.mask, values, DEFAULTS[name])

    @cached_property
    def pt(self) -> Floats:
        momenta = self.particles.momenta
        pt: Floats = np.sqrt(np.asarray(momenta.px) ** 2 + np.asarray(momenta.py) ** 2)
        return pt

    @cached_property
    def energy(self) -> Floats:
        return np.asarray(self.particles.momenta.E)

    @cached_property
    def eta(self) -> Floats:
        return np.arcsinh(np.asarray(self.particles.momenta.pz) / np.where(self.mask, self.pt, 1.0))

    @cached_property
    def jet_eta(self) -> Floats:
        return np.asarray(self.jets.eta)[:, np.newaxis]

    @cached_property
    def deta(self) -> Floats:
        """Distance in pseudorapidity to the jet, counted away from the centre of the detector."""
        return (self.eta - self.jet_eta) * np.where(self.jet_eta < 0.0, -1.0, 1.0)

    @cached_property
    def dphi(self) -> Floats:
        momenta = self.particles.momenta
        phi = np.arctan2(np.asarray(momenta.py), np.asarray(momenta.px))
        difference = phi - np.asarray(self.jets.phi)[:, np.newaxis]
        folded: Floats = np.remainder(difference + np.pi, 2.0 * np.pi) - np.pi
        return folded

    @cached_property
    def charge(self) -> Floats:
        return self.column("charge")

    @cached_property
    def identity(self) -> Floats:
        return np.abs(self.column("pdgId"))

    def is_a(self, *codes: int) -> Floats:
        """1 for particles with one of the PDG codes, whatever its sign."""
        return np.isin(self.identity, codes).astype(np.float64)

    @cached_property
    def is_charged_hadron(self) -> Floats:
        """1 for particles with a charge, or the code of one, that are no leptons."""
        charged = (self.charge != 0.0) | (self.is_a(*_CHARGED_HADRONS) > 0.0)
        return np.where(charged & (self.is_a(11, 13) == 0.0), 1.0, 0.0)

    @cached_property
    def is_neutral_hadron(self) -> Floats:
        """1 for particles with another code than photons and leptons that are not charged."""
        coded = (self.identity != 0.0) & (self.is_a(11, 13, 22) == 0.0)
        return np.where(coded & (self.is_charged_hadron == 0.0), 1.0, 0.0)

    def significance(self, value: str, error: str) -> Floats:
        """A column divided by its error; 0 where there is no error."""
        width = self.track(error)
        return np.where(width > 0.0, self.track(value) / np.where(width > 0.0, width, 1.0), 0.0)

    @cached_property
    def of_track(self) -> tuple[Floats, Floats, Floats]:
        """Momentum along the jet's axis over |p|, across it over |p|, and pseudorapidity to it.

        They are 0 without a charge.
        """
        p = np.stack([np.asarray(getattr(self.particles.momenta, c)) for c in ("px", "py", "pz")])
        axis = np.stack([np.asarray(getattr(self.jets, c)) for c in ("px", "py", "pz")])
        axis = axis / np.sqrt((axis**2).sum(axis=0))
        along, square = (p * axis[:, :, np.newaxis]).sum(axis=0), (p**2).sum(axis=0)
        length = np.where(self.mask, np.sqrt(square), 1.0)
        across = np.sqrt(np.maximum(square - along**2, 0.0))
        energy = np.sqrt(square + _PION_MASS**2)
        track = self.charge != 0.0
        return (
            np.where(track, along / length, 0.0),
            np.where(track, across / length, 0.0),
            np.where(track, np.arctanh(along / energy), 0.0),
        )

    def per_jet(self, name: str) -> Floats:
        """A number of the jet, repeated for each constituent."""
        return np.broadcast_to(np.asarray(getattr(self.jets, name))[:, np.newaxis], self.pt.shape)


#: For each variable, what it is made of; logarithms of the padding are replaced later.
_KINEMATIC: dict[str, Callable[[Source], Floats]] = {
    "part_px": lambda s: np.asarray(s.particles.momenta.px),
    "part_py": lambda s: np.asarray(s.particles.momenta.py),
    "part_pz": lambda s: np.asarray(s.particles.momenta.pz),
    "part_energy": lambda s: s.energy,
    "part_pt": lambda s: s.pt,
    "part_eta": lambda s: s.eta,
    "part_abseta": lambda s: np.abs(s.eta),
    "part_deta": lambda s: s.deta,
    "part_dphi": lambda s: s.dphi,
    "part_deltaR": lambda s: np.sqrt(s.deta**2 + s.dphi**2),
    "part_pt_log": lambda s: np.log(s.pt),
    "part_e_log": lambda s: np.log(s.energy),
    "part_ptrel": lambda s: s.pt / s.per_jet("pt"),
    "part_erel": lambda s: s.energy / s.per_jet("E"),
    "part_logptrel": lambda s: np.log(s.pt / s.per_jet("pt")),
    "part_logerel": lambda s: np.log(s.energy / s.per_jet("E")),
    "part_mask": lambda s: s.mask.astype(np.float64),
    "jet_pt": lambda s: s.per_jet("pt"),
    "jet_eta": lambda s: s.per_jet("eta"),
    "jet_energy": lambda s: s.per_jet("E"),
    "jet_mass": lambda s: s.per_jet("mass"),
    "jet_nparticles": lambda s: np.broadcast_to(
        s.particles.count[:, np.newaxis].astype(np.float64), s.pt.shape
    ),
}
_IDENTITY: dict[str, Callable[[Source], Floats]] = {
    "part_charge": lambda s: s.charge,
    "part_isChargedHadron": lambda s: s.is_charged_hadron,
    "part_isNeutralHadron": lambda s: s.is_neutral_hadron,
    "part_isPhoton": lambda s: s.is_a(22),
    "part_isElectron": lambda s: s.is_a(11),
    "part_isMuon": lambda s: s.is_a(13),
}
_TRACKS: dict[str, Callable[[Source], Floats]] = {
    "part_d0val": lambda s: s.track("d0"),
    "part_d0": lambda s: np.tanh(s.track("d0")),
    "part_d0err": lambda s: s.track("d0Err"),
    "part_dzval": lambda s: s.track("dz"),
    "part_dz": lambda s: np.tanh(s.track("dz")),
    "part_dzerr": lambda s: s.track("dzErr"),
    "pfcand_dxy": lambda s: s.track("d0"),
    "pfcand_dxysig": lambda s: s.significance("d0", "d0Err"),
    "pfcand_dz": lambda s: s.track("dz"),
    "pfcand_dzsig": lambda s: s.significance("dz", "dzErr"),
    "pfcand_puppiw": lambda s: s.column("puppiWeight"),
    "pfcand_lostInnerHits": lambda s: s.track("lostInnerHits"),
    "pfcand_normchi2": lambda s: s.track("normchi2"),
    "pfcand_quality": lambda s: s.track("quality"),
    "pfcand_btagPParRatio": lambda s: s.of_track[0],
    "pfcand_btagPtRatio": lambda s: s.of_track[1],
    "pfcand_btagEtaRel": lambda s: s.of_track[2],
}
#: CMSSW's names of variables above.
_ALIASES = {
    "pfcand_etarel": "part_deta",
    "pfcand_phirel": "part_dphi",
    "pfcand_deltaR": "part_deltaR",
    "pfcand_abseta": "part_abseta",
    "pfcand_pt_log": "part_pt_log",
    "pfcand_e_log": "part_e_log",
    "pfcand_pt_log_nopuppi": "part_pt_log",
    "pfcand_e_log_nopuppi": "part_e_log",
    "pfcand_ptrel": "part_ptrel",
    "pfcand_erel": "part_erel",
    "pfcand_ptrel_log": "part_logptrel",
    "pfcand_erel_log": "part_logerel",
    "pfcand_px": "part_px",
    "pfcand_py": "part_py",
    "pfcand_pz": "part_pz",
    "pfcand_energy": "part_energy",
    "pfcand_charge": "part_charge",
    "pfcand_isChargedHad": "part_isChargedHadron",
    "pfcand_isNeutralHad": "part_isNeutralHadron",
    "pfcand_isGamma": "part_isPhoton",
    "pfcand_isEl": "part_isElectron",
    "pfcand_isMu": "part_isMuon",
    "pfcand_mask": "part_mask",
    "pf_mask": "part_mask",
}
_OWN = {**_KINEMATIC, **_IDENTITY, **_TRACKS}
#: All variables by name.
VARIABLES: dict[str, Callable[[Source], Floats]] = {
    **_OWN,
    **{name: _OWN[meaning] for name, meaning in _ALIASES.items()},
}


def columns_of(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that variables read, found by making them of one particle."""
    one, jet = np.ones((1, 1)), np.ones(1)
    four = dict.fromkeys(("px", "py", "pz", "E"), one)
    jets = dict.fromkeys(("px", "py", "pz", "E", "pt", "eta", "phi", "mass"), jet)
    particle = SimpleNamespace(
        momenta=SimpleNamespace(**four),
        mask=one > 0.0,
        count=jet,
        events=SimpleNamespace(columns={}),
    )
    read: dict[str, None] = {}
    source = Source(SimpleNamespace(**jets), particle, read)
    with np.errstate(all="ignore"):
        for name in names:
            VARIABLES[name](source)
    return tuple(read)
