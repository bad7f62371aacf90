"""Plackett-Luce choices: some of several items, one after the other, without replacement.

Each is chosen among those that remain, with a probability in proportion to its strength (Plackett
1975, 10.2307/2346567; Luce 1959). The expectation over choices is a smooth function of the
strengths, and that of strong contrasts is the choice of the strongest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Choice = tuple[int, ...]


def ordered_choices(log_strength: Any, number: int) -> Iterator[tuple[Choice, Any]]:
    """Every ordered choice of ``number`` items, and its probability, shape (...).

    Parameters
    ----------
    log_strength
        Logarithms of the strengths, shape (..., item). Items of -infinity are chosen last, in their
        order.
    """
    choices: list[tuple[Choice, Any]] = [((), 1.0)]
    for _ in range(number):
        choices = [
            ((*chosen, item), before * probability)
            for chosen, before in choices
            for item, probability in _next(log_strength, chosen)
        ]
    yield from choices


def unordered_choices(log_strength: Any, number: int) -> Iterator[tuple[Choice, Any]]:
    """Every set of ``number`` items in rising order, and its probability summed over orders."""
    sums: dict[Choice, Any] = {}
    for chosen, probability in ordered_choices(log_strength, number):
        items = tuple(sorted(chosen))
        sums[items] = sums.get(items, 0.0) + probability
    yield from sums.items()


def expectation(
    log_strength: Any, number: int, value: Callable[[Choice], Any], chosen: Choice = ()
) -> tuple[Any, Any]:
    """Expectation of a value over ordered choices, and its derivatives in the logarithms.

    With the probability p_j that item j is chosen next, and the expectation V_j after that, V is
    the sum of p_j V_j, and dV/ds_j = p_j (V_j - V) + the sum over i of p_i dV_i/ds_j.

    Parameters
    ----------
    log_strength
        Logarithms s of the strengths, shape (..., item).
    number
        Number of items of a choice.
    value
        Value of a choice, shape (...).
    chosen
        The items that are chosen already.

    Returns
    -------
    Shapes (...) and (..., item).
    """
    if len(chosen) == number:
        return value(chosen), 0.0
    mean, slopes, after = 0.0, np.zeros_like(log_strength), []
    for item, probability in _next(log_strength, chosen):
        of_item, slopes_of_item = expectation(log_strength, number, value, (*chosen, item))
        of_item = np.where(probability > 0.0, of_item, 0.0)  # some are undefined without it
        mean = mean + probability * of_item
        weight = probability[..., np.newaxis]
        slopes += np.where(weight > 0.0, weight * slopes_of_item, 0.0)
        after.append((item, probability, of_item))
    for item, probability, of_item in after:
        slopes[..., item] += probability * (of_item - mean)
    return mean, slopes


def _next(log_strength: Any, chosen: Choice) -> Iterator[tuple[int, Any]]:
    """The items that remain, and the probabilities that each is chosen next."""
    items = [item for item in range(log_strength.shape[-1]) if item not in chosen]
    remaining = log_strength[..., items]
    strongest = remaining.max(axis=-1, keepdims=True)
    # Relative to the strongest that remains, so that nothing overflows and no sum is 0.
    strength = np.exp(remaining - np.where(strongest > -np.inf, strongest, 0.0))
    strength[..., 0] = np.where(strongest[..., 0] > -np.inf, strength[..., 0], 1.0)
    total = strength.sum(axis=-1)
    for k, item in enumerate(items):
        yield item, strength[..., k] / total
