"""TreeSample: the sampled clusterings of a batch, with their jets, scores and histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.constituents import TreeConstituents
from djservice.clustering.jet_vectors import host_vectors
from djservice.core.array_module import array_module
from djservice.core.formatting import counted
from djservice.core.html_table import html_table
from djservice.core.typing import Floats
from djservice.errors import ClusteringError, InputError

#: Fields of one row of a trace, which describes a step of the clustering.
TRACE_FIELDS = ("minimum", "scale", "norm", "probability", "score", "options")
#: Columns of :attr:`TreeSample.numbers`.
LOG_PROB, JETS, STEPS, STATES = range(4)
#: The first columns of :attr:`TreeSample.flips`.
FLIP_RATE, FLIP_STEP = range(2)


@dataclass(frozen=True)
class States:
    """States of growing trees: the leading jets that a tree would have if it ended there.

    A state begins when the set of the hardest final jets and active objects changes, from the
    first final jet above the threshold on. Any function of a state's jets may be a baseline for
    the steps that begin in it.

    Attributes
    ----------
    momenta
        Four-momenta of the leading jets as in :class:`TreeSample`, shape (state, jet, 4).
    scores
        Sum of the scores of the steps that begin in the state, shape (state, parameter).
    tree
        Index of the tree, event * trees + tree, in rising order, shape (state,).
    """

    momenta: Floats
    scores: Floats
    tree: NDArray[np.int64]

    @property
    def jets(self) -> Any:
        """Leading jets of each state, shape (state, jet)."""
        return as_vectors(self.momenta)


def as_vectors(momenta: Floats, constituents: TreeConstituents | None = None) -> Any:
    """A ``vector`` momentum array of four-momenta, whose last axis is px, py, pz, E.

    On a GPU it is a :class:`djservice.clustering.device_jets.DeviceJets`. Jets may know their
    constituents.
    """
    if array_module(momenta) is not np:
        from djservice.clustering.device_jets import DeviceJets

        return DeviceJets.of(momenta, constituents)
    return host_vectors(momenta, constituents)


@dataclass(frozen=True)
class TreeSample:
    """Sampled clusterings of the events of a batch.

    The arrays are NumPy's, or CuPy's if they were left on a GPU.

    Attributes
    ----------
    momenta
        px, py, pz, E of the leading jets in GeV, in falling pT, shape (event, tree, jet, 4); NaN
        where a tree has fewer jets.
    scores
        d log P(tree) / d parameter, shape (event, tree, parameter); without meaning at infinite
        rigidity.
    parameters
        Names of the parameters.
    numbers
        Log-probability, number of jets, number of steps and number of states, shape
        (event, tree, 4).
    states
        :class:`States` or None.
    flips
        Alternative paths, shape (event, tree, flip, 4), or None. The columns are the rate, the step
        (-1: none), and the objects a and b of the option that the path takes there, numbered by
        falling d in the event. A tree has either one flip, chosen among all its steps and with
        their summed rate W, or the flips of all steps, by step.
    history
        Merges, shape (row, 2), int32, or None; see :meth:`history_of`.
    trace
        Steps, shape (row, 6), or None; see :meth:`trace_of`.
    deterministic
        Whether the rigidity was infinite, where there is no score.
    stopped
        Whether trees were stopped once their leading jets were settled.
    offsets
        Offsets of the particles of each event, as in the batch.
    members
        See :attr:`constituents`; None if they were not kept.
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
    members: TreeConstituents | None = None

    def __repr__(self) -> str:
        events, trees, jets, _ = self.momenta.shape
        return f"TreeSample({counted(events, 'event')}, {counted(trees, 'tree')} of each, {counted(jets, 'leading jet')})"

    def _repr_html_(self) -> str:
        events, trees, jets, _ = self.momenta.shape
        results = ("states", "flips", "history", "trace")
        rows = {
            "events": f"{events:,}",
            "trees of each": f"{trees:,}",
            "leading jets": jets,
            "scores in": "" if self.deterministic else ", ".join(self.parameters),
            "deterministic": "yes" if self.deterministic else "no",
            "stopped early": "yes" if self.stopped else "no",
            "kept": ", ".join(name for name in results if getattr(self, name) is not None),
        }
        return html_table("Trees", rows)

    @property
    def jets(self) -> Any:
        """Leading jets, a ``vector`` momentum array of shape (event, tree, jet)."""
        return as_vectors(self.momenta, self.members)

    @property
    def constituents(self) -> TreeConstituents:
        """Constituents of the leading jets of each event, listed when they are asked for.

        Raises
        ------
        InputError
            If neither they nor the history were kept.
        """
        if self.members is None:
            raise InputError(
                "the constituents were not kept; cluster with constituents=True or history=True."
            )
        return self.members

    @property
    def n_jets(self) -> NDArray[np.int64]:
        """Number of all final jets, shape (event, tree).

        Raises
        ------
        ClusteringError
            If trees were stopped early.
        """
        self._require_complete_trees("number of jets")
        return self.numbers[..., JETS].astype(np.int64)

    @property
    def score(self) -> Floats:
        """Score d log P(tree) / d parameter in the first parameter, shape (event, tree).

        Raises
        ------
        ClusteringError
            If the rigidity is infinite: a deterministic clustering has no derivative.
        """
        return self.score_in(self.parameters[0])

    def score_in(self, parameter: str) -> Floats:
        """Score d log P(tree) / d parameter in a named parameter, shape (event, tree).

        Raises
        ------
        ClusteringError
            If the rigidity is infinite: a deterministic clustering has no derivative.
        """
        if self.deterministic:
            raise ClusteringError(
                "a deterministic clustering (rigidity = infinity) has no score; use a finite "
                "rigidity."
            )
        return self.scores[..., self.parameters.index(parameter)]

    @property
    def log_prob(self) -> Floats:
        """Log-probability of each tree, normalised over all trees, shape (event, tree).

        Raises
        ------
        ClusteringError
            If trees were stopped early.
        """
        self._require_complete_trees("log-probability")
        return self.numbers[..., LOG_PROB]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Number of steps, shape (event, tree): one per particle, or fewer if stopped early."""
        return self.numbers[..., STEPS].astype(np.int64)

    def _require_complete_trees(self, quantity: str) -> None:
        if self.stopped:
            raise ClusteringError(
                f"trees were stopped early, so they have no {quantity}; cluster without settled_pt."
            )

    def history_of(self, event: int, tree: int) -> NDArray[np.int32]:
        """Merges of one tree, shape (n, 2).

        Row t is ``(a, b)`` if objects a and b became object n + t, or ``(a, -1)`` if object a
        became a jet. Objects 0 to n - 1 are the event's particles in the order of the batch.

        Raises
        ------
        InputError
            If the history was not kept.
        """
        if self.history is None:
            raise InputError("the history was not kept; cluster with history=True.")
        return self.history[self._rows(event, tree)]

    def trace_of(self, event: int, tree: int) -> Any:
        """Steps of one tree, a structured array of shape (n,).

        The fields are ``minimum`` and ``scale`` (D_min R^2 and S R^2), ``norm`` (sum of the
        weights), ``probability`` (of the drawn option), ``score`` (d log P of the drawn option by
        the first parameter) and ``options`` (number of options that survive the truncation).

        Raises
        ------
        InputError
            If the trace was not kept.
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
