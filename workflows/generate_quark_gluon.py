"""Generate quark and gluon jets with Pythia 8: pp -> Z + jet at 14 TeV, Z -> neutrinos.

    pip install pythia8mc==8.317.2 djservice
    python workflows/generate_quark_gluon.py --jets 10000 --processes 2 --output quark_gluon

The leading anti-kT jet (R = 0.4) of an event is taken if 500 < pT < 550 GeV and |y| < 1.7. Its
label is that of the process: qg -> Zq with a light quark, or qqbar -> Zg. The tune is the default
one, with multiparton interactions. Particles are visible and stable, with |eta| < 4.9.

Jets are written in parts of 500, each with a seed of its own, so the jets do not depend on the
number of processes. Parts that exist are not made again. A part is a NumPy file with ``counts``,
the number of constituents of each jet, and ``constituents``, their px, py, pz and E in GeV.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import awkward as ak
import click
import numpy as np
from numpy.typing import NDArray
from pythia import started

import djservice as dj

PROCESSES = {"quark": "qg2gmZq", "gluon": "qqbar2gmZg"}
#: Jets of a part, and events that are clustered together.
PART, CHUNK = 500, 200
RADIUS, PT_MIN, PT_MAX, RAPIDITY_MAX, ETA_MAX = 0.4, 500.0, 550.0, 1.7, 4.9
PT_HAT_MIN = 450.0
LIGHT = (1, 2, 3)


def generator(label: str, seed: int) -> Any:
    """An initialised Pythia generator of one process."""
    return started(
        14000.0,
        seed,
        f"WeakBosonAndParton:{PROCESSES[label]} = on",
        "WeakZ0:gmZmode = 2",
        "23:onMode = off",
        "23:onIfAny = 12 14 16",
        f"PhaseSpace:pTHatMin = {PT_HAT_MIN}",
    )


def of_label(event: Any, label: str) -> bool:
    """Whether the parton beside the Z is a gluon or a light quark."""
    partons = [event[i].idAbs() for i in range(event.size()) if event[i].status() == -23]
    return any(parton in (LIGHT if label == "quark" else (21,)) for parton in partons)


def particles(event: Any) -> NDArray[np.float64]:
    """px, py, pz and E of the visible particles, shape (particle, 4)."""
    seen = [
        (p.px(), p.py(), p.pz(), p.e())
        for p in event
        if p.isFinal() and p.isVisible() and abs(p.eta()) < ETA_MAX
    ]
    return np.array(seen)


def leading_jets(events: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Constituents of the leading jets that pass the selection, by falling pT."""
    px, py, pz, energy = np.concatenate(events).T
    mass = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))
    columns = {"pt": np.hypot(px, py), "phi": np.arctan2(py, px), "mass": mass}
    columns["rapidity"] = np.arcsinh(pz / np.hypot(columns["pt"], mass))
    counts = [len(event) for event in events]
    batch = ak.unflatten(ak.zip(columns), counts)
    jets = dj.cluster_jets(batch, radius=RADIUS, jets=1, threads=1)[:, 0]
    selected = (jets.pt > PT_MIN) & (jets.pt < PT_MAX) & (abs(jets.rapidity) < RAPIDITY_MAX)
    inside = [events[i][np.asarray(jets.constituents[i])] for i in np.flatnonzero(selected)]
    return [jet[np.argsort(-np.hypot(jet[:, 0], jet[:, 1]))] for jet in inside]


def make_part(path: Path, label: str, seed: int, size: int) -> int:
    """Write a part of the jets; their number."""
    pythia = generator(label, seed)
    jets: list[NDArray[np.float64]] = []
    while len(jets) < size:
        events: list[NDArray[np.float64]] = []
        while len(events) < CHUNK:
            if pythia.next() and of_label(pythia.event, label):
                events.append(particles(pythia.event))
        jets += leading_jets(events)
    jets = jets[:size]
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        counts = np.array([len(jet) for jet in jets])
        np.savez_compressed(file, counts=counts, constituents=np.concatenate(jets))
    aside.rename(path)
    return size


def parts_of(folder: Path, jets: int) -> list[tuple[Path, str, int, int]]:
    """File, label, seed and number of jets of each part of a sample."""
    return [
        (folder / f"{label}_{i:03d}.npz", label, 1 + 1000 * k + i, PART)
        for i in range(math.ceil(jets / PART))
        for k, label in enumerate(PROCESSES)
    ]


def generate(folder: Path, jets: int, processes: int) -> None:
    """Make the parts that are missing, with progress on standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [part for part in parts_of(folder, jets) if not part[0].exists()]
    with (
        ProcessPoolExecutor(processes) as pool,
        click.progressbar(length=len(missing) * PART, label="jets") as bar,
    ):
        for part in as_completed([pool.submit(make_part, *part) for part in missing]):
            bar.update(part.result())


@click.command()
@click.option("--jets", default=10_000, show_default=True, help="Jets of each kind.")
@click.option("--processes", default=2, show_default=True, help="Processes that work at once.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="quark_gluon",
    show_default=True,
    help="Folder for the jets.",
)
def main(jets: int, processes: int, output: Path) -> None:
    """Generate quark and gluon jets, or go on where an earlier call ended."""
    generate(output, jets, processes)
    click.echo(f"{jets:,} jets of each kind in {output}")


if __name__ == "__main__":
    main()
