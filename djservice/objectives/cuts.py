"""Cuts: the leading jets of every tree -> whether the tree is accepted. They combine with ``&``, ``|`` and ``~``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.entry_points import makers
from djservice.errors import InputError
from djservice.objectives.observables import Observable, answer, dijet_mass

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """A selection of trees.

    Attributes
    ----------
    function
        Takes the leading jets, shape (event, tree, jet), and returns booleans of shape (event, tree).
    name
        How reports call it.
    jets
        How many leading jets it reads.
    settled_pt
        A tree whose ``jets``-th jet has a pT below this (GeV) is rejected, whatever the rest; 0 if there is no such pT.
    on_device
        Whether the function can take the jets of a GPU (docs/gpu.md); else it is given a copy on the host.
    """

    function: Callable[[Any], Mask]
    name: str
    jets: int = 2
    settled_pt: float = 0.0
    on_device: bool = False

    def __call__(self, jets: Any) -> Mask:
        """Whether each (event, tree) is accepted."""
        mask: Mask = answer(self.function, jets, self.on_device)
        if mask.shape != jets.shape[:-1] or mask.dtype != np.bool_:
            raise InputError(
                f"cut {self.name!r} returned {mask.dtype} of shape {mask.shape}, expected booleans of shape {jets.shape[:-1]}."
            )
        return mask

    def __and__(self, other: Cut) -> Cut:
        jets = max(self.jets, other.jets)
        settled_pt = max(cut.settled_pt for cut in (self, other) if cut.jets == jets)
        # Each of the two brings its jets to where it needs them.
        return Cut(
            lambda jets: self(jets) & other(jets),
            f"{self.name} and {other.name}",
            jets,
            settled_pt,
            on_device=True,
        )

    def __or__(self, other: Cut) -> Cut:
        jets = max(self.jets, other.jets)
        return Cut(
            lambda jets: self(jets) | other(jets),
            f"({self.name} or {other.name})",
            jets,
            on_device=True,
        )

    def __invert__(self) -> Cut:
        return Cut(lambda jets: ~self(jets), f"not ({self.name})", self.jets, on_device=True)


def leading_jets(n: int, pt_min: float = 0.0, rapidity_max: float = np.inf) -> Cut:
    """The ``n`` leading jets exist and have pT > ``pt_min`` (GeV) and |y| < ``rapidity_max``."""
    if not pt_min >= 0:
        raise InputError(f"pt_min is {pt_min}, expected 0 GeV or more.")

    def accept(jets: Any) -> Mask:
        lead = jets[..., :n]
        # A missing jet is NaN, which fails every comparison; a jet along the beam has infinite rapidity.
        with np.errstate(divide="ignore", invalid="ignore"):
            good: Mask = ((lead.pt > pt_min) & (np.abs(lead.rapidity) < rapidity_max)).all(axis=-1)
        return good

    limit = f", |y| < {rapidity_max:g}" if np.isfinite(rapidity_max) else ""
    return Cut(
        accept, f"{n} leading jets with pT > {pt_min:g} GeV{limit}", n, pt_min, on_device=True
    )


def two_jets(pt_min: float = 0.0, rapidity_max: float = np.inf) -> Cut:
    """The two leading jets exist and have pT > ``pt_min`` (GeV) and |y| < ``rapidity_max``."""
    return leading_jets(2, pt_min, rapidity_max)


def below(observable: Observable, maximum: float) -> Cut:
    """The observable is below ``maximum``."""
    return Cut(
        lambda jets: observable(jets) < maximum,
        f"{observable.name} < {maximum:g} {observable.units}".rstrip(),
        observable.jets,
        on_device=True,
    )


def above(observable: Observable, minimum: float) -> Cut:
    """The observable is above ``minimum``."""
    return Cut(
        lambda jets: observable(jets) > minimum,
        f"{observable.name} > {minimum:g} {observable.units}".rstrip(),
        observable.jets,
        on_device=True,
    )


def mass_below(maximum: float) -> Cut:
    """m_jj of the two leading jets is below ``maximum`` (GeV)."""
    return below(dijet_mass, maximum)


def mass_above(minimum: float) -> Cut:
    """m_jj of the two leading jets is above ``minimum`` (GeV)."""
    return above(dijet_mass, minimum)


def named_cuts() -> dict[str, Callable[..., Cut]]:
    """What a run configuration can name: the cuts here and those of the entry-point group ``djservice.cuts``."""
    builtin = {cut.__name__: cut for cut in (leading_jets, two_jets, mass_below, mass_above)}
    return makers("djservice.cuts", Cut, builtin)
