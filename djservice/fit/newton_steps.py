"""Newton steps whose evaluations are rows of a store, replayed when a run resumes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from djservice.core.progress import Watch
from djservice.evaluation.moments import Moments, Quantity
from djservice.fit.newton import Newton
from djservice.store.columns import SCAN
from djservice.store.run_store import Store

#: Columns of the gradient of a row.
GRADIENT = ("gradient", "gradient_error", "gradient_tree_error")
#: From the number of an evaluation and its radius to the columns of its row, and the sums.
EvaluateStep = Callable[[int, float], Awaitable[tuple[dict[str, float], Moments]]]


async def take_steps(
    newton: Newton,
    store: Store,
    group: str,
    evaluate: EvaluateStep,
    watch: Watch,
    *,
    first: int = 0,
    label: Mapping[str, Any] | None = None,
) -> int:
    """Replay the steps in a store, then take the others; return the row after the last one.

    Parameters
    ----------
    newton
        The steps, none of which is taken yet.
    group, first
        Group of the rows, and the row of the first step. Rows that are of other steps are rewound.
    label
        Further columns with one value for all of these steps.
    """
    _replay(newton, store, group, first, label or {})
    while not newton.ended:
        row, radius = newton.evaluations, newton.radius
        numbers, moments = await evaluate(row, radius)
        columns = {name: [numbers[name]] for name in SCAN} | {"radius": [radius]}
        columns |= {name: [value] for name, value in (label or {}).items()}
        store.write_rows(group, first + row, columns)
        newton.update(Quantity(*(numbers[name] for name in GRADIENT)))
        watch.step({"radius": radius, **numbers, "trees": moments.trees})
    return first + newton.evaluations


def _replay(newton: Newton, store: Store, group: str, first: int, label: Mapping[str, Any]) -> None:
    names = ("radius", *label, *GRADIENT)
    columns = (store.column(group, name).tolist()[first:] for name in names)
    for row, (radius, *rest) in enumerate(zip(*columns, strict=True), first):
        of_label = rest[: len(label)]
        if newton.ended:
            return
        if radius != newton.radius or of_label != list(label.values()):  # of a shorter run
            store.rewind(group, row)
            return
        newton.update(Quantity(*rest[len(label) :]))
