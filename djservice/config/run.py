"""Run: the full definition of a run, as a frozen tree of strict models. YAML in, YAML out."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import MANY, as_tuple, named
from djservice.config.document import Document
from djservice.config.input import Input
from djservice.config.objective import ObjectiveSection
from djservice.config.python_file import names_file, split_name
from djservice.config.robust import RobustSection
from djservice.config.sections import (
    ClusteringSection,
    ClusterSection,
    LossTerm,
    OptimiserSection,
    OutputSection,
    RadiusSection,
    ScanSection,
    SpectrumSection,
)
from djservice.config.task_sections import (
    JointSection,
    ParticleWeightsSection,
    PerEventSection,
    RadiusModelSection,
)
from djservice.core.bounds import limits
from djservice.core.html_table import html_table
from djservice.core.private import public
from djservice.errors import ConfigError

#: Sections that belong to one task each, of the same name.
TASK_SECTIONS = ("per_event", "radius_model", "particle_weights", "joint")


class Run(Document):
    """A run: input, clustering, loss, optimisation, output and cluster."""

    noun: ClassVar[str] = "run"
    start: ClassVar[str] = "; `djservice init` writes a file to start from."

    task: Literal["global", "per-event", "radius-model", "particle-weights", "joint"] = Field(
        "global",
        description=(
            "one radius for all events, or after it one for each, one as a function of features, "
            "weights of the particles, or a network on jets together with R"
        ),
    )
    input: Input
    clustering: ClusteringSection = ClusteringSection()
    loss: Annotated[tuple[LossTerm, ...], BeforeValidator(as_tuple)] = Field((), max_length=MANY)
    objective: ObjectiveSection | None = Field(
        None, description="instead of a loss, what is maximised: docs/guides/information.md"
    )
    robust: RobustSection = RobustSection()
    estimator: Annotated[Any, BeforeValidator(named)] = Field(
        {"name": "state_baseline"}, description="of the gradient: name, or {name: ..., parameters}"
    )
    radius: RadiusSection = RadiusSection()
    optimiser: OptimiserSection = OptimiserSection()
    scan: ScanSection = ScanSection()
    spectrum: SpectrumSection = SpectrumSection()
    per_event: PerEventSection = PerEventSection()
    radius_model: RadiusModelSection = RadiusModelSection()
    particle_weights: ParticleWeightsSection = ParticleWeightsSection()
    joint: JointSection = JointSection()
    seed: int = Field(1, **limits("seed"), description="of all random numbers")
    output: OutputSection
    cluster: ClusterSection = ClusterSection()

    @model_validator(mode="after")
    def _loss_or_objective(self) -> Run:
        if bool(self.loss) == (self.objective is not None):
            raise ValueError(
                "missing key loss; or give objective in its place"
                if self.objective is None
                else "expected one of loss, which is minimised, and objective, which is maximised"
            )
        return self

    @property
    def terms(self) -> dict[str, LossTerm | ObjectiveSection]:
        """The terms of the loss, or the objective, by their places in the configuration."""
        if self.objective is not None:
            return {"objective": self.objective}
        return {f"loss[{i}]": term for i, term in enumerate(self.loss)}

    @model_validator(mode="before")
    @classmethod
    def _safe_scale_for_weights(cls, data: Any) -> Any:
        """On the published scale a weight near 0 is not the same as no particle."""
        if isinstance(data, Mapping) and data.get("task") == "particle-weights":
            clustering = data.get("clustering", {})
            if isinstance(clustering, Mapping):
                data = {**data, "clustering": {"scale": "safe", **clustering}}
        return data

    def to_dict(self) -> dict[str, Any]:
        """The run as plain data, which :meth:`from_dict` reads. URLs are without credentials.

        Python observables and cuts are replaced by name and hash of their source.
        """
        data = self.model_dump(mode="python", by_alias=True)
        # The sections have the Python objects, which the dump takes apart.
        terms = data["loss"] or [data["objective"]]
        for term, section in zip(terms, self.terms.values(), strict=True):
            term["observable"] = _plain(section.observable)
            term["cuts"] = [_plain(cut) for cut in section.cuts]
        for name in ("radius_model", "particle_weights"):
            section = getattr(self, name)
            data[name]["model"] = _plain(section.model)
            data[name]["features"] = [_plain(feature) for feature in section.features]
        data["joint"]["network"] = _plain(self.joint.network)
        plain: dict[str, Any] = public(data)
        return plain

    def _repr_html_(self) -> str:
        settings = self.to_dict()
        sections = {name: settings[name] for name in settings if name in self.model_fields_set}
        return html_table("Run", {name: _lines(section) for name, section in sections.items()})

    def to_yaml(self) -> str:
        """The run as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @property
    def inputs(self) -> dict[str, Input]:
        """All inputs of the run, by the names of their sections."""
        checks = self.radius_model.checks if self.task == "radius-model" else {}
        return {
            "input": self.input,
            **{f"radius_model.checks.{name}": section for name, section in checks.items()},
        }

    @property
    def observable_files(self) -> tuple[tuple[str, str], ...]:
        """Keys and paths of the files that observables and Lund weights read."""
        of_terms = tuple(
            (f"{where}.observable.{key}", path)
            for where, term in self.terms.items()
            for key, path in files_of(term.observable).items()
        )
        return of_terms + tuple(
            (f"{name}.lund_weights.ratio", section.lund_weights.ratio)
            for name, section in self.inputs.items()
            if section.lund_weights is not None
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """The settings that affect numbers, flat: ``section.key`` -> value.

        A store is continued only if these agree. Omitted are the cluster and the output, the names
        of the inputs (their identities are compared instead), and ``iterations``, which may be
        raised to continue a run.
        """
        omitted = {"cluster", "output", "task", *TASK_SECTIONS}
        if self.task != "global":
            omitted -= {"task", self.task.replace("-", "_")}
        flat = _flatten({key: value for key, value in self.to_dict().items() if key not in omitted})
        sections = ("input", *(f"radius_model.checks.{name}" for name in self.radius_model.checks))
        names = tuple(
            f"{section}.{key}"
            for section in sections
            for key in ("files", "fileset", "cache", "timeout")
        )
        # The content of files of observables is compared, and not their paths.
        names += tuple(key for key, _ in self.observable_files)
        described = ("optimiser", "radius_model", "particle_weights", "joint")
        skipped = (*(f"{section}.iterations" for section in described), *names)
        return {
            key: value
            for key, value in flat.items()
            if key not in skipped and not key.startswith(tuple(f"{name}." for name in names))
        }


def _lines(section: Any) -> str:
    """A section with a line for each of its settings that holds something."""
    if not isinstance(section, dict):
        return str(section)
    return "\n".join(f"{key}: {value}" for key, value in section.items() if value not in (None, ""))


def as_run(run: Run | str | Path) -> Run:
    """A run unchanged, or that of a YAML file.

    Raises
    ------
    ConfigError
        If it is neither, or as in :meth:`Run.from_yaml`.
    """
    if isinstance(run, (str, Path)):
        return Run.from_yaml(run)
    if not isinstance(run, Run):
        raise ConfigError(
            f"run is {reprlib.repr(run)}, expected a djservice.Run or the path of its YAML file. "
            "Run.from_dict(settings) makes one in Python."
        )
    return run


def files_of(value: Any) -> dict[str, str]:
    """Parameters of an observable that are paths; the name, if it is a function in a file."""
    if names_file(value):
        return {"name": split_name(value["name"])[0]}
    if not isinstance(value, Mapping) or value.get("name") != "onnx":
        return {}
    return {key: value[key] for key in ("model", "preprocess") if isinstance(value.get(key), str)}


def _plain(value: Any) -> Any:
    """An observable, a cut, a feature or a radius model as plain data."""
    if isinstance(value, Mapping):
        return dict(value)
    from djservice.core.fingerprints import fingerprint

    text = getattr(value, "fingerprint", None)
    text = text if isinstance(text, str) else fingerprint(value.function)
    return {"python": text, "title": value.name}


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            k: v
            for key, item in value.items()
            for k, v in _flatten(item, f"{prefix}.{key}" if prefix else key).items()
        }
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return {
            k: v
            for i, item in enumerate(value)
            for k, v in _flatten(item, f"{prefix}[{i}]").items()
        }
    return {prefix: value}
