"""Plackett-Luce choices: some of several items, one after the other, without replacement.

Each is chosen among those that remain, with a probability in proportion to its strength (Plackett
1975, 10.2307/2346567; Luce 1959). The expectation over choices is a smooth function of the
strengths, and that of strong contrasts is the choice of the strongest.
"""

from __future__ import annotations

from collections.abc import Iterator
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
