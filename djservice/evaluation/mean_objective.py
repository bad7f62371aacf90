"""Objectives that are means over trees: their values, and their derivatives in the jets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.evaluation.jet_derivatives import jet_derivatives
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, Term
from djservice.objectives.pooled_statistics import PooledMean


def check_mean(loss: Loss) -> None:
    """Refuse a loss that is not a mean over the trees of an event.

    Raises
    ------
    InputError
        If a term is a width, or the square of an expectation.
    """
    if loss.needs_constituents:
        raise InputError(
            "the objective reads constituents, whose derivatives in the particles are not known. "
            "Give one of the jets' momenta."
        )
    for term in loss.terms:
        if term.squares_expectation or not isinstance(term.statistic, PooledMean):
            raise InputError(
                f"{type(term).__name__} is not a mean over the trees of an event. Give an "
                "observable, djservice.SquaredError or djservice.BoundedError."
            )


def probe(loss: Loss, events: EventBatch) -> None:
    """Evaluate the objective on made-up jets, so that a wrong one fails before any work.

    Raises
    ------
    InputError
        If it reads what jets do not have.
    """
    momenta = np.zeros((1, 1, loss.jets, 4))
    momenta[0, 0, :, 0] = 100.0 / np.arange(1.0, loss.jets + 1.0) * (-1.0) ** np.arange(loss.jets)
    momenta[..., 3] = 1.1 * np.abs(momenta[..., 0])
    truth = events.truth[:1] if len(events) else np.full(1, 1.0)
    try:
        evaluated(loss, as_vectors(momenta), truth)
    except InputError as error:
        if not isinstance(error.__cause__, AttributeError):
            raise
        raise InputError(
            f"the objective reads what jets do not have: {error} Jets have four-momenta alone, "
            "without constituents."
        ) from error.__cause__


def evaluated(loss: Loss, jets: Any, truth: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """I times the loss l, and I, of each tree, shape (event, tree)."""
    total, selection = None, None
    for term in loss.terms:
        _, (quantity,), accepted = term.evaluate(jets, truth)
        if selection is not None and (accepted != selection).any():
            raise InputError(
                "the losses of the sum have different selections, so it is no mean over trees. "
                "Give each its own gradient, or all the same selection."
            )
        scaled = term.coefficient * quantity
        total, selection = scaled if total is None else total + scaled, accepted
    assert total is not None
    assert selection is not None
    return total, selection


def pathwise(
    loss: Loss, momenta: Floats, events: EventBatch, accepted: NDArray[np.bool_]
) -> Floats:
    """Derivatives of l in the jets of each accepted tree, at a fixed selection; 0 for others."""
    derivatives = np.zeros_like(momenta)
    for term in loss.terms:
        slopes = term.slopes(momenta, events.truth)
        if slopes is None:
            slopes = jet_derivatives(_unselected(term, events.truth), momenta)
        derivatives += term.coefficient * slopes
    derivatives = np.where(np.isnan(momenta[..., :1]), 0.0, derivatives)
    derivatives = np.where(accepted[..., np.newaxis, np.newaxis], derivatives, 0.0)
    bad = np.flatnonzero(~np.isfinite(derivatives).all(axis=(1, 2, 3)))
    if len(bad):
        raise InputError(
            f"{events.name(int(bad[0]))}: the objective has no finite derivatives in the momenta "
            "of the leading jets. Change the objective, or remove the event."
        )
    return derivatives


def _unselected(term: Term, truth: Floats) -> Callable[[Any], Floats]:
    """The quantity of a term for every tree, as a function of jets; NaN where it is undefined."""

    def quantity_of(jets: Any) -> Floats:
        _, (quantity,), finite = replace(term, cut=None).evaluate(jets, truth)
        return np.where(finite, quantity, np.nan)

    return quantity_of
