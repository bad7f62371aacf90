"""Robust: a loss over several versions of each event, the event itself and its augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require_number
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.augment import Augmentation, augmented
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, LossSum, Term


@checked_arguments
@dataclass(frozen=True)
class Robust:
    """The mean of a loss over versions of the events, plus a multiple of its spread.

    The first version is the events as they are. Each augmentation makes another one of them all.
    The spread is the standard deviation of the losses of the versions, whose squares are divided by
    their number.

    Attributes
    ----------
    loss
        The loss of each version.
    augmentations
        Augmentations, each applied alone.
    weight
        Factor of the spread, 0 or more.

    Raises
    ------
    InputError
        If there is no augmentation, one is there twice, or the loss is an objective that is
        maximised.
    """

    loss: Loss
    augmentations: Sequence[Augmentation]
    weight: float = 0.0
    #: Augmentations that the events have gone through before; see :func:`augmented`.
    before: int = 0
    #: The only version that is evaluated; all of them by default.
    only: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.loss, (Term, LossSum)):
            raise InputError(f"loss is {self.loss!r}, expected a loss such as djservice.Width(f).")
        if any(term.maximised for term in self.loss.terms):
            raise InputError(
                "Robust is for a loss, and this is an objective that is maximised. Give a loss such "
                "as djservice.RobustWidth(f)."
            )
        check_augmentations(self.augmentations, "augmentations")
        require_number("weight", self.weight)
        if self.weight < 0.0:
            raise InputError(f"weight is {self.weight:g}, expected 0 or more.")

    @property
    def versions(self) -> tuple[Augmentation | None, ...]:
        """What makes each version of the events; None for the events as they are."""
        every = (None, *self.augmentations)
        return every if self.only is None else (every[self.only],)

    def alone(self, version: int) -> Robust:
        """The loss of one version."""
        return replace(self, only=version)

    def made(self, events: EventBatch, seed: int) -> list[EventBatch]:
        """The events in each version.

        Raises
        ------
        InputError
            If an event has too many particles in one.
        """
        return [
            events if each is None else augmented(events, [each], seed=seed, before=self.before)
            for each in self.versions
        ]

    @property
    def terms(self) -> tuple[Term, ...]:
        """Terms of the loss of a version."""
        return self.loss.terms

    @property
    def jets(self) -> int:
        """Number of leading jets that the loss reads."""
        return self.loss.jets

    @property
    def needs_constituents(self) -> bool:
        """Whether the loss reads constituents of jets."""
        return self.loss.needs_constituents

    @property
    def settled_pt(self) -> float:
        """The pT in GeV below which jets that are still to form cannot change the loss."""
        return self.loss.settled_pt

    def categories(self, truth: Floats, dataset: str) -> NDArray[np.int64] | None:
        """None: only objectives that are maximised have categories of events."""
        return None


def check_augmentations(augmentations: Sequence[Augmentation], where: str) -> None:
    """Refuse augmentations that are none, or of which two are the same.

    Raises
    ------
    InputError
        Naming the place.
    """
    if (
        not isinstance(augmentations, Sequence)
        or not augmentations
        or not all(isinstance(each, Augmentation) for each in augmentations)
    ):
        raise InputError(
            f"{where} is {augmentations!r}, expected augmentations such as "
            "[djservice.augment.Smear()]."
        )
    for i, each in enumerate(augmentations):
        if each in augmentations[:i]:
            raise InputError(
                f"{where}[{i}] is {each} again, expected different augmentations. Leave it out, or "
                "change a parameter."
            )
