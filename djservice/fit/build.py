"""From a run's plain data to objects: its loss, estimator, descents and radius model, checked before anything starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from djservice.config.run import Run
from djservice.core.suggest import nearest
from djservice.errors import ConfigError


def build_loss(run: Run) -> Any:
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
        what = _build(term.observable, observables.Observable, observables.named_observables(), f"{where}.observable")
        loss: Any
        if term.kind == "width":
            loss = losses.Width(what, scale=term.scale, coefficient=term.coefficient)
        elif term.kind == "robust_width":
            (low, high), bins = term.range, term.bins
            loss = losses.RobustWidth(
                what, scale=term.scale, coefficient=term.coefficient, low=low, high=high, bins=bins
            )
        else:
            kind = losses.SquaredError if term.kind == "squared_error" else losses.SquaredErrorOfMean
            loss = kind(what, target=term.target, scale=term.scale, coefficient=term.coefficient)
        for k, cut in enumerate(term.cuts):
            loss = loss.where(_build(cut, cuts.Cut, cuts.named_cuts(), f"{where}.cuts[{k}]"))
        total = loss if total is None else total + loss
    return total


def build_estimator(run: Run) -> Any:
    """The estimator of a run as an object.

    Raises
    ------
    ConfigError
        If it is unknown, or does not take the parameters given.
    """
    return estimator_of(run.estimator)


def estimator_of(value: Any) -> Any:
    """An estimator from a mapping with its name and its parameters, as :func:`build_estimator`."""
    from djservice.estimators.base import Estimator
    from djservice.estimators.registry import ESTIMATORS

    return _build(value, Estimator, {estimator.name: estimator for estimator in ESTIMATORS}, "estimator")


def check_trees(run: Run) -> None:
    """Build the loss and the estimator, and see that a run has the trees that they need.

    Raises
    ------
    ConfigError
        If it has fewer, or as :func:`build_loss` says.
    """
    from djservice.evaluation.evaluate import trees_needed

    estimator = build_estimator(run)
    needed = trees_needed(build_loss(run), estimator)
    asked = {"optimiser.trees": run.optimiser.trees, "scan.trees": run.scan.trees, "spectrum.trees": run.spectrum.trees}
    if run.task != "global":
        _check_task(run)
    if run.task == "per-event":
        build_descents(run)
        section = run.per_event
        asked |= {f"per_event.{name}": getattr(section, name) for name in ("trees", "choose_trees", "score_trees")}
    if run.task == "radius-model":
        build_features(run)
        build_model(run)
        asked |= {f"radius_model.{name}": getattr(run.radius_model, name) for name in ("trees", "score_trees")}
    given = {
        "radius.reference_pt": run.radius.reference_pt is not None,
        "clustering.learn_rigidity": run.clustering.learn_rigidity is not None,
    }
    for key, is_given in given.items():
        if is_given and not estimator.in_any_parameter:
            raise ConfigError(f"{key} needs an estimator that is made of the score, and {estimator.name} is not.")
    for key, trees in asked.items():
        if trees < needed:
            raise ConfigError(
                f"{key} is {trees}, expected {needed} or more with the {estimator.name} estimator and this loss."
            )


def _check_task(run: Run) -> None:
    """Refuse what one radius per event cannot be combined with."""
    if run.radius.reference_pt is not None:
        raise ConfigError(f"radius.reference_pt, variable-R jets, is for a global radius, not for task {run.task}.")
    if run.clustering.learn_rigidity is not None:
        raise ConfigError(
            f"clustering.learn_rigidity is for a global radius, not for task {run.task}: learn it in a run of its own, and put "
            "what it finds into clustering.rigidity."
        )
    if run.task == "per-event":
        for i, term in enumerate(build_loss(run).terms):
            if not term.has_target:
                raise ConfigError(f"loss[{i}].kind is a {run.loss[i].kind}, which means nothing for a single event.")


def build_model(run: Run) -> Any:
    """The radius model of a run as an object.

    Raises
    ------
    ConfigError
        If it is unknown, or does not take the parameters given.
    """
    from djservice.radius_models.base import Bounded, RadiusModel
    from djservice.radius_models.builtin import named_models

    model = _build(run.radius_model.model, RadiusModel, named_models(), "radius_model.model")
    return Bounded(model, run.radius.minimum, run.radius.maximum)


def build_features(run: Run) -> tuple[Any, ...]:
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
        raise ConfigError(f"radius_model.features: expected different features, found {', '.join(names)}.")
    return found


def build_descents(run: Run) -> Any:
    """How the radius of each event is looked for, as an object.

    Raises
    ------
    ConfigError
        If a start lies outside the bounds of the radius, or more accepted trees are asked for than are grown.
    """
    from djservice.fit.per_event import Descents

    given, bounds = run.per_event, run.radius
    if given.accepted > given.choose_trees:
        raise ConfigError(
            f"per_event.accepted is {given.accepted}, expected at most per_event.choose_trees, {given.choose_trees}."
        )
    try:
        return Descents(
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


def _build(value: Any, kind: type, known: Mapping[str, Callable[..., Any]], where: str) -> Any:
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
        takes_text = ", ".join(str(parameter) for parameter in inspect.signature(make).parameters.values())
        raise ConfigError(f"{where}: {name}({takes_text}) cannot be made of {parameters}: {error}") from None
