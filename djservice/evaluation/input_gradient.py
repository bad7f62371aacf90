"""``dj.input_gradient``: the derivative of an expectation over clusterings in every particle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.cluster import sample_trees
from djservice.clustering.particle_cotangents import (
    Coordinates,
    check_coordinates,
    particle_cotangents,
)
from djservice.clustering.radius import Radius, VariableR, radius_per_event
from djservice.clustering.sampling import Sampling, SamplingKeywords, TreeRequest, takes_sampling
from djservice.clustering.trees import as_vectors
from djservice.core.formatting import counted
from djservice.core.html_table import html_table
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Estimator
from djservice.estimators.score_function import LeaveOneOut, MeanBaseline, Score, ScoreEstimator
from djservice.evaluation.evaluate import trees_at_once
from djservice.evaluation.jumps import warn_of_jumps
from djservice.evaluation.mean_objective import check_mean, evaluated, pathwise, probe
from djservice.evaluation.per_event import mean_of_accepted
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, as_loss
from djservice.objectives.observable import Observable

Part = Literal["both", "pathwise", "score"]


@dataclass(frozen=True)
class InputGradient:
    """Derivatives of the objective of each event in the coordinates of its particles.

    Attributes
    ----------
    expectation, expectation_error
        Objective of each event, its mean over accepted trees, and the standard error over trees;
        shape (event,). NaN for an event without an accepted tree.
    value, error
        Derivatives of the expectation and their standard errors over trees, shape (particle, 4), in
        the order of the batch. NaN for the particles of an event without an accepted tree.
    coordinates
        Names of the four coordinates.
    part
        Part of the gradient: "both", "pathwise" or "score".
    offsets
        Shape (event + 1,): event ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    """

    expectation: Floats
    expectation_error: Floats
    value: Floats
    error: Floats
    coordinates: tuple[str, ...]
    part: Part
    offsets: NDArray[np.int64]

    def __repr__(self) -> str:
        names = ", ".join(self.coordinates)
        return f"InputGradient({counted(len(self.value), 'particle')}, {names}, part {self.part!r})"

    def _repr_html_(self) -> str:
        rows = {
            "events": f"{len(self.expectation):,}",
            "particles": f"{len(self.value):,}",
            "coordinates": ", ".join(self.coordinates),
            "part": self.part,
        }
        return html_table("Gradient in the particles", rows)

    def to_awkward(self) -> Any:
        """An awkward array of shape (event, var) with the records ``value`` and ``error``.

        Their fields are the coordinates, as in ``gradient.to_awkward().value.pt``.
        """
        import awkward as ak

        counts = np.diff(self.offsets)
        parts = {
            name: ak.zip(dict(zip(self.coordinates, columns.T, strict=True)))
            for name, columns in (("value", self.value), ("error", self.error))
        }
        return ak.unflatten(ak.zip(parts, depth_limit=1), counts)


@takes_sampling
def input_gradient(
    particles: Any,
    objective: Loss | Observable,
    *,
    radius: Radius,
    trees: int = 100,
    rigidity: float = 1.0,
    estimator: Estimator | None = None,
    coordinates: Coordinates = "px_py_pz_E",
    part: Part = "both",
    mask: ArrayLike | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    truth: ArrayLike | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> InputGradient:
    """Derivative of the expectation of an objective in every particle of every event.

    The estimate is unbiased: dE[f]/dx = E[df/dx + (f - b) d log P/dx]. The first term is the
    pathwise part at a given clustering, the second the score part. Derivatives in pT, of particles
    of the leading jets, can be used from hundreds of trees on. Those in y and phi of single
    particles are noise, and only their sums over many particles and events can be used
    (docs/explanation/gradients.md).

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`.
    objective
        An observable f, whose mean over the accepted trees of each event is differentiated, or a
        loss that is such a mean (:class:`djservice.SquaredError`, with or without a selection).
        Selections are held fixed, as they are constant near the given particles. A
        :class:`djservice.errors.JumpWarning` says if the objective jumps. The objective of a
        selection that not all trees of an event pass is a ratio, with a bias of order 1/trees.
    radius, rigidity, sampling
        See :func:`djservice.cluster`. With infinite rigidity there is one tree, and the gradient is
        its pathwise part. On the scale "minimum" very soft particles keep a finite derivative at
        small rigidity; take "safe" where this matters.
    trees
        Trees per event. Each is grown twice.
    estimator
        :class:`djservice.LeaveOneOut`, the default, or :class:`djservice.Score` without baseline.
    coordinates
        "px_py_pz_E", or "pt_y_phi_m", where the derivative in the mass of a massless particle is 0.
    part
        "both", or one of the parts alone. The pathwise part is quieter, but biased by the score
        part. "score" is the difference of the two, on the same trees.
    mask, identity, truth
        Particles that are no padding, and columns of the events, unless they are an EventBatch; see
        :func:`djservice.as_events`. Without an identity, draws depend on how the input was cut into
        arrays.

    Raises
    ------
    InputError
        If an argument has no meaning, the objective is not a mean over trees or reads more than the
        four-momenta of jets, or the particles are not such records.
    ClusteringError
        If a derivative does not exist, or as in :func:`djservice.cluster`; the message names the
        event.

    References
    ----------
    Glynn 1990 (10.1145/84537.84552); Mohamed et al., arXiv:1906.10652; Kool, van Hoof, Welling
    2019.
    """
    events = as_events(particles, mask, identity=identity, truth=truth)
    loss = as_loss(objective)
    settings = Sampling(rigidity, **sampling)
    deterministic = math.isinf(rigidity)
    trees = min(trees, 1) if deterministic else trees
    chosen = _checked(loss, estimator, coordinates, part, trees, deterministic)
    radii = None if isinstance(radius, VariableR) else radius_per_event(events, radius)
    probe(loss, events)
    warn_of_jumps(loss)
    request = TreeRequest(trees, loss.jets, settled_pt=loss.settled_pt)
    at_once = max(1, trees_at_once(settings.device, loss) // trees)
    columns: list[tuple[Floats, Floats, Floats, Floats]] = []
    for start in range(0, max(len(events), 1), at_once):
        rows = np.arange(start, min(start + at_once, len(events)))
        portion = events if len(events) <= at_once else events.select(rows)
        portion_radius = radius if radii is None else radii[rows]
        sample = sample_trees(portion, portion_radius, settings, request)
        weights = _weights(loss, chosen, sample.momenta, portion, part)
        value, error = _gradient(portion, portion_radius, settings, request, weights, coordinates)
        columns.append((*weights.expectation, value, error))
    expectation, expectation_error, value, error = map(np.concatenate, zip(*columns, strict=True))
    return InputGradient(
        expectation, expectation_error, value, error, tuple(coordinates.split("_")), part,
        events.offsets,
    )  # fmt: skip


def _checked(
    loss: Loss,
    estimator: Estimator | None,
    coordinates: str,
    part: str,
    trees: int,
    deterministic: bool,
) -> ScoreEstimator | None:
    """The estimator, None if there is no score, after a look at all arguments."""
    check_coordinates(coordinates)
    if part not in get_args(Part):
        raise InputError(f"part is {part!r}, expected 'both', 'pathwise' or 'score'.")
    if deterministic and part == "score":
        raise InputError("with infinite rigidity there is no score part; take part='pathwise'.")
    chosen = LeaveOneOut() if estimator is None else estimator
    allowed = (LeaveOneOut, MeanBaseline, Score)
    if not isinstance(chosen, ScoreEstimator) or type(chosen) not in allowed:
        raise InputError(
            f"estimator is {estimator!r}, expected djservice.LeaveOneOut(), the default, or "
            "djservice.Score(). The state baseline made gradients in particles 1.3 to 9 times "
            "noisier (variance), and the others have none."
        )
    if not deterministic and part != "pathwise" and trees < chosen.minimum_trees:
        raise InputError(
            f"trees is {trees}, expected {chosen.minimum_trees} or more with the {chosen.name} "
            "estimator."
        )
    check_mean(loss)
    return None if deterministic else chosen


@dataclass(frozen=True)
class _Weights:
    """What each tree counts with, for the value of the gradient and for its error.

    ``factors`` has shape (event, tree, column, 2), ``jets`` (event, tree, jet, 4); see
    :func:`djservice.clustering.particle_cotangents.particle_cotangents`. ``expectation`` holds the
    objectives of the events and their errors. ``share`` and ``excess``, shape (event, tree), are
    I / B and (I l - L I) / B^2, on which the error depends if trees are not accepted. Otherwise
    there is one column.
    """

    factors: Floats
    jets: Floats
    expectation: tuple[Floats, Floats]
    share: Floats
    excess: Floats


def _weights(
    loss: Loss, estimator: ScoreEstimator | None, momenta: Floats, events: EventBatch, part: Part
) -> _Weights:
    """The weights of the trees of some events."""
    quantity, mask = evaluated(loss, as_vectors(momenta), events.truth)
    expectation = mean_of_accepted(quantity, mask)
    accepted = mask.astype(np.float64)
    fraction = accepted.mean(axis=1, keepdims=True)
    b = np.where(fraction > 0.0, fraction, 1.0)
    level = quantity.mean(axis=1, keepdims=True) / b
    share, excess = accepted / b, (quantity - level * accepted) / (b * b)
    zero, one, jets = np.zeros_like(quantity), np.ones_like(quantity), np.zeros_like(momenta)
    by_quantity = by_accepted = zero
    if estimator is not None and part != "pathwise":
        by_quantity = estimator.contributions(quantity, one)
        by_accepted = -estimator.contributions(1.0 - accepted, one)
    if part != "score":
        jets = pathwise(loss, momenta, events, mask) * share[..., np.newaxis, np.newaxis]
    u = (by_quantity - level * by_accepted) / b
    columns = [(u, one)]
    if not mask.all():
        columns += [(u * share, share), (u * excess, excess), (by_accepted, zero)]
    factors = np.stack([np.stack(column, axis=-1) for column in columns], axis=2)
    return _Weights(factors, jets, expectation, share, excess)


def _gradient(
    events: EventBatch,
    radius: Radius,
    sampling: Sampling,
    request: TreeRequest,
    weights: _Weights,
    coordinates: Coordinates,
) -> tuple[Floats, Floats]:
    """Value and error of the gradient of some events, shape (particle, 4) each."""
    trees, counts = request.trees, events.counts
    sums, squares = particle_cotangents(
        events, radius, sampling, request, weights.factors, weights.jets, coordinates=coordinates
    )
    value = sums[:, 0] / trees

    def per_particle(numbers: Floats) -> Floats:
        """Sums over the trees of each event, for its particles."""
        return np.repeat(numbers.sum(axis=1), counts)[:, np.newaxis]

    # Sum over trees of (c - value share - slope excess)^2, where slope is the gradient of B.
    share, excess, square = weights.share, weights.excess, squares[:, 0]
    variance = square - trees * value**2  # if all trees of the event are accepted
    if sums.shape[1] > 1:
        slope = sums[:, 3] / trees
        of_ratio = square - 2.0 * (value * sums[:, 1] + slope * sums[:, 2])
        of_ratio += value**2 * per_particle(share**2) + slope**2 * per_particle(excess**2)
        of_ratio += 2.0 * value * slope * per_particle(share * excess)
        variance = np.where(per_particle(share != 1.0) > 0, of_ratio, variance)
    if math.isinf(sampling.rigidity):
        error = np.zeros_like(value)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(np.maximum(variance, 0.0) / (trees * np.float64(trees - 1)))
    empty = np.repeat(np.isnan(weights.expectation[0]), counts)
    value[empty] = error[empty] = np.nan
    return value, error
