"""What is to be made, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from djservice.config.run import Run
from djservice.core.provenance import code_hash
from djservice.core.redact import redacted_data
from djservice.input.fileset import load_fileset
from djservice.reprocessing.config import Reprocessing
from djservice.reprocessing.file_identity import FileIdentity, digest, identify


@dataclass(frozen=True)
class Plan:
    """What the latest result is to be made from.

    Attributes
    ----------
    inputs
        Files of the fit: their identities by the section of the run.
    fit
        Its name: a digest of files, settings and code.
    files
        Files that it is applied to, as they are read -> their identities.
    names
        Of what comes of these files, in the same order: digests of file, settings and fit.
    settings
        A digest of the settings.
    """

    inputs: dict[str, list[FileIdentity]]
    fit: str
    files: dict[str, FileIdentity]
    names: tuple[str, ...]
    settings: str

    @property
    def name(self) -> str:
        """The same for the same files, settings and code."""
        return digest([self.fit, self.names])

    @property
    def fit_store(self) -> str:
        """Where the fit is, relative to the folder."""
        return f"fits/{self.fit}.zarr"

    @property
    def applied(self) -> dict[str, str]:
        """File as it is read -> where what comes of it is, relative to the folder."""
        return {
            file: f"applied/{name}.zarr" for file, name in zip(self.files, self.names, strict=True)
        }


def make_plan(settings: Reprocessing, run: Run) -> Plan:
    """Look at all inputs, without reading any.

    Raises
    ------
    DjserviceError
        If an input is not there.
    """
    inputs = {name: list(identify(section).values()) for name, section in run.inputs.items()}
    asked = run.numbers | {"iterations": [run.optimiser.iterations, run.radius_model.iterations]}
    filesets = {
        name: load_fileset(section.fileset)
        for name, section in run.inputs.items()
        if section.fileset is not None
    }
    asked |= {"filesets": redacted_data(filesets)}  # weights, trees and ranges of entries
    fit = digest(
        [asked, [[name, *map(asdict, files)] for name, files in inputs.items()], code_hash()]
    )
    files, how = {}, None
    if settings.apply is not None:
        files, how = (
            identify(settings.apply),
            settings.apply.model_dump(exclude={"files", "cache", "timeout"}),
        )
    names = tuple(digest([fit, how, asdict(file)]) for file in files.values())
    return Plan(inputs, fit, files, names, digest([asked, how]))
