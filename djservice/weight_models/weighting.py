"""Weighting: which particles have a weight of a model, what the model sees, and the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.events.checks import refuse_particles
from djservice.weight_models.base import WeightModel
from djservice.weight_models.builtin import sigmoid
from djservice.weight_models.features import ParticleFeature, pseudorapidity

#: The smallest weight, which is positive, so that no particle is beyond recall.
SMALLEST = 1e-4
#: Columns of prepared events: the label, and the features, numbered.
_LABEL, _FEATURE = "label", "feature "
#: Labels: known to be of another vertex, to be weighted, known to be of the primary vertex.
_OTHER, _FREE, _PRIMARY = -1.0, 0.0, 1.0


@dataclass(frozen=True)
class Weighting:
    """A weight model with its features, and the particles whose vertex is known.

    Charged particles inside the tracker have a known vertex. Those of the primary vertex keep the
    weight 1, and those of others get the weight 0. All other particles have the weight of the model.

    Attributes
    ----------
    model, features
        The model, and what it sees of each particle.
    tracker_eta
        Charged particles with a smaller \\|eta\\| have a known vertex; None: no particle has.
    vertex
        Field of the particles that is positive for those of the primary vertex; None: charged
        particles of other vertices were removed from the input.
    """

    model: WeightModel
    features: tuple[ParticleFeature, ...]
    tracker_eta: float | None = 2.5
    vertex: str | None = None

    def __post_init__(self) -> None:
        if self.tracker_eta is None and any(f.name == "charged_density" for f in self.features):
            raise InputError(
                "tracker_eta is None, and then no particle has a known vertex, from which "
                "charged_density counts. Take the feature density, or give tracker_eta."
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the input that are needed."""
        names = [] if self.tracker_eta is None else ["charge"]
        names += [name for feature in self.features for name in feature.fields]
        return tuple(dict.fromkeys([*names, *([self.vertex] if self.vertex else [])]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.model.names([feature.name for feature in self.features])

    def start(self, weight: float, seed: int) -> Floats:
        """Parameters that give every particle the same weight."""
        theta = self.model.start(len(self.features), seed)
        share = (weight - SMALLEST) / (1.0 - SMALLEST)
        theta[-1] = np.log(share / (1.0 - share))
        return theta

    def prepare(self, events: EventBatch) -> EventBatch:
        """The events with label and features beside the columns of their input.

        Raises
        ------
        InputError
            If a field is missing, or a number is not finite.
        """
        missing = [name for name in self.fields if name not in events.columns]
        if missing:
            raise InputError(
                f"{events!r}: expected the fields {', '.join(missing)} of the particles, found "
                f"{', '.join(events.columns) or 'none'}. Read them with columns of "
                "the schema, or give them to EventBatch.from_arrays."
            )
        label = np.full(len(events.pt), _FREE)
        if self.tracker_eta is not None:
            charge = events.columns["charge"]
            refuse_particles(events, "charge", charge, np.isfinite(charge), "a finite number")
            primary = (charge != 0.0) & (np.abs(pseudorapidity(events)) < self.tracker_eta)
            label[primary] = _PRIMARY
            if self.vertex is not None:
                label[primary & ~(events.columns[self.vertex] > 0.0)] = _OTHER
        columns = {**events.columns, _LABEL: label}
        for number, feature in enumerate(self.features):
            columns[f"{_FEATURE}{number}"] = feature(events, label == _PRIMARY)
        return replace(events, columns=columns)

    def inputs(self, prepared: EventBatch) -> Floats:
        """Features of the particles of prepared events, shape (particle, feature)."""
        columns = [prepared.columns[f"{_FEATURE}{i}"] for i in range(len(self.features))]
        return np.stack(columns, axis=1) if columns else np.empty((len(prepared.pt), 0))


@dataclass(frozen=True)
class Weights:
    """A weighting with fixed parameters.

    Attributes
    ----------
    weighting, theta
        The weighting and its parameters.
    """

    weighting: Weighting
    theta: Floats

    def of(self, prepared: EventBatch) -> Floats:
        """Weight of each particle of prepared events, shape (particle,).

        Raises
        ------
        InputError
            If the model fails, or gives NaN; the message names the event and the particle.
        """
        label = prepared.columns[_LABEL]
        height = self._height(prepared, self.weighting.inputs(prepared))
        if height.shape != label.shape:
            raise InputError(
                f"{self.weighting.model.name} returned shape {height.shape}, expected "
                f"{label.shape}: one number per particle."
            )
        refuse_particles(
            prepared,
            f"the height of {self.weighting.model.name}",
            height,
            ~np.isnan(height),
            "a number",
        )
        learned = SMALLEST + (1.0 - SMALLEST) * sigmoid(height)
        return np.where(label == _FREE, learned, (label == _PRIMARY).astype(np.float64))

    def apply(self, prepared: EventBatch) -> EventBatch:
        """The prepared events with weighted momenta."""
        return prepared.weighted(self.of(prepared))

    def pull_back(self, prepared: EventBatch, slopes: Floats) -> Floats:
        """Derivatives in theta from those in the weights: sums over the particles of each event.

        Parameters
        ----------
        slopes
            Derivatives in the weight of each particle, shape (particle, column).

        Returns
        -------
        Shape (event, theta, column).
        """
        inputs = self.weighting.inputs(prepared)
        share = sigmoid(self._height(prepared, inputs))
        free = prepared.columns[_LABEL] == _FREE
        rise = np.where(free, (1.0 - SMALLEST) * share * (1.0 - share), 0.0)
        model, factors = self.weighting.model, slopes * rise[:, np.newaxis]
        arguments = inputs, self.theta, prepared.offsets, factors
        return np.asarray(called(f"weight model {model.name}", model.pull_back, *arguments))

    def _height(self, prepared: EventBatch, inputs: Floats) -> Floats:
        model = self.weighting.model
        arguments = inputs, self.theta, prepared.offsets
        return np.asarray(called(f"weight model {model.name}", model.height, *arguments))


#: Edges of the bins of a profile, in standardised features.
EDGES = np.linspace(-3.0, 3.0, 25)


def profile(weights: Weights, prepared: EventBatch) -> Floats:
    """Sums of 1, w and w^2 over the weighted particles, in bins of each standardised feature.

    Shape (feature, bin, 3). Particles beyond the last edges count in the last bins.
    """
    free = prepared.columns[_LABEL] == _FREE
    w = weights.of(prepared)[free]
    sums = np.zeros((len(weights.weighting.features), len(EDGES) - 1, 3))
    for number, x in enumerate(weights.weighting.inputs(prepared)[free].T):
        place = np.clip(np.searchsorted(EDGES, x, side="right") - 1, 0, len(EDGES) - 2)
        for power in range(3):
            sums[number, :, power] = np.bincount(place, w**power, len(EDGES) - 1)
    return sums
