"""Pulls of R: is its quoted error that of another seed, and of another sample of events?

The run of `make run` is repeated with thirty seeds on the same events, and on thirty bootstrap samples of them, whose events have
Poisson weights. A pull is (R - mean) / error. With other seeds the mean is that of the thirty, and the error that of the trees and
the optimiser. With other events the mean is that of the seeds, and the error also has the events' part of the original sample: that of
a bootstrap sample is larger by the root of two, for it takes events that are repeated for independent ones.

    python benchmarks/pulls.py --output pulls.json
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
import yaml
from dask.distributed import Client, LocalCluster

import djservice as dj

ROOT = Path(__file__).parents[1]
RUN = yaml.safe_load((ROOT / "workflows/zh_global_radius.yaml").read_text())
EVENTS = ROOT / "djservice/data/ZHllbb_1000.root"


class Silent:
    """A watch that shows nothing."""

    def phase(self, name: str, total: int, done: int) -> None: ...
    def step(self, numbers: dict[str, float]) -> None: ...
    def say(self, text: str) -> None: ...


def resampled(path: Path, number: int) -> Path:
    """The events, with weights of one bootstrap sample."""
    with uproot.open(EVENTS) as file:
        tree = file["Events"]
        names = ["run", "luminosityBlock", "event", "genWeight"]
        arrays = {name: tree[name].array() for name in names}
        of_particles = ("pt", "eta", "phi", "mass", "pdgId")
        particles = {name: tree[f"PFCands_{name}"].array() for name in of_particles}
    weights = np.random.default_rng(number).poisson(1.0, len(arrays["run"]))
    arrays["genWeight"] = arrays["genWeight"] * weights.astype(np.float32)
    where = path / f"bootstrap_{number}.root"
    arrays |= {"PFCands": ak.zip(particles)}
    with uproot.recreate(where) as file:
        file.mktree("Events", {name: array.type for name, array in arrays.items()})
        file["Events"].extend(arrays)
    return where


def fitted(client: Client, folder: Path, files: str, events: int, seed: int) -> dict[str, Any]:
    """R and the parts of its error, of one run."""
    config = RUN | {
        "input": RUN["input"] | {"files": files, "entries": [0, events]},
        "seed": seed,
        "spectrum": {"radii": [], "trees": RUN["spectrum"]["trees"]},
        "cluster": {"scheduler": client.scheduler.address},
        "output": {"store": str(folder / f"{Path(files).stem.replace(':', '_')}_{seed}.zarr")},
    }
    result = dj.run(dj.Run.from_dict(config), watch=Silent()).result
    parts = {
        part: getattr(result, f"radius_error_{part}") for part in ("events", "trees", "optimiser")
    }
    row = {"R": result.radius, **parts, "steps": result.newton_steps, "converged": result.converged}
    print(files.split("/")[-1], seed, json.dumps(row), flush=True)
    return row


def pulls(rows: list[dict[str, Any]], mean: float, names: tuple[str, ...]) -> dict[str, float]:
    """Mean and standard deviation of the pulls, with their errors for a unit normal."""
    values = np.array([(r["R"] - mean) / math.hypot(*(r[name] for name in names)) for r in rows])
    n = len(values)
    return {
        "number": n,
        "mean": float(values.mean()),
        "mean_error": n**-0.5,
        "sd": float(values.std(ddof=1)),
        "sd_error": (2 * (n - 1)) ** -0.5,
        "mean_R_error": float(np.mean([math.hypot(*(r[name] for name in names)) for r in rows])),
        "sd_R": float(np.std([r["R"] for r in rows], ddof=1)),
        "converged": sum(r["converged"] for r in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--number", type=int, default=30, help="of seeds, and of samples")
    parser.add_argument("--events", type=int, default=1000, help="first events of the shipped file")
    parser.add_argument("--output", type=Path, default=Path("pulls.json"))
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(
            processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        folder = Path(scratch)
        seeds = [
            fitted(client, folder, str(EVENTS), options.events, seed)
            for seed in range(1, options.number + 1)
        ]
        mean = float(np.mean([row["R"] for row in seeds]))
        samples = [
            fitted(client, folder, str(resampled(folder, number)), options.events, 1000 + number)
            for number in range(options.number)
        ]
    of_events = float(np.mean([row["events"] for row in seeds]))
    samples = [row | {"events": of_events} for row in samples]
    summary = {
        "R": mean,
        "seeds": pulls(seeds, mean, ("trees", "optimiser")),
        "samples": pulls(samples, mean, ("events", "trees", "optimiser")),
    }
    print(json.dumps(summary, indent=2))
    options.output.write_text(
        json.dumps(summary | {"seed_rows": seeds, "sample_rows": samples}, indent=1)
    )


if __name__ == "__main__":
    main()
