"""``dj.lund_density``: emissions per jet and unit of area of the Lund plane, as a histogram.

Everything follows from sums over independent units, jets or whole events, which add up exactly over
chunks. A unit has n emissions in a cell and m jets. The density is sum n / (A sum m) for cells of
area A, and its error follows from the sums of the products of n and m.
"""

from __future__ import annotations

import math
from typing import Any

import hist
import numpy as np
from numpy.typing import NDArray

from djservice.clustering.lund import lund
from djservice.clustering.trees import TreeSample
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require, require_positive
from djservice.core.inner import inner
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch

#: Numbers of a block of units, in all cells, that are in memory at once.
_BLOCK = 2_000_000
#: The default axes: bins and range of x = ln(R / delta) and y = ln(kT / GeV).
X, Y = (20, 0.0, 5.0), (16, -2.0, 6.0)
#: Shape of the sums of a density on these axes.
SUMS_SHAPE = (5, X[0], Y[0])
X_LABEL, Y_LABEL = "ln(R / delta)", "ln(kT / GeV)"


def default_axes() -> tuple[Any, Any]:
    """The axes of :func:`lund_density`, 20 bins from 0 to 5 and 16 from -2 to 6."""
    return hist.axis.Regular(*X, label=X_LABEL), hist.axis.Regular(*Y, label=Y_LABEL)


@checked_arguments
def lund_density(
    particles: Any,
    jets: Any = None,
    *,
    radius: float = 1.0,
    plane: int = 1,
    derivative: str | None = None,
    axes: tuple[Any, Any] | None = None,
) -> Any:
    """Density of emissions in the Lund plane: emissions per jet and unit of area.

    The area is that of x = ln(radius / delta) and y = ln(kT / GeV), without units.

    Parameters
    ----------
    particles, jets
        See :func:`djservice.lund`. Of a :class:`djservice.TreeSample`, the leading jets that it
        keeps are taken, and the density is its expectation over the trees of each event. Jets count
        with the weight of their event, if the particles are an :class:`djservice.EventBatch`.
    radius
        R of the axis x. With 1 it is ln(1 / delta).
    plane
        1 for the primary plane, 2 for all secondary ones, and so on.
    derivative
        A parameter of the sample, "radius" or "rigidity": the histogram then is the derivative of
        the density in it, at the same cells, by the score of each tree.
    axes
        ``hist`` axes of x and y. The default is 20 bins from 0 to 5 and 16 from -2 to 6.

    Returns
    -------
    hist.Hist
        Values are densities, and variances the squares of their standard errors. Units of the
        errors are jets, not emissions, since the emissions of a jet are not independent; of random
        trees, they are events. Bins of overflow are 0.

    Raises
    ------
    InputError
        If the particles or jets are none, the radius or the plane is not positive, the axes are not
        two of numbers, or there is no such derivative.

    References
    ----------
    Dreyer, Salam, Soyez: arXiv:1807.04758. For a leading order see :func:`leading_order`.
    """
    require_positive("radius", radius)
    require("jets", plane, of="plane")
    _need_axes(axes)
    column = _column(jets, derivative)
    axes = axes or default_axes()
    events = as_events(particles)
    sums = lund_sums(events, jets, radius=radius, plane=plane, column=column, axes=axes)
    return histogram_of(sums, axes)


def _need_axes(axes: Any) -> None:
    """Refuse what is no pair of axes with edges."""
    kinds = (hist.axis.Regular, hist.axis.Variable, hist.axis.Integer)
    if axes is None or (
        isinstance(axes, (tuple, list))
        and len(axes) == 2
        and all(isinstance(axis, kinds) for axis in axes)
    ):
        return
    raise InputError(
        f"axes is {axes!r}, expected two of hist.axis.Regular, Variable or Integer, of x and y."
    )


def _column(jets: Any, derivative: str | None) -> int | None:
    """The column of the scores of a sample for a derivative."""
    if derivative is None:
        return None
    parameters = jets.parameters if isinstance(jets, TreeSample) else ()
    if derivative not in parameters or jets.deterministic:
        raise InputError(
            f"derivative is {derivative!r}, expected a parameter of a sample of random trees, as "
            "djservice.cluster(..., power=0, parameters=('radius', 'rigidity'), history=True) "
            f"makes it; this one has {', '.join(parameters) or 'none'}."
        )
    if jets.numbers.shape[1] < 2:
        raise InputError("a derivative needs two or more trees per event, found 1.")
    return int(parameters.index(derivative))


