"""Reduction of trees to sums over events (:mod:`djservice.evaluation.moments`).

It also gives the results of each event by itself (:mod:`djservice.evaluation.per_event`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.array_module import array_module, to_host
from djservice.core.formatting import counted
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.estimators.base import Estimator
from djservice.evaluation.bootstrap import replica_sums
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.evaluation.per_event import PerEvent, results_per_event, spread_of_trees
from djservice.evaluation.tree_columns import Grown, columns_of
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss
from djservice.objectives.robust import Robust


def reduce_events(
    grown: Sequence[Grown],
    loss: Loss | Robust,
    estimator: Estimator,
    jacobian: Floats | None,
    sizes: Sequence[int],
    bootstrap: bool = True,
    spread: bool = False,
) -> list[tuple[Moments, PerEvent]]:
    """Sums over each of several parts of the events, and the results per event.

    Parameters
    ----------
    grown
        Events and their trees, in each version of the events.
    loss, estimator
        Loss and the estimator of its derivative.
    jacobian
        dR/dtheta, shape (event, theta), or None. With it the sums hold derivatives in theta.
    sizes
        Number of events of each part, in the order of the events. The sums of a part have the same
        bits whatever the other parts are.
    bootstrap
        Whether the sums have replicas, if the loss has a binned term.
    spread
        Whether the results per event have the spread of the trees. They have none with a jacobian.

    Raises
    ------
    RunError
        If an event's sums are not finite.
    """
    events, sample = grown[0].events, grown[0].sample
    trees, layout = sample.scores.shape[1], layout_of(loss, len(sample.parameters))
    categories = loss.categories(events.truth, events.dataset)
    versions = [columns_of(each, loss, estimator) for each in grown]
    first = versions[0]
    spectrum = [first.accepted.astype(np.float64), first.value, first.value**2]
    z = [column for version in versions for column in version.z]
    influences = [column for version in versions for column in version.influences]
    mean = to_host(np.stack(z + spectrum, axis=-1).mean(axis=1))
    centred = np.stack(influences + spectrum, axis=-1)
    centred -= centred.mean(axis=1, keepdims=True)
    _check_finite(mean, events)
    accepted_trees = to_host(first.accepted.sum(axis=1))
    per_event = results_per_event(
        layout, mean, centred, accepted_trees, first.value, first.accepted, trees
    )
    results = []
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        rows = slice(stop - size, stop)
        of_events = mean[rows], centred[rows], events.weight[rows]
        part_jacobian = None if jacobian is None else jacobian[rows]
        of_category = None if categories is None else categories[rows]
        sums = sums_over_events(layout, part_jacobian, *of_events, of_category)
        moments = Moments(
            layout if part_jacobian is None else layout_of(loss, part_jacobian.shape[1]),
            *sums,
            weight=float(events.weight[rows].sum()),
            events=size,
            events_without=int((accepted_trees[rows] == 0).sum()),
            trees=size * trees * len(versions),
            trees_accepted=int(accepted_trees[rows].sum()),
            state_share=float(first.share[rows].sum()),
            replicas=np.zeros(())
            if categories is None or not bootstrap
            else replica_sums(
                mean[rows, layout.sums(layout.binned)] * events.weight[rows, np.newaxis],
                events.key[rows],
                categories[rows],
                *layout.categories,
            ),
        )
        part_events = per_event.take(np.arange(len(mean))[rows])
        if spread and part_jacobian is None:
            of_trees = spread_of_trees(moments, centred[rows], events.weight[rows], of_category)
            part_events = replace(part_events, spread=of_trees)
        results.append((moments, part_events))
    return results


def _check_finite(mean: Floats, events: EventBatch) -> None:
    bad = np.flatnonzero(~np.isfinite(mean * events.weight[:, np.newaxis]).all(axis=1))
    if len(bad):
        names = "; ".join(events.name(int(i)) for i in bad[:5])
        raise RunError(
            f"the gradient is not finite in {counted(len(bad), 'event')}: {names}. Check the observable and "
            "the event weights."
        )


def sums_over_events(
    layout: MomentLayout,
    jacobian: Floats | None,
    mean: Floats,
    centred: Floats,
    weight: Floats,
    categories: NDArray[np.int64] | None,
) -> tuple[Floats, Floats, Floats]:
    """Sums over events of z, of z z^T, and of the covariance of z over trees.

    Parameters
    ----------
    mean, centred
        z of each event, shape (event, entry), and the influence of each tree on it, shape (event,
        tree, entry), whose mean over trees is 0.
    categories
        Category of each event, whose sums then stand apart on a first axis.
    """
    if categories is None:
        return _sums(layout, jacobian, mean, centred, weight)
    return _sums_by_category(layout, jacobian, mean, centred, weight, categories)


def _sums(
    layout: MomentLayout, jacobian: Floats | None, mean: Floats, centred: Floats, weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """Sums over events of z, of z z^T, and of the covariance of z over trees."""
    if jacobian is None:
        return reduced(mean, centred, weight)
    return _reduce_in_theta(jacobian, layout, mean, centred, weight)


def _sums_by_category(
    layout: MomentLayout,
    jacobian: Floats | None,
    mean: Floats,
    centred: Floats,
    weight: Floats,
    categories: NDArray[np.int64],
) -> tuple[Floats, Floats, Floats]:
    """Sums as of :func:`_sums`, those of each category apart, on a first axis."""
    module, parts = array_module(centred), []
    for category in range(*layout.categories):
        events = np.flatnonzero(categories == category)
        of_category = None if jacobian is None else jacobian[events]
        parts.append(
            _sums(
                layout, of_category, mean[events], centred[module.asarray(events)], weight[events]
            )
        )
    total, outer, tree_covariance = (np.stack(sums) for sums in zip(*parts, strict=True))
    return total, outer, tree_covariance


def reduced(mean: Floats, centred: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Sums over events of z, of z z^T, and of the covariance of z over trees."""
    trees = centred.shape[1]
    z = mean * weight[:, np.newaxis]
    weighted = (centred * array_module(centred).asarray(weight)[:, np.newaxis, np.newaxis]).reshape(
        -1, z.shape[1]
    )
    return z.sum(axis=0), gram(z), to_host(gram(weighted)) / (trees * max(trees - 1, 1))


