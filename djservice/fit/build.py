"""The plain data of a run -> objects: loss, estimator, radius model, and settings per event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from djservice.config.objective import ObjectiveSection
from djservice.config.python_file import names_file
from djservice.config.run import Run
from djservice.core.named import build_named, check_distinct
from djservice.errors import ConfigError, InputError

if TYPE_CHECKING:  # the command line checks an estimator before any slow import
    from djservice.estimators.base import Estimator
    from djservice.evaluation.taggers import TorchTagger
    from djservice.evaluation.targets import Target
    from djservice.events.augment import Augmentation
    from djservice.fit.per_event import PerEventSettings
    from djservice.objectives.losses import Loss
    from djservice.objectives.observables import Observable
    from djservice.objectives.robust import Robust
    from djservice.radius_models.base import Bounded
    from djservice.radius_models.features import Feature
    from djservice.weight_models.weighting import Weighting


def build_loss(run: Run) -> Loss:
    """The loss of a run as an object. An objective is the loss whose negative is maximised.

    Raises
    ------
    ConfigError
        If an observable or cut is unknown, or a parameter is unknown or invalid.
    """
    from djservice.objectives import cuts, losses, widths

    total: Any = None
    for where, term in run.terms.items():
        observable = _observable(term.observable, f"{where}.observable")
        loss: Any
        if isinstance(term, ObjectiveSection):
            loss = _objective(term, observable)
        elif term.kind == "width":
            loss = widths.Width(observable, scale=term.scale, coefficient=term.coefficient)
        elif term.kind == "robust_width":
            (low, high), bins = term.range, term.bins
            loss = widths.RobustWidth(
                observable,
                scale=term.scale,
                coefficient=term.coefficient,
                low=low,
                high=high,
                bins=bins,
            )
        else:
            more: Any
            kind, more = {
                "squared_error": (losses.SquaredError, {}),
                "bounded_error": (losses.BoundedError, {"bound": term.bound}),
                "squared_error_of_mean": (losses.SquaredErrorOfMean, {}),
            }[term.kind]
            loss = kind(
                observable,
                target=term.target,
                scale=term.scale,
                coefficient=term.coefficient,
                **more,
            )
        for k, cut in enumerate(term.cuts):
            loss = loss.where(build_named(cut, cuts.Cut, cuts.named_cuts(), f"{where}.cuts[{k}]"))
        total = loss if total is None else total + loss
    loss_of_all: Loss = total
    return loss_of_all


def _observable(value: Any, where: str) -> Observable:
    """An observable by its name, or a function in a file."""
    from djservice.objectives.from_file import observable_of_file
    from djservice.objectives.observables import Observable, named_observables

    if not names_file(value):
        return build_named(value, Observable, named_observables(), where)
    if len(value) > 1:
        raise ConfigError(
            f"{where}: {value['name']} takes no parameters, found "
            f"{', '.join(key for key in value if key != 'name')}. Write them in the file."
        )
    return observable_of_file(value["name"], where)


def _objective(section: ObjectiveSection, observable: Observable) -> Loss:
    """The objective of a run without its cuts."""
    from djservice.objectives.information import MutualInformation
    from djservice.objectives.significance import Significance

    try:
        if section.kind == "significance":
            return Significance(
                observable,
                signal=section.signal,
                background=section.background,
                luminosity=section.luminosity or 0.0,
                bins=section.bins or (),
                background_uncertainty=section.background_uncertainty,
                minimum_entries=section.minimum_entries,
            )
        bins = section.bins or MutualInformation.bins
        return MutualInformation(
            observable,
            bins=tuple(map(int, bins)),  # type: ignore[arg-type]
            range=section.range,
            truth_range=section.truth_range,
        )
    except ValueError as error:
        raise ConfigError(f"objective: {error}") from None


def build_estimator(value: Any) -> Estimator:
    """An estimator from a mapping with a name and parameters; an estimator stays unchanged.

    Raises
    ------
    ConfigError
        If it is unknown, or a parameter is unknown or invalid.
    """
    from djservice.estimators.base import Estimator
    from djservice.estimators.registry import ESTIMATORS

    registry: Any = {estimator.name: estimator for estimator in ESTIMATORS}
    return build_named(value, Estimator, registry, "estimator")  # type: ignore[type-abstract]


def build_model(run: Run) -> Bounded:
    """The radius model of a run as an object.

    Raises
    ------
    ConfigError
        If it is unknown, or a parameter is unknown or invalid.
    """
    from djservice.radius_models.base import Bounded, RadiusModel
    from djservice.radius_models.builtin import named_models

    value, models = run.radius_model.model, named_models()
    model = build_named(value, RadiusModel, models, "radius_model.model")  # type: ignore[type-abstract]
    return Bounded(model, run.radius.minimum, run.radius.maximum)


def build_features(run: Run) -> tuple[Feature, ...]:
    """The features of a radius model as objects.

    Raises
    ------
    ConfigError
        If one is unknown, or named twice.
    """
    from djservice.radius_models.features import Feature, named_features

    registry = named_features()
    features = tuple(
        build_named(value, Feature, registry, f"radius_model.features[{i}]")
        for i, value in enumerate(run.radius_model.features)
    )
    check_distinct([feature.name for feature in features], "radius_model.features")
    return features


def build_weighting(run: Run) -> Weighting:
    """The weight model of a run with its features, as an object.

    Raises
    ------
    ConfigError
        If a model, a feature or a parameter is unknown, or a parameter is invalid.
    """
    from djservice.weight_models.named import weighting_of

    section = run.particle_weights
    return weighting_of(section.model, section.features, section.tracker_eta, section.vertex)


def build_tagger(run: Run) -> tuple[TorchTagger, Target]:
    """The network of a joint training as an object, and what it is trained for.

    Raises
    ------
    ConfigError
        If it is unknown, a parameter is unknown or invalid, or there are fewer than two classes.
    """
    from djservice.evaluation.taggers import TAGGERS, TorchTagger
    from djservice.evaluation.targets import Classes, Truth

    section = run.joint
    tagger = build_named(section.network, TorchTagger, TAGGERS, "joint.network")
    if section.loss != "cross_entropy":
        if section.classes or section.class_weights:
            raise ConfigError(
                f"joint.classes and joint.class_weights are for joint.loss cross_entropy, and it is "
                f"{section.loss}, whose target is input.truth. Leave them out."
            )
        return tagger, Truth(section.loss)
    if len(section.classes) < 2:
        raise ConfigError(
            f"joint.classes: expected two classes or more, found {len(section.classes)}. Name "
            "datasets of input.fileset, such as [signal, background], or values of input.truth, "
            "such as [1, 0]."
        )
    weights = section.class_weights or (1.0,) * len(section.classes)
    return tagger, Classes(section.classes, weights)


def build_augmentations(values: Sequence[Any], where: str) -> tuple[Augmentation, ...]:
    """Augmentations as objects. ``where`` is their place in the configuration.

    Raises
    ------
    ConfigError
        If one is unknown, or a parameter is unknown or invalid.
    """
    from djservice.events.augment import AUGMENTATIONS, Augmentation

    return tuple(
        build_named(value, Augmentation, AUGMENTATIONS, f"{where}[{i}]")  # type: ignore[type-abstract]
        for i, value in enumerate(values)
    )


def build_robust(run: Run, loss: Loss) -> Robust | None:
    """The loss of a run over several versions of its events; None if there is only one.

    Raises
    ------
    ConfigError
        If an augmentation is unknown or named twice, a parameter is unknown or invalid, or the run
        has a task or an objective that knows one version of the events only.
    """
    section = run.robust
    if not section.augmentations:
        return None
    augmentations = build_augmentations(section.augmentations, "robust.augmentations")
    if run.task != "global":
        raise ConfigError(
            f"robust.augmentations are for a global radius, not for task {run.task}. Leave them out, "
            "or choose task: global."
        )
    if run.objective is not None:
        raise ConfigError(
            f"robust.augmentations are for a loss, not for the objective {run.objective.kind}. Give "
            "a loss, such as a robust_width, or leave them out."
        )
    from djservice.objectives.robust import Robust, check_augmentations

    try:
        check_augmentations(augmentations, "robust.augmentations")
    except InputError as error:
        raise ConfigError(str(error)) from None
    return Robust(loss, augmentations, section.weight, before=len(run.input.augment))


def build_per_event(run: Run) -> PerEventSettings:
    """The settings of the fit of one radius per event, as an object.

    Raises
    ------
    ConfigError
        If a start is outside the bounds of the radius, or ``accepted`` exceeds ``choose_trees``.
    """
    from djservice.fit.per_event import PerEventSettings

    section, bounds = run.per_event, run.radius
    if section.accepted > section.choose_trees:
        raise ConfigError(
            f"per_event.accepted is {section.accepted}, expected at most per_event.choose_trees, "
            f"{section.choose_trees}."
        )
    try:
        return PerEventSettings(
            starts=section.starts,
            minimum=bounds.minimum,
            maximum=bounds.maximum,
            iterations=section.iterations,
            trees=section.trees,
            choose_trees=section.choose_trees,
            accepted=section.accepted,
            rate=section.learning_rate,
            decay_iterations=section.decay_iterations,
        )
    except ValueError as error:
        raise ConfigError(f"per_event: {error}") from None