def lund_sums(
    events: EventBatch,
    jets: Any = None,
    *,
    radius: float,
    plane: int = 1,
    column: int | None = None,
    axes: tuple[Any, Any] | None = None,
) -> Floats:
    """Sums over units from which a density follows, shape (sum, x, y); those of chunks add up.

    The sums are those of w v for the numbers v of a unit of weight w, and then of w^2 v_i v_j for
    i <= j. The numbers are n and m, and with a ``column`` of scores also their derivatives.
    """
    units = _units(events, jets, lund(events, jets), column)
    return _sums(*units, radius=radius, plane=plane, axes=axes or default_axes())


def sums_of_jets(
    jet: NDArray[np.int64], emissions: dict[str, Any], weight: Floats, *, radius: float
) -> Floats:
    """:func:`lund_sums` of jets, from the jet and the coordinates of each emission.

    The jets have the weights ``weight``.
    """
    numbers = [None, np.ones(len(weight))]
    units = jet, emissions, [None, _PER_JET], weight, numbers
    return _sums(*units, radius=radius, plane=1, axes=default_axes())


def _sums(
    unit: NDArray[np.int64],
    emissions: dict[str, Any],
    factors: list[Any],
    weight: Floats,
    numbers: list[Any],
    *,
    radius: float,
    plane: int,
    axes: tuple[Any, Any],
) -> Floats:
    """See :func:`lund_sums` and :func:`_units`."""
    flat = _cells(emissions, radius, plane, axes)
    shape = tuple(len(axis) for axis in axes)
    count, cells = len(numbers), shape[0] * shape[1]
    sums = np.zeros((count + count * (count + 1) // 2, cells))
    step = max(1, _BLOCK // (cells * count))
    order = np.argsort(unit, kind="stable")
    bounds = np.searchsorted(unit[order], np.arange(0, len(weight) + step, step))
    for i, start in enumerate(range(0, len(weight), step)):
        rows = order[bounds[i] : bounds[i + 1]]
        rows = rows[flat[rows] >= 0]
        size = min(step, len(weight) - start)
        place = (unit[rows] - start) * cells + flat[rows]
        values = [
            np.bincount(place, None if f is None else f[rows], size * cells).reshape(size, cells)
            if f is not _PER_JET
            else np.broadcast_to(number[start : start + size, np.newaxis], (size, cells))
            for f, number in zip(factors, numbers, strict=True)
        ]
        _add(sums, values, weight[start : start + size])
    return sums.reshape(-1, *shape)


#: Stands for a number of a unit that is the same in all cells.
_PER_JET: Any = object()


def _add(sums: Floats, values: list[Any], weight: Floats) -> None:
    """Add first and second sums of the values of units, each of shape (unit, cell)."""
    count = len(values)
    for k, value in enumerate(values):
        sums[k] += inner(weight, value)
    pairs = [(i, j) for i in range(count) for j in range(i, count)]
    for row, (i, j) in enumerate(pairs, count):
        sums[row] += inner(weight**2, values[i] * values[j])


def _units(
    events: EventBatch, jets: Any, emissions: Any, column: int | None
) -> tuple[NDArray[np.int64], dict[str, Any], list[Any], Floats, list[Any]]:
    """Unit of each emission, its coordinates, its factor in each number, and the units.

    The units are their weights and the numbers that do not depend on the cell.
    """
    import awkward as ak

    weight = np.asarray(events.weight, np.float64)
    if emissions.ndim == 4:
        return _of_trees(weight, jets, emissions, column)
    if emissions.ndim == 3:
        weight = np.repeat(weight, ak.to_numpy(ak.num(emissions)))
        emissions = ak.flatten(emissions)
    unit = np.repeat(np.arange(len(emissions)), ak.to_numpy(ak.num(emissions)))
    return unit, _flat(emissions), [None, _PER_JET], weight, [None, np.ones(len(emissions))]


def _of_trees(
    weight: Floats, sample: Any, emissions: Any, column: int | None
) -> tuple[NDArray[np.int64], dict[str, Any], list[Any], Floats, list[Any]]:
    """The units of random trees: events, whose numbers are means over trees and derivatives."""
    import awkward as ak

    if isinstance(sample, TreeSample):
        emissions = emissions[:, :, : sample.momenta.shape[2]]
    total, trees = len(weight), ak.to_numpy(ak.num(emissions)).max(initial=1)
    jets = ak.to_numpy(ak.flatten(ak.num(emissions, axis=2), axis=None)).reshape(total, trees)
    per_tree = ak.to_numpy(ak.flatten(ak.sum(ak.num(emissions, axis=3), axis=2), axis=None))
    tree = np.repeat(np.arange(total * trees), per_tree.astype(np.int64))
    factors: list[Any] = [np.full(len(tree), 1.0 / trees), _PER_JET]
    numbers: list[Any] = [None, jets.mean(axis=1)]
    if column is not None:  # the covariance with the score: leave-one-out
        score = np.asarray(sample.scores[:, :, column])
        centred = (score - score.mean(axis=1, keepdims=True)) / (trees - 1)
        factors += [centred.ravel()[tree], _PER_JET]
        numbers += [None, (centred * jets).sum(axis=1)]
    return tree // trees, _flat(emissions), factors, weight, numbers


def _flat(emissions: Any) -> dict[str, Any]:
    """delta, kt and plane of all emissions."""
    import awkward as ak

    return {
        name: ak.to_numpy(ak.flatten(emissions[name], axis=None))
        for name in ("delta", "kt", "plane")
    }


def _cells(
    emissions: dict[str, Any], radius: float, plane: int, axes: tuple[Any, Any]
) -> NDArray[np.int64]:
    """The cell of each emission; -1 outside the axes or on another plane."""
    with np.errstate(divide="ignore"):  # collinear ones lie beyond every axis
        numbers = np.log(radius / emissions["delta"]), np.log(emissions["kt"])
    x, y = (np.asarray(a.index(n), np.int64) for a, n in zip(axes, numbers, strict=True))
    inside = (x >= 0) & (x < len(axes[0])) & (y >= 0) & (y < len(axes[1]))
    return np.where(inside & (emissions["plane"] == plane), x * len(axes[1]) + y, -1)


def histogram_of(sums: Floats, axes: tuple[Any, Any] | None = None) -> Any:
    """The density, or with derivatives its derivative, from :func:`lund_sums`."""
    axes = axes or default_axes()
    area = axes[0].widths[:, np.newaxis] * axes[1].widths
    count = 2 if len(sums) == 5 else 4
    n, m, *slopes = sums[:count]
    with np.errstate(divide="ignore", invalid="ignore"):  # without jets all are NaN
        mean = n / m
        if slopes:
            value = (slopes[0] - mean * slopes[1]) / m
            gradient = [-slopes[1] / m, (mean * slopes[1]) / m - value, np.ones_like(n), -mean]
        else:
            value, gradient = mean, [np.ones_like(n), -mean]
        # A density does not change with the number of units, so its gradient is orthogonal to the
        # first sums, and the second ones need not be centred.
        variance = np.zeros_like(n)
        pairs = [(i, j) for i in range(count) for j in range(i, count)]
        for (i, j), second in zip(pairs, sums[count:], strict=True):
            variance += (1.0 if i == j else 2.0) * gradient[i] * gradient[j] * second
        variance = np.maximum(variance, 0.0) / (m * area) ** 2
        value = value / area
    histogram = hist.Hist(*axes, storage=hist.storage.Weight())
    histogram.view().value, histogram.view().variance = value, variance
    return histogram


def rescaled(sums: Floats, factor: float) -> Floats:
    """The sums if all weights are multiplied by a factor."""
    count = 2 if len(sums) == 5 else 4
    return np.concatenate([sums[:count] * factor, sums[count:] * factor**2])


def leading_order(kt: Any, colour_factor: float) -> Any:
    """Density of soft and collinear emissions to leading order, 2 alpha_s(kT) C / pi.

    The coupling runs at one loop with five flavours from 0.118 at the mass of the Z.

    Parameters
    ----------
    kt
        In GeV.
    colour_factor
        C, 4/3 for a quark and 3 for a gluon.

    References
    ----------
    Dreyer, Salam, Soyez: arXiv:1807.04758.
    """
    beta = (33.0 - 2.0 * 5.0) / (12.0 * math.pi)
    inverse = 1.0 / 0.118 + 2.0 * beta * np.log(np.asarray(kt) / 91.1876)
    return 2.0 * colour_factor / (math.pi * inverse)
