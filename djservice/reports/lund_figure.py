"""The figure of Lund planes: densities at the start and at the optimum."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.formatting import end_name
from djservice.lund_planes.density import histogram_of, leading_order
from djservice.reports.drawing import COLOURS
from djservice.store.run_store import Store

LUND = (
    "Lund plane of the leading jets above 20 GeV of the deterministic clustering: emissions per "
    "jet and unit of area on the primary plane. Left: at the R of the result. Right: at the start and at "
    "that R, averaged over 0 < x < 1.5, with errors by jets. Lines: the leading order, "
    "2 alpha_s(kT) C / pi with a running coupling (arXiv:1807.04758). Hadrons and the underlying event "
    "lift the region below a few GeV, and the momentum of the jet ends the plane above."
)
#: Columns of x that are averaged, and the least kT in GeV of the leading order.
_COLUMNS, _LEAST_KT = slice(0, 6), 1.5


def lund_planes(store: Store) -> Any:
    """Figure of the densities; None before the optimum, or of a run without jets."""
    known = "lund" in store.attribute("spectrum", "arrays")  # older stores have none
    if store.n_complete("spectrum") < 2 or not known:
        return None
    radii, sums = store.column("spectrum", "radius"), store.column("spectrum", "lund")
    if sums.size == 0 or not sums[:2, 1].any():
        return None
    import matplotlib.pyplot as plt

    figure, (plane, cut) = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    end = end_name(store.attributes.get("result"))
    density = histogram_of(sums[1])
    x, y = density.axes
    image = plane.pcolormesh(x.edges, y.edges, density.values().T, cmap="viridis")
    figure.colorbar(image, ax=plane, label="emissions per jet and area")
    variable = store.attributes["run"]["radius"]["reference_pt"] is not None
    label = r"x = ln(1 / $\Delta$)" if variable else r"x = ln(R / $\Delta$)"
    plane.set(xlabel=label, ylabel=r"y = ln($k_T$ / GeV)", title=f"{end}, R = {radii[1]:.3g}")
    for row, name in enumerate(("start", end)):
        value, error = _average(sums[row])
        cut.stairs(
            value, y.edges, color=COLOURS[row], lw=1.8, label=f"{name}, R = {radii[row]:.3g}"
        )
        cut.errorbar(y.centers, value, error, fmt="none", color=COLOURS[row], capsize=2)
    kt = np.linspace(np.log(_LEAST_KT), y.edges[-1], 50)
    for name, colour_factor, line in (("quark", 4.0 / 3.0, "--"), ("gluon", 3.0, ":")):
        level = leading_order(np.exp(kt), colour_factor)
        cut.plot(kt, level, color="0.35", ls=line, lw=1.4, label=f"leading order, {name}")
    cut.set(xlabel=r"y = ln($k_T$ / GeV)", ylabel="$d^2n / dx\\,dy$")
    cut.set_ylim(0.0, None)
    cut.legend()
    return figure


def _average(sums: Any) -> tuple[Any, Any]:
    """Density averaged over the first columns of x, with its error as if cells were independent."""
    density = histogram_of(sums)
    values, variances = density.values()[_COLUMNS], density.variances()[_COLUMNS]
    return values.mean(axis=0), np.sqrt(variances.sum(axis=0)) / len(values)