def gram(rows: Floats) -> Floats:
    """Sum over rows of x x^T, in the order of the rows.

    A product of matrices is left to BLAS, whose order depends on the processor and the threads.
    """
    products: Floats = np.einsum("ei,ej->ij", rows, rows)
    return products


def _reduce_in_theta(
    jacobian: Floats, layout: MomentLayout, mean: Floats, centred: Floats, weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """Sums as of :func:`_reduce`, with derivatives in theta.

    Each derivative in theta is that in R of an event times its dR/dtheta.
    """
    # For each entry of z in theta: the entry of z in R that it comes from, and its factor.
    source, factor = [], []
    ones = np.ones(len(mean))
    for term in range(len(layout.sizes)):
        sums, slopes = (
            np.arange(layout.length)[entries]
            for entries in (layout.sums(term), layout.slopes(term, 0))
        )
        source += [*sums, *np.tile(slopes, jacobian.shape[1])]
        factor += [ones] * len(sums) + [theta for theta in jacobian.T for _ in slopes]
    source += list(range(layout.length - 3, layout.length))
    factors = np.stack(factor + [ones] * 3, axis=1) * weight[:, np.newaxis]
    z = mean[:, source] * factors
    trees = centred.shape[1]
    # Covariance of z in R of each event.
    covariance = to_host(np.einsum("eti,etj->eij", centred, centred)) / (trees * max(trees - 1, 1))
    sources = np.asarray(source)
    tree_covariance = np.empty((len(sources), len(sources)))
    for i in range(layout.length):
        for j in range(layout.length):
            rows, columns = np.flatnonzero(sources == i), np.flatnonzero(sources == j)
            block = np.einsum(
                "ei,ej->ij", factors[:, rows] * covariance[:, i, j, np.newaxis], factors[:, columns]
            )
            tree_covariance[np.ix_(rows, columns)] = block
    return z.sum(axis=0), gram(z), tree_covariance


def layout_of(loss: Loss | Robust, parameters: int) -> MomentLayout:
    """Layout of the moments of a loss."""
    versions = len(loss.versions) if isinstance(loss, Robust) else 1
    return MomentLayout(
        tuple(term.statistic for term in loss.terms) * versions,
        tuple(term.coefficient for term in loss.terms) * versions,
        parameters,
        versions,
        loss.weight if isinstance(loss, Robust) else 0.0,
    )


def zero_moments(loss: Loss | Robust, parameters: int) -> Moments:
    """The sums over no events."""
    layout = layout_of(loss, parameters)
    size, categories = layout.length, layout.categories
    total, outer = np.zeros((*categories, size)), np.zeros((*categories, size, size))
    return Moments(layout, total, outer, outer.copy(), 0.0, 0, 0, 0, 0, 0.0)
