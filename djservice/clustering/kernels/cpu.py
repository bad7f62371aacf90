"""The CPU loop over (event, tree): loads each event once, then grows its trees."""

from __future__ import annotations

from typing import Any

from djservice.clustering.kernels.candidates import Workspace
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results, grow_item, load_event
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.pseudojets import Floats
from djservice.clustering.kernels.steps import OK
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.kernels.workspace import without_slopes


def loop(with_slopes: bool) -> Any:
    """The loop with or without the score in the particles.

    A loop without it is compiled without any of it.
    """

    def cluster_items(
        first: int,
        last: int,
        trees: int,
        first_tree: int,
        iteration: int,
        setting: Setting,
        batch: EventArrays,
        workspace: Workspace,
        imposed: Imposed,
        results: Results,
        state_jets: Floats,
        state_scores: Floats,
        cotangents: Cotangents,
    ) -> tuple[int, int, int]:
        """Grow the trees of items ``first`` to ``last``, item = event * trees + tree.

        Returns a status, the item that was reached, and the number of states.

        Parameters
        ----------
        state_jets, state_scores
            Output, shapes (row, jet, 4) and (row, 1 or 5), filled from the first row on. Length 0
            if states are not wanted.
        cotangents
            Sums over trees, to which the trees are added.
        """
        if not with_slopes:
            workspace = without_slopes(workspace)
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

    # Each has its own name, and so its own file on disk.
    name = "cluster_items_with_slopes" if with_slopes else "cluster_items"
    cluster_items.__name__ = cluster_items.__qualname__ = name
    return jit(cluster_items)


cluster_items = loop(with_slopes=False)
cluster_items_with_slopes = loop(with_slopes=True)
