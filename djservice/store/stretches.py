"""Stretches of the rows of a store: the versions and the processor that each was computed with.

A run may be continued on another machine or with other packages. The attribute ``stretches`` lists
the versions of each stretch, in order, with the number of rows of each group that were there before
it began. A group without a number had none.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Stretch = Mapping[str, Any]


def continued(
    stretches: Sequence[Stretch], rows: Mapping[str, int], versions: Any
) -> list[Stretch]:
    """The stretches of a store that is continued after ``rows``, the last one by ``versions``."""
    last = stretches[-1]
    kept = [*stretches] if last["from"] != rows else [*stretches[:-1]]  # that one has no rows
    if last["versions"] == versions:
        return [*stretches]
    if kept and kept[-1]["versions"] == versions:
        return kept
    return [*kept, {"from": dict(rows), "versions": versions}]


def rewound(stretches: Sequence[Stretch], group: str, rows: int) -> list[Stretch]:
    """The stretches of a store whose rows from ``rows`` on in a group are computed again."""
    return [
        {
            **stretch,
            "from": {
                name: min(n, rows) if name == group else n for name, n in stretch["from"].items()
            },
        }
        for stretch in stretches
    ]


def changes(stretches: Sequence[Stretch]) -> list[str]:
    """A line for each stretch after the first: where it begins, and what changed."""
    lines = []
    for before, after in itertools.pairwise(stretches):
        old, new = before["versions"] or {}, after["versions"] or {}
        what = ", ".join(
            f"{name} {old.get(name, 'unknown')} -> {new.get(name, 'none')}"
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        )
        rows = ", ".join(f"{name} {count}" for name, count in after["from"].items())
        lines.append(f"from {rows or 'the first row'} on: {what}")
    return lines


def latest_change(stretches: Sequence[Stretch], rows: Mapping[str, int]) -> list[str]:
    """The last line of :func:`changes` if its stretch begins after ``rows``, and nothing else."""
    return changes(stretches)[-1:] if stretches[-1]["from"] == rows else []
