"""Checks of the particles and weights of a batch: what is refused, and what is said aloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.core.warn import warn
from djservice.errors import InputError, InputWarning

if TYPE_CHECKING:
    from djservice.events.batch import EventBatch

#: Largest negative mass, relative to the energy, that is taken for rounding in a reduced-precision
#: file and read as zero.
MASS_ROUNDING = 1e-2

#: Most particles of an event: ids have 16 bits, and an event of n particles has 2 n - 1 objects.
MOST_PARTICLES = 2**15

#: pT, mass and energy in GeV below which the squares of all sums are finite, and the |eta| beyond
#: which cosh is not; the largest weight of a particle, which multiplies them.
LARGEST, MOST_FORWARD, LARGEST_SCALE = 1e140, 710.0, 1e6

#: Sizes of event weights, other than 0, whose squares are finite and not lost.
WEIGHTS = (1e-150, 1e140)

#: Masses in MeV of the particles that jets are made of: mu, pi, K, p, n.
_MASSES_IN_MEV = (105.658, 139.570, 493.677, 938.272, 939.565)
#: Scalar sum of an event's pT in GeV that no collider reaches in the median event.
_LARGEST_SUM = 14_000.0
#: A pT in GeV above which half of the particles never are.
_LARGE_PT = 50.0


def check_batch(batch: EventBatch, polar: str) -> None:
    """Refuse the first invalid particle or weight of a batch whose rapidity may be ``polar``.

    Raises
    ------
    InputError
        If there is one. The message names the event and the particle.
    """
    pt, mass, forward = batch.pt, batch.mass, np.abs(batch.rapidity)
    with np.errstate(over="ignore", invalid="ignore"):
        rounding = MASS_ROUNDING * pt * np.cosh(forward)
    for field, values, good, expected in (
        ("pt", pt, np.isfinite(pt) & (pt > 0), "a positive, finite number; a pt_min omits 0"),
        (polar, batch.rapidity, np.isfinite(forward), "a finite number"),
        ("phi", batch.phi, np.isfinite(batch.phi), "a finite number of rad"),
        ("mass", mass, np.isfinite(mass) & (mass >= -rounding), "0 GeV or more"),
        ("pt", pt, pt < LARGEST, f"less than {LARGEST:g} GeV"),
        ("mass", mass, mass < LARGEST, f"less than {LARGEST:g} GeV"),
        (polar, batch.rapidity, forward < MOST_FORWARD, f"a size below {MOST_FORWARD:g}"),
    ):
        refuse_particles(batch, field, values, good, expected)
    with np.errstate(over="ignore"):
        energy = np.hypot(pt, mass) * np.cosh(forward)
    refuse_particles(batch, "energy", energy, energy < LARGEST, f"less than {LARGEST:g} GeV")
    infinite = np.flatnonzero(np.isinf(batch.truth))
    if len(infinite):
        raise InputError(
            f"{batch.name(int(infinite[0]))}: truth is {batch.truth[infinite[0]]}, expected a "
            "finite number, or NaN where it is unknown."
        )
    check_weights(batch)


def check_weights(batch: EventBatch) -> EventBatch:
    """The batch, if its weights are finite and their squares are finite and not lost.

    Raises
    ------
    InputError
        If not. The message names the first event.
    """
    size = np.abs(batch.weight)
    for good, expected in (
        (np.isfinite(size), "a finite number"),
        (
            (size == 0) | ((size >= WEIGHTS[0]) & (size <= WEIGHTS[1])),
            f"0 or a size from {WEIGHTS[0]:g} to {WEIGHTS[1]:g}. Multiply all weights by a factor",
        ),
    ):
        if not good.all():
            event = int(np.flatnonzero(~good)[0])
            raise InputError(
                f"{batch.name(event)}: weight is {batch.weight[event]}, expected {expected}."
            )
    return batch


def refuse_particles(
    batch: EventBatch, field: str, values: NDArray[Any], good: NDArray[np.bool_], expected: str
) -> None:
    """Raise an :class:`InputError` that names the first particle that is not good, if any."""
    if good.all():
        return
    particle = int(np.flatnonzero(~good)[0])
    event = int(np.searchsorted(batch.offsets, particle, side="right")) - 1
    raise InputError(
        f"{batch.name(event)}, particle {particle - batch.offsets[event]}: {field} is "
        f"{values[particle]}, expected {expected} ({int((~good).sum())} such particles in "
        f"{len(batch)} events). Remove or correct them in the input."
    )


def say_doubts(batch: EventBatch) -> None:
    """Warn of values that can be used but look like degrees or MeV.

    The text does not depend on the values, so that Python shows it once for many batches.
    """
    source = ", ".join(batch.files[:1])
    for doubt in batch.doubts:
        warn(f"{source}: {doubt}", InputWarning)


def doubts(batch: EventBatch) -> list[str]:
    """What looks like a mistake in a batch whose phi is not yet folded."""
    remarks = []
    if np.abs(batch.phi).max(initial=0.0) > 2.0 * np.pi * (1.0 + 1e-6):  # float32 rounds 2 pi up
        remarks.append(
            "phi lies beyond 2 pi. It is taken as rad and folded into [-pi, pi]. If it is in "
            "degrees, multiply it by pi/180 before."
        )
    massive = batch.mass[batch.mass > 0.0]
    in_mev = np.any([np.abs(massive - mass) < 0.1 for mass in _MASSES_IN_MEV], axis=0)
    sums = _sums(batch.pt, batch.offsets)
    if in_mev.sum() > max(2, 0.2 * len(massive)):
        remarks.append(
            "masses are those of hadrons in MeV. They are taken as GeV. Divide pt and mass by 1000, "
            "or for a file set units: MeV in its section or schema."
        )
    elif len(sums) and np.median(sums) > _LARGEST_SUM and np.median(batch.pt) > _LARGE_PT:
        remarks.append(
            f"the scalar sum of pT in the median event is above {_LARGEST_SUM:,.0f} GeV, more than "
            "a collider reaches. If they are in MeV, divide pt and mass by 1000, or for a file set "
            "units: MeV in its section or schema."
        )
    return remarks


def _sums(values: Floats, offsets: NDArray[np.int64]) -> Floats:
    """Sum of the values of each event that has particles."""
    with np.errstate(over="ignore"):
        return (
            np.add.reduceat(values, offsets[:-1][np.diff(offsets) > 0]) if len(values) else values
        )


def check_counts(events: EventBatch) -> None:
    """Refuse events with more particles than can be clustered.

    Raises
    ------
    InputError
        If there is such an event. The message names the largest.
    """
    if len(events) and events.counts.max() > MOST_PARTICLES:
        large = int(events.counts.argmax())
        raise InputError(
            f"{events.name(large)} has {events.counts[large]} particles, expected "
            f"{MOST_PARTICLES} at most: raise pt_min."
        )
