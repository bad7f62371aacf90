"""Peak memory of runs by what they learn from, against the number of events.

    python benchmarks/memory.py
    python benchmarks/memory.py joint significance

Events are those of the example with particles above 5 GeV, repeated under other numbers. Each run
has a process of its own, with scheduler and one worker in its threads, and the C library gives back
what is freed. What grows with the number of events are the events themselves, which are kept.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

import djservice as dj

SIZES = (20_000, 80_000)
PT_MIN, WRITTEN = 5.0, 10_000
#: Without them glibc keeps what was freed.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "2",
}


def write_events(path: Path, number: int, start: int = 0) -> None:
    """A NanoAOD file with so many events, in pieces, in which every other one is a signal."""
    with uproot.open(dj.examples.path("ZHllbb_200")) as file:
        source = file["Events"].arrays(
            ["PFCands_pt", "PFCands_eta", "PFCands_phi", "PFCands_mass"], library="ak"
        )
    columns = {name: source[f"PFCands_{name}"] for name in ("pt", "eta", "phi", "mass")}
    particles = ak.zip(columns)[columns["pt"] > PT_MIN]
    with uproot.recreate(path) as file:
        for first in range(start, start + number, WRITTEN):
            events = np.arange(first, first + WRITTEN)
            data = {
                "run": np.ones(WRITTEN, np.uint32),
                "luminosityBlock": np.ones(WRITTEN, np.uint32),
                "event": (events + 1).astype(np.uint64),
                "signal": (events % 2).astype(np.float64),
                "PFCands": particles[events % len(particles)],
            }
            if first == start:
                types = {k: v.dtype if k != "PFCands" else v.type.content for k, v in data.items()}
                file.mktree("Events", types)
            file["Events"].extend(data)


def settings(learned_from: dict[str, Any], folder: Path, events: int) -> dict[str, Any]:
    """A run over all events, in two iterations and at seven radii after these."""
    return {
        "input": {"files": str(folder / f"{events}.root"), "pt_min": PT_MIN, "weight": None},
        "estimator": "leave_one_out",
        "optimiser": {"iterations": 2, "batch_events": events, "trees": 2},
        "scan": {"radii": [0.4, 0.6, 0.8, 1.0], "trees": 2},
        "spectrum": {"radii": [0.5], "trees": 2},
        "output": {"store": str(folder / "run.zarr")},
    } | learned_from


def mean(observable: dict[str, Any]) -> dict[str, Any]:
    """Settings that learn from the mean of an observable."""
    return {"loss": {"observable": observable, "target": 1.0, "scale": 1.0}}


def joint(folder: Path, events: int) -> dict[str, Any]:
    """A small network and R."""
    network = {"name": "moment_efn", "order": 2, "latent": 4}
    rows = {"iterations": 2, "batch_events": events, "trees": 2, "score_trees": 2}
    files = {"files": str(folder / f"{events}.root"), "pt_min": PT_MIN, "weight": None}
    return mean({"name": "leading_jet_mass"}) | {
        "task": "joint",
        "input": files | {"truth": "signal"},
        "joint": {"classes": [1.0, 0.0], "network": network} | rows,
    }


def significance(folder: Path, events: int) -> dict[str, Any]:
    """A fileset of two halves."""
    data = {}
    for number, name in enumerate(("signal", "background")):
        path = folder / f"{name}_{events}.root"
        write_events(path, events // 2, number * events // 2)
        data[name] = {"files": {str(path): "Events"}, "metadata": {"xsec": 1.0}}
    (folder / "fileset.json").write_text(json.dumps(data))
    bins = {"bins": [*range(0, 201, 10)], "observable": "leading_jet_mass", "luminosity": 1e3}
    return {
        "input": {"fileset": str(folder / "fileset.json"), "pt_min": PT_MIN, "weight": None},
        "objective": {"kind": "significance", "signal": "signal", "background": "background"}
        | bins,
    }


def measured(text: str) -> None:
    """Do a run in this process, and print its peak memory and that of its events in MB."""
    from distributed import LocalCluster

    data = json.loads(text)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=0
    ) as cluster:
        data["cluster"] = {"scheduler": cluster.scheduler_address}
        fit = dj.run(dj.Run.from_dict(data))
    from djservice.store.run_store import Store

    reading = Store.read(fit.store).attributes["reading"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps([peak, reading["bytes_in_memory"] / 1e6]))


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = "import sys, djservice as dj; n = dj.networks.MomentEFN(2, 4, scale=0.7)"
        made += "; dj.networks.export(n, sys.argv[1], ['a', 'b'])"
        subprocess.run([sys.executable, "-c", made, folder / "network"], check=True)
        (model,) = (folder / "network").glob("*.onnx")
        (preprocess,) = (folder / "network").glob("*.json")
        network = {
            "name": "onnx",
            "model": str(model),
            "preprocess": str(preprocess),
            "output": "a",
        }
        masses: dict[str, Any] = {"name": "leading_jet_mass"}
        print("| learned from | events | peak [MB] | events themselves [MB] |\n|---|---|---|---|")
        for events in SIZES:
            write_events(folder / f"{events}.root", events)
            kinds = {
                "mass of the leading jet": mean(masses),
                "log angularity": mean({"name": "log_angularity"}),
                "Moment EFN in ONNX": mean(network),
                "significance": significance(folder, events),
                "joint": joint(folder, events),
            }
            for kind, learned_from in kinds.items():
                if kind not in (sys.argv[1:] or kinds):
                    continue
                shutil.rmtree(folder / "run.zarr", ignore_errors=True)
                text = json.dumps(settings(learned_from, folder, events))
                done = subprocess.run(
                    [sys.executable, __file__, text],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | ALLOCATOR,
                )
                peak, themselves = json.loads(done.stdout.splitlines()[-1])
                print(f"| {kind} | {events:,} | {peak:.0f} | {themselves:.0f} |", flush=True)


if __name__ == "__main__":
    measured(sys.argv[1]) if sys.argv[1:] and sys.argv[1][0] == "{" else main()
