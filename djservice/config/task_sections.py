"""The sections that belong to one task each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import MANY, Section, named
from djservice.config.input import Input
from djservice.config.sections import Radius
from djservice.core.bounds import limits


class PerEventSection(Section):
    """One radius per event, fitted after the global one, for task: per-event."""

    starts: tuple[Radius, ...] = Field(
        (0.4, 0.7, 1.0), min_length=1, description="radii that every event descends from"
    )
    iterations: int = Field(40, **limits("iterations"), description="of each descent")
    trees: int = Field(20, **limits("trees"), description="trees per event and iteration")
    learning_rate: float = Field(0.2, gt=0, description="Adam's, in log R, of the first iteration")
    decay_iterations: float | None = Field(10.0, gt=0, description="as of the optimiser")
    choose_trees: int = Field(
        100,
        **limits("trees") | {"ge": 2},
        description="trees per event on which the ends of the descents are compared",
    )
    accepted: int = Field(
        20,
        **limits("trees"),
        description="accepted trees of these that an event needs, else it stays at the global R",
    )
    score_trees: int = Field(
        100,
        **limits("trees") | {"ge": 2},
        description="fresh trees per event on which the radii are scored",
    )


class RadiusModelSection(Section):
    """R as a function of an event's features, fitted after the global R, for task: radius-model."""

    model: Annotated[Any, BeforeValidator(named)] = Field(
        "linear",
        description=(
            "linear in the features, or {name: network, hidden: 8} with one hidden layer of tanh"
        ),
        validate_default=True,
    )
    features: tuple[Annotated[Any, BeforeValidator(named)], ...] = Field(
        (
            "leading_pt",
            "second_pt",
            "third_pt_share",
            "separation",
            "dijet_mass",
            "particles",
            "scalar_pt",
        ),
        min_length=1,
        max_length=MANY,
        description="names of features",
        validate_default=True,
    )
    feature_radius: float = Field(
        0.4, **limits("radius"), description="R of the deterministic jets that features are made of"
    )
    iterations: int = Field(300, **limits("iterations"), description="of the training")
    batch_events: int = Field(200, **limits("events"), description="events per iteration")
    trees: int = Field(10, **limits("trees"), description="trees per event and iteration")
    learning_rate: float = Field(0.03, gt=0, description="Adam's, of the first iteration")
    decay_iterations: float | None = Field(100.0, gt=0, description="as of the optimiser")
    held_back: float = Field(
        0.3, gt=0, lt=1, description="share of the events that it is scored on, and not trained on"
    )
    score_trees: int = Field(
        20, **limits("trees") | {"ge": 2}, description="trees per event on which it is scored"
    )
    checks: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")], Input] = Field(
        {},
        max_length=100,
        description="further samples to score it on, each an input section by name",
    )

    @model_validator(mode="after")
    def _names(self) -> RadiusModelSection:
        if "held_back" in self.checks:
            raise ValueError("held_back names the events that are held back, choose another name")
        return self


class ParticleWeightsSection(Section):
    """Weights of particles before the clustering, learned after the global R, for task: particle-weights."""

    model: Annotated[Any, BeforeValidator(named)] = Field(
        "logistic",
        description=(
            "logistic in the features, {name: monotone, knots: 3} with a curve for each, or one "
            "constant weight"
        ),
        validate_default=True,
    )
    features: tuple[Annotated[Any, BeforeValidator(named)], ...] = Field(
        ("charged_density", "log_pt", "abs_eta"),
        min_length=1,
        max_length=MANY,
        description="names of features of particles",
        validate_default=True,
    )
    tracker_eta: float | None = Field(
        2.5,
        gt=0,
        description=(
            "charged particles below this |eta| have a known vertex and keep the weight 1; null: "
            "all weights are learned"
        ),
    )
    vertex: str | None = Field(
        None,
        min_length=1,
        description=(
            "field of the particles that is positive for those of the primary vertex: other "
            "charged ones get the weight 0; null: they are not in the input"
        ),
    )
    start: float = Field(0.7, ge=0.01, le=0.99, description="weight of all particles at the start")
    estimate: Literal["full", "pathwise"] = Field(
        "full",
        description=(
            "of the gradient: unbiased, or its pathwise part, quieter and biased by the score part"
        ),
    )
    learn_radius: bool = Field(True, description="learn R together with the weights, or keep it")
    radius: Radius | None = Field(
        None, description="R at the start, or the R that is kept; null: the global R"
    )
    iterations: int = Field(120, **limits("iterations"), description="of the training")
    batch_events: int = Field(40, **limits("events"), description="events per iteration")
    trees: int = Field(
        32, **limits("trees") | {"ge": 2}, description="trees per event and iteration"
    )
    learning_rate: float = Field(0.15, gt=0, description="Adam's, of the first iteration")
    decay_iterations: float | None = Field(None, gt=0, description="as of the optimiser")
    held_back: float = Field(
        0.3, gt=0, lt=1, description="share of the events that they are scored on, not trained on"
    )
    score_trees: int = Field(
        20, **limits("trees") | {"ge": 2}, description="trees per event on which they are scored"
    )


class JointSection(Section):
    """A network on the constituents of leading jets, trained together with R, for task: joint."""

    network: Annotated[Any, BeforeValidator(named)] = Field(
        "moment_efn",
        description="moment_efn, or {name: moment_efn, order: 2, latent: 2, scale: 1.0, ...}",
        validate_default=True,
    )
    loss: Literal["cross_entropy", "squared_error", "absolute_error"] = Field(
        "cross_entropy",
        description="of classes, or of the prediction of input.truth in its standard deviations",
    )
    classes: tuple[str, ...] | tuple[float, ...] = Field(
        (),
        max_length=MANY,
        description=(
            "datasets of the fileset, or values of input.truth, a class each; the first is the "
            "signal"
        ),
    )
    class_weights: tuple[Annotated[float, Field(ge=1e-9, le=1e9)], ...] | None = Field(
        None, description="factor of the weights of each class's events; null: 1"
    )
    jets: int = Field(1, ge=1, le=20, description="leading jets that the network sees")
    constituents: int = Field(
        64, ge=1, le=1000, description="of a jet that the network sees, in falling pT"
    )
    learn_radius: bool = Field(True, description="learn R together with the network, or keep it")
    radius: Radius | None = Field(
        None, description="R at the start, or the R that is kept; null: the global R"
    )
    network_steps: int = Field(
        10, **limits("iterations"), description="steps of the network for each step of R"
    )
    iterations: int = Field(
        600, **limits("iterations"), description="of the training, each a step of the network"
    )
    batch_events: int = Field(200, **limits("events"), description="events per iteration")
    trees: int = Field(
        8, **limits("trees") | {"ge": 2}, description="trees per event and iteration"
    )
    learning_rate: float = Field(0.01, gt=0, description="Adam's, of the network, at the start")
    radius_rate: float = Field(0.05, gt=0, description="Adam's, of log R, at the start")
    decay_iterations: float | None = Field(200.0, gt=0, description="as of the optimiser")
    held_back: float = Field(
        0.3, gt=0, lt=1, description="share of the events that it is scored on, not trained on"
    )
    score_trees: int = Field(
        20, **limits("trees") | {"ge": 2}, description="trees per event on which it is scored"
    )

    @model_validator(mode="after")
    def _weight_per_class(self) -> JointSection:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: expected different classes")
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise ValueError(
                f"class_weights: expected {len(self.classes)} numbers, one for each of the classes, "
                f"found {len(self.class_weights)}"
            )
        return self
