"""LearnedWeights: the weights of particles that a run has learned, for use on other events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.typing import Floats
from djservice.errors import StoreError
from djservice.events.batch import EventBatch
from djservice.store.run_store import Store
from djservice.weight_models.base import WeightModel
from djservice.weight_models.features import ParticleFeature
from djservice.weight_models.named import weighting_of
from djservice.weight_models.weighting import Weighting, Weights


@checked_arguments
@dataclass(frozen=True)
class LearnedWeights:
    """Weights of particles that a run has learned; :meth:`read` reads them from its store.

    Attributes
    ----------
    weights
        The model with its learned parameters.
    radius
        The R that they were learned with.
    estimate
        "full" if the gradient was unbiased, "pathwise" if it was its pathwise part.
    """

    weights: Weights
    radius: float
    estimate: str

    def __repr__(self) -> str:
        weighting, theta = self.weights.weighting, self.weights.theta
        values = ", ".join(f"{n} {v:.3g}" for n, v in zip(weighting.names[:8], theta, strict=False))
        more = ", ..." if len(theta) > 8 else ""
        return (
            f"LearnedWeights({weighting.model.name}: {values}{more}; R {self.radius:.3g}, "
            f"{self.estimate} gradient)"
        )

    @classmethod
    def read(
        cls,
        store: str | Path,
        *,
        model: WeightModel | None = None,
        features: Sequence[ParticleFeature] | None = None,
    ) -> LearnedWeights:
        """The weights in the store of a run.

        Parameters
        ----------
        store
            Folder or URL of the store.
        model, features
            The model and the features, if they are Python objects, which a store does not hold.

        Raises
        ------
        StoreError
            If there is no store, the weights are not learned yet, or a Python object is needed.
        """
        opened = Store.read(store)
        section = dict(opened.attributes["run"].get("particle_weights", {}))
        section["model"] = _known(section.get("model"), model, "model", opened.path)
        section["features"] = (
            [_known(value, None, "features", opened.path) for value in section.get("features", ())]
            if features is None
            else features
        )
        parts = (section[key] for key in ("model", "features", "tracker_eta", "vertex"))
        return cls.of(weighting_of(*parts), opened)

    @classmethod
    def of(cls, weighting: Weighting, store: Store) -> LearnedWeights:
        """The weights of a weighting with the parameters in a store.

        Raises
        ------
        StoreError
            If the weights are not learned yet, or have other parameters.
        """
        group = "particle_weights"
        theta = store.attribute(group, "theta") if group in store.groups else None
        if theta is None:
            raise StoreError(
                f"{store.path}: expected learned weights of particles, found none. Finish a run "
                "with task: particle-weights."
            )
        if len(theta) != len(weighting.names):
            raise StoreError(
                f"{store.path}: expected {len(weighting.names)} parameters for "
                f"{weighting.model.name}, found {len(theta)}. Give the model and the features of "
                "the run."
            )
        radius, estimate = (store.attribute(group, name) for name in ("radius", "estimate"))
        return cls(Weights(weighting, np.array(theta)), float(radius), estimate)

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the particles that are needed: ``columns`` of a schema."""
        return self.weights.weighting.fields

    def __call__(self, events: EventBatch) -> Floats:
        """Weight of each particle of a batch, shape (particle,).

        Raises
        ------
        InputError
            If a field is missing.
        """
        return self.weights.of(self.weights.weighting.prepare(events))

    def apply(self, events: EventBatch) -> EventBatch:
        """The events with weighted momenta, without particles of weight 0.

        Raises
        ------
        InputError
            If a field is missing.
        """
        return events.weighted(self(events))


def _known(value: Any, replacement: Any, name: str, path: str) -> Any:
    """A name with parameters, or the object in its place."""
    if replacement is not None:
        return replacement
    if not isinstance(value, dict) or "name" not in value:
        title = value.get("title") if isinstance(value, dict) else value
        raise StoreError(
            f"{path}: the {name} of the weights, {title!r}, is a Python object, which a store does "
            f"not hold. Give it as {name}=."
        )
    return value
