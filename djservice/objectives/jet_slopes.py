"""Derivatives of observables in the four-momenta of the jets, in closed form.

The functions here return :data:`djservice.objectives.observable.Slopes`. Observables without them
are differentiated by differences (:mod:`djservice.evaluation.jet_derivatives`).
"""

from __future__ import annotations

import numpy as np

from djservice.core.typing import Floats
from djservice.objectives.observable import Observable, Slopes
from djservice.objectives.plackett_luce import (
    Choice,
    expectation,
    ordered_choices,
    unordered_choices,
)

#: Squares of masses below this part of E^2 are rounding. The mass is then 0, as is its derivative.
_ROUNDING = 1e-13


def mass_slopes(number: int) -> Slopes:
    """Of the mass of the sum of the ``number`` leading jets: dm/dp = (-px, -py, -pz, E) / m."""

    def slopes(momenta: Floats) -> tuple[Floats, Floats]:
        signed = np.nansum(momenta[..., :number, :], axis=-2) * np.array([-1.0, -1.0, -1.0, 1.0])
        energy2 = signed[..., 3] ** 2
        mass2 = energy2 - signed[..., 0] ** 2 - signed[..., 1] ** 2 - signed[..., 2] ** 2
        mass = np.sqrt(np.maximum(mass2, 0.0))
        heavy = mass2 > _ROUNDING * energy2
        inverse = np.where(heavy, 1.0 / np.where(heavy, mass, 1.0), 0.0)
        derivatives = np.zeros_like(momenta)
        derivatives[..., :number, :] = (signed * inverse[..., np.newaxis])[..., np.newaxis, :]
        return np.where(np.isnan(momenta[..., 0, 3]), np.nan, mass), derivatives

    return slopes


def pt_slopes(jet: int) -> Slopes:
    """Of the pT of a leading jet, counted from 0: dpT/dp = (px, py, 0, 0) / pT."""

    def slopes(momenta: Floats) -> tuple[Floats, Floats]:
        derivatives = np.zeros_like(momenta)
        pt = np.sqrt(momenta[..., jet, 0] ** 2 + momenta[..., jet, 1] ** 2)
        derivatives[..., jet, :2] = pt[..., np.newaxis] * _in_log_pt(momenta[..., jet, :])
        return pt, derivatives

    return slopes


def sigmoid_slopes(observable: Observable, threshold: float, rate: float) -> Slopes | None:
    """Of the sigmoid s of (observable - threshold) * rate: ds/df = rate s (1 - s), 0 if undefined.

    None if the observable has no slopes.
    """
    of_observable = observable.slopes
    if of_observable is None:
        return None

    def slopes(momenta: Floats) -> tuple[Floats, Floats]:
        value, derivatives = of_observable(momenta)
        distance = (value - threshold) * rate
        passes = np.where(np.isnan(distance), 0.0, 0.5 + 0.5 * np.tanh(0.5 * distance))
        slope = rate * passes * (1.0 - passes)
        return passes, np.where(passes == 0.0, 0.0, slope)[..., None, None] * derivatives

    return slopes


def choice_slopes(observable: Observable, kappa: float, jets: int, ordered: bool) -> Slopes | None:
    """Of the expectation over Plackett-Luce choices in pT^kappa among the ``jets`` leading jets.

    None if the observable has no slopes.
    """
    of_observable = observable.slopes
    if of_observable is None:
        return None
    choices = ordered_choices if ordered else unordered_choices

    def slopes(momenta: Floats) -> tuple[Floats, Floats]:
        leading, derivatives = momenta[..., :jets, :], np.zeros_like(momenta)
        with np.errstate(divide="ignore"):  # of pT = 0
            square = np.nan_to_num(leading[..., 0] ** 2 + leading[..., 1] ** 2)
            log_strength = 0.5 * kappa * np.log(square)
        values: dict[Choice, Floats] = {}
        for chosen, probability in choices(log_strength, observable.jets):
            values[chosen], of_chosen = of_observable(leading[..., list(chosen), :])
            weight = probability[..., np.newaxis, np.newaxis]
            derivatives[..., list(chosen), :] += np.where(weight > 0.0, weight * of_chosen, 0.0)

        def value(chosen: Choice) -> Floats:
            return values[chosen if ordered else tuple(sorted(chosen))]

        mean, in_log = expectation(log_strength, observable.jets, value)
        derivatives[..., :jets, :2] += kappa * in_log[..., np.newaxis] * _in_log_pt(leading)
        return mean, derivatives

    return slopes


def _in_log_pt(momenta: Floats) -> Floats:
    """d ln pT / d(px, py) = (px, py) / pT^2; 0 for missing jets and those without pT."""
    p = np.nan_to_num(momenta[..., :2])
    square = (p**2).sum(axis=-1, keepdims=True)
    some = square > 0.0
    return np.where(some, p / np.where(some, square, 1.0), 0.0)
