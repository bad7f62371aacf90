"""Objectives that jump where jets change places or cross a threshold, and the warning of them.

At given particles a jump has no weight, and the derivatives of each event are right. But the mean
over events moves with every event that jumps, and a mean of derivatives lacks that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats
from djservice.core.warn import warn
from djservice.errors import InputError, JumpWarning
from djservice.objectives.losses import Loss, Term

#: pT of the made-up jets in GeV, and their y, phi and m / pT, which all differ.
_PT = np.geomspace(100.0, 5.0, 7)
_RAPIDITY, _PHI, _MASS = 1.3 * np.sin(np.arange(8)), 2.4 * np.arange(8), 0.05 * np.arange(1, 9)
#: Points of a path, and how often its largest step is divided into as many.
_POINTS, _ROUNDS = 2000, 4
#: A step is a jump if it remains, in parts of the largest value.
_JUMP = 0.01
#: Terms whose trial is remembered. They are kept alive, networks with them.
_REMEMBERED = 8


def warn_of_jumps(loss: Loss) -> None:
    """Warn, once, of a loss that has a selection, or that jumps on paths of made-up jets."""
    for reason in jumps_of(loss):
        _warn_once(reason)


def jumps_of(loss: Loss) -> Iterator[str]:
    """What jumps in a loss: a selection, or a term that jumps on paths of made-up jets."""
    for term in loss.terms:
        if term.cut is not None:
            yield f"the cut {term.cut.name!r}, which jumps at its edges"
        elif (_jumps if _has_hash(term) else _jumps.__wrapped__)(term):
            yield (
                f"{term.observable.name!r}, which jumps where jets change places or pass a threshold"
            )


@functools.cache  # the filters of Python show it again whenever a library changes them
def _warn_once(reason: str) -> None:
    warn(
        f"the objective has {reason}. Derivatives of single events are right, but their mean over "
        "events lacks the jumps. To learn parameters that move particles, take "
        "djservice.observables.soft_dijet_mass or soft_choice for the choice of jets, and multiply "
        "by soft_two_jets, soft_above or soft_below instead of a cut "
        "(docs/explanation/gradients.md). Otherwise ignore djservice.errors.JumpWarning.",
        JumpWarning,
    )


def _has_hash(term: Term) -> bool:
    """Whether a term can be remembered: its functions may be callable objects without a hash."""
    try:
        hash(term)
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=_REMEMBERED)  # half of the time of a gradient of one event
def _jumps(term: Term) -> bool:
    """Whether a term jumps where one jet overtakes all others, or where all become softer."""

    def one_overtakes(log_pt: Floats) -> Floats:
        return np.column_stack([np.tile(_PT, (len(log_pt), 1)), np.exp(log_pt)])

    def all_become_softer(log_factor: Floats) -> Floats:
        jets: Floats = np.exp(log_factor)[:, np.newaxis] * np.append(_PT, 8.0)
        return jets

    try:
        with np.errstate(all="ignore"):
            return _jumps_along(term, all_become_softer, 0.02, 1.0) or any(
                _jumps_along(term, one_overtakes, 2.0, 150.0, turned) for turned in (0.0, 2.0, 4.0)
            )
    except InputError:  # it refuses jets that no event may have, so they show nothing
        return False


def _jumps_along(
    term: Term, path: Callable[[Floats], Floats], first: float, last: float, turned: float = 0.0
) -> bool:
    """Whether the largest step of a term on a path remains, however short the path becomes."""
    low, high = np.log(first), np.log(last)
    scale = 0.0
    for _ in range(_ROUNDS):
        points = np.linspace(low, high, _POINTS)
        values = _values(term, path(points), turned)
        scale = max(scale, np.abs(values).max())
        steps = np.abs(np.diff(values))
        largest = int(steps.argmax())
        if not steps[largest] > _JUMP * scale:
            return False
        low, high = points[largest], points[largest + 1]
    return True


def _values(term: Term, pt: Floats, turned: float) -> Floats:
    """The quantity of a term for jets of these pT, shape (point, jet); 0 where it is undefined.

    The last jet is turned by an angle in phi.
    """
    phi = _PHI + np.append(np.zeros(len(_PT)), turned)
    mt = pt * np.hypot(1.0, _MASS)
    columns = pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(_RAPIDITY), mt * np.cosh(_RAPIDITY)
    order = np.argsort(-pt, axis=1)
    momenta = np.take_along_axis(np.stack(columns, axis=-1), order[..., np.newaxis], axis=1)
    leading = np.full((1, len(pt), term.jets, 4), np.nan)
    leading[0, :, : pt.shape[1]] = momenta[:, : term.jets]
    _, (quantity,), accepted = term.evaluate(as_vectors(leading), np.full(1, 100.0))
    values: Floats = np.where(accepted, quantity, 0.0)[0]
    return values
