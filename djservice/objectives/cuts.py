"""Cuts accept or reject trees by their leading jets; they combine with ``&``, ``|`` and ``~``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require, require_number
from djservice.core.entry_points import makers
from djservice.errors import InputError
from djservice.objectives.observable import (
    Observable,
    evaluate_function,
    need_observable,
    no_truth,
)
from djservice.objectives.observables import dijet_mass

__all__ = [
    "Cut",
    "above",
    "below",
    "leading_jets",
    "mass_above",
    "mass_below",
    "two_jets",
]


Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """A selection of trees.

    Attributes
    ----------
    function
        Takes the leading jets, shape (event, tree, jet), and returns booleans of shape
        (event, tree).
    name
        Name of the cut in reports.
    jets
        Number of leading jets that the function reads.
    settled_pt
        A pT in GeV: every tree whose ``jets``-th jet is softer is rejected. 0 if there is none.
    on_device
        Whether the function accepts jets on a GPU (docs/gpu.md). Otherwise it gets a copy on the
        host.
    needs_constituents
        Whether the function can only be called with jets that know their constituents.
    """

    function: Callable[[Any], Mask]
    name: str
    jets: int = 2
    settled_pt: float = 0.0
    on_device: bool = False
    needs_constituents: bool = False

    def __post_init__(self) -> None:
        require("jets", self.jets)

    def __call__(self, jets: Any) -> Mask:
        """Acceptance of each tree, booleans of shape (event, tree).

        Raises
        ------
        InputError
            If the function fails, or returns another shape or type.
        """
        mask: Mask = evaluate_function(self.function, jets, self.on_device, f"cut {self.name!r}")
        if mask.shape != jets.shape[:-1] or mask.dtype != np.bool_:
            raise InputError(
                f"cut {self.name!r} returned {mask.dtype} of shape {mask.shape}, expected booleans "
                f"of shape {jets.shape[:-1]}."
            )
        return mask

    def __bool__(self) -> bool:
        raise no_truth(
            "a cut", "Combine cuts with &, | and ~ in place of and, or and not, in brackets."
        )

    def __and__(self, other: Cut) -> Cut:
        need_cut(other)
        jets = max(self.jets, other.jets)
        settled_pt = max(cut.settled_pt for cut in (self, other) if cut.jets == jets)
        # on_device: each of the two cuts moves the jets to the device that it needs.
        return Cut(
            lambda jets: self(jets) & other(jets),
            f"{self.name} and {other.name}",
            jets,
            settled_pt,
            on_device=True,
            needs_constituents=self.needs_constituents or other.needs_constituents,
        )

    def __or__(self, other: Cut) -> Cut:
        need_cut(other)
        jets = max(self.jets, other.jets)
        return Cut(
            lambda jets: self(jets) | other(jets),
            f"({self.name} or {other.name})",
            jets,
            on_device=True,
            needs_constituents=self.needs_constituents or other.needs_constituents,
        )

    def __invert__(self) -> Cut:
        return Cut(
            lambda jets: ~self(jets),
            f"not ({self.name})",
            self.jets,
            on_device=True,
            needs_constituents=self.needs_constituents,
        )


def need_cut(cut: Any) -> None:
    """Refuse what is no cut.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(cut, Cut):
        raise InputError(
            f"expected a cut, found {cut!r}. Take one of djservice.cuts, such as "
            "cuts.below(observable, maximum), and combine cuts with &, | and ~."
        )


@checked_arguments
def leading_jets(n: int, pt_min: float = 0.0, rapidity_max: float = np.inf) -> Cut:
    """Cut: the ``n`` leading jets exist, with pT > ``pt_min`` (GeV) and |y| < ``rapidity_max``."""
    require("jets", n, of="n")
    require_number("pt_min", pt_min)
    if pt_min < 0:
        raise InputError(f"pt_min is {pt_min}, expected 0 GeV or more.")
    if not rapidity_max > 0:
        raise InputError(f"rapidity_max is {rapidity_max}, expected a positive number.")

    def accept(jets: Any) -> Mask:
        lead = jets[..., :n]
        # A missing jet is NaN, which fails every comparison. A jet along the beam has infinite
        # rapidity.
        with np.errstate(divide="ignore", invalid="ignore"):
            mask: Mask = ((lead.pt > pt_min) & (np.abs(lead.rapidity) < rapidity_max)).all(axis=-1)
        return mask

    limit = f", |y| < {rapidity_max:g}" if np.isfinite(rapidity_max) else ""
    return Cut(
        accept, f"{n} leading jets with pT > {pt_min:g} GeV{limit}", n, pt_min, on_device=True
    )


@checked_arguments
def two_jets(pt_min: float = 0.0, rapidity_max: float = np.inf) -> Cut:
    """Cut: the two leading jets exist, with pT > ``pt_min`` (GeV) and |y| < ``rapidity_max``."""
    return leading_jets(2, pt_min, rapidity_max)


@checked_arguments
def below(observable: Observable, maximum: float) -> Cut:
    """Cut: the observable is below ``maximum``."""
    need_observable(observable)
    require_number("maximum", maximum)
    return Cut(
        lambda jets: observable(jets) < maximum,
        f"{observable.name} < {maximum:g} {observable.units}".rstrip(),
        observable.jets,
        on_device=True,
        needs_constituents=observable.needs_constituents,
    )


@checked_arguments
def above(observable: Observable, minimum: float) -> Cut:
    """Cut: the observable is above ``minimum``."""
    need_observable(observable)
    require_number("minimum", minimum)
    return Cut(
        lambda jets: observable(jets) > minimum,
        f"{observable.name} > {minimum:g} {observable.units}".rstrip(),
        observable.jets,
        on_device=True,
        needs_constituents=observable.needs_constituents,
    )


@checked_arguments
def mass_below(maximum: float) -> Cut:
    """Cut: m_jj of the two leading jets is below ``maximum`` (GeV)."""
    return below(dijet_mass, maximum)


@checked_arguments
def mass_above(minimum: float) -> Cut:
    """Cut: m_jj of the two leading jets is above ``minimum`` (GeV)."""
    return above(dijet_mass, minimum)


def named_cuts() -> dict[str, Callable[..., Cut]]:
    """The cuts that a run configuration can name.

    They are the cuts of this module and those of the entry-point group ``djservice.cuts``.
    """
    builtin = {cut.__name__: cut for cut in (leading_jets, two_jets, mass_below, mass_above)}
    return makers("djservice.cuts", Cut, builtin)
