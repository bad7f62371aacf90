"""One rigidity per event: the events of each value are one sample, as a kernel has one rigidity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.radius import Radius, VariableR, radius_per_event
from djservice.clustering.trees import States, TreeSample
from djservice.core.bounds import require
from djservice.core.columns import floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch

#: One number, or one per event.
Rigidity = float | ArrayLike
#: Positions of events, and the events at them with their radius and rigidity.
Group = tuple[NDArray[np.int64], EventBatch, Radius, float]


def is_per_event(rigidity: Rigidity) -> bool:
    """Whether there is one rigidity per event."""
    return np.ndim(rigidity) > 0


def groups_of(events: EventBatch, radius: Radius, rigidity: Rigidity) -> Iterator[Group]:
    """The events of each value of the rigidity; all events if there are none.

    Raises
    ------
    InputError
        If the rigidities are not one positive, finite number for each event.
    """
    values = floats(rigidity, "rigidity", "rigidity")
    if values.shape != (len(events),):
        raise InputError(
            f"rigidity has shape {values.shape}, expected one number or one per event "
            f"({len(events)},)."
        )
    for event, value in enumerate(values.tolist()):
        require("rigidity", value, of=f"rigidity of event {event}")
    radii = None if isinstance(radius, VariableR) else radius_per_event(events, radius)
    for value in np.unique(values) if len(values) else (1.0,):
        rows = np.flatnonzero(values == value)
        yield rows, events.select(rows), radius if radii is None else radii[rows], float(value)


def in_order(rows: Sequence[NDArray[np.int64]], parts: Sequence[Any]) -> Any:
    """Arrays of the groups, as one in the order of the events."""
    joined = np.concatenate(parts)
    return joined[np.argsort(np.concatenate(rows), kind="stable")]


def joined_samples(
    events: EventBatch, rows: Sequence[NDArray[np.int64]], samples: Sequence[TreeSample]
) -> TreeSample:
    """The samples of the groups as one, in the order of the events."""
    arrays = {
        name: in_order(rows, [getattr(sample, name) for sample in samples])
        for name in ("momenta", "scores", "numbers")
    }
    states = None if samples[0].states is None else _joined_states(rows, samples)
    return replace(samples[0], **arrays, states=states, offsets=events.offsets)


def _joined_states(rows: Sequence[NDArray[np.int64]], samples: Sequence[TreeSample]) -> States:
    trees = samples[0].scores.shape[1]
    parts = [sample.states for sample in samples if sample.states is not None]
    tree = np.concatenate(
        [
            of[part.tree // trees] * trees + part.tree % trees
            for of, part in zip(rows, parts, strict=True)
        ]
    )
    order = np.argsort(tree, kind="stable")
    momenta, scores = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("momenta", "scores")
    )
    return States(momenta, scores, tree[order])


def refuse_rows(**results: Any) -> None:
    """Refuse results that are not put together, with rigidities of single events.

    Raises
    ------
    InputError
        If one is asked for.
    """
    names = [name for name, value in results.items() if value is not False]
    if names:
        raise InputError(
            f"{' and '.join(names)}: expected none with one rigidity per event. Cluster the events of "
            "each rigidity by themselves, events[rigidity == value]."
        )
