"""Generate ZH or ZZ events like the example files of djservice, with Pythia 8 at 13.6 TeV.

    pip install pythia8mc==8.317.2 djservice
    python generate_zh.py --events 700 --seed 2 --mass 90 --output mass_090.root
    python generate_zh.py --events 1000 --mantissa-bits 10 --output ZHllbb_1000.root

The processes are pp -> ZH and pp -> ZZ, with one Z -> ee or mumu and H (or the other Z) -> bb, in
the default tune with multiparton interactions. The particles are visible and stable, with
|eta| < 4.9 and pT above the cut. The decay products of the leptonic Z are left out.

The tree ``Events`` has the branches

- run (1001), luminosityBlock (1), event (from 1) and genWeight,
- PFCands_{pt,eta,phi,mass,pdgId,charge}: particles by falling pt,
- GenPart_{pt,eta,phi,mass,pdgId,status,genPartIdxMother,statusFlags}: the incoming partons, the two
  bosons (first and last copy), their decay products, the leptons after radiation, and the b hadrons
  that decay weakly. The mother of such a hadron is the b quark of H that it contains, or -1.
- GenVisH_{pt,mass}: sum of the visible decay products of H (of the hadronic Z) without cuts,
- GenMET_{pt,phi}: sum of the neutrinos.

The branches GenJet_* of the example files are missing; cluster the particles instead. A seed always
gives the same events with the same version of Pythia, but not the events of the example files.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import awkward as ak
import click
import numpy as np
import uproot
from numpy.typing import NDArray
from pythia import started

RUN, BLOCK = 1001, 1
ETA_MAX = 4.9
NEUTRINOS = (12, 14, 16)
#: NanoAOD's bits: prompt, of the hard process, from the hard process, last copy.
PROMPT, HARD, FROM_HARD, LAST = 1 << 0, 1 << 7, 1 << 8, 1 << 13

SETTINGS = {
    "zh": (
        "HiggsSM:ffbar2HZ = on",
        "25:onMode = off",
        "25:onIfAny = 5",
        "23:onMode = off",
        "23:onIfAny = 11 13",
    ),
    "zz": (
        "WeakDoubleBoson:ffbar2gmZgmZ = on",
        "WeakZ0:gmZmode = 2",
        "23:onMode = off",
        "23:onIfAny = 5 11 13",
    ),
}

#: Columns of all events so far; the particles of one event are one list.
Columns = dict[str, list[Any]]


def generator(process: str, seed: int, pt_hat_min: float, mass: float) -> Any:
    """An initialised Pythia generator."""
    of_higgs = () if process != "zh" else (f"25:m0 = {mass}", "25:mMin = 10.")
    cut = f"PhaseSpace:pTHatMin = {pt_hat_min}"
    return started(13600.0, seed, *SETTINGS[process], *of_higgs, cut)


def last_copy(event: Any, i: int) -> int:
    """Index of the copy of particle ``i`` that decays."""
    return int(event[i].iBotCopyId())


def bosons(event: Any) -> tuple[int, int] | None:
    """Indices of the boson that decays to b quarks and of the leptonic Z; None for other decays."""
    hard = [
        i for i in range(event.size()) if event[i].status() == -22 and event[i].id() in (23, 25)
    ]
    by_decay = {abs(event[event[last_copy(event, i)].daughter1()].id()) == 5: i for i in hard}
    return (by_decay[True], by_decay[False]) if len(by_decay) == 2 else None


def add_particles(columns: Columns, event: Any, removed: set[int], pt_min: float) -> None:
    """Add the visible particles within the acceptance, by falling pt."""
    particles = (event[i] for i in range(event.size()) if i not in removed and event[i].isFinal())
    seen = [p for p in particles if p.isVisible() and p.pT() > pt_min and abs(p.eta()) < ETA_MAX]
    seen.sort(key=lambda p: -p.pT())
    values = {
        "pt": [p.pT() for p in seen],
        "eta": [p.eta() for p in seen],
        "phi": [p.phi() for p in seen],
        "mass": [max(p.m(), 0.0) for p in seen],
        "pdgId": [p.id() for p in seen],
        "charge": [round(p.charge()) for p in seen],
    }
    for field, column in values.items():
        columns[f"PFCands_{field}"].append(column)


def has_b(pdg_id: int) -> bool:
    """True if a hadron contains a b quark."""
    return pdg_id > 100 and (pdg_id // 100 % 10 == 5 or pdg_id // 1000 % 10 == 5)


def weak_b_hadrons(event: Any) -> list[int]:
    """Indices of the b hadrons that do not decay to another b hadron."""
    hadrons = [i for i in range(event.size()) if has_b(event[i].idAbs()) and event[i].isHadron()]
    return [i for i in hadrons if not any(has_b(event[j].idAbs()) for j in event[i].daughterList())]


def b_quark(hadron: int, event: Any, products: list[int]) -> int:
    """Index in GenPart of the b quark, among the decay products, that a hadron contains."""
    sign = (
        1 if (abs(hadron) // 1000 % 10 == 5) == (hadron > 0) else -1
    )  # B+ holds an anti-b, Lambda_b a b
    return 6 + [event[j].id() for j in products].index(5 * sign)


def add_truth(columns: Columns, event: Any, pair: tuple[int, int], of_hadronic: set[int]) -> None:
    """Add the hard process and the b hadrons as GenPart."""
    incoming = [i for i in range(event.size()) if event[i].status() == -21]
    last = [last_copy(event, i) for i in pair]
    products = [j for i in last for j in event[i].daughterList()]
    radiated = [j for j in products[2:] if last_copy(event, j) != j]
    hadrons = weak_b_hadrons(event)
    indices = [
        *incoming,
        *pair,
        *last,
        *products,
        *(last_copy(event, j) for j in radiated),
        *hadrons,
    ]
    hard = PROMPT | HARD | FROM_HARD
    done = PROMPT | FROM_HARD | LAST
    of_products = [hard | (LAST if last_copy(event, j) == j else 0) for j in products]
    flags = [hard] * 4 + [done] * 2 + of_products + [done] * len(radiated) + [LAST] * len(hadrons)
    status = [21, 21, 22, 22, 62, 62] + [1 if event[j].isFinal() else 23 for j in products]
    status += [1] * len(radiated) + [2] * len(hadrons)
    mother = [-1, -1, 0, 0, 2, 3, 4, 4, 5, 5] + [6 + products.index(j) for j in radiated]
    mother += [b_quark(event[i].id(), event, products) if i in of_hadronic else -1 for i in hadrons]
    particles = [event[i] for i in indices]
    values = {
        "pt": [p.pT() for p in particles],
        "eta": [math.copysign(999.0, p.pz()) if p.pT() == 0 else p.eta() for p in particles],
        "phi": [p.phi() for p in particles],
        "mass": [p.m() for p in particles],
        "pdgId": [p.id() for p in particles],
        "status": status,
        "genPartIdxMother": mother,
        "statusFlags": flags,
    }
    for field, column in values.items():
        columns[f"GenPart_{field}"].append(column)


def momentum(particles: list[Any]) -> NDArray[np.float64]:
    """Sum of four-momenta as (px, py, pz, E) in GeV."""
    components = [[p.px(), p.py(), p.pz(), p.e()] for p in particles]
    return np.asarray(np.sum(components, axis=0) if components else np.zeros(4))


def add_sums(columns: Columns, event: Any, of_hadronic: set[int]) -> None:
    """Add the visible sum of the hadronic boson, and the neutrinos."""
    visible = momentum(
        [event[i] for i in of_hadronic if event[i].isFinal() and event[i].isVisible()]
    )
    columns["GenVisH_pt"].append(math.hypot(visible[0], visible[1]))
    columns["GenVisH_mass"].append(math.sqrt(max(visible[3] ** 2 - (visible[:3] ** 2).sum(), 0.0)))
    final = (event[i] for i in range(event.size()) if event[i].isFinal())
    missing = momentum([p for p in final if p.idAbs() in NEUTRINOS])
    columns["GenMET_pt"].append(math.hypot(missing[0], missing[1]))
    columns["GenMET_phi"].append(math.atan2(missing[1], missing[0]))


def generate(pythia: Any, events: int, pt_min: float) -> Columns:
    """Columns of ``events`` events with the required decays."""
    columns: Columns = defaultdict(list)
    while len(columns["GenMET_pt"]) < events:
        if not pythia.next():
            continue
        event = pythia.event
        pair = bosons(event)
        if pair is None:  # ZZ to four leptons or four b quarks
            continue
        hadronic, leptonic = (set(event[last_copy(event, i)].daughterListRecursive()) for i in pair)
        add_particles(columns, event, leptonic, pt_min)
        add_truth(columns, event, pair, hadronic)
        add_sums(columns, event, hadronic)
    return columns


def rounded(values: Any, bits: int) -> Any:
    """Values rounded to ``bits`` bits of mantissa, which compress better."""
    drop = np.uint32(23 - bits)
    if drop == 0:
        return values
    flat = np.ascontiguousarray(ak.to_numpy(ak.flatten(values))).view(np.uint32)
    kept = ((flat + (np.uint32(1) << (drop - np.uint32(1)))) >> drop) << drop
    return ak.unflatten(kept.view(np.float32), ak.num(values))


def collection(columns: Columns, name: str, bits: dict[str, int]) -> Any:
    """Record array of the lists of a collection, in float32, and int32 for integers."""
    arrays = {}
    for branch, lists in columns.items():
        if branch.startswith(f"{name}_"):
            field = branch.removeprefix(f"{name}_")
            integer = field not in ("pt", "eta", "phi", "mass")
            array = ak.values_astype(ak.Array(lists), np.int32 if integer else np.float32)
            arrays[field] = array if integer else rounded(array, bits.get(field, 23))
    return ak.zip(arrays)


def write(columns: Columns, output: str, bits: int) -> None:
    """Write the tree; eta and phi keep two more bits than pt and mass."""
    events = len(columns["GenMET_pt"])
    of_field = {"pt": bits, "mass": bits, "eta": min(bits + 2, 23), "phi": min(bits + 2, 23)}
    data = {
        "run": np.full(events, RUN, np.uint32),
        "luminosityBlock": np.full(events, BLOCK, np.uint32),
        "event": np.arange(1, events + 1, dtype=np.uint64),
        "genWeight": np.ones(events, np.float32),
        **{name: np.array(columns[name], np.float32) for name in ("GenMET_pt", "GenMET_phi")},
        **{name: np.array(columns[name], np.float32) for name in ("GenVisH_mass", "GenVisH_pt")},
        "PFCands": collection(columns, "PFCands", of_field),
        "GenPart": collection(columns, "GenPart", {}),
    }
    with uproot.recreate(output, compression=uproot.ZSTD(9)) as file:
        types = {
            name: v.dtype if isinstance(v, np.ndarray) else v.type.content
            for name, v in data.items()
        }
        file.mktree("Events", types).extend(data)


@click.command(help="\n\n\b\n".join(__doc__.split("\n\n")[:2]))
@click.option(
    "--events",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of events to write.",
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(1, 900_000_000),
    help="Seed of the random numbers.",
)
@click.option(
    "--pt-min",
    default=0.5,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Minimum pT of particles in GeV.",
)
@click.option(
    "--process",
    default="zh",
    show_default=True,
    type=click.Choice(sorted(SETTINGS)),
    help="Hard process.",
)
@click.option(
    "--mass",
    default=125.0,
    show_default=True,
    type=click.FloatRange(20, 500),
    help="Mass of the Higgs boson in GeV.",
)
@click.option(
    "--pt-hat-min",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Minimum pT of the bosons in GeV.",
)
@click.option(
    "--mantissa-bits",
    default=23,
    show_default=True,
    type=click.IntRange(1, 23),
    help="Bits of the mantissas; 23 keeps float32.",
)
@click.option(
    "--output", required=True, type=click.Path(dir_okay=False), help="ROOT file to write."
)
def main(
    events: int,
    seed: int,
    pt_min: float,
    process: str,
    mass: float,
    pt_hat_min: float,
    mantissa_bits: int,
    output: str,
) -> None:
    write(
        generate(generator(process, seed, pt_hat_min, mass), events, pt_min), output, mantissa_bits
    )
    click.echo(f"{output}: {events} {process.upper()} events")


if __name__ == "__main__":
    main()
