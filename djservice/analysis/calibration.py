"""``dj.calibrate``: the value that made an observable most likely, its resolution, and information.

The result does not depend on how the true values are distributed, unlike the mean of the truth at
an observed value, which a regression finds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from djservice.core.arguments import checked_arguments
from djservice.core.atomic import written_aside
from djservice.core.bounds import require
from djservice.core.formatting import counted
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.core.regular import in_the_way, read_regular
from djservice.core.typing import Floats
from djservice.errors import InputError, MissingFileError

#: Fewest events of a calibration: a fifth of them measures the information.
FEWEST = 500
#: Smallest -C where the truth has variance 1: no resolution is worse than ten times its spread.
FLATTEST = 0.01
#: Format of saved calibrations.
FORMAT = 1
#: Weights and biases of the layers of a network.
Layers = Sequence[tuple[Floats, Floats]]


@dataclass(frozen=True)
class Calibration:
    """Calibration of observables x of an event to a true value z (:func:`djservice.calibrate`).

    Attributes
    ----------
    information
        Mutual information of x and z in nats, from events that were held back from the training.
    information_error
        Its standard error over these events. A network that has not learned all of it is another
        reason for a value that is too low.
    features
        Number of observables of an event.
    truth_range
        Smallest and largest true value of the training. Beyond these, results are extrapolated.

    Examples
    --------
    >>> calibration = dj.calibrate(mass, true_mass)  # one number of each event, GeV
    >>> calibration.zhat(new_mass), calibration.sigma(new_mass)
    """

    information: float
    information_error: float
    features: int
    truth_range: tuple[float, float]
    _networks: Mapping[str, Layers]
    _shifts: tuple[Floats, Floats]

    def __repr__(self) -> str:
        return (
            f"Calibration({counted(self.features, 'observable')}, information {self.information:.3f} +- "
            f"{self.information_error:.3f} nats)"
        )

    def zhat(self, values: ArrayLike) -> Floats:
        """Most likely true value of each event, shape (event,), in the unit of the truth.

        Parameters
        ----------
        values
            Shape (event,), or (event, feature) with several observables. What is not finite gives NaN.

        Raises
        ------
        InputError
            If the shape is not that of the training.
        """
        return self._solved(values)[0]

    def sigma(self, values: ArrayLike) -> Floats:
        """Resolution of each event, shape (event,), in the unit of the truth.

        It is the curvature of the likelihood at its maximum: the standard deviation of a Gaussian
        one. Parameters and errors are those of :meth:`zhat`.
        """
        return self._solved(values)[1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration to a file of NumPy (``.npz``).

        Raises
        ------
        OSError
            If the file cannot be written.
        InputError
            If another file is there.
        """
        arrays: dict[str, Any] = {
            f"{name}.{part}{i}": array
            for name, layers in self._networks.items()
            for i, pair in enumerate(layers)
            for part, array in zip(("weight", "bias"), pair, strict=True)
        }
        numbers = [self.information, self.information_error, *self.truth_range]
        if other := in_the_way(os.fspath(path), b"pk"):
            raise InputError(f"{path}: expected no file or a calibration, found {other}.")
        with written_aside(Path(path)) as aside, aside.open("wb") as file:
            np.savez(
                file,
                format=FORMAT,
                numbers=numbers,
                means=self._shifts[0],
                scales=self._shifts[1],
                **arrays,
            )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Calibration:
        """Read a calibration that :meth:`save` wrote. It needs no PyTorch.

        Raises
        ------
        MissingFileError
            If there is no such file.
        InputError
            If it is no calibration.
        """
        try:
            content = BytesIO(read_regular(os.fspath(path)))
            with np.load(content, allow_pickle=False) as arrays:
                return _restored(dict(arrays))
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file, expected a calibration.") from error
        except Exception as error:  # NumPy has many, such as those of a tokenizer
            raise InputError(
                f"{path}: no calibration, expected a file that Calibration.save wrote "
                f"({type(error).__name__}: {str(error)[:200]})."
            ) from error

    def _solved(self, values: ArrayLike) -> tuple[Floats, Floats]:
        """Most likely values and resolutions."""
        x = columns(values)
        if x.shape[1] != self.features:
            raise InputError(
                f"values have {x.shape[1]} observables of each event, expected {self.features}, as "
                "in the training."
            )
        means, scales = self._shifts
        finite = np.asarray(np.isfinite(x).all(axis=1))
        x = (x[finite] - means[:-1]) / scales[:-1]
        # T has its maximum where its derivative D + C (z - B) is 0: one step of Newton's from B.
        start = _dense(self._networks["B"], x)
        curvature = self._curvature(x, start)
        z = start + _dense(self._networks["D"], x) / curvature
        sigma = self._curvature(x, z) ** -0.5
        result = np.full((2, len(finite)), np.nan)
        result[:, finite] = (z * scales[-1] + means[-1])[:, 0], (sigma * scales[-1])[:, 0]
        return result[0], result[1]

    def _curvature(self, x: Floats, z: Floats) -> Floats:
        """-C(x, z)."""
        outputs = _dense(self._networks["C"], np.concatenate([x, z], axis=1))
        return FLATTEST + np.logaddexp(0.0, outputs)


