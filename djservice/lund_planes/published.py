"""read_ratio(path): a ratio from its file, also the ROOT file of the published corrections."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from djservice.core.private import full_url, private_url
from djservice.core.redact import message_of, shareable
from djservice.core.typing import Floats
from djservice.core.urls import basename
from djservice.errors import InputFileError, MissingFileError
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.ratio_table import RatioTable

#: Histograms beside the ratio, with its bins.
_HISTOGRAMS = {"mc_nom", "ratio_sys_tot_up", "ratio_sys_tot_down", "h_bl_ratio"}


def read_ratio(path: str | os.PathLike[str]) -> LundRatio:
    """The ratio of a file of ``djservice lund measure``, or of a ``.root`` file of :func:`read_root`.

    Raises
    ------
    InputFileError
        If it is missing, damaged or no such file.
    InputError
        If its numbers are not of its binning, or the path is none.
    """
    if isinstance(path, (str, os.PathLike)) and basename(os.fspath(path)).endswith(".root"):
        return read_root(os.fspath(path))
    return LundRatio.read(path)


def read_root(path: str) -> LundRatio:
    """The ratio in a file, with its systematic uncertainties and fits if it has them.

    Raises
    ------
    InputFileError
        If it cannot be read, or has no three-dimensional ``ratio_nom``.
    """
    import uproot

    path = private_url(path)
    try:
        with uproot.open(full_url(path)) as file:
            return _ratio(file, path)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no file.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(
            f"{path}: cannot be read as a Lund ratio: {message_of(error)}."
        ) from shareable(error)


def _ratio(file: Any, path: str) -> LundRatio:
    names = {name.split(";")[0] for name in file.keys(recursive=False)}
    if "ratio_nom" not in names:
        raise InputFileError(
            f"{path}: expected a histogram ratio_nom, found {', '.join(sorted(names)) or 'nothing'}."
        )
    edges = _edges(file, "ratio_nom")
    if len(edges) != 3:
        raise InputFileError(
            f"{path}: ratio_nom has {len(edges)} axes, expected subjet pT, ln(0.8 / Delta) and "
            "ln(kT / GeV)."
        )
    for name in sorted(names & _HISTOGRAMS):
        _need_bins(file, path, name, edges)
    pt, x, y = (tuple(map(float, each)) for each in edges)
    binning = Binning(pt[:-1], x, y)
    nominal = _table(file, "ratio_nom", "func_", binning)
    variations = {}
    pair = ("ratio_sys_tot_up", "ratio_sys_tot_down")
    if names.issuperset(pair):
        tables = [
            _table(file, name, f"func_sys_tot_{way}_", binning)
            for name, way in zip(pair, ("up", "down"), strict=True)
        ]
        variations["systematics"] = (tables[0], tables[1])
    simulation = None
    if "mc_nom" in names:  # of each bin of pT, divided by its number of subjets
        values = np.asarray(file["mc_nom"].values(), np.float64)
        errors = np.asarray(file["mc_nom"].errors(), np.float64)
        simulation = PlaneSums(np.ones(len(values)), values, errors**2)
    b_quarks = _values(file["h_bl_ratio"], binning)[0] if "h_bl_ratio" in names else None
    return LundRatio(
        binning, nominal, variations, simulation, b_quarks, {"file": basename(str(path))}
    )


def _edges(file: Any, name: str) -> list[Floats]:
    """The edges of the axes of a histogram."""
    return [np.asarray(axis.edges(), np.float64) for axis in file[name].axes]


def _need_bins(file: Any, path: str, name: str, expected: list[Floats]) -> None:
    """Refuse a histogram of another binning than the ratio; a plane has no axis of pT."""
    found = _edges(file, name)
    same = len(found) in (2, 3) and all(
        len(one) == len(other) and np.allclose(one, other)
        for one, other in zip(found, expected[-len(found) :], strict=True)
    )
    if not same:
        bins = (" x ".join(str(len(axis) - 1) for axis in axes) for axes in (found, expected))
        raise InputFileError(
            f"{path}: {name} is of another binning than ratio_nom: expected its edges, found "
            f"{next(bins)} bins for {next(bins)}, or others of the same number. Take the file as "
            "it was published."
        )


def _values(histogram: Any, binning: Binning) -> tuple[Floats, Floats]:
    """Ratios and errors, 1 and 1 in empty bins; a plane is the same for all pT."""
    values, errors = (np.asarray(f(), np.float64) for f in (histogram.values, histogram.errors))
    values, errors = (np.broadcast_to(a, binning.shape) for a in (values, errors))
    filled = values > 1e-6
    return np.where(filled, values, 1.0), np.where(filled, errors, 1.0)


def _table(file: Any, name: str, prefix: str, binning: Binning) -> RatioTable:
    """A ratio with the fits that start with a prefix, or with its own where there are none."""
    table = RatioTable.of(*_values(file[name], binning), binning)
    folder = file.get("pt_extrap", {})
    coefficients, covariance = table.coefficients.copy(), table.covariance.copy()
    for i in range(coefficients.shape[0]):
        for j in range(coefficients.shape[1]):
            key = f"{prefix}{i + 1}_{j + 1}"
            if key in folder:
                function = folder[key]
                parameters = np.asarray(function.member("fFormula").member("fClingParameters"))
                errors = np.asarray(function.member("fParErrors"))
                count = min(len(parameters), 3)
                coefficients[i, j], covariance[i, j] = 0.0, 0.0
                coefficients[i, j, :count] = parameters[:count]
                covariance[i, j, :count, :count] = np.diag(errors[:count] ** 2)
    checked = RatioTable(table.value, table.error, coefficients, covariance)
    return checked.check(binning, name)
