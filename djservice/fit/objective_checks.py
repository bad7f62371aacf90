"""Checks of an objective: whether the settings and the events of a run can give it a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.core.suggest import nearest
from djservice.core.typing import Floats
from djservice.errors import ConfigError
from djservice.objectives.information import MutualInformation
from djservice.objectives.losses import Loss, Term
from djservice.objectives.significance import Significance


def check_objective(run: Run, loss: Loss, fileset: Mapping[str, Any]) -> None:
    """Refuse settings with which an objective means nothing.

    Raises
    ------
    ConfigError
        If truth is missing, batches are too small for the bins, or the datasets of a significance
        are not those of the fileset, with cross sections.
    """
    check_datasets(loss, fileset)
    term = loss.terms[0]
    if isinstance(term, MutualInformation):
        if run.input.truth is None:
            raise ConfigError(
                "objective.kind is mutual_information, which is that with the true mass, and "
                "input.truth is null. Give input.truth, such as GenPart:higgs."
            )
        _require_events(term, "optimiser.batch_events is", run.optimiser.batch_events)


def check_datasets(loss: Loss, fileset: Mapping[str, Any]) -> None:
    """Refuse a significance whose datasets are not those of the fileset, with cross sections.

    Raises
    ------
    ConfigError
        If one is missing, or has no cross section.
    """
    term = loss.terms[0]
    if not isinstance(term, Significance):
        return
    if not fileset:
        raise ConfigError(
            "objective.kind is significance, which needs the datasets and cross sections of "
            "input.fileset, found none. Give a fileset in place of input.files."
        )
    for key, names in (("signal", term.signal), ("background", term.background)):
        for name in names:
            if name not in fileset:
                raise ConfigError(
                    f"objective.{key}: the fileset has no dataset {name!r}"
                    f"{nearest(name, list(fileset))}."
                )
    left_out = [name for name in fileset if name not in term.datasets]
    if left_out:
        raise ConfigError(
            f"objective: {', '.join(left_out)} of the fileset is neither signal nor background. "
            "Name it in one of them, or leave it out of the fileset."
        )
    if any("xsec" not in dataset["metadata"] for dataset in fileset.values()):
        raise ConfigError(
            "objective.kind is significance, which needs metadata.xsec of every dataset of the "
            "fileset, found none. Give the cross sections."
        )


def _require_events(term: MutualInformation, what: str, events: int) -> None:
    needed = (term.bins[0] - 1) * (term.bins[1] - 1) // 2 + 1  # the bias may then be 1 nat
    if events < needed:
        raise ConfigError(
            f"{what} {events}, expected {needed} or more with objective.bins {list(term.bins)}: "
            "with fewer events the histogram of observable and truth is almost empty. Use more "
            "events, up to all in an iteration, or fewer bins."
        )


def check_truth(term: Term, truth: Floats) -> None:
    """Refuse events whose true masses leave nothing to learn.

    Raises
    ------
    ConfigError
        If an event has no truth, or all are in one bin.
    """
    if not isinstance(term, MutualInformation):
        return
    if np.isnan(truth).any():
        raise ConfigError(
            f"objective: {int(np.isnan(truth).sum())} of {len(truth)} events have no true mass. "
            "Choose another input.truth, or select the events."
        )
    _require_events(term, "the number of events is", len(truth))
    low, high = term.truth_range
    filled = len(np.unique(term.categories(truth, "")))
    if filled < 2:
        raise ConfigError(
            f"objective: all {len(truth)} events, of true masses from {truth.min():g} to "
            f"{truth.max():g} GeV, are in one of {term.bins[1]} bins from {low:g} to {high:g} GeV "
            "(objective.truth_range). The mutual information with one mass is 0: give events of "
            "many true masses, or a range that they fill."
        )
