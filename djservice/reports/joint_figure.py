"""Figure of a network that was trained together with R."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.reports.drawing import COLOURS
from djservice.reports.joint_summary import area, curve, predictions, scores
from djservice.store.run_store import Store

JOINT = (
    "Joint training. Top: R per step of the network, and its running geometric mean from the "
    "iteration where averaging starts. Middle: the loss of each batch with its standard error; "
    "point: the loss on events that are held back, with the final network. Bottom, on events that "
    "are held back: the ROC curve, with one standard error (binomial) of the background, or the "
    "predictions of a regression against the truth."
)


def joint(store: Store) -> Any:
    """Figure of the path of R and of the loss, and of the ROC curve; None if there is none yet."""
    import matplotlib.pyplot as plt

    if "joint" not in store.groups or store.n_complete("joint/held_back") < 2:
        return None
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(8, 12), layout="constrained")
    path, average = (store.column("joint", c)[:, 0] for c in ("parameters", "parameters_average"))
    loss, error = (store.column("joint", name) for name in ("loss", "loss_error"))
    steps = np.arange(len(path))
    top.plot(steps, path, color="0.55", lw=1.2, label="iterates")
    top.plot(steps, np.where(average == path, np.nan, average), color=COLOURS[1], label="average")
    top.set(xlabel="step of the network", ylabel="R")
    top.legend()
    middle.fill_between(steps, loss - error, loss + error, color="0.85", lw=0)
    middle.plot(steps, loss, color="0.55", lw=1, label="batch $\\pm$ standard error")
    held, held_error = (
        store.array("joint/held_back", name)[1] for name in ("loss", "loss_error")
    )  # fmt: skip
    middle.errorbar([len(path)], [held], [held_error], fmt="o", color=COLOURS[1], label="held back")
    middle.set(
        xlabel="step of the network", ylabel=store.attribute("joint", "loss").replace("_", " ")
    )
    middle.legend()
    if store.attribute("joint", "classes"):
        _curves(bottom, store)
    else:
        _predictions(bottom, store)
    return figure


def _curves(axes: Any, store: Store) -> None:
    """Draw the ROC curves of the R of the start and of the learned R."""
    radii = store.array("joint/held_back", "radius")[:, 0]
    for row in (0, 1) if radii[0] != radii[1] else (1,):
        _roc(axes, store, row, float(radii[row]))
    axes.set(xlabel="efficiency of the signal", ylabel="efficiency of the background", yscale="log")
    axes.legend(loc="lower right")


def _predictions(axes: Any, store: Store) -> None:
    """Draw predictions against the truth of each event."""
    prediction, truth, _ = predictions(store, 1)
    axes.plot(truth, prediction, ".", color=COLOURS[1], alpha=0.4, rasterized=True)
    ends = [truth.min(), truth.max()]
    axes.plot(ends, ends, color="black", lw=1, ls="--", label="prediction = truth")
    axes.set(xlabel="truth", ylabel="prediction")
    axes.legend()


def _roc(axes: Any, store: Store, row: int, radius: float) -> None:
    """Draw a ROC curve with the binomial error of the background."""
    probability, weight, signal = scores(store, row)
    of_signal, of_background = curve(probability, weight, signal)
    w = weight[~signal]
    spread = np.sqrt(of_background * (1.0 - of_background) * (w @ w)) / w.sum()
    value, error = area(probability, weight, signal)
    seen, colour = of_background > 0.0, COLOURS[row]
    label = f"R = {radius:.3f}: area {value:.4f} $\\pm$ {error:.4f}"
    axes.plot(of_signal[seen], of_background[seen], color=colour, lw=1.6, label=label)
    low = np.maximum(of_background - spread, 0.1 * of_background)
    axes.fill_between(
        of_signal[seen], low[seen], (of_background + spread)[seen], color=colour, alpha=0.2, lw=0
    )
