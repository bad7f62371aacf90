"""Observables map the leading jets of a tree to one number; NaN where it is not defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.array_module import array_module
from djservice.core.bounds import require, require_number
from djservice.core.columns import returned
from djservice.core.entry_points import makers
from djservice.core.fingerprints import fingerprint
from djservice.core.typing import Floats
from djservice.errors import InputError


@dataclass(frozen=True)
class Observable:
    """A number per tree, computed from its leading jets.

    Attributes
    ----------
    function
        Takes the leading jets and returns an array of shape (event, tree), NaN where the observable
        is not defined. The jets are a ``vector`` momentum array of shape (event, tree, jet) in
        falling pT, NaN where a tree has fewer.
    name, units
        Name and units in tables and on axes.
    jets
        Number of leading jets that the function reads.
    on_device
        Whether the function accepts jets on a GPU (docs/gpu.md). Otherwise it gets a copy on the
        host.
    """

    function: Callable[[Any], ArrayLike]
    name: str
    units: str = ""
    jets: int = 2
    on_device: bool = False

    def __post_init__(self) -> None:
        require("jets", self.jets)

    def __call__(self, jets: Any) -> Floats:
        """Value of each tree, shape (event, tree).

        Raises
        ------
        InputError
            If the function returns another shape, or no numbers.
        """
        what = f"observable {self.name!r}"
        values: Floats = evaluate_function(self.function, jets, self.on_device, what).astype(
            np.float64, copy=False
        )
        if values.shape != jets.shape[:-1]:
            raise InputError(
                f"observable {self.name!r} returned shape {values.shape}, expected "
                f"{jets.shape[:-1]} (event, tree)."
            )
        return values

    @property
    def fingerprint(self) -> str:
        """Qualified name of the function and a hash of its source, as kept in a store."""
        return fingerprint(self.function)


def evaluate_function(function: Callable[[Any], Any], jets: Any, on_device: bool, what: str) -> Any:
    """Evaluate a function of jets; the result is an array on the device of the jets.

    The function gets jets on a GPU only with ``on_device``, and a copy on the host otherwise.

    Raises
    ------
    InputError
        If the function, named ``what`` in the message, does not return numbers.
    """
    if not hasattr(jets, "on_host"):
        return returned(function(jets), what)
    values = function(jets) if on_device else returned(function(jets.on_host()), what)
    return array_module(jets.px).asarray(values)


def observable(
    *, units: str = "", jets: int = 2, name: str | None = None, on_device: bool = False
) -> Callable[[Callable[[Any], ArrayLike]], Observable]:
    """Decorator that makes an :class:`Observable` of a function of the jets.

    Examples
    --------
    >>> @observable(units="GeV", jets=1)
    ... def leading_pt(jets):
    ...     return jets.pt[..., 0]

    With ``on_device=True`` the function gets jets on a GPU without a copy to the host. It may then
    call the functions of NumPy and the methods of arrays that CuPy has.
    """

    def wrap(function: Callable[[Any], ArrayLike]) -> Observable:
        return Observable(function, name or function.__name__, units, jets, on_device)

    return wrap


def _mass(jets: Any, number: int) -> Floats:
    """Mass of the sum of the ``number`` leading jets, or of all jets of a tree with fewer.

    NaN where a tree has no jet.
    """
    px, py, pz, energy = (
        np.nansum(getattr(jets[..., :number], c), axis=-1) for c in ("px", "py", "pz", "E")
    )
    mass2 = energy**2 - px**2 - py**2 - pz**2
    return np.where(np.isnan(jets[..., 0].E), np.nan, np.sqrt(np.maximum(mass2, 0.0)))


@observable(units="GeV", on_device=True)
def dijet_mass(jets: Any) -> Floats:
    """Mass of the sum of the two leading jets, or of the single jet of a tree with one."""
    return _mass(jets, 2)


@observable(units="GeV", jets=1, on_device=True)
def leading_jet_mass(jets: Any) -> Floats:
    """Mass of the leading jet."""
    return _mass(jets, 1)


def n_jet_mass(n: int) -> Observable:
    """Mass of the sum of the ``n`` leading jets, or of all jets of a tree with fewer."""
    require("jets", n, of="n")
    return Observable(lambda jets: _mass(jets, n), f"{n}-jet mass", "GeV", n, on_device=True)


def jet_multiplicity(pt_min: float = 20.0, jets: int = 16) -> Observable:
    """Number of jets with pT above ``pt_min`` (GeV), counted among the ``jets`` leading jets.

    Raises
    ------
    InputError
        On evaluation, if a tree may have more such jets than ``jets``.
    """

    require_number("pt_min", pt_min)

    def count(leading: Any) -> Floats:
        number: Floats = _above(leading, pt_min, jets).sum(axis=-1).astype(np.float64)
        return number

    return Observable(count, f"jets above {pt_min:g} GeV", "", jets, on_device=True)


def scalar_ht(pt_min: float = 20.0, jets: int = 16) -> Observable:
    """HT, the scalar sum of pT over the ``jets`` leading jets with pT above ``pt_min`` (GeV).

    Raises
    ------
    InputError
        On evaluation, if a tree may have more such jets than ``jets``.
    """

    require_number("pt_min", pt_min)

    def total(leading: Any) -> Floats:
        ht: Floats = np.where(_above(leading, pt_min, jets), leading.pt, 0.0).sum(axis=-1)
        return ht

    return Observable(total, f"HT of jets above {pt_min:g} GeV", "GeV", jets, on_device=True)


def _above(leading: Any, pt_min: float, jets: int) -> NDArray[np.bool_]:
    above: NDArray[np.bool_] = np.nan_to_num(leading.pt) > pt_min
    if above.shape[-1] and above[..., -1].any():
        raise InputError(
            f"a tree has {jets} jets or more above {pt_min:g} GeV, so some may be missed; raise "
            f"jets={jets}."
        )
    return above


def named_observables() -> dict[str, Callable[..., Observable]]:
    """The observables that a run configuration can name.

    They are the observables of this module and those of the entry-point group
    ``djservice.observables``. An entry point is an :class:`Observable`, or a function of plain
    numbers that returns one.
    """
    builtin: dict[str, Observable | Callable[..., Observable]] = {
        "dijet_mass": dijet_mass,
        "leading_jet_mass": leading_jet_mass,
        "n_jet_mass": n_jet_mass,
        "jet_multiplicity": jet_multiplicity,
        "scalar_ht": scalar_ht,
    }
    return makers("djservice.observables", Observable, builtin)
