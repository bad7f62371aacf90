"""The radius of best significance for ZH -> llbb against Z + jets, beside that of the mass.

    pip install pythia8mc==8.317.2 'djservice[report]'
    python zh_significance.py --events 10000 --folder significance
    djservice export significance/run.zarr --pyhf significance/workspace.json

Pythia 8 makes pp -> ZH with H -> bb, and pp -> Z + jet, at 13.6 TeV, both with Z -> ee or mumu and
the bosons' pT above 75 GeV, with the default tune. The decay products of the Z are left out. The
cross sections are Pythia's, at leading order, with the branching ratios. Jets are not tagged: each
sample has the probability that an event passes two b tags as a weight, so that the significance is
of the size of an analysis, and no more than that.

Samples that exist are not made again, and runs are continued. ``significance.png`` has the
significance and the loss of the mass against R, and both optima.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import uproot
from generate_zh import Columns, add_particles, collection, last_copy
from pythia import started

#: Settings of each process, and the probability that an event passes two b tags.
PROCESSES = {
    "ZH": (("HiggsSM:ffbar2HZ = on", "25:onMode = off", "25:onIfAny = 5"), 0.5),
    "Zjets": (
        (
            "WeakBosonAndParton:qqbar2gmZg = on",
            "WeakBosonAndParton:qg2gmZq = on",
            "WeakZ0:gmZmode = 2",
        ),
        1e-3,
    ),
}
PT_HAT_MIN, PT_MIN = 75.0, 0.5
LUMINOSITY = 300_000.0  # in 1/pb
RADII = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0]


def generate(process: str, events: int, seed: int) -> tuple[Columns, float]:
    """Particles of events of a process, and its cross section in pb."""
    settings, _ = PROCESSES[process]
    leptonic = ("23:onMode = off", "23:onIfAny = 11 13")
    pythia = started(13600.0, seed, f"PhaseSpace:pTHatMin = {PT_HAT_MIN}", *leptonic, *settings)
    columns: Columns = defaultdict(list)
    while len(columns["PFCands_pt"]) < events:
        if pythia.next():
            event = pythia.event
            z = next(i for i in range(event.size()) if event[i].id() == 23)
            leptons = set(event[last_copy(event, z)].daughterListRecursive())
            add_particles(columns, event, leptons, PT_MIN)
    # In mb, times the branching ratios of the decays that are switched on.
    return columns, float(pythia.infoPython().sigmaGen()) * 1e9


def write(columns: Columns, path: Path) -> None:
    """Write the tree ``Events`` of a sample."""
    events = len(columns["PFCands_pt"])
    particles = collection(columns, "PFCands", {"pt": 10, "mass": 10, "eta": 12, "phi": 12})
    data: dict[str, Any] = {
        "run": np.ones(events, np.uint32),
        "luminosityBlock": np.ones(events, np.uint32),
        "event": np.arange(1, events + 1, dtype=np.uint64),
        "PFCands": particles,
    }
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        types = {
            name: v.dtype if isinstance(v, np.ndarray) else v.type.content
            for name, v in data.items()
        }
        file.mktree("Events", types).extend(data)


def configuration(folder: Path) -> dict[str, Any]:
    """The run as plain data."""
    return {
        "input": {"fileset": str(folder / "fileset.json"), "weight": None, "pt_min": PT_MIN},
        "estimator": "leave_one_out",  # a histogram has a slope per bin
        "objective": {
            "kind": "significance",
            "signal": "ZH",
            "background": "Zjets",
            "luminosity": LUMINOSITY,
            "bins": list(range(40, 201, 10)),
            "background_uncertainty": 0.05,
            "held_back": 0.3,
            "cuts": [{"name": "two_jets", "pt_min": 20.0, "rapidity_max": 2.5}],
        },
        "radius": {"start": 0.4},
        "optimiser": {"iterations": 40, "learning_rate": 0.1, "batch_events": 20_000, "trees": 2},
        "scan": {"radii": RADII, "trees": 6},
        "spectrum": {"radii": [1.0], "trees": 6},
        "output": {"store": str(folder / "run.zarr")},
    }


def mass_configuration(folder: Path) -> dict[str, Any]:
    """The run that learns R from the mass of the same ZH events."""
    return {
        "input": {"files": str(folder / "ZH.root"), "weight": None, "pt_min": PT_MIN},
        "loss": {
            "observable": "dijet_mass",
            "target": 125.0,
            "scale": 125.0,
            "cuts": [
                {"name": "two_jets", "pt_min": 20.0, "rapidity_max": 2.5},
                {"name": "mass_below", "maximum": 250.0},
            ],
        },
        "radius": {"start": 0.4},
        "optimiser": {"iterations": 60, "batch_events": 400, "trees": 6},
        "scan": {"radii": RADII, "trees": 6},
        "spectrum": {"radii": [1.0], "trees": 6},
        "output": {"store": str(folder / "mass.zarr")},
    }


def figure(folder: Path, fits: dict[str, Any]) -> None:
    """Both objectives against R, each with its optimum."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import xarray as xr

    drawing, left = plt.subplots(figsize=(8.0, 5.5), layout="constrained")
    for (name, fit), axes, colour, sign in zip(
        fits.items(), (left, left.twinx()), ("#D55E00", "#0072B2"), (-1.0, 1.0), strict=True
    ):
        scan = xr.open_zarr(fit.store, group="scan", consolidated=False)
        columns = (scan[column].values for column in ("radius", "loss", "loss_error"))
        radius, loss, error = columns
        axes.errorbar(radius, sign * loss, error, fmt="o-", color=colour, capsize=3)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.3 * (high - low))
        axes.set_ylabel(name, color=colour)
        best, width = fit.radius, np.nan_to_num(fit.result.radius_error)
        label = f"{name}: R* = {best:.3f} ± {width:.3f}"
        left.axvline(best, color=colour, linestyle="--", label=label)
        left.axvspan(best - width, best + width, color=colour, alpha=0.12, linewidth=0.0)
    left.set_xlabel("R")
    left.legend(loc="upper center")
    drawing.savefig(folder / "significance.png", dpi=110)


@click.command(help="\n\n\b\n".join(__doc__.split("\n\n")[:2]))
@click.option("--events", default=10_000, show_default=True, type=click.IntRange(min=100))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(1, 900_000_000))
@click.option(
    "--folder", default="significance", show_default=True, type=click.Path(path_type=Path)
)
def main(events: int, seed: int, folder: Path) -> None:
    import djservice as dj

    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "fileset.json"
    fileset = json.loads(place.read_text()) if place.exists() else {}
    for number, (process, (_, tagged)) in enumerate(PROCESSES.items()):
        if process in fileset:
            continue
        columns, cross_section = generate(process, events, seed + number)
        path = (folder / f"{process}.root").absolute()
        write(columns, path)
        click.echo(f"{path}: {events} events, {cross_section:.4g} pb")
        metadata = {"xsec": cross_section, "weight": tagged}
        fileset[process] = {"files": {str(path): "Events"}, "metadata": metadata}
        place.write_text(json.dumps(fileset, indent=2))
    run = dj.Run.from_dict(configuration(folder))
    (folder / "run.yaml").write_text(run.to_yaml())
    fit = dj.run(run)
    dj.report(fit.store)
    mass = dj.run(dj.Run.from_dict(mass_configuration(folder)))
    figure(folder, {"significance": fit, "loss of the mass": mass})
    for name, each in (("significance", fit), ("mass", mass)):
        click.echo(f"{name}: R = {each.radius:.3f} +- {each.result.radius_error:.3f}")


if __name__ == "__main__":
    main()
