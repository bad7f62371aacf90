"""Configuration of ``djservice reprocess``, read from YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from djservice.config.base import Section, without_credentials
from djservice.config.explanations import explained
from djservice.config.input import Input
from djservice.config.run import Run
from djservice.core.bounds import BOUNDS
from djservice.core.plain_data import read_yaml
from djservice.errors import ConfigError


class Reprocessing(Section):
    """A fit, the files that it is applied to, and the folder of the results."""

    run: str = Field(
        description="YAML file of the run that is fitted; its output.store is not used"
    )
    folder: str = Field(
        description="folder of the results; the link `latest` in it leads to the last one"
    )
    apply: Input | None = Field(None, description="files that the fit is applied to, one by one")
    lease: float = Field(
        120.0,
        gt=0,
        le=BOUNDS["seconds"].high,
        description="seconds after which the lock of a dead process may be taken over",
    )

    @model_validator(mode="after")
    def _whole_files(self) -> Reprocessing:
        if self.apply is not None and self.apply.entries is not None:
            raise ValueError(
                "apply.entries: the fit is applied to all entries of a file; remove this key"
            )
        if self.apply is not None and self.apply.fileset is not None:
            raise ValueError(
                "apply.fileset: the fit is applied to files one by one; name them in apply.files"
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> Reprocessing:
        """Read a configuration from a YAML file.

        Raises
        ------
        ConfigError
            If the file is missing, is not YAML, or has missing, unknown or invalid keys.
        """
        data = read_yaml(path, ". Correct the path.")
        if not isinstance(data, dict) or "run" not in data:
            raise ConfigError(
                f"{path}: expected the keys run and folder, and optionally apply and lease. Write "
                "the configuration of the run to a separate file, and name that file in the key "
                "run."
            )
        try:
            return cls.model_validate(without_credentials(data))
        except ValidationError as error:
            raise ConfigError(f"{path}: {explained(error, cls, 'reprocessing')}") from None

    def read_run(self, overrides: Sequence[str] = ()) -> Run:
        """The run that is fitted.

        Raises
        ------
        ConfigError
            If its YAML file is missing or invalid.
        """
        return Run.from_yaml(self.run, overrides)
