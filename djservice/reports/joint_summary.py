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


def joint_summary(store: Store) -> dict[str, Any] | None:
    """Summary of a joint training as plain data; None without one, or if it is not scored yet.

    Each choice (the R of the start and the learned R, both with the learned network) has R, loss,
    derivative of the loss in R, area under the ROC curve, and the rejection of the background at
    fixed efficiencies of the signal, each with its standard error over events.
    """
    if "joint" not in store.groups or store.n_complete(SAMPLE) < 2:
        return None
    return {
        "classes": store.attribute("joint", "classes"),
        "parameters": len(store.attribute("joint", "theta")),
        "radius": store.attribute("joint", "radius"),
        "learned": bool(store.attributes["run"]["joint"]["learn_radius"]),
        "choices": [_choice(store, row) for row in range(2)],
    }


def scores(store: Store, row: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Probability of the first class, weight, and whether it is the signal, of each event."""
    names = ("event_mean", "weight", "truth")
    probability, weight, label = (store.array(SAMPLE, name) for name in names)
    known = np.isfinite(probability[row])
    return probability[row, known], weight[known], label[known] == 0.0


def _choice(store: Store, row: int) -> dict[str, Any]:
    probability, weight, signal = scores(store, row)
    numbers = {
        name: [float(store.array(SAMPLE, column)[row]) for column in (name, f"{name}_error")]
        for name in ("loss", "gradient")
    }
    return {
        "radius": float(store.array(SAMPLE, "radius")[row, 0]),
        **numbers,
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
