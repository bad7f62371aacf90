"""Plan of a reprocessing: the inputs, and the names of the stores to make from them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from djservice.config.run import Run
from djservice.core.private import public
from djservice.core.provenance import code_hash
from djservice.core.python_sources import source_digest
from djservice.core.redact import message_of
from djservice.errors import ConfigError
from djservice.input.fileset import load_fileset
from djservice.reprocessing.config import Reprocessing
from djservice.reprocessing.file_identity import FileIdentity, digest, identify


@dataclass(frozen=True)
class Plan:
    """Inputs of an up-to-date result, and the names of its stores.

    Attributes
    ----------
    inputs
        Identities of the files of the fit, by section of the run.
    fit
        Name of the fit: a digest of files, settings and code.
    files
        Identities of the files that the fit is applied to, by path.
    names
        Names of the stores of these files, in the same order: digests of file, settings and fit.
    settings
        Digest of the settings.
    """

    inputs: dict[str, list[FileIdentity]]
    fit: str
    files: dict[str, FileIdentity]
    names: tuple[str, ...]
    settings: str

    @property
    def name(self) -> str:
        """Name of the result: a digest of files, settings and code."""
        return digest([self.fit, self.names])

    @property
    def fit_store(self) -> str:
        """Path of the fit's store, relative to the folder."""
        return f"fits/{self.fit}.zarr"

    @property
    def applied(self) -> dict[str, str]:
        """Paths of the stores of the files, relative to the folder, by path of the file."""
        return {
            file: f"applied/{name}.zarr" for file, name in zip(self.files, self.names, strict=True)
        }


def _content(key: str, path: str) -> str:
    """Hash of a file that an observable reads, or of a Lund ratio."""
    file = Path(path).expanduser()
    try:
        if file.suffix == ".py":
            return source_digest(file)
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{key}: {path}: cannot be read: {message_of(error)}.") from None


def make_plan(settings: Reprocessing, run: Run) -> Plan:
    """Plan a reprocessing from the identities of all inputs; none of them is read.

    Raises
    ------
    DjserviceError
        If an input is missing.
    """
    if run.task == "joint":
        raise ConfigError(
            "task joint has no values of an observable to write for new files, so it cannot be "
            "reprocessed. Use the learned R (store: joint, radius) in a global run, and its network "
            "as an observable."
        )
    inputs = {name: list(identify(section).values()) for name, section in run.inputs.items()}
    settings_data = run.numbers | {
        "iterations": [
            run.optimiser.iterations,
            run.radius_model.iterations,
            run.particle_weights.iterations,
        ]
    }
    filesets = {
        name: load_fileset(section.fileset)
        for name, section in run.inputs.items()
        if section.fileset is not None
    }
    settings_data |= {f"{key}.content": _content(key, path) for key, path in run.observable_files}
    settings_data |= {"filesets": public(filesets)}  # weights, trees and ranges of entries
    fit = digest(
        [
            settings_data,
            [[name, *map(asdict, files)] for name, files in inputs.items()],
            code_hash(),
        ]
    )
    files: dict[str, FileIdentity] = {}
    apply_settings: dict[str, Any] | None = None
    if settings.apply is not None:
        files = identify(settings.apply)
        apply_settings = settings.apply.model_dump(exclude={"files", "cache", "timeout"})
        if settings.apply.lund_weights is not None:
            ratio = settings.apply.lund_weights.ratio
            apply_settings["lund_weights.content"] = _content("apply.lund_weights.ratio", ratio)
    names = tuple(digest([fit, apply_settings, asdict(file)]) for file in files.values())
    return Plan(inputs, fit, files, names, digest([settings_data, apply_settings]))
