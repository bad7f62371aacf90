"""The sections that all tasks share, other than ``input``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import MANY, PathOrUrl, Section, named
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
