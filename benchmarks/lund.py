"""Lund planes: emissions per second, and the figure of the guide.

Writes docs/images/lund.png: the density of emissions of anti-kT jets of the shipped ZH events, and cuts through it beside the leading
order.

    python benchmarks/lund.py
"""

from __future__ import annotations

import time
from pathlib import Path

import awkward as ak
import matplotlib.pyplot as plt
import numpy as np

import djservice as dj

RADIUS, PT_MIN, ALPHA_S = 0.8, 40.0, 0.12
X, Y = np.linspace(0.0, 4.5, 19), np.linspace(-2.0, 4.0, 25)


def main() -> None:
    events = dj.read("example:ZHllbb_1000", schema=dj.schemas.nanoaod(pt_min=0.2))
    jets = dj.cluster_jets(events, radius=RADIUS, pt_min=PT_MIN)
    dj.lund(events, jets)  # compiled
    began = time.process_time()
    emissions = dj.lund(events, jets)
    seconds = time.process_time() - began
    number, of_jets = int(ak.count(emissions.kt)), int(ak.sum(ak.num(jets)))
    print(f"{number:,} emissions of {of_jets:,} jets in {seconds:.3f} s of CPU: ", end="")
    print(f"{number / seconds:,.0f} per second, {1e6 * seconds / of_jets:.1f} us per jet")
    began = time.process_time()
    dj.lund_density(events, jets, radius=RADIUS)
    seconds = time.process_time() - began
    print(f"density with its clustering: {1e6 * seconds / of_jets:.1f} us per jet")
    reweighter = dj.LundReweighter.measured((events, jets), (events, jets), prongs=2)
    for toys in (0, 100):
        began = time.process_time()
        reweighter.weights(events, jets, prongs=2, toys=toys)
        seconds = time.process_time() - began
        print(f"weights with 2 x {toys} toys: {1e6 * seconds / of_jets:.1f} us per jet")
    primary = ak.flatten(ak.flatten(emissions[emissions.plane == 1]))
    x, y = np.log(RADIUS / ak.to_numpy(primary.delta)), np.log(ak.to_numpy(primary.kt))
    density, *_ = np.histogram2d(x, y, (X, Y))
    density /= of_jets * np.diff(X)[:, None] * np.diff(Y)
    draw(density)


def draw(density: np.ndarray) -> None:
    figure, (plane, cuts) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    image = plane.pcolormesh(X, Y, density.T, cmap="viridis")
    figure.colorbar(image, label="emissions per jet, d²n / dx dy")
    plane.set(xlabel=r"x = ln(R / $\Delta$)", ylabel=r"y = ln(k$_T$ / GeV)")
    centres = (X[1:] + X[:-1]) / 2.0
    for low, colour in ((0.0, "#0072B2"), (1.0, "#D55E00")):
        rows = (Y[:-1] >= low) & (Y[1:] <= low + 1.0 + 1e-9)
        label = f"{low:.0f} < y < {low + 1:.0f}"
        cuts.step(centres, density[:, rows].mean(axis=1), where="mid", color=colour, label=label)
    for name, colour_factor, style in (("quark", 4.0 / 3.0, "--"), ("gluon", 3.0, ":")):
        level = 2.0 * ALPHA_S * colour_factor / np.pi
        cuts.axhline(level, color="0.4", linestyle=style, label=f"leading order, {name}")
    cuts.set(xlabel=r"x = ln(R / $\Delta$)", ylabel="d²n / dx dy", ylim=(0.0, None))
    cuts.legend(frameon=False)
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "lund.png", dpi=110)


if __name__ == "__main__":
    main()
