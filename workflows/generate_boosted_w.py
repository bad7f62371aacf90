"""Generate boosted W -> qq and QCD jets with Pythia 8: pp at 13 TeV, 300 < pT < 400 GeV.

    pip install pythia8mc==8.317.2 djservice
    python workflows/generate_boosted_w.py --events 5000 --output w_qcd

The signal is W + jet with W -> qq, the background QCD with two jets. The axis of an event is that
of the W, or of one of the two hard partons, at random. It has 300 < pT < 400 GeV and |eta| < 2. The
tune is the default one, with multiparton interactions. An event keeps its visible and stable
particles within 1.5 of the axis, so jets of any R below that can be made of it.

Events are written as ROOT in parts of 500, each with a seed of its own. Parts that exist are not
made again. ``signal`` is 1 for a W and 0 for QCD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import awkward as ak
import click
import numpy as np
import uproot
from pythia import started

PROCESSES = {
    "w": (
        "WeakBosonAndParton:qqbar2Wg = on",
        "WeakBosonAndParton:qg2Wq = on",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
    ),
    "qcd": ("HardQCD:all = on",),
}
#: Events of a part.
PART = 500
PT_MIN, PT_MAX, ETA_MAX, CONE = 300.0, 400.0, 2.0, 1.5
PARTICLE = ("pt", "eta", "phi", "mass")


def generator(process: str, seed: int, *more: str) -> Any:
    """An initialised Pythia generator of a process, with further settings."""
    return started(
        13000.0,
        seed,
        f"PhaseSpace:pTHatMin = {PT_MIN - 30.0}",
        f"PhaseSpace:pTHatMax = {PT_MAX + 30.0}",
        *PROCESSES[process],
        *more,
    )


def axis(event: Any, process: str, random: np.random.Generator) -> Any:
    """The W before it decays, or one of the two hard partons."""
    particles = [event[i] for i in range(event.size())]
    if process == "w":
        return [p for p in particles if p.idAbs() == 24][-1]
    return [p for p in particles if p.status() == -23][random.integers(2)]


def around(event: Any, process: str, random: np.random.Generator) -> list[tuple[float, ...]]:
    """pT, eta, phi and mass of the particles about the axis; none if the axis is not selected."""
    centre = axis(event, process, random)
    if not (PT_MIN < centre.pT() < PT_MAX and abs(centre.eta()) < ETA_MAX):
        return []
    rows = []
    for p in event:
        if p.isFinal() and p.isVisible():
            turn = math.remainder(p.phi() - centre.phi(), 2.0 * math.pi)
            if math.hypot(p.eta() - centre.eta(), turn) < CONE:
                rows.append((p.pT(), p.eta(), p.phi(), max(p.m(), 0.0)))
    return rows


def make_part(path: Path, process: str, number: int, bar: Any) -> None:
    """Write a part of the events of a process."""
    seed = 1 + number + 1000 * list(PROCESSES).index(process)
    pythia, random = generator(process, seed), np.random.default_rng(seed)
    events: list[Any] = []
    while len(events) < PART:
        if pythia.next() and (rows := around(pythia.event, process, random)):
            events.append(rows)
            bar.update(1)
    signal = np.full(PART, 1.0 if process == "w" else 0.0)
    run = 1 + list(PROCESSES).index(process)
    write_part(path, run, number, {"signal": signal}, {"PFCands": (PARTICLE, events)})


def write_part(
    path: Path,
    run: int,
    number: int,
    numbers: dict[str, np.ndarray],
    lists: dict[str, tuple[tuple[str, ...], list[Any]]],
) -> None:
    """Write a part: numbers of events, and lists of rows with the names of their columns."""
    ones = np.ones(PART, np.int64)
    data: dict[str, Any] = {
        "run": ones * run,
        "luminosityBlock": ones,
        "event": np.arange(number * PART, (number + 1) * PART),
        **numbers,
    }
    for prefix, (names, events) in lists.items():
        counts = [len(rows) for rows in events]
        for name, values in zip(names, np.concatenate(events).T, strict=True):
            flat = values.astype(np.int32) if name == "pdgId" else values
            data[f"{prefix}_{name}"] = ak.unflatten(flat, counts)
    aside = path.with_suffix(".part")
    with uproot.recreate(aside) as file:
        file.mktree("Events", {name: ak.type(x).content for name, x in data.items()}).extend(data)
    aside.rename(path)


def generate(
    folder: Path,
    events: int,
    samples: Iterable[str] = PROCESSES,
    make: Callable[[Path, str, int, Any], None] = make_part,
) -> list[Path]:
    """The parts with some events of each sample; those that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        (folder / f"{sample}_{number:03d}.root", sample, number)
        for number in range(math.ceil(events / PART))
        for sample in samples
    ]
    missing = [part for part in parts if not part[0].exists()]
    with click.progressbar(length=len(missing) * PART, label="events") as bar:
        for part in missing:
            make(*part, bar)
    return [part[0] for part in parts]


@click.command(help=__doc__)
@click.option("--events", default=5000, show_default=True, help="Events of each process.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="w_qcd")
def main(events: int, output: Path) -> None:
    """Generate the events, or go on where an earlier call ended."""
    generate(output, events)
    click.echo(f"{events:,} events of each process in {output}")


if __name__ == "__main__":
    main()
