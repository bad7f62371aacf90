"""Weightings from the names that a configuration or a store has of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from djservice.core.named import build_named, check_distinct
from djservice.errors import ConfigError
from djservice.weight_models.base import WeightModel
from djservice.weight_models.builtin import named_weight_models
from djservice.weight_models.features import ParticleFeature, named_particle_features
from djservice.weight_models.weighting import Weighting


def weighting_of(
    model: Any, features: Sequence[Any], tracker_eta: float | None, vertex: str | None
) -> Weighting:
    """A weighting from names and parameters, or from objects.

    Raises
    ------
    ConfigError
        If a model, a feature or a parameter is unknown, or a parameter is invalid.
    """
    where, models, known = "particle_weights", named_weight_models(), named_particle_features()
    built = tuple(
        build_named(value, ParticleFeature, known, f"{where}.features[{i}]")
        for i, value in enumerate(features)
    )
    check_distinct([feature.name for feature in built], f"{where}.features")
    if vertex is not None and tracker_eta is None:
        raise ConfigError(
            f"{where}.vertex is for charged particles below tracker_eta, which is null. Give both, "
            "or neither."
        )
    return Weighting(
        build_named(model, WeightModel, models, f"{where}.model"),  # type: ignore[type-abstract]
        built,
        tracker_eta,
        vertex,
    )
