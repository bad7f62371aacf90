"""The output of a tree, and what a step writes there: histories, traces and states."""

from __future__ import annotations

from typing import NamedTuple

from djservice.clustering.kernels.candidates import Workspace, count_relevant
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes.team import rank, sync
from djservice.clustering.kernels.leading_jets import leading_so_far
from djservice.clustering.kernels.pseudojets import Floats, Ints
from djservice.clustering.kernels.rows import count_pairs
from djservice.clustering.kernels.steps import OK, STATES_FULL, Choice, Lists, Scale, Weights


class Tree(NamedTuple):
    """The output arrays of one tree; those of length 0 are not filled."""

    jets: Floats  # (jets, 4): px, py, pz, E
    history: Ints  # (n, 2)
    trace: Floats  # (n, 6)
    scores: Floats  # (1,): in R; or (5,): see scores.py
    numbers: Floats  # (4,): log_prob, number of jets, steps, states
    state_jets: Floats  # (rows, jets, 4)
    state_scores: Floats  # (rows, 1 or 5)
    flip: Floats  # (4,): see alternative.py
    all_flips: Floats  # (n, 4): the flips, then rows with step -1


class States(NamedTuple):
    """The row of the last recorded state, and whether the leading jets may have changed since.

    ``edge`` is the pT^2 of the softest jet of that state.
    """

    row: int
    is_old: bool
    edge: float


@jit
def record_state(
    states: States, first_state: int, settled_pt: float, m: int, workspace: Workspace, tree: Tree
) -> tuple[int, States]:
    """Record the leading jets before this step's draw, if they may differ from the last state."""
    scratch, status, row = workspace.scratch, OK, states.row
    is_first = row < first_state
    if (states.is_old or is_first) and scratch.jet_pt2[0] > settled_pt * settled_pt:
        if is_first or largest_score(tree.state_scores[row]) > 0.0:
            row += 1  # otherwise the last state is overwritten: no score followed it
        if row == len(tree.state_jets):
            status = STATES_FULL
            states = States(row, states.is_old, states.edge)
        else:
            for k in range(len(tree.scores)):
                tree.state_scores[row, k] = 0.0
            if rank() == 0:
                leading_so_far(
                    workspace.pseudojets, m, tree.jets, scratch.jet_pt2, tree.state_jets[row],
                    scratch.state_pt2,
                )  # fmt: skip
            sync()
            states = States(row, False, scratch.state_pt2[-1])
    return status, states


@jit
def write_step(
    step: int, choice: Choice, probability: float, step_score: float, workspace: Workspace,
    lists: Lists, scale: Scale, weights: Weights, tree: Tree,
) -> None:  # fmt: skip
    """Write the history and the trace of a step, if they are wanted."""
    if len(tree.history) > 0:
        tree.history[step, 0] = choice.a
        tree.history[step, 1] = choice.b
    if len(tree.trace) > 0:
        tree.trace[step, 0] = scale.minimum
        tree.trace[step, 1] = scale.scale
        tree.trace[step, 2] = weights.norm
        tree.trace[step, 3] = probability
        tree.trace[step, 4] = step_score
        tree.trace[step, 5] = count_pairs(
            workspace, lists.n_pairs, lists.n_parts, scale.cut
        ) + count_relevant(workspace.beams, lists.n_beams, scale.cut)
        sync()


@jit
def largest_score(scores: Floats) -> float:
    """The largest absolute score."""
    largest = 0.0
    for k in range(len(scores)):
        largest = max(largest, abs(scores[k]))
    return largest
