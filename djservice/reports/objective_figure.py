"""The figure of an objective: its histogram at the optimum."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.formatting import axis_label
from djservice.store.run_store import Store

CAPTIONS = {
    "mutual_information": (
        "Response matrix at the R of the result: the share of the accepted trees of each bin of the true "
        "mass that is in each bin of the observable. The mutual information is that of this "
        "histogram. What lies outside counts in the outermost bins."
    ),
    "significance": (
        "Expected events at the R of the result: signal on top of the background, with the errors of the "
        "finite number of simulated events."
    ),
}


def kind_of(store: Store) -> str:
    """Kind of the objective of a run; empty for a loss."""
    section = store.attributes["run"].get("objective")
    return section["kind"] if section else ""


def objective(store: Store) -> Any:
    """Figure of the histogram of an objective at the optimum."""
    draw = {"mutual_information": _response, "significance": _yields}.get(kind_of(store))
    if draw is None or store.n_complete("spectrum") < 2:
        return None
    contents, error = (store.column("spectrum", name)[1] for name in ("contents", "contents_error"))
    return draw(store, contents, error)


def _response(store: Store, contents: Any, error: Any) -> Any:
    """Shares of the bins of the observable for each bin of the true mass."""
    import matplotlib.pyplot as plt

    section = store.attributes["run"]["objective"]
    of_truth, of_observable = (
        np.linspace(section[name][0], section[name][1], number + 1)
        for name, number in zip(("truth_range", "range"), contents.shape, strict=True)
    )
    total = contents.sum(axis=1, keepdims=True)
    share = np.where(contents > 0.0, contents / np.where(total > 0.0, total, 1.0), np.nan)
    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    drawn = axes.pcolormesh(of_truth, of_observable, share.T, cmap="viridis")
    figure.colorbar(drawn, ax=axes, label="share of the trees", pad=0.02)
    axes.set(xlabel="true mass [GeV]", ylabel=axis_label(store.attributes["observable"]))
    return figure


def _yields(store: Store, contents: Any, error: Any) -> Any:
    """Expected events of each dataset, stacked."""
    import matplotlib.pyplot as plt

    section = store.attributes["run"]["objective"]
    edges, luminosity = np.array(section["bins"]), section["luminosity"]
    names = [*section["signal"], *section["background"]]
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    below = np.zeros(len(edges) - 1)
    for row in reversed(range(len(names))):  # the background first
        above = below + luminosity * contents[row]
        axes.stairs(above, edges, baseline=below, fill=True, alpha=0.6, label=names[row])
        centre = (edges[1:] + edges[:-1]) / 2.0
        axes.errorbar(centre, above, luminosity * error[row], fmt="none", color="black", lw=1)
        below = above
    axes.set(xlabel=axis_label(store.attributes["observable"]), ylabel="expected events")
    axes.set_ylim(0.0, 1.3 * below.max())
    axes.legend()
    return figure
