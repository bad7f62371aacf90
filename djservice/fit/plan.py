"""A run understood once: the objects that its plain data stand for, each made when it is first asked for, and handed on."""

from __future__ import annotations

from functools import cached_property

from djservice.clustering.device import Device
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import ConfigError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import trees_needed
from djservice.fit.build import (
    build_estimator,
    build_features,
    build_loss,
    build_model,
    build_per_event,
)
from djservice.fit.per_event import PerEventSettings
from djservice.fit.requests import RunSetup
from djservice.input.plan import InputPlan, plan_input
from djservice.objectives.losses import Loss
from djservice.objectives.observables import Observable
from djservice.radius_models.base import Bounded
from djservice.radius_models.features import Feature


class RunPlan:
    """What a run is to do, as objects. They are made one by one, for a scan asks for fewer than a run.

    Parameters
    ----------
    run
        The configuration.

    Raises
    ------
    DjserviceError
        Where something is asked for that is unknown, not there, or has no meaning.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._inputs: dict[str, InputPlan] = {}

    @cached_property
    def loss(self) -> Loss:
        """What is minimised."""
        return build_loss(self.run)

    @property
    def observable(self) -> Observable:
        """Of the first term, whose spectrum is kept."""
        return self.loss.terms[0].observable

    @cached_property
    def estimator(self) -> Estimator:
        """Of the gradient."""
        return build_estimator(self.run.estimator)

    @cached_property
    def per_event(self) -> PerEventSettings:
        """How the radius of each event is looked for."""
        return build_per_event(self.run)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What a radius model sees of an event."""
        return build_features(self.run)

    @cached_property
    def model(self) -> Bounded:
        """The radius model."""
        return build_model(self.run)

    def input(self, name: str = "input") -> InputPlan:
        """An input, by the name of its section as in :attr:`djservice.config.run.Run.inputs`."""
        if name not in self._inputs:
            self._inputs[name] = plan_input(self.run.inputs[name])
        return self._inputs[name]

    def setup(self, device: Device) -> RunSetup:
        """What every worker needs to know, which runs one task in each of its threads."""
        how, radius = self.run.clustering, self.run.radius
        sampling = Sampling(
            how.rigidity, how.power, how.scale, how.asymmetry, self.run.seed, device, threads=1
        )
        return RunSetup(self.loss, self.estimator, sampling, radius.reference_pt, radius.reach)

    def check(self) -> None:
        """Find what is wrong with the run that can be found without a cluster.

        Raises
        ------
        DjserviceError
            If it has too few trees, names something unknown, or an input is not there.
        """
        self._check_task()
        self._check_trees()
        for name in self.run.inputs:
            self.input(name)

    def _check_task(self) -> None:
        """Refuse what does not go together."""
        run, score_needed = self.run, []
        if run.radius.reference_pt is not None:
            score_needed.append("radius.reference_pt")
            if run.task != "global":
                raise ConfigError(
                    f"radius.reference_pt, variable-R jets, is for a global radius, not for task {run.task}."
                )
        if run.clustering.learn_rigidity is not None:
            score_needed.append("clustering.learn_rigidity")
            if run.task != "global":
                raise ConfigError(
                    f"clustering.learn_rigidity is for a global radius, not for task {run.task}: learn it in a run of its own, "
                    "and put what it finds into clustering.rigidity."
                )
        for key in score_needed:
            if not self.estimator.in_any_parameter:
                raise ConfigError(
                    f"{key} needs an estimator that is made of the score, and {self.estimator.name} is not."
                )
        for i, term in enumerate(self.loss.terms if run.task == "per-event" else ()):
            if not term.has_target:
                raise ConfigError(
                    f"loss[{i}].kind is a {run.loss[i].kind}, which means nothing for a single event."
                )

    def _check_trees(self) -> None:
        """See that there are as many trees as the loss and the estimator need."""
        run = self.run
        asked = {
            "optimiser.trees": run.optimiser.trees,
            "scan.trees": run.scan.trees,
            "spectrum.trees": run.spectrum.trees,
        }
        if run.task == "per-event":
            settings = self.per_event
            asked |= {
                "per_event.trees": settings.trees,
                "per_event.choose_trees": settings.choose_trees,
            }
            asked |= {"per_event.score_trees": run.per_event.score_trees}
        if run.task == "radius-model":
            _ = self.features, self.model  # so that what cannot be made is found now
            asked |= {
                f"radius_model.{name}": getattr(run.radius_model, name)
                for name in ("trees", "score_trees")
            }
        needed = trees_needed(self.loss, self.estimator)
        for key, trees in asked.items():
            if trees < needed:
                raise ConfigError(
                    f"{key} is {trees}, expected {needed} or more with the {self.estimator.name} estimator and this loss."
                )
