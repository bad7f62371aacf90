"""Closure of the Lund reweighting: W -> qq jets of one shower, reweighted to those of another.

    pip install pythia8mc==8.317.2 'djservice[report]'
    python workflows/lund_closure.py --events 5000 --output lund_closure

The "simulation" is Pythia's default, the "data" have the coupling of the final-state shower lowered
by 10 %. Each is W + jet with W -> qq at 13 TeV and 300 < pT(W) < 400 GeV, as in
generate_boosted_w.py, with the quarks of the W and without multiparton interactions. The leading
anti-kT jet (R = 0.8) is taken if its pT is above 225 GeV and its groomed mass between 70 and
110 GeV. The ratio of Lund planes is measured on the first half of the events, and applied to the
second.
It prints chi^2 of tau_21, multiplicity and groomed mass between "data" and simulation, before and
after, and writes them with a figure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import awkward as ak
import click
import numpy as np
import uproot
from generate_boosted_w import PART, PARTICLE, around, generate, generator, write_part
from numpy.typing import NDArray

import djservice as dj
from djservice.config.input import LundJets
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.selected_jets import groomed_mass, select_jets
from djservice.lund_planes.subjets import subjets_of

#: Coupling of the final-state shower at the mass of the Z.
COUPLING = {"simulation": 0.1365, "data": 0.9 * 0.1365}
#: pT above 225 GeV, groomed mass from 70 to 110 GeV, two prongs.
SELECTION = LundJets()


def quarks_of(event: Any) -> list[tuple[float, ...]]:
    """eta, phi and PDG number of the quarks of the W."""
    last = [i for i in range(event.size()) if event[i].idAbs() == 24][-1]
    daughters = (event[event[last].daughter1()], event[event[last].daughter2()])
    return [(p.eta(), p.phi(), p.id()) for p in daughters]


def make_part(path: Path, sample: str, number: int, bar: Any) -> None:
    """Write a part of the events of a sample."""
    seed = 5000 + number + 1000 * list(COUPLING).index(sample)
    coupling = f"TimeShower:alphaSvalue = {COUPLING[sample]}"
    pythia = generator("w", seed, "PartonLevel:MPI = off", coupling)
    random = np.random.default_rng(seed)
    events: list[Any] = []
    quarks: list[Any] = []
    while len(events) < PART:
        if pythia.next() and (rows := around(pythia.event, "w", random)):
            events.append(rows)
            quarks.append(quarks_of(pythia.event))
            bar.update(1)
    lists = {"PFCands": (PARTICLE, events), "GenPart": (("eta", "phi", "pdgId"), quarks)}
    write_part(path, 1 + list(COUPLING).index(sample), number, {}, lists)


def jets_of(folder: Path, sample: str, half: int) -> tuple[dj.EventBatch, Any]:
    """The selected jets of half of the events of a sample as constituents, and their quarks."""
    files = sorted(folder.glob(f"{sample}_*.root"))
    files = files[: len(files) // 2] if half == 0 else files[len(files) // 2 :]
    events = dj.read(files, schema=dj.schemas.nanoaod(pt_min=0.1))
    jets = select_jets(events, SELECTION)
    quarks = ak.concatenate(
        [uproot.open(f)["Events"].arrays(filter_name="GenPart_*") for f in files]
    )
    records = ak.zip({name: quarks[f"GenPart_{name}"] for name in ("eta", "phi", "pdgId")})
    return jets.batch, records[jets.event]


def observables(jets: dj.EventBatch) -> dict[str, NDArray[np.float64]]:
    """tau_21 with kT axes, number of particles, and groomed mass in GeV of each jet."""
    jet = np.repeat(np.arange(len(jets)), jets.counts)
    tau = []
    for number in (1, 2):
        axes = subjets_of(jets, np.full(len(jets), number))
        first = np.searchsorted(axes.jet, np.arange(len(jets)))
        distance = np.min(
            [
                np.hypot(
                    jets.rapidity - axes.rapidity[first + k][jet],
                    np.remainder(jets.phi - axes.phi[first + k][jet] + np.pi, 2 * np.pi) - np.pi,
                )
                for k in range(number)
            ],
            axis=0,
        )
        tau.append(np.bincount(jet, jets.pt * distance))
    columns = ak.zip({n: getattr(jets, n) for n in ("pt", "rapidity", "phi", "mass")})
    emissions = dj.lund(ak.unflatten(columns, jets.counts))
    mass = ak.to_numpy(groomed_mass(emissions))
    return {"tau_21": tau[1] / tau[0], "multiplicity": jets.counts * 1.0, "groomed mass": mass}


def chi2(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    weights: NDArray[np.float64],
    toys: NDArray[np.float64] | None = None,
) -> tuple[float, int]:
    """chi^2 of two samples in deciles of the first, the other with weights; and its freedom.

    The spread of the bins under toys of the weights, shape (jet, toy), is added to their errors.
    """
    edges = np.unique(np.quantile(one, np.linspace(0.0, 1.0, 11))[1:-1])
    a, b = np.searchsorted(edges, one, side="right"), np.searchsorted(edges, other, side="right")
    bins, total = len(edges) + 1, weights.sum()
    p, q = np.bincount(a, minlength=bins) / len(one), np.bincount(b, weights, bins) / total
    errors = p / len(one) + np.bincount(b, weights**2, bins) / total**2
    if toys is not None:
        varied = [np.bincount(b, w, bins) / w.sum() for w in toys.T]
        errors = errors + np.var(varied, axis=0)
    return float(((p - q) ** 2 / errors).sum()), bins - 1


def close(folder: Path) -> dict[str, Any]:
    """Measure on the first half, apply to the second, and compare."""
    planes, ratio_binning = {}, Binning()
    for sample in COUPLING:
        jets, _ = jets_of(folder, sample, 0)
        subjets = subjets_of(jets, np.full(len(jets), SELECTION.prongs))
        planes[sample] = PlaneSums.of(subjets, np.ones(len(jets)), ratio_binning)
    ratio = dj.LundRatio.of(planes["data"], planes["simulation"], ratio_binning)
    data, _ = jets_of(folder, "data", 1)
    simulation, quarks = jets_of(folder, "simulation", 1)
    weights = dj.LundReweighter(ratio).weights(simulation, quarks=quarks)
    measured, simulated = observables(data), observables(simulation)
    result: dict[str, Any] = {
        "jets of data": len(data),
        "jets of simulation": len(simulation),
        "bad matches": float(weights.bad_match.mean()),
        "effective jets": float(weights.nominal.sum() ** 2 / (weights.nominal**2).sum()),
    }
    ones = np.ones(len(simulation))
    for name, values in measured.items():
        other = simulated[name]
        changes = weights.uncertainties(lambda w, other=other: float(w @ other / w.sum()))
        result[name] = {
            "chi2 before": chi2(values, other, ones),
            "chi2 after": chi2(values, other, weights.nominal),
            "chi2 after, with toys": chi2(
                values, other, weights.nominal, weights.toys["statistics"]
            ),
            "mean of data": (float(values.mean()), float(values.std() / len(values) ** 0.5)),
            "mean before": float(other.mean()),
            "mean after": float(weights.nominal @ other / weights.nominal.sum()),
            "uncertainties": changes,
        }
    draw(folder, measured, simulated, weights.nominal)
    return result


def draw(folder: Path, data: Any, simulation: Any, weights: NDArray[np.float64]) -> None:
    """The figure of the observables before and after."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(data), figsize=(12, 3.8), layout="constrained")
    for axes, (name, values) in zip(panels, data.items(), strict=True):
        edges = np.linspace(*np.quantile(values, (0.005, 0.995)), 21)
        width = np.diff(edges)
        counts, _ = np.histogram(values, edges)
        axes.errorbar(
            (edges[1:] + edges[:-1]) / 2.0,
            counts / len(values) / width,
            np.sqrt(counts) / len(values) / width,
            fmt="ko",
            ms=3,
            label="data (lower coupling)",
        )
        for w, colour, label in (
            (np.ones(len(weights)), "#D55E00", "simulation"),
            (weights, "#0072B2", "reweighted"),
        ):
            heights, _ = np.histogram(simulation[name], edges, weights=w)
            axes.stairs(heights / w.sum() / width, edges, color=colour, label=label)
        axes.set(xlabel=name, ylabel="density")
    panels[0].legend(frameon=False)
    figure.savefig(folder / "closure.png", dpi=110)


@click.command(help=__doc__)
@click.option("--events", default=5000, show_default=True, help="Events of each sample.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="lund_closure")
def main(events: int, output: Path) -> None:
    """Generate the events, or go on where an earlier call ended, and test the closure."""
    generate(output, events, COUPLING, make_part)
    result = close(output)
    (output / "closure.json").write_text(json.dumps(result, indent=2) + "\n")
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
