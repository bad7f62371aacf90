"""The sections of a configuration other than ``input``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import MANY, PathOrUrl, Section, named
from djservice.config.input import Input
from djservice.core.bounds import limits

Radius = Annotated[float, Field(**limits("radius"))]
Rigidity = Annotated[float, Field(**limits("rigidity"))]


class ClusteringSection(Section):
    """Jet algorithm and rigidity of the sampled trees."""

    power: float = Field(
        -1.0, **limits("power"), description="p: -1 anti-kT, 0 Cambridge/Aachen, 1 kT"
    )
    rigidity: float = Field(1.0, **limits("rigidity"), description="alpha")
    scale: Literal["minimum", "safe"] = Field(
        "minimum", description="the published scale, or the infrared-safe one"
    )
    asymmetry: float = Field(1.0, **limits("asymmetry"), description="exponent q of the safe scale")
    learn_rigidity: tuple[Rigidity, Rigidity] | None = Field(
        None, description="[lowest, highest] alpha: learn it together with R; null: it stays"
    )

    @model_validator(mode="after")
    def _inside(self) -> ClusteringSection:
        if (
            self.learn_rigidity
            and not self.learn_rigidity[0] <= self.rigidity <= self.learn_rigidity[1]
        ):
            raise ValueError(
                f"expected rigidity {self.rigidity} within learn_rigidity "
                f"{list(self.learn_rigidity)}"
            )
        return self


class LossTerm(Section):
    """One term of the loss."""

    kind: Literal[
        "squared_error", "bounded_error", "squared_error_of_mean", "width", "robust_width"
    ] = Field(
        "squared_error",
        description=(
            "error of each tree, the same with a bound, or error of the mean over trees; or without "
            "a target variance / mean^2, or central 68 % / median"
        ),
    )
    observable: Annotated[Any, BeforeValidator(named)] = Field(
        {"name": "dijet_mass"}, description="name, {name: ..., parameters} or my_file.py:function"
    )
    target: float | None = Field(
        None, description="in the observable's units; null for each event's truth"
    )
    scale: float | None = Field(
        1.0,
        gt=0,
        description=(
            "what the error, or in a width the observable, is divided by; null for the "
            "target or the truth"
        ),
    )
    cuts: tuple[Annotated[Any, BeforeValidator(named)], ...] = Field(
        (), max_length=MANY, description="selection of trees: all must pass"
    )
    coefficient: float = Field(1.0, description="of this term in the sum")
    bound: float = Field(
        0.25, gt=0, description="largest value of a bounded_error, u / (1 + u / bound)"
    )
    range: tuple[float, float] = Field(
        (0.0, 250.0), description="of the histogram of a robust_width"
    )
    bins: int = Field(50, **limits("bins"), description="of that histogram")

    @model_validator(mode="after")
    def _only_errors_have_a_target(self) -> LossTerm:
        if self.kind in ("width", "robust_width") and self.target is not None:
            raise ValueError(f"a {self.kind} has no target, found {self.target}")
        return self


class RadiusSection(Section):
    """Start and bounds of the radius."""

    start: float = Field(1.0, **limits("radius"), description="R of the first iteration")
    minimum: float = Field(0.1, **limits("radius"), description="lower bound")
    maximum: float = Field(2.0, **limits("radius"), description="upper bound")
    reference_pt: float | None = Field(
        None,
        ge=1e-3,
        le=1e6,
        description=(
            "GeV; variable-R jets: R is that of objects with this pT, others have R "
            "reference_pt / pT"
        ),
    )
    reach: tuple[Annotated[float, Field(ge=0)], Radius] = Field(
        (0.1, 1.5), description="variable-R jets: bounds of an object's radius"
    )

    @model_validator(mode="after")
    def _ordered(self) -> RadiusSection:
        if not self.reach[0] < self.reach[1]:
            raise ValueError(f"expected reach as [lowest, highest], found {list(self.reach)}")
        if not self.minimum <= self.start <= self.maximum:
            raise ValueError(
                f"expected minimum <= start <= maximum, found {self.minimum}, {self.start}, "
                f"{self.maximum}"
            )
        return self


class OptimiserSection(Section):
    """Gradient descent in the radius."""

    kind: Literal["adam", "momentum", "sgd"] = Field("adam", description="update rule, on log R")
    learning_rate: float = Field(0.05, gt=0, description="of the first iteration")
    decay_iterations: float | None = Field(
        25.0, gt=0, description="the rate is divided by 1 + iteration / this; null: constant"
    )
    iterations: int = Field(80, **limits("iterations"), description="number of iterations")
    batch_events: int = Field(100, **limits("events"), description="events per iteration")
    trees: int = Field(10, **limits("trees"), description="trees per event and iteration")
    averaging_start: int | None = Field(
        None, ge=0, description="first iteration of the average of log R; null: half"
    )
    tolerance: float | None = Field(
        None, gt=0, description="stop when the averaged R stands still to this; null: never"
    )


class ScanSection(Section):
    """The loss on a grid of radii, over all events, after the optimisation."""

    radii: tuple[Radius, ...] = Field(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2), min_length=4, description="grid of R"
    )
    trees: int = Field(10, **limits("trees") | {"ge": 2}, description="trees per event and radius")

    @model_validator(mode="after")
    def _distinct(self) -> ScanSection:
        if len(set(self.radii)) < len(self.radii):
            raise ValueError("expected radii that differ from each other")
        return self


class SpectrumSection(Section):
    """The observable's distribution over all events, at the start, the optimum and these radii."""

    radii: tuple[Radius, ...] = Field((0.65, 1.0), description="radii beside start and optimum")
    trees: int = Field(20, **limits("trees") | {"ge": 2}, description="trees per event and radius")


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


class OutputSection(Section):
    """Store and report of the run."""

    store: PathOrUrl = Field(
        description="Zarr store: a folder, or a URL such as s3://bucket/run.zarr"
    )
    report: str | None = Field(None, description="HTML report; null: the store's name with .html")


class ClusterSection(Section):
    """Cluster and device of the run. They change no number, except for the rounding of a GPU."""

    scheduler: PathOrUrl | None = Field(
        None, description="address of a Dask scheduler; null starts one on this machine"
    )
    workers: int | None = Field(
        None,
        **limits("threads"),
        description="worker processes of an embedded cluster; null: one per processor",
    )
    threads: int | None = Field(
        None,
        **limits("threads"),
        description="threads per worker process of an embedded cluster; null: 1",
    )

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where trees grow; auto: on GPUs if there are any"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ClusterSection:
        if self.scheduler is not None and (self.workers is not None or self.threads is not None):
            raise ValueError(
                "workers and threads are those of a cluster on this machine; a scheduler has its "
                "own"
            )
        return self
