"""``dj.check_irc``: whether an objective changes when an arbitrarily soft or collinear particle comes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from djservice.analysis.emission_sums import EmissionSums, emission_sums, relative
from djservice.clustering.radius import Radius
from djservice.clustering.sampling import Sampling, SamplingKeywords, takes_sampling
from djservice.core.formatting import finite
from djservice.errors import InputError
from djservice.evaluation.moments import Moments, Quantity
from djservice.events.as_events import as_events
from djservice.events.emissions import KINDS, Kind
from djservice.objectives.losses import Loss, as_loss
from djservice.objectives.observable import Observable, warn_of_defaults

#: Sizes of the emissions by default.
EPSILONS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
#: A change within this many standard errors is none, and one below this size is rounding.
SIGNIFICANT, ROUNDING = 4.0, 1e-9
#: A change that falls with a smaller power of epsilon than the first is a plateau; with a smaller
#: one than the second it is not seen to reach 0.
FLAT, SLOW = 0.1, 0.5
#: Share of a plateau from which on a part of the change is named.
SHARE = 0.1


@dataclass(frozen=True)
class Change:
    """Relative change by emissions of one size.

    Attributes
    ----------
    epsilon
        Size of the emission.
    total, fixed_jets, jets
        Change, with its errors: all of it; at fixed jets, where the new particle is in the jet of
        its mother; and the rest, which is that of the jets. ``error`` is over events and trees,
        ``tree_error`` over trees alone: it is the error for these events.
    """

    epsilon: float
    total: Quantity
    fixed_jets: Quantity
    jets: Quantity


@dataclass(frozen=True)
class Safety:
    """How one quantity changes by one kind of emission, with one kind of clustering.

    Attributes
    ----------
    clustering, emission, quantity
        "deterministic" or "stochastic"; "infrared" or "collinear"; "loss", or the name of the
        observable, whose mean over accepted trees it is.
    changes
        Change for each epsilon, in falling order.
    limit
        Mean change of the two smallest epsilons.
    power
        Power of epsilon with which the change falls at its smallest significant values; NaN if it
        is not seen to change.
    safe
        Whether the change goes to 0: False for a plateau, None if it falls too slowly to tell.
    verdict
        The same in words.
    """

    clustering: str
    emission: str
    quantity: str
    changes: tuple[Change, ...]
    limit: Change
    power: float
    safe: bool | None
    verdict: str


@dataclass(frozen=True)
class IrcCheck:
    """The result of :func:`check_irc`.

    Attributes
    ----------
    events, trees, radius, rigidity, scale
        Number of events, trees of each, and the clustering.
    results
        One :class:`Safety` for each clustering, emission and quantity.
    """

    events: int
    trees: int
    radius: str
    rigidity: float
    scale: str
    results: tuple[Safety, ...]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data, None where one is not defined."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def __str__(self) -> str:
        return "\n".join(
            f"{r.clustering}, {r.emission}, {r.quantity}: {r.verdict}" for r in self.results
        )


@takes_sampling
def check_irc(
    particles: Any,
    objective: Loss | Observable,
    *,
    radius: Radius,
    rigidity: float = 1.0,
    trees: int = 50,
    epsilons: Sequence[float] = EPSILONS,
    mask: ArrayLike | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    truth: ArrayLike | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> IrcCheck:
    """How much an objective changes by soft and collinear emissions, relative to itself.

    One particle is added to each event (:func:`djservice.events.emissions.emitted`). The changes are
    those of the loss, and of the mean of its observable, with the deterministic clustering and at
    the given rigidity.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`.
    objective
        A loss, or an observable, whose mean is then the objective.
    radius, rigidity, sampling
        See :func:`djservice.cluster`. Trees grow on processors.
    trees
        Trees per event and epsilon of the stochastic clustering.
    epsilons
        Sizes of the emissions: pT of a soft particle relative to the hardest one, or distance of
        collinear ones.
    mask, identity, truth
        Particles that are no padding, and columns of the events, unless they are an EventBatch; see
        :func:`djservice.as_events`.

    Raises
    ------
    InputError
        If an argument has no meaning, or the particles are not such records.
    NothingAcceptedError
        If no tree passes the selection.

    Warns
    -----
    InputWarning
        If an observable reads columns of the particles that they lack.
    """
    events = as_events(particles, mask, identity=identity, truth=truth)
    loss, sizes = as_loss(objective), checked_epsilons(epsilons)
    warn_of_defaults((term.observable for term in loss.terms), events.columns)
    need_trees(loss, trees)
    settings, results = replace(Sampling(rigidity, **sampling), device="cpu"), []
    for kind, clustering, alpha in cases(rigidity):
        sums = emission_sums(
            events,
            loss,
            radius=radius,
            sampling=replace(settings, rigidity=alpha),
            trees=trees,
            kind=kind,
            epsilons=sizes,
        )
        results += safety_of(sums, clustering, kind, loss, sizes)
    return IrcCheck(len(events), trees, str(radius), rigidity, settings.scale, tuple(results))


def cases(rigidity: float) -> list[tuple[Kind, str, float]]:
    """Kind of emission, clustering and rigidity of each of the four cases."""
    clusterings = (("deterministic", math.inf), ("stochastic", rigidity))
    return [(kind, *clustering) for kind in KINDS for clustering in clusterings]


def checked_epsilons(epsilons: Sequence[float]) -> tuple[float, ...]:
    """Sizes of emissions in falling order.

    Raises
    ------
    InputError
        If they are fewer than three different numbers above 0 and below 1.
    """
    good = [e for e in epsilons if isinstance(e, (int, float)) and 0.0 < e < 1.0]
    if len(set(good)) < 3 or len(set(good)) < len(list(epsilons)):
        raise InputError(
            f"epsilons is {list(epsilons)}, expected three or more different numbers above 0 and "
            "below 1."
        )
    return tuple(sorted(map(float, good), reverse=True))


def need_trees(loss: Loss, trees: int) -> None:
    """Refuse a single tree for a loss that squares the mean over trees.

    Raises
    ------
    InputError
        If there are too few.
    """
    if trees < 2 and any(term.squares_expectation for term in loss.terms):
        raise InputError(f"trees is {trees}, expected 2 or more for the square of a mean.")


def safety_of(
    sums: EmissionSums, clustering: str, kind: str, loss: Loss, epsilons: Sequence[float]
) -> list[Safety]:
    """What the sums of one case say of the loss, and of the mean of its observable."""
    name = loss.terms[0].observable.name
    return [
        _safety(moments, clustering, kind, quantity, epsilons)
        for quantity, moments in (("loss", sums.loss), (name, sums.observable))
    ]


def _safety(
    moments: Moments, clustering: str, kind: str, quantity: str, epsilons: Sequence[float]
) -> Safety:
    number = len(epsilons)

    def change(places: Sequence[int]) -> Change:
        fixed, new = [1 + 2 * i for i in places], [2 + 2 * i for i in places]
        parts = ((new, [0]), (fixed, [0]), (new, fixed))
        size = math.prod(epsilons[i] for i in places) ** (1.0 / len(places))
        return Change(size, *(relative(moments, *part) for part in parts))

    changes, limit = tuple(change([i]) for i in range(number)), change([number - 2, number - 1])
    power = power_of(changes, lambda each: each.total)
    safe, verdict = judged(changes, limit, power)
    return Safety(clustering, kind, quantity, changes, limit, power, safe, verdict)


def is_change(quantity: Quantity) -> bool:
    """Whether a change is beyond its error for these events, and rounding."""
    return abs(quantity.value) > max(SIGNIFICANT * quantity.tree_error, ROUNDING)


def power_of(changes: Sequence[Change], part: Callable[[Change], Quantity]) -> float:
    """Power of epsilon of a part of the change, of its three smallest significant sizes.

    NaN with fewer than two.
    """
    seen = [each for each in changes if is_change(part(each))][-3:]
    if len(seen) < 2:
        return math.nan
    x = np.log([each.epsilon for each in seen])
    y = np.log([abs(part(each).value) for each in seen])
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def judged(changes: Sequence[Change], limit: Change, power: float) -> tuple[bool | None, str]:
    """Whether the change goes to 0, and the verdict in words."""
    falls = f"falls as epsilon^{power:.2f}" if math.isfinite(power) else ""
    smallest = changes[-1]
    if not is_change(limit.total):
        size = max(abs(limit.total.value) + 2.0 * limit.total.tree_error, 1e-16)
        within = " within errors" if limit.total.tree_error > ROUNDING else ""
        return True, f"safe{within}: " + (f"{falls}, " if falls and power > FLAT else "") + (
            f"no change beyond {size:.1e} at epsilon = {limit.epsilon:.1e}"
        )
    if power >= SLOW:
        return True, f"safe: {falls}, to {smallest.total.value:+.1e} at {smallest.epsilon:.0e}"
    if power > FLAT:
        return None, f"{falls}: too slowly to see whether it reaches 0"
    parts = (
        ("of the observable at fixed jets", limit.fixed_jets),
        ("of the jets", limit.jets),
    )
    share = SHARE * abs(limit.total.value)
    of = [name for name, part in parts if is_change(part) and abs(part.value) > share]
    where = " and ".join(of) or "of both"
    error = limit.total.error if math.isfinite(limit.total.error) else limit.total.tree_error
    height = f"{limit.total.value:+.2e} +- {error:.1e}"
    return False, f"unsafe: a plateau of {height}, by a change {where}"
