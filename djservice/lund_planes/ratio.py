"""LundRatio: the Lund plane of data over that of a simulation, and its file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from djservice.core.atomic import write_text
from djservice.core.checksums import document_of, of_json, sealed, unsealed
from djservice.core.regular import in_the_way, read_regular
from djservice.core.typing import Floats
from djservice.errors import InputError, InputFileError, MissingFileError
from djservice.lund_planes.binning import Binning, PlaneSums, ratio_of
from djservice.lund_planes.ratio_table import RatioTable

FORMAT, VERSION = "djservice lund ratio", 1
#: What a file begins with, in lower case.
_START = b'{"format": "djservice lund ratio"'
#: Names that uncertainties of every ratio have, or sums of them.
_TAKEN = frozenset(
    ("statistics", "extrapolation", "b_quarks", "prongs", "unmatched", "distortion")
) | {"total", "weights"}


@dataclass(frozen=True)
class LundRatio:
    """The ratio of two Lund planes with its variations.

    Attributes
    ----------
    binning
        Its bins.
    nominal
        The ratio.
    variations
        By the name of a systematic uncertainty, the ratios up and down.
    simulation
        The plane of the simulation, against which that of another sample is compared; or None.
    b_quarks
        Ratio of the plane of b quarks to that of light quarks, shape (pt, x, y), or None.
    origin
        Plain data on the samples, such as their jets.
    """

    binning: Binning
    nominal: RatioTable
    variations: Mapping[str, tuple[RatioTable, RatioTable]] = field(default_factory=dict)
    simulation: PlaneSums | None = None
    b_quarks: Floats | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: PlaneSums,
        simulation: PlaneSums,
        binning: Binning,
        *,
        variations: Mapping[str, tuple[PlaneSums, PlaneSums]] | None = None,
        b_quarks: tuple[PlaneSums, PlaneSums] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> LundRatio:
        """The ratio of planes, each divided by its number of subjets.

        Parameters
        ----------
        data, simulation
            Planes of data, less their background, and of the simulation.
        binning
            Their bins.
        variations
            By name, planes of the simulation varied up and down.
        b_quarks
            Planes of b quarks and of light quarks.
        origin
            See the attribute.

        Raises
        ------
        InputError
            If a plane has other bins, there is no subjet, or a variation no usable name.
        """
        need_names(variations or ())
        planes = {"data": data, "simulation": simulation}
        for name, pair in (variations or {}).items():
            planes |= {f"{name} up": pair[0], f"{name} down": pair[1]}
        if b_quarks is not None:
            planes |= {"b quarks": b_quarks[0], "light quarks": b_quarks[1]}
        for name, plane in planes.items():
            _check_plane(plane, binning, name)

        def table(one: PlaneSums, other: PlaneSums) -> RatioTable:
            return RatioTable.of(*ratio_of(one, other), binning)

        return cls(
            binning,
            table(data, simulation),
            {
                name: (table(data, up), table(data, down))
                for name, (up, down) in (variations or {}).items()
            },
            simulation,
            None if b_quarks is None else ratio_of(*b_quarks)[0],
            origin or {},
        )

    def write(self, path: str | Path) -> None:
        """Write the file, atomically.

        Raises
        ------
        InputFileError
            If it cannot be written, or something else is there.
        """
        path = Path(path).expanduser()
        need_free(path)
        try:
            write_text(path, json.dumps(sealed(self._document()), allow_nan=False) + "\n")
        except OSError as error:
            raise InputFileError(
                f"{path}: cannot be written: {error.strerror or error}."
            ) from error

    @property
    def digest(self) -> int:
        """Checksum of all numbers, by which runs know a ratio."""
        return of_json(self._document())

    def _document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "binning": asdict(self.binning),
            "nominal": _plain(self.nominal),
            "variations": {
                name: [_plain(table) for table in pair] for name, pair in self.variations.items()
            },
            "simulation": None if self.simulation is None else _plain(self.simulation),
            "b_quarks": None if self.b_quarks is None else self.b_quarks.tolist(),
            "origin": dict(self.origin),
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LundRatio:
        """Read a file that :meth:`write` or ``djservice lund measure`` wrote.

        Raises
        ------
        InputFileError
            If it is missing, damaged, or of another version.
        InputError
            If its numbers are not of its binning, or the path is none.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(f"ratio is {path!r}, expected a LundRatio or the path of its file.")
        try:
            document = unsealed(document_of(read_regular(os.fspath(path))))
        except FileNotFoundError:
            raise MissingFileError(
                f"{path}: there is no Lund ratio. Make one: djservice lund measure."
            ) from None
        except (OSError, ValueError) as error:
            raise InputFileError(
                f"{path}: expected a file of `djservice lund measure`, but it {_reason(error)}."
            ) from error
        if document.get("format") != FORMAT or document.get("version") != VERSION:
            raise InputFileError(
                f"{path}: expected {FORMAT!r} of version {VERSION}, found "
                f"{document.get('format')!r} of version {document.get('version')!r}. Measure it "
                "again with this version of djservice."
            )
        try:
            return cls._of_document(document, str(path))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputFileError(f"{path}: is not whole: {error!r}. Measure it again.") from error

    @classmethod
    def _of_document(cls, document: Mapping[str, Any], path: str) -> LundRatio:
        bins = {
            name: tuple(edges) for name, edges in document["binning"].items() if name != "radius"
        }
        binning = Binning(**bins, radius=document["binning"]["radius"])

        def table(plain: Mapping[str, Any], what: str) -> RatioTable:
            return RatioTable(**_arrays(plain)).check(binning, f"{path}: {what}")

        simulation = document["simulation"]
        if simulation is not None:
            simulation = PlaneSums(**_arrays(simulation))
            _check_plane(simulation, binning, f"{path}: simulation")
        need_names(document["variations"], f"{path}: ")
        b_quarks = document["b_quarks"]
        if b_quarks is not None:
            b_quarks = np.asarray(b_quarks, np.float64)
            zero = RatioTable.of(np.ones(binning.shape), np.ones(binning.shape), binning)
            RatioTable(b_quarks, zero.error, zero.coefficients, zero.covariance).check(
                binning, f"{path}: b_quarks"
            )
        return cls(
            binning,
            table(document["nominal"], "nominal"),
            {
                name: (table(pair[0], f"{name} up"), table(pair[1], f"{name} down"))
                for name, pair in document["variations"].items()
            },
            simulation,
            b_quarks,
            document["origin"],
        )


