"""Reprocessing: the configuration of ``djservice reprocess``. YAML in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from djservice.config.base import Section, explained
from djservice.config.input import Input
from djservice.config.run import Run
from djservice.errors import ConfigError


class Reprocessing(Section):
    """What is looked after: a fit, the files that it is applied to, and where results are kept."""

    run: str = Field(
        description="YAML file of the run that is fitted; its output.store is not used"
    )
    folder: str = Field(description="where results are kept; `latest` in it leads to the last one")
    apply: Input | None = Field(
        None, description="files that the fit is applied to, each by itself"
    )
    lease: float = Field(
        120.0, gt=0, description="seconds after which the lock of a dead process may be taken"
    )

    @model_validator(mode="after")
    def _whole_files(self) -> Reprocessing:
        if self.apply is not None and self.apply.entries is not None:
            raise ValueError("apply.entries: files are applied whole, leave it out")
        if self.apply is not None and self.apply.fileset is not None:
            raise ValueError(
                "apply.fileset: each file is applied by itself, name them in apply.files"
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> Reprocessing:
        """A reprocessing from a YAML file.

        Raises
        ------
        ConfigError
            If the file is not there, is not YAML, or has keys that are missing, unknown or wrong.
        """
        try:
            data = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid YAML: {error}") from None
        if not isinstance(data, dict) or "run" not in data:
            raise ConfigError(
                f"{path}: expected the keys run and folder, and perhaps apply and lease. A configuration of a run goes into a "
                "file of its own, and its name into the key run."
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(f"{path}: {explained(error, cls, 'reprocessing')}") from None

    def read_run(self, overrides: Sequence[str] = ()) -> Run:
        """The run that is fitted.

        Raises
        ------
        ConfigError
            As :meth:`djservice.config.run.Run.from_yaml`.
        """
        return Run.from_yaml(self.run, overrides)
