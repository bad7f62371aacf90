"""The CPU loop over (event, tree): loads each event once, then grows its trees."""

from __future__ import annotations

from djservice.clustering.kernels.candidates import Workspace
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results, grow_item, load_event
from djservice.clustering.kernels.jit import entry
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import Floats
from djservice.clustering.kernels.steps import OK
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting


@entry
def cluster_items(
    first: int,
    last: int,
    trees: int,
    first_tree: int,
    iteration: int,
    setting: Setting,
    batch: EventArrays,
    workspace: Workspace,
    slopes: ObjectSlopes | None,
    imposed: Imposed,
    results: Results,
    state_jets: Floats,
    state_scores: Floats,
    cotangents: Cotangents | None,
) -> tuple[int, int, int]:
    """Grow the trees of items ``first`` to ``last``, item = event * trees + tree.

    Returns a status, the item that was reached, and the number of states.

    Parameters
    ----------
    slopes, cotangents
        Work space of the score in the particles, and the sums over trees, to which the trees are
        added; or None. A loop without them is compiled without any of that score.
    state_jets, state_scores
        Output, shapes (row, jet, 4) and (row, 1 or 5), filled from the first row on. Length 0 if
        states are not wanted.
    """
    loaded_event, states = -1, natural(0)  # a literal would compile callees twice
    for item in range(first, last):
        event = item // trees
        if event != loaded_event:
            load_event(
                batch,
                event,
                setting.power,
                workspace.origin,
                workspace.close_pairs,
                workspace.scratch.row,
            )
            loaded_event = event
        status = grow_item(
            item,
            trees,
            first_tree,
            iteration,
            setting,
            batch,
            workspace,
            slopes,
            imposed,
            results,
            states,
            state_jets,
            state_scores,
            cotangents,
        )
        if status != OK:
            return status, item, states
        states += int(results.numbers[item, 3])
    return OK, last, states
