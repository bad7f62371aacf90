"""Cuts: the leading jets of every tree -> whether the tree is accepted. They combine with ``&``, ``|`` and ``~``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError
from djservice.observables import Observable, dijet_mass

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
    """

    function: Callable[[Any], Mask]
    name: str
    jets: int = 2
    settled_pt: float = 0.0

    def __call__(self, jets: Any) -> Mask:
        """Whether each (event, tree) is accepted."""
        mask = np.asarray(self.function(jets))
        if mask.shape != jets.shape[:-1] or mask.dtype != np.bool_:
            raise InputError(
                f"cut {self.name!r} returned {mask.dtype} of shape {mask.shape}, expected booleans of shape {jets.shape[:-1]}."
            )
        return mask

    def __and__(self, other: Cut) -> Cut:
        jets = max(self.jets, other.jets)
        settled_pt = max(cut.settled_pt for cut in (self, other) if cut.jets == jets)
        return Cut(lambda jets: self(jets) & other(jets), f"{self.name} and {other.name}", jets, settled_pt)

    def __or__(self, other: Cut) -> Cut:
        return Cut(lambda jets: self(jets) | other(jets), f"({self.name} or {other.name})", max(self.jets, other.jets))

    def __invert__(self) -> Cut:
        return Cut(lambda jets: ~self(jets), f"not ({self.name})", self.jets)


def leading_jets(n: int, pt_min: float = 0.0, rapidity_max: float = np.inf) -> Cut:
    """The ``n`` leading jets exist and have pT > ``pt_min`` (GeV) and |y| < ``rapidity_max``."""
    if not pt_min >= 0:
        raise InputError(f"pt_min is {pt_min}, expected 0 GeV or more.")

    def accept(jets: Any) -> Mask:
        lead = jets[..., :n]
        # A missing jet is NaN, which fails every comparison; a jet along the beam has infinite rapidity.
        with np.errstate(divide="ignore", invalid="ignore"):
            good: Mask = np.asarray((lead.pt > pt_min) & (np.abs(lead.rapidity) < rapidity_max))
        return np.asarray(good.all(axis=-1))

    limit = f", |y| < {rapidity_max:g}" if np.isfinite(rapidity_max) else ""
    return Cut(accept, f"{n} leading jets with pT > {pt_min:g} GeV{limit}", n, pt_min)


def two_jets(pt_min: float = 0.0, rapidity_max: float = np.inf) -> Cut:
    """The two leading jets exist and have pT > ``pt_min`` (GeV) and |y| < ``rapidity_max``."""
    return leading_jets(2, pt_min, rapidity_max)


def below(observable: Observable, maximum: float) -> Cut:
    """The observable is below ``maximum``."""
    return Cut(
        lambda jets: observable(jets) < maximum,
        f"{observable.name} < {maximum:g} {observable.units}".rstrip(),
        observable.jets,
    )


def above(observable: Observable, minimum: float) -> Cut:
    """The observable is above ``minimum``."""
    return Cut(
        lambda jets: observable(jets) > minimum,
        f"{observable.name} > {minimum:g} {observable.units}".rstrip(),
        observable.jets,
    )


def mass_below(maximum: float) -> Cut:
    """m_jj of the two leading jets is below ``maximum`` (GeV)."""
    return below(dijet_mass, maximum)


def mass_above(minimum: float) -> Cut:
    """m_jj of the two leading jets is above ``minimum`` (GeV)."""
    return above(dijet_mass, minimum)


def named_cuts() -> dict[str, Callable[..., Cut]]:
    """What a run configuration can name: the cuts here and those of the entry-point group ``djservice.cuts``."""
    from importlib.metadata import entry_points

    found: dict[str, Callable[..., Cut]] = {
        "leading_jets": leading_jets,
        "two_jets": two_jets,
        "mass_below": mass_below,
        "mass_above": mass_above,
    }
    for point in entry_points(group="djservice.cuts"):
        loaded = point.load()
        found[point.name] = (lambda value=loaded: value) if isinstance(loaded, Cut) else loaded
    return found
