"""Observables: the leading jets of every tree -> one number per (event, tree); NaN where it is not defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.array_module import module_of
from djservice.core.entry_points import makers
from djservice.core.fingerprints import fingerprint
from djservice.core.typing import Floats
from djservice.errors import InputError


@dataclass(frozen=True)
class Observable:
    """A number per tree.

    Attributes
    ----------
    function
        Takes the leading jets, a ``vector`` momentum array of shape (event, tree, jet) in falling pT with NaN where a
        tree has fewer, and returns shape (event, tree), NaN where the observable is not defined.
    name, units
        For tables and axes.
    jets
        How many leading jets it reads.
    on_device
        Whether the function can take the jets of a GPU (docs/gpu.md); else it is given a copy on the host.
    """

    function: Callable[[Any], ArrayLike]
    name: str
    units: str = ""
    jets: int = 2
    on_device: bool = False

    def __call__(self, jets: Any) -> Floats:
        """The value per (event, tree).

        Raises
        ------
        InputError
            If the function returns another shape than that of its jets.
        """
        values: Floats = answer(self.function, jets, self.on_device).astype(np.float64, copy=False)
        if values.shape != jets.shape[:-1]:
            raise InputError(
                f"observable {self.name!r} returned shape {values.shape}, expected {jets.shape[:-1]} (event, tree)."
            )
        return values

    @property
    def fingerprint(self) -> str:
        """The function's qualified name and a hash of its source: what a store remembers of a Python observable."""
        return fingerprint(self.function)


def answer(function: Callable[[Any], Any], jets: Any, on_device: bool) -> Any:
    """What a function of jets returns, as an array where the jets are; on the GPU's only if it can take those."""
    if not hasattr(jets, "on_host"):
        return np.asarray(function(jets))
    found = function(jets) if on_device else np.asarray(function(jets.on_host()))
    return module_of(jets.px).asarray(found)


def observable(
    *, units: str = "", jets: int = 2, name: str | None = None, on_device: bool = False
) -> Callable[[Callable[[Any], ArrayLike]], Observable]:
    """Make an :class:`Observable` of a function of the jets.

    Examples
    --------
    >>> @observable(units="GeV", jets=1)
    ... def leading_pt(jets):
    ...     return jets.pt[..., 0]

    With ``on_device=True`` the jets of a GPU are not copied to the host for it; it may then call NumPy's functions and methods of
    arrays, as far as CuPy has them.
    """

    def wrap(function: Callable[[Any], ArrayLike]) -> Observable:
        return Observable(function, name or function.__name__, units, jets, on_device)

    return wrap


def _mass(jets: Any, number: int) -> Floats:
    """Mass of the sum of the ``number`` leading jets, of all there are where there are fewer; NaN where there is none."""
    px, py, pz, energy = (
        np.nansum(getattr(jets[..., :number], c), axis=-1) for c in ("px", "py", "pz", "E")
    )
    mass2 = energy**2 - px**2 - py**2 - pz**2
    return np.where(np.isnan(jets[..., 0].E), np.nan, np.sqrt(np.maximum(mass2, 0.0)))


@observable(units="GeV", on_device=True)
def dijet_mass(jets: Any) -> Floats:
    """Mass of the two leading jets together; with one jet, that jet's."""
    return _mass(jets, 2)


@observable(units="GeV", jets=1, on_device=True)
def leading_jet_mass(jets: Any) -> Floats:
    """Mass of the leading jet."""
    return _mass(jets, 1)


def n_jet_mass(n: int) -> Observable:
    """Mass of the ``n`` leading jets together, of all there are where there are fewer."""
    if n < 1:
        raise InputError(f"n_jet_mass needs n >= 1, found {n}.")
    return Observable(lambda jets: _mass(jets, n), f"{n}-jet mass", "GeV", n, on_device=True)


def jet_multiplicity(pt_min: float = 20.0, jets: int = 16) -> Observable:
    """Number of jets with pT above ``pt_min`` (GeV), counted among the ``jets`` leading ones.

    Raises
    ------
    InputError
        When evaluated on a tree with more such jets than ``jets``.
    """

    def count(leading: Any) -> Floats:
        number: Floats = _above(leading, pt_min, jets).sum(axis=-1).astype(np.float64)
        return number

    return Observable(count, f"jets above {pt_min:g} GeV", "", jets, on_device=True)


def scalar_ht(pt_min: float = 20.0, jets: int = 16) -> Observable:
    """HT: the scalar sum of the pT of the jets above ``pt_min`` (GeV), among the ``jets`` leading ones.

    Raises
    ------
    InputError
        When evaluated on a tree with more such jets than ``jets``.
    """

    def total(leading: Any) -> Floats:
        ht: Floats = np.where(_above(leading, pt_min, jets), leading.pt, 0.0).sum(axis=-1)
        return ht

    return Observable(total, f"HT of jets above {pt_min:g} GeV", "GeV", jets, on_device=True)


def _above(leading: Any, pt_min: float, jets: int) -> NDArray[np.bool_]:
    above: NDArray[np.bool_] = np.nan_to_num(leading.pt) > pt_min
    if above.shape[-1] and above[..., -1].any():
        raise InputError(
            f"a tree has {jets} jets or more above {pt_min:g} GeV, so some may be missed; raise jets={jets}."
        )
    return above


def named_observables() -> dict[str, Callable[..., Observable]]:
    """What a run configuration can name: the observables here and those of installed entry points.

    Other packages add theirs in the entry-point group ``djservice.observables``: an :class:`Observable`, or a function
    of plain numbers that returns one.
    """
    builtin: dict[str, Observable | Callable[..., Observable]] = {
        "dijet_mass": dijet_mass,
        "leading_jet_mass": leading_jet_mass,
        "n_jet_mass": n_jet_mass,
        "jet_multiplicity": jet_multiplicity,
        "scalar_ht": scalar_ht,
    }
    return makers("djservice.observables", Observable, builtin)
