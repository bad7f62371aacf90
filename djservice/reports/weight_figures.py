"""Figure of learned weights of particles."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.formatting import axis_label
from djservice.reports.drawing import COLOURS, events_label, histogram, response, room_above
from djservice.store.run_store import Store

WEIGHTS = (
    "Weights of particles, on the events that are held back. Top: the observable, event by event, "
    "without weights at the best fixed R, and with the learned weights; and its median response "
    "(observable over true mass) if the true mass is known. Others: mean weight of the particles "
    "against each feature, and the band that holds its spread (one standard deviation)."
)


def particle_weights(store: Store) -> Any:
    """Figure of the weights of particles against their features, and of their effect."""
    import matplotlib.pyplot as plt

    sample = "particle_weights/held_back"
    if "particle_weights" not in store.groups or store.n_complete(sample) < 2:
        return None
    profile = store.attribute("particle_weights", "profile")
    if profile is None:
        return None
    features = store.attribute("particle_weights", "features")
    rows = 1 + (len(features) + 1) // 2
    figure, axes = plt.subplots(
        rows, 2, figsize=(10, 4 * rows), layout="constrained", squeeze=False
    )
    _effect(store, sample, *axes[0])
    for panel, feature, sums in zip(axes[1:].flat, features, profile["sums"], strict=False):
        edges = feature["centre"] + feature["unit"] * np.array(profile["edges"])
        _against_feature(panel, feature["name"], edges, np.array(sums))
    for panel in axes[1:].flat[len(features) :]:
        panel.remove()
    return figure


def _effect(store: Store, sample: str, left: Any, right: Any) -> None:
    """Draw the observable and the response without and with the weights."""
    names = ("event_mean", "weight", "truth")
    mean, weight, truth = (store.array(sample, column) for column in names)
    accepted = np.isfinite(mean).all(axis=0)
    edges = np.linspace(0.0, np.quantile(mean[:, accepted], 0.995), 41)
    known = bool(np.isfinite(truth).all())
    for row, (label, colour) in enumerate((("no weights", COLOURS[0]), ("weights", COLOURS[1]))):
        histogram(left, mean[row], weight, accepted, edges, color=colour, lw=1.8, label=label)
        if known:
            response(right, mean[row, accepted] / truth[accepted], truth[accepted], colour)
    left.set(
        xlabel=f"mean {axis_label(store.attributes['observable'])}", ylabel=events_label(weight)
    )
    room_above(left, 1.3)
    left.legend()
    if known:
        right.axhline(1.0, color="0.6", ls=":", lw=1)
        right.set(xlabel="true mass [GeV]", ylabel="median response")
    else:
        right.remove()


def _against_feature(axes: Any, name: str, edges: Any, sums: Any) -> None:
    """Draw the mean weight with its spread against a standardised feature."""
    number, first, second = sums.T
    some = number > 0
    middle = 0.5 * (edges[:-1] + edges[1:])[some]
    mean = first[some] / number[some]
    spread = np.sqrt(np.maximum(second[some] / number[some] - mean**2, 0.0))
    axes.fill_between(middle, mean - spread, mean + spread, color=COLOURS[1], alpha=0.2, lw=0)
    axes.plot(middle, mean, color=COLOURS[1], lw=2)
    axes.set(xlabel=name.replace("_", " "), ylabel="weight", ylim=(0.0, 1.05))
