"""TreeSample: the sampled clusterings of a batch, and what can be asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import ClusteringError, InputError

Floats = NDArray[np.float64]

#: Fields of one row of a trace: a step of the clustering.
TRACE_FIELDS = ("minimum", "scale", "norm", "probability", "score", "options")

_MOMENTUM = np.dtype([(name, np.float64) for name in ("px", "py", "pz", "E")])


@dataclass(frozen=True)
class TreeSample:
    """Sampled clusterings of the events of a batch.

    Attributes
    ----------
    momenta
        Shape (event, tree, jet, 4): px, py, pz, E of the leading jets in GeV, in falling pT; NaN where a tree has fewer.
    numbers
        Shape (event, tree, 4): score, log-probability, number of jets, steps.
    history
        Shape (row, 2), int32, or None: see :meth:`history_of`.
    trace
        Shape (row, 6), or None: see :meth:`trace_of`.
    deterministic
        Whether the rigidity was infinite, where there is no score.
    stopped
        Whether trees were stopped once their leading jets were settled.
    offsets
        Of the particles of the events, as in the batch.
    """

    momenta: Floats
    numbers: Floats
    history: NDArray[np.int32] | None
    trace: Floats | None
    deterministic: bool
    stopped: bool
    offsets: NDArray[np.int64]

    @property
    def jets(self) -> Any:
        """The leading jets, shape (event, tree, jet): a ``vector`` momentum array with pt, rapidity, phi, mass ..."""
        import vector

        return self.momenta.view(_MOMENTUM)[..., 0].view(vector.MomentumNumpy4D)

    @property
    def n_jets(self) -> NDArray[np.int64]:
        """Number of all final jets, shape (event, tree).

        Raises
        ------
        ClusteringError
            If trees were stopped early.
        """
        self._need_whole_trees("number of jets")
        return self.numbers[..., 2].astype(np.int64)

    @property
    def score(self) -> Floats:
        """d log P(tree) / dR, shape (event, tree); physics of the score: docs/explanation.md.

        Raises
        ------
        ClusteringError
            If the rigidity is infinite: a deterministic clustering has no derivative.
        """
        if self.deterministic:
            raise ClusteringError(
                "a deterministic clustering (rigidity = infinity) has no score; use a finite rigidity."
            )
        return self.numbers[..., 0]

    @property
    def log_prob(self) -> Floats:
        """log P(tree), normalised over all trees, shape (event, tree).

        Raises
        ------
        ClusteringError
            If trees were stopped early.
        """
        self._need_whole_trees("log-probability")
        return self.numbers[..., 1]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps taken, shape (event, tree): the number of particles, or fewer where trees were stopped early."""
        return self.numbers[..., 3].astype(np.int64)

    def _need_whole_trees(self, what: str) -> None:
        if self.stopped:
            raise ClusteringError(f"trees were stopped early, so they have no {what}; cluster without settled_pt.")

    def history_of(self, event: int, tree: int) -> NDArray[np.int32]:
        """The merges of one tree, shape (n, 2).

        Row t is ``(a, b)``: objects a and b became object n + t; or ``(a, -1)``: object a became a jet. Objects 0 to
        n - 1 are the event's particles in the order of the batch.
        """
        if self.history is None:
            raise InputError("the history was not kept; cluster with history=True.")
        return self.history[self._rows(event, tree)]

    def trace_of(self, event: int, tree: int) -> Any:
        """The steps of one tree, a structured array of shape (n,).

        Fields: ``minimum`` and ``scale`` (D_min R^2 and S R^2), ``norm`` (sum of the weights), ``probability`` (of
        the option that was drawn), ``score`` (its d log P / dR), ``options`` (how many survive the truncation).
        """
        if self.trace is None:
            raise InputError("the trace was not kept; cluster with trace=True.")
        return self.trace[self._rows(event, tree)].view([(name, np.float64) for name in TRACE_FIELDS])[..., 0]

    def _rows(self, event: int, tree: int) -> slice:
        n = int(self.offsets[event + 1] - self.offsets[event])
        start = int(self.offsets[event]) * self.numbers.shape[1] + tree * n
        return slice(start, start + n)