def need_free(path: Path) -> None:
    """Refuse to replace another file than a Lund ratio.

    Raises
    ------
    InputFileError
        If it is there.
    """
    if other := in_the_way(path, _START):
        raise InputFileError(
            f"{path}: expected no file or a Lund ratio, found {other}. Choose another name."
        )


def need_names(names: Iterable[str], place: str = "") -> None:
    """Refuse names of variations that name no column or file, or that something else has.

    Raises
    ------
    InputError
        If there is one.
    """
    for name in names:
        if not re.fullmatch(r"\w{1,60}", name, flags=re.ASCII) or name in _TAKEN:
            raise InputError(
                f"{place}variation {name!r}: expected a name of letters, digits and underscores, "
                f"other than {', '.join(sorted(_TAKEN))}. Choose another name."
            )


def _plain(numbers: RatioTable | PlaneSums) -> dict[str, Any]:
    return {name: values.tolist() for name, values in vars(numbers).items()}


def _arrays(plain: Mapping[str, Any]) -> dict[str, Floats]:
    return {name: np.asarray(values, np.float64) for name, values in plain.items()}


def _reason(error: Exception) -> str:
    text = str(error)
    return text if text.startswith(("has", "is", "does")) else f"cannot be read: {text}"


def _check_plane(plane: PlaneSums, binning: Binning, what: str) -> None:
    """Refuse sums of another binning, or of no subjets."""
    shapes = plane.subjets.shape, plane.emissions.shape, plane.squares.shape
    if shapes != (binning.shape[:1], binning.shape, binning.shape):
        raise InputError(
            f"{what}: the plane has shape {plane.emissions.shape}, expected {binning.shape}, the "
            "bins of subjet pT, x and y: it is of another binning. Measure both with one binning."
        )
    if not all(np.isfinite(getattr(plane, name)).all() for name in vars(plane)):
        raise InputError(f"{what}: the sums of the plane are not finite.")
    if not plane.subjets.sum() > 0.0:
        raise InputError(
            f"{what}: there is no subjet with a positive weight. Loosen the selection of its jets."
        )
