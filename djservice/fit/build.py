"""From a run's plain data to objects: its loss, estimator and radius model, and how one radius per event is looked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from djservice.config.run import Run
from djservice.core.suggest import nearest
from djservice.errors import ConfigError

if TYPE_CHECKING:  # the command line asks for an estimator before it imports what is heavy
    from djservice.estimators.base import Estimator
    from djservice.fit.per_event import PerEventSettings
    from djservice.objectives.losses import Loss
    from djservice.radius_models.base import Bounded
    from djservice.radius_models.features import Feature

Made = TypeVar("Made")


def build_loss(run: Run) -> Loss:
    """The loss of a run as an object.

    Raises
    ------
    ConfigError
        If an observable or cut is unknown, or does not take the parameters given.
    """
    from djservice.objectives import cuts, losses, observables

    total: Any = None
    for i, term in enumerate(run.loss):
        where = f"loss[{i}]"
        what = _build(
            term.observable,
            observables.Observable,
            observables.named_observables(),
            f"{where}.observable",
        )
        loss: Any
        if term.kind == "width":
            loss = losses.Width(what, scale=term.scale, coefficient=term.coefficient)
        elif term.kind == "robust_width":
            (low, high), bins = term.range, term.bins
            loss = losses.RobustWidth(
                what, scale=term.scale, coefficient=term.coefficient, low=low, high=high, bins=bins
            )
        else:
            kind = (
                losses.SquaredError if term.kind == "squared_error" else losses.SquaredErrorOfMean
            )
            loss = kind(what, target=term.target, scale=term.scale, coefficient=term.coefficient)
        for k, cut in enumerate(term.cuts):
            loss = loss.where(_build(cut, cuts.Cut, cuts.named_cuts(), f"{where}.cuts[{k}]"))
        total = loss if total is None else total + loss
    loss_of_all: Loss = total
    return loss_of_all


def build_estimator(value: Any) -> Estimator:
    """An estimator from a mapping with its name and its parameters; one that is an object stays as it is.

    Raises
    ------
    ConfigError
        If it is unknown, or does not take the parameters given.
    """
    from djservice.estimators.base import Estimator
    from djservice.estimators.registry import ESTIMATORS

    return _build(
        value, Estimator, {estimator.name: estimator for estimator in ESTIMATORS}, "estimator"
    )  # type: ignore[type-abstract]


def build_model(run: Run) -> Bounded:
    """The radius model of a run as an object.

    Raises
    ------
    ConfigError
        If it is unknown, or does not take the parameters given.
    """
    from djservice.radius_models.base import Bounded, RadiusModel
    from djservice.radius_models.builtin import named_models

    model = _build(run.radius_model.model, RadiusModel, named_models(), "radius_model.model")  # type: ignore[type-abstract]
    return Bounded(model, run.radius.minimum, run.radius.maximum)


def build_features(run: Run) -> tuple[Feature, ...]:
    """The features of a radius model as objects.

    Raises
    ------
    ConfigError
        If one is unknown, or named twice.
    """
    from djservice.radius_models.features import Feature, named_features

    known = named_features()
    found = tuple(
        _build(given, Feature, known, f"radius_model.features[{i}]")
        for i, given in enumerate(run.radius_model.features)
    )
    names = [feature.name for feature in found]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"radius_model.features: expected different features, found {', '.join(names)}."
        )
    return found


def build_per_event(run: Run) -> PerEventSettings:
    """How the radius of each event is looked for, as an object.

    Raises
    ------
    ConfigError
        If a start lies outside the bounds of the radius, or more accepted trees are asked for than are grown.
    """
    from djservice.fit.per_event import PerEventSettings

    given, bounds = run.per_event, run.radius
    if given.accepted > given.choose_trees:
        raise ConfigError(
            f"per_event.accepted is {given.accepted}, expected at most per_event.choose_trees, {given.choose_trees}."
        )
    try:
        return PerEventSettings(
            starts=given.starts,
            minimum=bounds.minimum,
            maximum=bounds.maximum,
            iterations=given.iterations,
            trees=given.trees,
            choose_trees=given.choose_trees,
            accepted=given.accepted,
            rate=given.learning_rate,
            decay_iterations=given.decay_iterations,
        )
    except ValueError as error:
        raise ConfigError(f"per_event: {error}") from None


def _build(
    value: Any, kind: type[Made], known: Mapping[str, Callable[..., Made]], where: str
) -> Made:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping) or "name" not in value:
        raise ConfigError(f"{where}: expected a name, or a mapping with a name, found {value!r}.")
    parameters = {key: parameter for key, parameter in value.items() if key != "name"}
    name = value["name"]
    if name not in known:
        raise ConfigError(f"{where}: unknown name {name!r}{nearest(str(name), list(known))}.")
    make = known[name]
    takes = list(inspect.signature(make).parameters)
    for key in parameters:
        if key not in takes:
            raise ConfigError(f"{where}: {name} has no parameter {key!r}{nearest(key, takes)}.")
    try:
        return make(**parameters)
    except (TypeError, ValueError) as error:
        takes_text = ", ".join(
            str(parameter) for parameter in inspect.signature(make).parameters.values()
        )
        raise ConfigError(
            f"{where}: {name}({takes_text}) cannot be made of {parameters}: {error}"
        ) from None