@checked_arguments
def calibrate(
    values: ArrayLike,
    truth: ArrayLike,
    *,
    epochs: int = 60,
    seed: int = 0,
    watch: Watch | None = None,
) -> Calibration:
    """Learn the true value behind observables, its resolution, and their mutual information.

    The network T(x, z) = A(x) + (z - B(x)) D(x) + (z - B(x))^2 C(x, z) / 2, with C < 0, maximises
    the Donsker-Varadhan bound E[T(x, z)] - log E[exp T(x, z')]. Here z' is the truth of another
    event. At the maximum, T is log p(x|z) and a function of x. So z = B - D / C is the most likely
    true value, whatever the distribution of the truth, and (-C)^(-1/2) the resolution. Needs
    PyTorch (extra ``torch``).

    Parameters
    ----------
    values
        Observables, shape (event,) or (event, feature).
    truth
        True value of each event, shape (event,), such as a mass in GeV. It has to vary.
    epochs
        Passes over the events.
    seed
        Seed of the initial parameters, of the events held back and of their order. One thread is
        used, so the same seed gives the same numbers on the same kind of processor.
    watch
        Receives the progress, an epoch at a time; a display on standard error by default.

    Raises
    ------
    InputError
        If a shape or a number has no meaning, a value is not finite, all values or all true values
        are equal, or there are fewer than 500 events.
    MissingPackageError
        If PyTorch is not installed.
    RunError
        If the training does not converge.

    References
    ----------
    Gambhir, Nachman, Thaler 2022 (arXiv:2205.03413, arXiv:2205.05084).
    """
    require("iterations", epochs, of="epochs")
    require("seed", seed)
    x = columns(values)
    z = columns(truth)
    _check(x, z)
    from djservice.networks.gaussian_ansatz import fit

    table = np.concatenate([x, z], axis=1)
    shifts = table.mean(axis=0), table.std(axis=0)
    with shown(watch) as display:
        networks, information, error = fit(
            (table - shifts[0]) / shifts[1], FLATTEST, epochs, seed, display
        )
    limits = float(z.min()), float(z.max())
    return Calibration(information, error, x.shape[1], limits, networks, shifts)


def _restored(arrays: dict[str, Any]) -> Calibration:
    """The calibration of saved arrays. A missing one is a KeyError."""
    if arrays["format"] != FORMAT:
        raise ValueError(f"format {arrays['format']}")
    networks = {}
    for name in "BCD":
        depth = sum(key.startswith(f"{name}.weight") for key in arrays)
        networks[name] = [
            (arrays[f"{name}.weight{i}"], arrays[f"{name}.bias{i}"]) for i in range(max(depth, 1))
        ]
    information, error, low, high = (float(number) for number in arrays["numbers"])
    shifts = arrays["means"], arrays["scales"]
    return Calibration(information, error, len(shifts[0]) - 1, (low, high), networks, shifts)


def columns(values: ArrayLike) -> Floats:
    """Numbers of events as columns, shape (event, feature)."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"values are no array of numbers: {error}.") from error
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or not array.shape[1]:
        raise InputError(
            f"values have the shape {array.shape}, expected (event,) or (event, feature)."
        )
    return array


def _check(x: Floats, z: Floats) -> None:
    if z.shape != (len(x), 1):
        raise InputError(
            f"the truth has the shape {z.shape}, expected ({len(x)},): one number for each event of "
            "the values."
        )
    if len(x) < FEWEST:
        raise InputError(f"expected at least {FEWEST} events, found {len(x)}.")
    for name, array in (("values", x), ("truth", z)):
        wrong = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(wrong):
            raise InputError(
                f"{name} of {len(wrong):,} events are not finite, first of event {wrong[0]}: "
                f"{array[wrong[0]].tolist()}. Leave these events out."
            )
        if not (np.ptp(array, axis=0) > 0).all():
            raise InputError(
                f"{name}: all events have the same number, expected several. A calibration needs "
                "several true values and observables that vary."
            )


def _dense(layers: Layers, x: Floats) -> Floats:
    """Outputs of dense layers with SiLU between them."""
    for i, (weight, bias) in enumerate(layers):
        if i:
            x = x * (0.5 + 0.5 * np.tanh(0.5 * x))
        x = x @ weight.T + bias
    return x
