"""Skim a ROOT file: the branches that djservice reads, and particles above a pT: python skim.py IN OUT [--pt-min GEV].

What is learned does not change as long as the run asks for no lower pT; remote files are then read once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import awkward as ak
import uproot

KEPT = ("run", "luminosityBlock", "event", "genWeight")
STEP = "100 MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("target", type=Path)
    parser.add_argument("--pt-min", type=float, default=0.5, help="GeV")
    parser.add_argument("--particles", default="PFCands", help="collection")
    given = parser.parse_args()
    fields = [f"{given.particles}_{name}" for name in ("pt", "eta", "phi", "mass", "charge", "pdgId")]
    building = given.target.with_name(f".{given.target.name}.{os.getpid()}")
    with uproot.open(given.source) as file, uproot.recreate(building) as written:
        tree = file["Events"]
        branches = list(tree.keys())
        names = [name for name in branches if name in {*KEPT, *fields} or name.startswith("GenPart_")]
        for events in tree.iterate(names, step_size=STEP):
            columns = {name: events[name] for name in KEPT if name in events.fields}
            chosen = events[f"{given.particles}_pt"] > given.pt_min
            for collection, mask in ((given.particles, chosen), ("GenPart", None)):
                of = [name for name in names if name.startswith(f"{collection}_")]
                record = ak.zip({name.partition("_")[2]: events[name] for name in of}) if of else None
                if record is not None:
                    columns[collection] = record if mask is None else record[mask]
            if "Events" not in written:
                written.mktree("Events", {name: array.type for name, array in columns.items()})
            written["Events"].extend(columns)
    building.replace(given.target)


if __name__ == "__main__":
    main()
