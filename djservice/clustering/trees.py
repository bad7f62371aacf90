"""TreeSample: the sampled clusterings of a batch, and what can be asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.jet_vectors import host_vectors
from djservice.core.array_module import array_module
from djservice.core.typing import Floats
from djservice.errors import ClusteringError, InputError

#: Fields of one row of a trace: a step of the clustering.
TRACE_FIELDS = ("minimum", "scale", "norm", "probability", "score", "options")
#: Columns of :attr:`TreeSample.numbers`.
LOG_PROB, JETS, STEPS, STATES = range(4)
#: The first columns of :attr:`TreeSample.flips`.
FLIP_RATE, FLIP_STEP = range(2)


@dataclass(frozen=True)
class States:
    """What the leading jets of growing trees would have been, had the trees ended there.

    A state begins when the hardest among the final jets and the active objects become others, from the first final jet
    above the threshold on. Any function of a state's jets may be a baseline for the steps that begin in it.

    Attributes
    ----------
    momenta
        Shape (state, jet, 4), as of a :class:`TreeSample`.
    scores
        Shape (state, parameter): sum over the steps that begin in the state.
    tree
        Shape (state,): event * trees + tree, rising.
    """

    momenta: Floats
    scores: Floats
    tree: NDArray[np.int64]

    @property
    def jets(self) -> Any:
        """The leading jets, shape (state, jet)."""
        return as_vectors(self.momenta)


def as_vectors(momenta: Floats) -> Any:
    """Four-momenta, the last axis px, py, pz, E, as a ``vector`` momentum array; on a GPU as :class:`djservice.clustering.device_jets.DeviceJets`."""
    if array_module(momenta) is not np:
        from djservice.clustering.device_jets import DeviceJets

        return DeviceJets.of(momenta)
    return host_vectors(momenta)


@dataclass(frozen=True)
class TreeSample:
    """Sampled clusterings of the events of a batch, in arrays of NumPy, or of CuPy where they were left on a GPU.

    Attributes
    ----------
    momenta
        Shape (event, tree, jet, 4): px, py, pz, E of the leading jets in GeV, in falling pT; NaN where a tree has fewer.
    scores
        Shape (event, tree, parameter): d log P(tree) / d parameter; no numbers at infinite rigidity.
    parameters
        Their names.
    numbers
        Shape (event, tree, 4): log-probability, number of jets, steps, number of states.
    states
        :class:`States` or None.
    flips
        Shape (event, tree, flip, 4), or None: the rate of an alternative path, its step (-1: none), and the objects a and b of the
        option that it takes there, by falling d in the event. Either one flip, that was kept of all steps with their summed rate
        W; or those of all steps, by step.
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
    scores: Floats
    parameters: tuple[str, ...]
    numbers: Floats
    states: States | None
    flips: Floats | None
    history: NDArray[np.int32] | None
    trace: Floats | None
    deterministic: bool
    stopped: bool
    offsets: NDArray[np.int64]

    def __repr__(self) -> str:
        events, trees, jets, _ = self.momenta.shape
        return f"TreeSample({events:,} events, {trees:,} trees of each, {jets} leading jets)"

    @property
    def jets(self) -> Any:
        """The leading jets, shape (event, tree, jet): a ``vector`` momentum array with pt, rapidity, phi, mass ..."""
        return as_vectors(self.momenta)

    @property
    def n_jets(self) -> NDArray[np.int64]:
        """Number of all final jets, shape (event, tree).

        Raises
        ------
        ClusteringError
            If trees were stopped early.
        """
        self._need_whole_trees("number of jets")
        return self.numbers[..., JETS].astype(np.int64)

    @property
    def score(self) -> Floats:
        """d log P(tree) / d parameter, of the first parameter (R by default), shape (event, tree).

        Raises
        ------
        ClusteringError
            If the rigidity is infinite: a deterministic clustering has no derivative.
        """
        return self.score_in(self.parameters[0])

    def score_in(self, parameter: str) -> Floats:
        """The same of any of the parameters."""
        if self.deterministic:
            raise ClusteringError(
                "a deterministic clustering (rigidity = infinity) has no score; use a finite rigidity."
            )
        return self.scores[..., self.parameters.index(parameter)]

    @property
    def log_prob(self) -> Floats:
        """log P(tree), normalised over all trees, shape (event, tree).

        Raises
        ------
        ClusteringError
            If trees were stopped early.
        """
        self._need_whole_trees("log-probability")
        return self.numbers[..., LOG_PROB]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps taken, shape (event, tree): the number of particles, or fewer where trees were stopped early."""
        return self.numbers[..., STEPS].astype(np.int64)

    def _need_whole_trees(self, what: str) -> None:
        if self.stopped:
            raise ClusteringError(
                f"trees were stopped early, so they have no {what}; cluster without settled_pt."
            )

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
        the option that was drawn), ``score`` (its d log P by the first parameter), ``options`` (how many survive the truncation).
        """
        if self.trace is None:
            raise InputError("the trace was not kept; cluster with trace=True.")
        return self.trace[self._rows(event, tree)].view(
            [(name, np.float64) for name in TRACE_FIELDS]
        )[..., 0]

    def _rows(self, event: int, tree: int) -> slice:
        n = int(self.offsets[event + 1] - self.offsets[event])
        start = int(self.offsets[event]) * self.numbers.shape[1] + tree * n
        return slice(start, start + n)
