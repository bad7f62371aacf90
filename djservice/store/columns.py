"""Arrays of the store of a run: names, shapes and chunks.

Layout (Zarr v3; every array has dimension names, so xarray opens every group)::

    /            attributes: format, run, versions, inputs, status, message, events, result
    history/     (iteration) radius, radius_average, loss, loss_error, gradient, gradient_error,
                 acceptance, learning_rate, seconds, trees, state_share; (iteration, parameter)
                 parameters, parameters_average, gradients, gradients_error, of all learned
                 parameters, R first
    scan/        (radius) loss, loss_error, gradient, gradient_error, mean, mean_error, sd,
                 sd_error, acceptance
    spectrum/    (radius) the columns of scan/, at the start, the optimum and further radii;
                 (radius, event) event_mean, event_error, event_accepted; (event) key, weight, and
                 run, luminosityBlock, event, file, entry; (radius, sum, x, y) lund, sums of the
                 Lund plane of the leading jets; of a run with an objective: (radius, category,
                 bin) contents, contents_error, by bins of
                 the true mass or by datasets, signal first; (radius, bin) group, the merged bin
                 of a run with augmentations under robust: (radius, version) version_loss and others
                 of scan/, of the events as they are and after each augmentation
    robust/      of such a run: (step) the columns of newton/ and version; attribute table
    per_event/   of a run with task per-event: (event) key, radius, left, agree; (event, start)
                 ends; (trees) the columns of scan/, on fresh trees and on the trees of the choice;
                 (trees, event) event_mean
    radius_model/
                 of a run with task radius-model: the columns of history/ except the radii; a group
                 for each sample that the model is scored on: (event) key, weight, truth; (choice)
                 the columns of scan/ with the best fixed R and with the model; (choice, event)
                 event_mean, radius
    particle_weights/
                 of a run with task particle-weights: the same columns, where the choices are no
                 weights with the best fixed R, and the learned weights with their R
    joint/       of a run with task joint: the same columns, where the choices are the R of the start
                 and the learned R, both with the learned network; truth is the class of the event,
                 event_mean the mean probability of the first class
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.store.fresh import NewGroup, create_array
from djservice.store.meanings import IDENTITY

GROUPS = (
    "history",
    "scan",
    "newton",
    "spectrum",
    "robust",
    "per_event",
    "radius_model",
    "particle_weights",
    "joint",
)
#: Groups of a model, which have a group for each sample that it is scored on.
MODELS = ("radius_model", "particle_weights", "joint")

#: Columns of iterations with one number per parameter, and the columns of R in the history.
VECTORS = {
    "parameters": "radius",
    "parameters_average": "radius_average",
    "gradients": "gradient",
    "gradients_error": "gradient_error",
}
ITERATIONS = (
    "loss",
    "loss_error",
    "acceptance",
    "learning_rate",
    "seconds",
    "trees",
    "state_share",
)
HISTORY = (*VECTORS.values(), *ITERATIONS)
SCAN = (
    "loss",
    "loss_error",
    "gradient",
    "gradient_error",
    "mean",
    "mean_error",
    "sd",
    "sd_error",
    "acceptance",
    "loss_tree_error",
    "gradient_tree_error",
)
SPECTRUM = SCAN
#: Columns of a scan with a number for each version of the events.
VERSION_SCAN = (
    "version_loss",
    "version_loss_tree_error",
    "version_gradient",
    "version_gradient_tree_error",
)
#: Largest number of Newton steps.
NEWTON_STEPS = 12
#: Columns that follow from the gradients, so that a run writes them again from those.
DERIVED = ("parameters_average", "radius_average")
#: Columns per event, with their dtypes.
PER_EVENT = {"radius": "f8", "left": "i8", "agree": "i8"}
SPECTRUM_EVENT = ("event_mean", "event_error", "event_accepted")

#: Rows of a history in one chunk, so that one write changes one file per array.
ROWS_PER_CHUNK = 512


@dataclass(frozen=True)
class ModelColumns:
    """Columns of a model of the radius, of the weights of particles, or of a network on jets.

    Attributes
    ----------
    group
        Name of its group.
    parameters
        Names of its parameters.
    iterations
        Iterations of its descent.
    samples
        Identities, weights and true masses of the events of each sample that it is scored on.
    """

    group: str
    parameters: tuple[str, ...]
    iterations: int
    samples: Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True)
class StoreColumns:
    """Lengths of a store's arrays, and the columns that are known in advance.

    Attributes
    ----------
    iterations
        Length of the history. An existing store is continued with a longer one.
    scan_radii, spectrum_radii
        Radii of the scan, and number of radii of the spectrum.
    keys
        Identities of all events, shape (event,), in the order of the input.
    weight
        Weights of all events, shape (event,).
    parameters
        Names of the learned parameters.
    starts
        Radii from which the fit of each event starts; empty for a global radius alone.
    model
        Columns of a model; None without one.
    histogram
        Number of categories of events and of bins of an objective; None without one.
    lund
        Shape of the sums of the Lund plane.
    versions
        Number of versions of the events.
    of
        Name of the run that every group keeps, so that none is taken for that of another store.
    identity
        The columns :data:`IDENTITY` of all events.
    units
        Units of the observable.
    """

    iterations: int
    scan_radii: Sequence[float]
    spectrum_radii: int
    keys: NDArray[Any]
    weight: NDArray[Any]
    parameters: tuple[str, ...] = ("R",)
    starts: tuple[float, ...] = ()
    model: ModelColumns | None = None
    histogram: tuple[int, int] | None = None
    lund: tuple[int, int, int] = (0, 0, 0)
    versions: int = 1
    of: str = ""
    identity: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    units: str = ""


def create_groups(root: NewGroup, shape: StoreColumns) -> None:
    """Create the groups of a new store, all empty."""
    history = root.create_group("history")
    create_iterations(history, shape.iterations, shape.parameters)
    for name in VECTORS.values():
        _array(history, name, "f8", {"iteration": (shape.iterations, ROWS_PER_CHUNK)})
    radii = len(shape.scan_radii)
    scan = root.create_group("scan", attributes={"n_complete": 0})
    _array(scan, "radius", "f8", {"radius": (radii, radii)}, shape.scan_radii)
    for name in SCAN:
        _array(scan, name, "f8", {"radius": (radii, radii)}, units=shape.units)
    newton = root.create_group("newton", attributes={"n_complete": 0})
    _create_steps(newton, NEWTON_STEPS, shape.units)
    if shape.versions > 1:
        versions = shape.versions
        for name in VERSION_SCAN:
            _array(scan, name, "f8", {"radius": (radii, radii), "version": (versions, versions)})
        steps = versions * NEWTON_STEPS
        robust = root.create_group("robust", attributes={"n_complete": 0})
        _create_steps(robust, steps, shape.units)
        _array(robust, "version", "i8", {"step": (steps, steps)})
    spectrum = root.create_group("spectrum", attributes={"n_complete": 0})
    rows = shape.spectrum_radii
    for name in ("radius", *SPECTRUM):
        _array(spectrum, name, "f8", {"radius": (rows, rows)}, units=shape.units)
    event = {"event": (len(shape.keys), 65536)}
    for name in SPECTRUM_EVENT:
        kind = "i8" if name == "event_accepted" else "f8"
        _array(spectrum, name, kind, {"radius": (rows, 1), **event}, units=shape.units)
    if shape.histogram is not None:
        categories, bins = shape.histogram
        cells = {"category": (categories, categories), "bin": (bins, bins)}
        for name in ("contents", "contents_error"):
            _array(spectrum, name, "f8", {"radius": (rows, 1), **cells})
        _array(spectrum, "group", "i8", {"radius": (rows, 1), "bin": (bins, bins)})
    planes = dict(zip(("sum", "x", "y"), ((n, n) for n in shape.lund), strict=True))
    _array(spectrum, "lund", "f8", {"radius": (rows, 1), **planes})
    _array(spectrum, "key", "u8", event, shape.keys)
    _array(spectrum, "weight", "f8", event, shape.weight)
    for name, values in shape.identity.items():
        _array(spectrum, name, IDENTITY[name], event, values)
    if shape.starts:
        create_per_event(root.create_group("per_event"), shape)
    if shape.model is not None:
        create_model(root.create_group(shape.model.group), shape.model, shape.units)
    if shape.of:
        root.attrs["of"] = shape.of


def _create_steps(group: NewGroup, steps: int, units: str) -> None:
    """Create the columns of Newton steps."""
    for name in ("radius", *SCAN):
        _array(group, name, "f8", {"step": (steps, steps)}, units=units)


def create_iterations(group: NewGroup, iterations: int, parameters: Sequence[str]) -> None:
    """Create the columns that every descent has."""
    rows = {"iteration": (iterations, ROWS_PER_CHUNK)}
    group.attrs.update({"n_complete": 0, "parameters": list(parameters)})
    for column in ITERATIONS:
        _array(group, column, "f8", rows)
    for column in VECTORS:
        _array(group, column, "f8", {**rows, "parameter": (len(parameters), len(parameters))})
    _array(group, "iteration", "i8", rows, np.arange(iterations))


def create_per_event(group: NewGroup, shape: StoreColumns) -> None:
    """Create the columns of one radius per event."""
    group.attrs.update({"n_complete": 0, "n_scored": 0})
    event, starts = {"event": (len(shape.keys), 65536)}, len(shape.starts)
    _array(group, "key", "u8", event, shape.keys)
    _array(group, "start", "f8", {"start": (starts, starts)}, shape.starts)
    for name, kind in PER_EVENT.items():
        _array(group, name, kind, event)
    _array(group, "ends", "f8", {**event, "start": (starts, starts)})
    for name in SCAN:
        _array(group, name, "f8", {"trees": (2, 2)}, units=shape.units)
    _array(group, "event_mean", "f8", {"trees": (2, 1), **event}, units=shape.units)


def create_model(group: NewGroup, shape: ModelColumns, units: str) -> None:
    """Create the columns of a model; ``units`` are those of the observable."""
    create_iterations(group, shape.iterations, shape.parameters)
    units = "1" if shape.group == "joint" else units  # a network gives probabilities
    for name, (keys, weight, truth) in shape.samples.items():
        sample = group.create_group(name, attributes={"n_complete": 0})
        event = {"event": (len(keys), 65536)}
        _array(sample, "key", "u8", event, keys)
        _array(sample, "weight", "f8", event, weight)
        _array(sample, "truth", "f8", event, truth)
        for column in SCAN:
            _array(sample, column, "f8", {"choice": (2, 2)}, units=units)
        for column in ("event_mean", "radius"):
            _array(sample, column, "f8", {"choice": (2, 1), **event}, units=units)


def _array(
    group: NewGroup,
    name: str,
    kind: str,
    dimensions: Mapping[str, tuple[int, int]],
    values: ArrayLike | None = None,
    units: str = "1",
) -> None:
    """Create an array. ``dimensions`` maps each name to (length, length of a chunk)."""
    chunks = {
        key: (length, chunk if key == "iteration" else max(1, min(length, chunk)))
        for key, (length, chunk) in dimensions.items()
    }
    create_array(group, name, kind, chunks, values, units)
