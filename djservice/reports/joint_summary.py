"""How well a network that was trained together with R tells classes apart, on events held back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.store.run_store import Store

SAMPLE = "joint/held_back"
#: Efficiencies of the signal at which the rejection of the background is quoted.
EFFICIENCIES = (0.5,)
#: Attributes of a store about the error of R.
ERRORS = (
    *("radius_error", "radius_error_events", "radius_error_trees", "radius_error_optimiser"),
    *("curvature", "curvature_error"),
)


def joint_summary(store: Store) -> dict[str, Any] | None:
    """Summary of a joint training as plain data; None without one, or if it is not scored yet.

    Each choice (the R of the start and the learned R, both with the learned network) has R, loss and
    the derivative of the loss in R. With classes it has the area under the ROC curve, and the
    rejection of the background at fixed efficiencies of the signal; a regression has the root mean
    square and the mean of prediction minus truth. Each has its standard error over events.
    """
    if "joint" not in store.groups or store.n_complete(SAMPLE) < 2:
        return None
    return {
        "loss": store.attribute("joint", "loss"),
        "jets": store.attributes["run"]["joint"]["jets"],
        "classes": store.attribute("joint", "classes"),
        "parameters": len(store.attribute("joint", "theta")),
        "radius": store.attribute("joint", "radius"),
        **{name: store.attribute("joint", name) for name in ERRORS},
        "learned": bool(store.attributes["run"]["joint"]["learn_radius"]),
        "choices": [_choice(store, row) for row in range(2)],
    }


def scores(store: Store, row: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Probability of the first class, weight, and whether it is the signal, of each event."""
    names = ("event_mean", "weight", "truth")
    probability, weight, label = (store.array(SAMPLE, name) for name in names)
    known = np.isfinite(probability[row])
    return probability[row, known], weight[known], label[known] == 0.0


def predictions(store: Store, row: int) -> tuple[Floats, Floats, Floats]:
    """Prediction, true value and weight of each event of a regression."""
    columns = [store.array(SAMPLE, name) for name in ("event_mean", "truth", "weight")]
    known = np.isfinite(columns[0][row])
    return columns[0][row, known], columns[1][known], columns[2][known]


def _choice(store: Store, row: int) -> dict[str, Any]:
    numbers = {
        name: [float(store.array(SAMPLE, column)[row]) for column in (name, f"{name}_error")]
        for name in ("loss", "gradient")
    }
    return {
        "radius": float(store.array(SAMPLE, "radius")[row, 0]),
        **numbers,
        **(_of_classes if store.attribute("joint", "classes") else _of_regression)(store, row),
    }


def _of_regression(store: Store, row: int) -> dict[str, Any]:
    prediction, truth, weight = predictions(store, row)
    difference, w = prediction - truth, weight / weight.sum()
    bias, square = float(w @ difference), float(w @ difference**2)
    errors = [
        float(np.sqrt(w**2 @ (values - mean) ** 2))
        for values, mean in ((difference, bias), (difference**2, square))
    ]
    rms = square**0.5
    return {"rms": [rms, errors[1] / (2.0 * rms) if rms > 0.0 else 0.0], "bias": [bias, errors[0]]}


def _of_classes(store: Store, row: int) -> dict[str, Any]:
    probability, weight, signal = scores(store, row)
    return {
        "auc": area(probability, weight, signal),
        "rejection": [rejection(probability, weight, signal, e) for e in EFFICIENCIES],
    }


def area(values: Floats, weight: Floats, signal: NDArray[np.bool_]) -> list[float]:
    """Area under the ROC curve, and its standard error over events (DeLong et al. 1988).

    It is the probability that an event of the signal has the larger value than one of the
    background, where equal values count half.
    """
    (s, ws), (b, wb) = ((values[of], weight[of]) for of in (signal, ~signal))
    above = _share_below(s, b, wb)
    below = 1.0 - _share_below(b, s, ws)
    value = float(np.average(above, weights=ws))
    variance = sum(
        (w**2 @ (each - value) ** 2) / w.sum() ** 2 * len(w) / max(len(w) - 1, 1)
        for each, w in ((above, ws), (below, wb))
    )
    return [value, float(np.sqrt(variance))]


def _share_below(values: Floats, others: Floats, weight: Floats) -> Floats:
    """Share of the others that is below each value; equal ones count half."""
    order = np.argsort(others, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weight[order])])
    left, right = (np.searchsorted(others[order], values, side) for side in ("left", "right"))
    share: Floats = (sums[left] + sums[right]) / (2.0 * sums[-1])
    return share


def curve(values: Floats, weight: Floats, signal: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Efficiencies of signal and background for all cuts, from none accepted to all."""
    order = np.argsort(-values, kind="stable")
    last = np.append(np.diff(values[order]) != 0.0, True)
    sums = [np.cumsum(np.where(of, weight, 0.0)[order])[last] for of in (signal, ~signal)]
    first, second = (np.concatenate([[0.0], each / each[-1]]) for each in sums)
    return first, second


def rejection(
    values: Floats, weight: Floats, signal: NDArray[np.bool_], efficiency: float
) -> list[float]:
    """Efficiency of the signal, 1 / efficiency of the background there, and its binomial error."""
    of_signal, of_background = curve(values, weight, signal)
    passed = float(np.interp(efficiency, of_signal, of_background))
    w = weight[~signal]
    effective = float(w.sum() ** 2 / (w @ w))
    if not passed > 0.0:
        return [efficiency, float("inf"), float("nan")]
    return [
        efficiency,
        1.0 / passed,
        float(np.sqrt((1.0 - passed) / (effective * passed)) / passed),
    ]
