"""Toy of a joint training: two classes of dipoles in soft noise, as ROOT, and R learned with a network.

An event has two hard particles at an angle, 0.35 for the signal and 0.25 for the background, with a
spread, in soft particles that are uniform in a square. Below its angle R splits a dipole, and a
large R collects noise, so some R between is the best for a network on the leading jet.
"""

import argparse
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

import djservice as dj

ANGLE, SPREAD, NOISE, SIZE = {"signal": 0.35, "background": 0.25}, 0.08, 40, 3.0


def dipoles(events: int, angle: float, generator: np.random.Generator) -> Any:
    """Particles of some events: pt, eta, phi, shape (event, particle)."""
    theta = np.abs(angle + SPREAD * generator.standard_normal(events))
    turn = generator.uniform(0.0, 2.0 * np.pi, events)
    share = generator.uniform(0.3, 0.7, events)
    pt = 100.0 * np.stack([share, 1.0 - share], axis=1)
    side = np.array([0.5, -0.5])
    eta = side * (theta * np.cos(turn))[:, None]
    phi = side * (theta * np.sin(turn))[:, None]
    soft = 1.0 + generator.exponential(1.0, (events, NOISE))
    place = generator.uniform(-SIZE / 2.0, SIZE / 2.0, (2, events, NOISE))
    return [
        np.concatenate(pair, axis=1)
        for pair in ((pt, soft), (eta, place[0]), (phi, place[1]))
    ]  # fmt: skip


def write(path: Path, events: int, seed: int) -> None:
    """Write both classes into a file, with the branch ``signal``, 1 or 0."""
    generator = np.random.default_rng(seed)
    columns = [dipoles(events, angle, generator) for angle in ANGLE.values()]
    pt, eta, phi = (np.concatenate(pair) for pair in zip(*columns, strict=True))
    ones = np.ones(len(pt), np.int64)
    data = {"run": ones, "luminosityBlock": ones, "event": np.arange(len(pt))}
    data["signal"] = np.repeat([1.0, 0.0], events)
    for name, values in (("pt", pt), ("eta", eta), ("phi", phi), ("mass", np.zeros_like(pt))):
        data[f"PFCands_{name}"] = ak.from_regular(values)
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: ak.type(x).content for name, x in data.items()}).extend(data)


def settings(path: Path, store: Path, radius: float, learn: bool, quick: bool) -> dict[str, Any]:
    """The run as plain data."""
    return {
        "task": "joint",
        "input": {"files": str(path), "truth": "signal", "bundle_events": 500},
        "clustering": {"rigidity": 20.0},
        "loss": {"observable": "leading_jet_mass", "target": 15.0, "scale": 15.0},
        "optimiser": {"iterations": 1, "batch_events": 50, "trees": 4},
        "scan": {"radii": [0.3, 0.4, 0.5, 0.6], "trees": 4},
        "spectrum": {"trees": 4},
        "joint": {
            "classes": [1.0, 0.0],
            "network": {"name": "moment_efn", "scale": 0.3},
            "radius": radius,
            "learn_radius": learn,
            "iterations": 60 if quick else 600,
            "learning_rate": 0.02,
            "batch_events": 300,
            "trees": 4,
        },
        "output": {"store": str(store)},
        "cluster": {"workers": 1},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--events", type=int, default=3000, help="of each class")
    parser.add_argument("--start", type=float, default=0.8, help="R at the start")
    parser.add_argument(
        "--profile", type=float, nargs="*", default=[0.2, 0.3, 0.4, 0.5, 0.7, 1.0],
        help="R that are kept, each with a network of its own",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few iterations")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "dipoles.root"
    write(path, options.events, 1)
    for radius, learn in ((options.start, True), *((r, False) for r in options.profile)):
        store = options.output / ("learned.zarr" if learn else f"kept_{radius:g}.zarr")
        run = dj.Run.from_dict(settings(path, store, radius, learn, options.quick))
        dj.run(run)
        found = dj.Store.read(store)
        rows = found.array("joint/held_back", "loss"), found.array("joint/held_back", "loss_error")
        print(
            f"{'learned' if learn else 'kept'} R = {found.attribute('joint', 'radius'):.3f}, "
            f"held-back loss {rows[0][1]:.4f} +- {rows[1][1]:.4f}"
        )


if __name__ == "__main__":
    main()
