"""Events that cannot be clustered: those whose distances floats cannot hold."""

from __future__ import annotations

import numpy as np

from djservice.clustering.kernels.steps import BAD_HISTORY, NO_DISTANCE, ZERO_PT
from djservice.errors import ClusteringError, InputError
from djservice.events.batch import EventBatch

#: Least pT^(2p) whose products with squared distances are not 0.
_LEAST_SCALE = 1e-250


def check_distances(events: EventBatch, power: float) -> None:
    """Refuse events in which pT^(2p) of a particle is too close to 0 for a distance.

    Raises
    ------
    ClusteringError
        If there is such an event; the message names it.
    """
    if len(events.pt) == 0:
        return
    particle = int(events.pt.argmin() if power > 0 else events.pt.argmax())
    with np.errstate(over="ignore", under="ignore"):
        if events.pt[particle] ** (2.0 * power) > _LEAST_SCALE:
            return
    event = int(np.searchsorted(events.offsets, particle, side="right")) - 1
    raise ClusteringError(
        f"{events.name(event)}: pT^(2p) is 0 in floating point at pT = {events.pt[particle]:g} GeV "
        f"and p = {power:g}. Remove such particles, or choose a power nearer to 0."
    )


def failure_of(status: int, events: EventBatch, event: int, tree: int) -> Exception:
    """The error for a tree that the kernels gave up."""
    if status == ZERO_PT:
        return ClusteringError(
            f"{events.name(event)}, tree {tree}: two objects add up to pT = 0, where d = pT^(2p) "
            "is infinite for p < 0, and so is R = rho / pT of variable-R jets. Remove the event, or "
            "use power >= 0 and a finite radius_max."
        )
    if status == NO_DISTANCE:
        return ClusteringError(
            f"{events.name(event)}, tree {tree}: all distances that are left are infinite: a pT so "
            "small that pT^(2p) overflows, or R = rho / pT of variable-R jets. "
            "Remove such particles (pt_min), or give a finite radius_max."
        )
    assert status == BAD_HISTORY
    return InputError(
        f"{events.name(event)}, tree {tree}: the history names an object that is not there at that "
        "step. Give the history of the same events."
    )
