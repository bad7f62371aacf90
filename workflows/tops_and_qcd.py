"""Score of a tagger for top jets and QCD jets, and its AUC at several rigidities, with Pythia 8.

    pip install pythia8mc==8.317.2 'djservice[onnx]'
    python workflows/tops_and_qcd.py --model tagger.onnx --preprocess preprocess.json \\
        --output "label_Tbqq / (label_Tbqq + label_QCD)" --events 300

The processes are pp -> tt, with both W -> qq, and QCD, at 13 TeV, in the default tune with
multiparton interactions and 550 < pTHat < 700 GeV. The particles are visible and stable, with
|eta| < 2.5 and pT above 0.5 GeV. The jet is the leading one of each event. A seed always gives the
same events with the same version of Pythia.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from pythia import started

import djservice as dj

COMMON = ("PhaseSpace:pTHatMin = 550.", "PhaseSpace:pTHatMax = 700.")
PROCESSES = {
    "top": (
        "Top:gg2ttbar = on",
        "Top:qqbar2ttbar = on",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
    ),
    "qcd": ("HardQCD:all = on",),
}
Floats = NDArray[np.float64]


def generated(process: str, events: int, seed: int) -> dj.EventBatch:
    """Events of a process, with charges and PDG codes of the particles."""
    pythia = started(13000.0, seed, *COMMON, *PROCESSES[process])
    rows: list[tuple[float, ...]] = []
    offsets = [0]
    while len(offsets) <= events:
        if pythia.next():
            rows += kept(pythia.event)
            offsets.append(len(rows))
    pt, eta, phi, mass, charge, code = np.array(rows).T
    return dj.EventBatch.from_arrays(
        pt=pt,
        eta=eta,
        phi=phi,
        mass=np.abs(mass),
        offsets=offsets,
        columns={"charge": charge, "pdgId": code},
        source=process,
    )


def kept(particles: Iterable[Any]) -> list[tuple[float, ...]]:
    """pT, eta, phi, mass, charge and PDG code of the particles that are clustered."""
    return [
        (p.pT(), p.eta(), p.phi(), p.m(), p.charge(), p.id())
        for p in particles
        if p.isFinal() and p.isVisible() and abs(p.eta()) < 2.5 and p.pT() > 0.5
    ]


def auc(signal: Floats, background: Floats) -> tuple[float, float]:
    """Area under the ROC curve, and its standard error (Hanley, McNeil 1982)."""
    s, b = signal[np.isfinite(signal)], background[np.isfinite(background)]
    area = float((s[:, np.newaxis] > b).mean() + 0.5 * (s[:, np.newaxis] == b).mean())
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    spread = area * (1.0 - area) + (len(s) - 1) * (q1 - area**2) + (len(b) - 1) * (q2 - area**2)
    return area, math.sqrt(spread / (len(s) * len(b)))


@click.command(help=__doc__)
@click.option("--model", required=True, help="Network in ONNX.")
@click.option("--preprocess", required=True, help="Its preprocess.json.")
@click.option("--output", default="0", help="Label or formula of labels.", show_default=True)
@click.option("--events", default=300, help="Events of each process.", show_default=True)
@click.option("--trees", default=2, help="Trees per event.", show_default=True)
@click.option("--radius", default=0.8, show_default=True)
@click.option("--seed", default=1, help="Seed of the tops; QCD has the next.", show_default=True)
def main(**options: Any) -> None:
    """Print the AUC for deterministic jets, and for trees of some rigidities."""
    output = options["output"]
    score = dj.observables.onnx(
        options["model"], options["preprocess"], int(output) if output.isdigit() else output
    )
    samples = [
        generated(process, options["events"], options["seed"] + i)
        for i, process in enumerate(("top", "qcd"))
    ]
    for rigidity in (math.inf, 10.0, 1.0):
        trees = 1 if math.isinf(rigidity) else options["trees"]
        how: dict[str, Any] = {"radius": options["radius"], "rigidity": rigidity, "trees": trees}
        area, error = auc(*(dj.expectation(events, score, **how).mean for events in samples))
        click.echo(f"alpha = {rigidity:g}: AUC {area:.4f} +- {error:.4f}")


if __name__ == "__main__":
    main()
