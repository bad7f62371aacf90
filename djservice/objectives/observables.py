"""The observables of djservice: masses, multiplicities, soft choices, and those of constituents."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require, require_number
from djservice.core.entry_points import makers
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.angularities import angularity, log_angularity
from djservice.objectives.jet_slopes import (
    choice_slopes,
    mass_slopes,
    pt_slopes,
    sigmoid_slopes,
)
from djservice.objectives.observable import Observable as Observable
from djservice.objectives.observable import need_observable, observable, require_jet
from djservice.objectives.onnx_tagger import read_tagger
from djservice.objectives.plackett_luce import ordered_choices, unordered_choices
from djservice.objectives.shapes import shape

__all__ = [
    "Observable",
    "angularity",
    "dijet_mass",
    "invariant_mass",
    "jet_mass",
    "jet_multiplicity",
    "jet_pt",
    "leading_jet_mass",
    "leading_jet_pt",
    "log_angularity",
    "n_jet_mass",
    "onnx",
    "scalar_ht",
    "shape",
    "soft_above",
    "soft_below",
    "soft_choice",
    "soft_dijet_mass",
    "soft_two_jets",
]


#: Most ordered choices of jets of a soft choice, which evaluates its observable for each of them.
_MOST_CHOICES = 1_000


def _mass(jets: Any, number: int) -> Floats:
    """Mass of the sum of the ``number`` leading jets, or of all jets of a tree with fewer.

    NaN where a tree has no jet.
    """
    leading = jets[..., :number]
    px, py, pz, energy = (_sum(getattr(leading, c)) for c in ("px", "py", "pz", "E"))
    mass2 = energy**2 - px**2 - py**2 - pz**2
    return np.where(np.isnan(jets[..., 0].E), np.nan, np.sqrt(np.maximum(mass2, 0.0)))


def _sum(columns: Floats) -> Floats:
    """Sum over the last axis, which is short, without NaN: faster than ``np.nansum`` there."""
    known = np.where(np.isnan(columns), 0.0, columns)
    return functools.reduce(np.add, (known[..., k] for k in range(known.shape[-1])))


@observable(units="GeV", on_device=True, slopes=mass_slopes(2))
def dijet_mass(jets: Any) -> Floats:
    """Mass of the sum of the two leading jets, or of the single jet of a tree with one."""
    return _mass(jets, 2)


@observable(units="GeV", jets=1, on_device=True, slopes=mass_slopes(1))
def leading_jet_mass(jets: Any) -> Floats:
    """Mass of the leading jet."""
    return _mass(jets, 1)


@observable(units="GeV", jets=1, on_device=True, slopes=pt_slopes(0))
def leading_jet_pt(jets: Any) -> Floats:
    """pT of the leading jet."""
    pt: Floats = jets[..., 0].pt
    return pt


@checked_arguments
def jet_pt(jet: int = 0) -> Observable:
    """pT of the leading jet number ``jet``, counted from 0; NaN where a tree has fewer."""
    number = require_jet(jet)
    return Observable(
        lambda jets: jets[..., number].pt,
        f"pT of jet {number + 1}",
        "GeV",
        number + 1,
        True,
        slopes=pt_slopes(number),
    )


@checked_arguments
def jet_mass(jet: int = 0) -> Observable:
    """Mass of the leading jet number ``jet``, counted from 0; NaN where a tree has fewer."""
    number = require_jet(jet)
    return Observable(
        lambda jets: _mass(jets[..., number : number + 1], 1),
        f"mass of jet {number + 1}",
        "GeV",
        number + 1,
        True,
    )


@checked_arguments
def invariant_mass(jets: Sequence[int]) -> Observable:
    """Mass of the sum of chosen leading jets, such as [0, 2]; NaN where a tree lacks one of them.

    Raises
    ------
    InputError
        If these are no different places of leading jets, counted from 0.
    """
    if not isinstance(jets, (list, tuple)) or not jets or len(set(map(str, jets))) < len(jets):
        raise InputError(f"jets is {jets!r}, expected a list of different places, such as [0, 2].")
    places = [require_jet(jet) for jet in jets]

    def mass(leading: Any) -> Floats:
        chosen = leading[..., places]
        return np.where(np.isnan(chosen.E).any(axis=-1), np.nan, _mass(chosen, len(places)))

    numbers = ", ".join(str(place + 1) for place in places)
    return Observable(mass, f"mass of jets {numbers}", "GeV", max(places) + 1, True)


@checked_arguments
def n_jet_mass(n: int) -> Observable:
    """Mass of the sum of the ``n`` leading jets, or of all jets of a tree with fewer."""
    require("jets", n, of="n")
    return Observable(
        lambda jets: _mass(jets, n), f"{n}-jet mass", "GeV", n, True, slopes=mass_slopes(n)
    )


@checked_arguments
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


@checked_arguments
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


@checked_arguments
def soft_choice(
    observable: Observable, kappa: float = 8.0, jets: int = 5, *, ordered: bool = True
) -> Observable:
    """Expectation of an observable over Plackett-Luce choices of "the leading jets" in pT^kappa.

    One after the other, the jets that the observable reads are chosen among the ``jets`` leading
    ones, each with a probability in proportion to pT^``kappa``. All ordered choices are summed, so
    no number is drawn. The result has no jump where jets exchange places in pT, and tends to the
    observable itself for large ``kappa``. A tree with fewer jets than the observable reads has one
    choice, all its jets. The mean over trees is NaN if the observable is, for a possible choice.

    Parameters
    ----------
    observable
        Observable of the leading jets that has no jump at given jets.
    kappa
        Power of pT: the choice changes over a relative difference of 1 / ``kappa`` in pT. 4 to 8
        is smooth enough for means over some hundred events.
    jets
        Number of leading jets to choose from.
    ordered
        False if the order of its jets does not matter to the observable, as in a mass, which saves
        half of the work or more.

    Raises
    ------
    InputError
        If ``kappa`` is not positive, or ``jets`` is below the number that the observable reads or
        leaves more than 1,000 ordered choices.
    """
    need_observable(observable)
    require_number("kappa", kappa)
    require("jets", jets)
    if not kappa > 0:
        raise InputError(f"kappa is {kappa}, expected a positive number.")
    if jets < observable.jets or math.perm(jets, observable.jets) > _MOST_CHOICES:
        raise InputError(
            f"jets is {jets}, expected {observable.jets} or more, as many as observable "
            f"{observable.name!r} reads, and at most {_MOST_CHOICES:,} ordered choices of them."
        )

    def expected(leading: Any) -> Floats:
        with np.errstate(divide="ignore"):  # of pT = 0
            log_pt = np.log(np.nan_to_num(leading[..., :jets].pt))  # others may read more
        total: Any = 0.0
        choose = ordered_choices if ordered else unordered_choices
        for chosen, probability in choose(kappa * log_pt, observable.jets):
            values = observable(leading[..., list(chosen)])
            total = total + np.where(probability > 0.0, probability * values, 0.0)
        result: Floats = total
        return result

    name, units = f"soft {observable.name} (kappa {kappa:g})", observable.units
    slopes = choice_slopes(observable, kappa, jets, ordered)
    return Observable(expected, name, units, jets, True, parts=(observable,), slopes=slopes)


@checked_arguments
def soft_dijet_mass(kappa: float = 8.0, jets: int = 5) -> Observable:
    """Mass of the sum of two of the ``jets`` leading jets, softly chosen in pT^``kappa``."""
    return soft_choice(dijet_mass, kappa, jets, ordered=False)


@checked_arguments
def soft_above(observable: Observable, minimum: float, width: float) -> Observable:
    """Soft threshold: the sigmoid of (observable - ``minimum``) / ``width``, 0 if undefined."""
    return _sigmoid(observable, minimum, width, 1.0)


@checked_arguments
def soft_below(observable: Observable, maximum: float, width: float) -> Observable:
    """Soft threshold: the sigmoid of (``maximum`` - observable) / ``width``, 0 if undefined."""
    return _sigmoid(observable, maximum, width, -1.0)


@checked_arguments
def soft_two_jets(pt_min: float = 20.0, width: float = 2.0) -> Observable:
    """Soft threshold: sigmoid of (pT - ``pt_min``) / ``width`` (GeV) of the second leading jet."""
    return soft_above(_second_pt, pt_min, width)


@observable(units="GeV", name="pT of jet 2", on_device=True, slopes=pt_slopes(1))
def _second_pt(jets: Any) -> Floats:
    pt: Floats = jets[..., 1].pt
    return pt


def _sigmoid(observable: Observable, threshold: float, width: float, sign: float) -> Observable:
    need_observable(observable)
    require_number("threshold", threshold)
    require_number("width", width)
    if not width > 0:
        raise InputError(f"width is {width}, expected a positive number; take a cut for a step.")

    def passes(jets: Any) -> Floats:
        distance = sign * (observable(jets) - threshold) / width
        return np.where(np.isnan(distance), 0.0, 0.5 + 0.5 * np.tanh(0.5 * distance))

    name = f"{observable.name} {'>' if sign > 0 else '<'} {threshold:g} +- {width:g}"
    return Observable(
        passes,
        f"({name} {observable.units}".rstrip() + ")",
        "",
        observable.jets,
        on_device=True,
        parts=(observable,),
        slopes=sigmoid_slopes(observable, threshold, sign / width),
    )


@checked_arguments
def onnx(model: str, preprocess: str, output: str | int = 0, jet: int = 0) -> Observable:
    """Score of a leading jet by a network in ONNX (docs/guides/own-objective.md).

    Parameters
    ----------
    model, preprocess
        Paths of the network and of its ``preprocess.json``, as weaver and CMSSW write it. They are
        read here, and travel with the observable.
    output
        Number of a column of the network's first output, its label in ``preprocess.json``, or a
        formula of labels with ``+ - * /`` and brackets, such as "a / (a + b)".
    jet
        Place of the jet among the leading ones, from 0.

    Raises
    ------
    InputError
        If a file is missing, too large or no such file, if the network has other inputs than the
        preprocessing, or no such output.
    MissingPackageError
        If onnxruntime is not installed (the extra ``onnx``).
    """
    number = require_jet(jet) + 1
    tagger = read_tagger(model, preprocess, output)
    return Observable(
        tagger,
        f"{output if isinstance(output, str) else f'output {output}'} of jet {number}",
        jets=number,
        constituents=tagger.preprocessing.most,
    )


def named_observables() -> dict[str, Callable[..., Observable]]:
    """The observables that a run configuration can name.

    They are the observables of this module and those of the entry-point group
    ``djservice.observables``. An entry point is an :class:`Observable`, or a function of plain
    numbers that returns one.
    """
    builtin: dict[str, Observable | Callable[..., Observable]] = {
        "dijet_mass": dijet_mass,
        "leading_jet_mass": leading_jet_mass,
        "leading_jet_pt": leading_jet_pt,
        "jet_pt": jet_pt,
        "jet_mass": jet_mass,
        "invariant_mass": invariant_mass,
        "n_jet_mass": n_jet_mass,
        "jet_multiplicity": jet_multiplicity,
        "scalar_ht": scalar_ht,
        "soft_dijet_mass": soft_dijet_mass,
        "soft_two_jets": soft_two_jets,
        "angularity": angularity,
        "log_angularity": log_angularity,
        "onnx": onnx,
        "shape": shape,
    }
    return makers("djservice.observables", Observable, builtin)
