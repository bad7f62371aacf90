"""RunPlan: the objects that the plain data of a run describe, each built once, on first use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from djservice.clustering.device import Device
from djservice.clustering.sampling import Sampling
from djservice.config.input import Input
from djservice.config.run import Run, as_run
from djservice.core.typing import Floats
from djservice.errors import ConfigError, InputError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import trees_needed
from djservice.evaluation.jumps import warn_of_jumps
from djservice.evaluation.mean_objective import check_mean
from djservice.evaluation.taggers import Network, TorchTagger, sizes
from djservice.evaluation.targets import Target, Truth
from djservice.events.augment import Augmentation
from djservice.fit.build import (
    build_augmentations,
    build_estimator,
    build_features,
    build_loss,
    build_model,
    build_per_event,
    build_robust,
    build_tagger,
    build_weighting,
)
from djservice.fit.objective_checks import check_objective, check_truth
from djservice.fit.per_event import PerEventSettings
from djservice.fit.requests import RunSetup
from djservice.input.files import GLOB, Search
from djservice.input.plan import InputPlan, plan_input
from djservice.lund_planes.selected_jets import LundWeighting
from djservice.objectives.binned_statistics import BinnedStatistic
from djservice.objectives.losses import Loss
from djservice.objectives.observable import Observable, defaults_texts
from djservice.objectives.robust import Robust
from djservice.radius_models.base import Bounded
from djservice.radius_models.features import Feature
from djservice.weight_models.weighting import Weighting


def augmentations_of(section: Input, name: str = "input") -> tuple[Augmentation, ...]:
    """The augmentations of an input section of this name.

    Raises
    ------
    ConfigError
        If one is unknown, or a parameter is unknown or invalid.
    """
    return build_augmentations(section.augment, f"{name}.augment")


class RunPlan:
    """A run as objects.

    Each object is built on first use, because a scan needs fewer of them than a run.

    Parameters
    ----------
    run
        The configuration, or the path of its YAML file.
    search
        Finds the files of a pattern.

    Raises
    ------
    DjserviceError
        If a setting names something unknown or missing, or is invalid.
    """

    def __init__(self, run: Run | str | Path, search: Search = GLOB) -> None:
        self.run, self.search = as_run(run), search
        self._inputs: dict[str, InputPlan] = {}
        self._lund_weights: dict[str, LundWeighting] = {}

    @cached_property
    def loss(self) -> Loss:
        """The loss that is minimised."""
        return build_loss(self.run)

    @cached_property
    def robust(self) -> Robust | None:
        """The loss over several versions of the events; None if there is only one."""
        return build_robust(self.run, self.loss)

    @property
    def observable(self) -> Observable:
        """The observable of the first loss term, whose spectrum is stored."""
        return self.loss.terms[0].observable

    @property
    def observable_files(self) -> dict[str, list[str]]:
        """Hashes of the files that each observable of the loss depends on, by its key."""
        files = {
            f"{where}.observable.files": list(term.observable.files)
            for where, term in zip(self.run.terms, self.loss.terms, strict=True)
        }
        return {key: hashes for key, hashes in files.items() if hashes}

    @property
    def defaults(self) -> list[str]:
        """What observables read and no column of the input names, a line for each."""
        terms = zip(self.run.terms, self.loss.terms, strict=True)
        observables = {f"{where}.observable": term.observable for where, term in terms}
        return defaults_texts(observables, self.run.input.columns, "input.columns")

    @cached_property
    def estimator(self) -> Estimator:
        """The estimator of the gradient."""
        return build_estimator(self.run.estimator)

    @cached_property
    def per_event(self) -> PerEventSettings:
        """Settings of the fit of one radius per event."""
        return build_per_event(self.run)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Features of an event, the input of a radius model."""
        return build_features(self.run)

    @cached_property
    def model(self) -> Bounded:
        """The radius model."""
        return build_model(self.run)

    @cached_property
    def weighting(self) -> Weighting:
        """The weight model of particles, with its features."""
        return build_weighting(self.run)

    @cached_property
    def tagger(self) -> tuple[TorchTagger, Target]:
        """The network of a joint training, and what it is trained for."""
        return build_tagger(self.run)

    @cached_property
    def network(self) -> Network:
        """This network at the start."""
        (tagger, target), section = self.tagger, self.run.joint
        return Network(tagger, target, section.constituents, self._of_vector("start"), section.jets)

    @property
    def network_parameters(self) -> int:
        """Number of its parameters. A network that the configuration describes is not built."""
        described = isinstance(self.run.joint.network, Mapping)
        return int(self._of_vector("size")) if described else len(self.network.theta)

    def _of_vector(self, method: Literal["start", "size"]) -> Any:
        tagger, target = self.tagger
        try:
            return getattr(tagger.vector(*sizes(target, self.run.joint.jets)), method)()
        except TypeError as error:
            raise ConfigError(f"joint.network: {tagger.name} cannot be built: {error}") from error

    def input(self, name: str = "input") -> InputPlan:
        """An input, by the name of its section in :attr:`djservice.config.run.Run.inputs`."""
        if name not in self._inputs:
            section = self.run.inputs[name]
            if self.run.task == "particle-weights":
                columns = {name: name for name in self.weighting.fields} | section.columns
                section = section.model_copy(update={"columns": columns})
            self._inputs[name] = plan_input(section, self.search)
        return self._inputs[name]

    def augmentations(self, name: str = "input") -> tuple[Augmentation, ...]:
        """The augmentations of an input."""
        return augmentations_of(self.run.inputs[name], name)

    def lund_weights(self, name: str = "input") -> LundWeighting | None:
        """How the jets of an input are weighed; None without Lund weights.

        Raises
        ------
        DjserviceError
            If the ratio cannot be read, is of other jets, or lacks the variation.
        """
        section = self.run.inputs[name].lund_weights
        if section is None:
            return None
        if name not in self._lund_weights:
            try:
                self._lund_weights[name] = LundWeighting.of(section, self.run.seed)
            except InputError as error:
                raise ConfigError(f"{name}.lund_weights: {error}") from error
        return self._lund_weights[name]

    def setup(self, device: Device) -> RunSetup:
        """The part of a run that every worker needs.

        Sampling uses one thread, because a worker runs one task in each of its threads.
        """
        clustering, radius = self.run.clustering, self.run.radius
        sampling = Sampling(
            clustering.rigidity,
            clustering.power,
            clustering.scale,
            clustering.asymmetry,
            self.run.seed,
            device,
            threads=1,
        )
        return RunSetup(
            self.loss, self.estimator, sampling, radius.reference_pt, radius.reach, self.robust
        )

    def check(self) -> None:
        """Check the run as far as possible without a cluster.

        Raises
        ------
        DjserviceError
            If it has too few trees, names something unknown, or an input is missing.
        """
        self._check_task()
        self._check_trees()
        if self.run.objective is not None:
            check_objective(self.run, self.loss, self.input().fileset)
        for name in self.run.inputs:
            self.augmentations(name)
            self.lund_weights(name)
            self.input(name)

    @property
    def histogram(self) -> tuple[int, int] | None:
        """Number of categories of events and of bins of the objective; None for a loss."""
        statistic = self.loss.terms[0].statistic
        return (
            (statistic.categories, statistic.bins)
            if isinstance(statistic, BinnedStatistic)
            else None
        )

    def check_events(self, truth: Floats) -> None:
        """Check that an objective has a meaning for events of these true masses.

        Raises
        ------
        ConfigError
            If it has none, such as the information about the mass of events of a single mass.
        """
        if self.run.objective is not None:
            check_truth(self.loss.terms[0], truth)

    def _check_task(self) -> None:
        """Refuse settings that exclude each other."""
        run, score_needed = self.run, []
        _ = self.robust  # built here, so that errors come before the run starts
        if run.radius.reference_pt is not None:
            score_needed.append("radius.reference_pt")
            if run.task != "global":
                raise ConfigError(
                    "radius.reference_pt, variable-R jets, is for a global radius, not for task "
                    f"{run.task}."
                )
        if run.clustering.learn_rigidity is not None:
            score_needed.append("clustering.learn_rigidity")
            if run.task != "global":
                raise ConfigError(
                    f"clustering.learn_rigidity is for a global radius, not for task {run.task}: "
                    "learn it in a separate run, and set clustering.rigidity to the result."
                )
        for key in score_needed:
            if not self.estimator.in_any_parameter:
                raise ConfigError(
                    f"{key} needs an estimator that is made of the score, and "
                    f"{self.estimator.name} is not."
                )
        if run.objective is not None and run.task == "radius-model":
            raise ConfigError(
                "objective is for a global radius, not for task radius-model. Train the model on a "
                "loss, such as a robust_width."
            )
        if run.task == "particle-weights":
            self._check_weights()
        if run.task == "joint":
            self._check_joint()
        for i, term in enumerate(self.loss.terms if run.task == "per-event" else ()):
            if not term.has_target:
                where, section = list(run.terms.items())[i]
                raise ConfigError(
                    f"{where}.kind is a {section.kind}, which means nothing for a single event."
                )

    def _check_weights(self) -> None:
        """Refuse losses whose derivative in particles is not known, and warn of those that jump."""
        try:
            check_mean(self.loss)
        except InputError as error:
            raise ConfigError(f"task particle-weights: {error}") from None
        if len({term.cut for term in self.loss.terms}) > 1:
            raise ConfigError("task particle-weights: expected the same cuts in every loss term.")
        _ = self.weighting  # built here, so that errors come before the run starts
        warn_of_jumps(self.loss)

    def _check_joint(self) -> None:
        """Refuse classes that the input cannot tell apart, and networks that cannot be built."""
        _, target = self.tagger
        by_dataset = not isinstance(target, Truth) and isinstance(target.names[0], str)
        if by_dataset and self.run.input.fileset is None:
            names = ", ".join(map(str, self.run.joint.classes))
            raise ConfigError(
                f"joint.classes: {names} are datasets, and the input is no fileset. Give "
                "input.fileset, or input.truth and its values as classes."
            )
        if isinstance(target, Truth) and self.run.input.truth is None:
            raise ConfigError(
                f"joint.loss is {target.kind}, and input.truth is missing. Name the branch that "
                "the network is to predict."
            )
        if not by_dataset and self.run.input.truth is None:
            raise ConfigError(
                "joint.classes are values of the truth, and input.truth is missing. Name the branch "
                "with the class, or give input.fileset and its datasets as classes."
            )
        _ = self.network

    def _check_trees(self) -> None:
        """Refuse fewer trees than the loss and the estimator need."""
        run = self.run
        requested = {
            "optimiser.trees": run.optimiser.trees,
            "scan.trees": run.scan.trees,
            "spectrum.trees": run.spectrum.trees,
        }
        if run.task == "per-event":
            settings = self.per_event
            requested |= {
                "per_event.trees": settings.trees,
                "per_event.choose_trees": settings.choose_trees,
            }
            requested |= {"per_event.score_trees": run.per_event.score_trees}
        if run.task == "radius-model":
            _ = self.features, self.model  # built here, so that errors come before the run starts
            requested |= {
                f"radius_model.{name}": getattr(run.radius_model, name)
                for name in ("trees", "score_trees")
            }
        if run.task == "particle-weights":
            requested |= {"particle_weights.score_trees": run.particle_weights.score_trees}
        needed = trees_needed(self.loss, self.estimator)
        for key, trees in requested.items():
            if trees < needed:
                raise ConfigError(
                    f"{key} is {trees}, expected {needed} or more with the {self.estimator.name} "
                    "estimator and this loss."
                )
