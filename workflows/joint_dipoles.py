"""Toy of a joint training: two classes of dipoles in soft noise, as ROOT, and R learned with a network.

An event has two hard particles at an angle, 0.35 for the signal and 0.25 for the background, with a
spread, in soft particles that are uniform in a square. A small R splits the dipoles and a large R
collects noise, so some R between is the best for a network that sees the mass of the leading jet.
The learned R is compared with the profile: the loss of networks that are fully trained at each R.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from scipy.optimize import minimize

import djservice as dj

ANGLE, SPREAD, NOISE, SIZE = {"signal": 0.35, "background": 0.25}, 0.08, 40, 3.0
#: Radii of the profile, above the angles of both classes.
RADII = np.arange(0.50, 0.74, 0.03)
RIGIDITY, CENTRE, UNIT = 20.0, 2.9, 0.15


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


def logistic_in_mass(classes: int) -> Any:
    """A network that is linear in ln(1 + m) of the jet, with m in GeV."""
    import torch

    class Logistic(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, classes)

        def forward(self, particles: Any, mask: Any) -> Any:
            px, py, pz, e = (particles * mask[..., None]).sum(dim=1).unbind(-1)
            mass = (e**2 - px**2 - py**2 - pz**2).clamp(min=0.0).sqrt()
            return self.layer(((mass.log1p() - CENTRE) / UNIT)[:, None])

    return Logistic()


def settings(path: Path, store: Path, start: float, iterations: int) -> dict[str, Any]:
    """The run as plain data."""
    return {
        "task": "joint",
        "input": {"files": str(path), "truth": "signal", "bundle_events": 1000},
        "clustering": {"rigidity": RIGIDITY},
        "loss": {"observable": "leading_jet_mass", "target": 15.0, "scale": 15.0},
        "optimiser": {"iterations": 1, "batch_events": 50, "trees": 4},
        "scan": {"radii": [0.4, 0.6, 0.8, 1.0], "trees": 4},
        "spectrum": {"trees": 4},
        "joint": {
            "classes": [1.0, 0.0],
            "network": dj.TorchTagger(logistic_in_mass),
            "radius": start,
            "iterations": iterations,
            "network_steps": 5,
            "learning_rate": 0.05,
            "radius_rate": 0.04,
            "decay_iterations": 100.0,
            "batch_events": 400,
            "trees": 4,
        },
        "output": {"store": str(store)},
        "cluster": {"workers": 1},
    }


def losses(events: dj.EventBatch, radius: float) -> Any:
    """Loss of each event with the network that is fully trained at this R, shape (event,)."""
    trees = dj.cluster(events, radius=radius, rigidity=RIGIDITY, trees=8, jets=1, seed=7)
    momenta = trees.momenta[:, :, 0]
    mass = np.sqrt(np.maximum(momenta[..., 3] ** 2 - (momenta[..., :3] ** 2).sum(axis=-1), 0.0))
    x, sign = (np.log1p(mass) - CENTRE) / UNIT, 2.0 * events.truth[:, None] - 1.0

    def each(theta: Any) -> Any:
        return np.logaddexp(0.0, -sign * (theta[0] + theta[1] * x)).mean(axis=1)

    return each(minimize(lambda theta: each(theta).mean(), [0.0, 0.5]).x)


def lowest(profile: Any) -> tuple[float, float]:
    """The R of the lowest loss and the curvature there, by a quartic through all radii."""
    middle = RADII.mean()
    quartic = np.poly1d(np.polyfit(RADII - middle, profile, 4))
    grid = np.linspace(RADII[0], RADII[-1], 1001) - middle
    best = grid[np.argmin(quartic(grid))]
    return float(best + middle), float(quartic.deriv(2)(best))


def error_of_learned(store: dj.Store, curvature: float) -> float:
    """Error of the learned R: that of the mean dL/dR of the averaged iterations, over the curvature."""
    error = store.column("joint", "gradients_error")[:, 0]
    averaged = error[len(error) - max(1, len(error) // 4) :]
    return float(np.sqrt((averaged**2).sum()) / len(averaged) / curvature)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--events", type=int, default=3000, help="of each class")
    parser.add_argument("--start", type=float, default=0.8, help="R at the start")
    parser.add_argument("--iterations", type=int, default=400, help="of the training")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path, store = options.output / "dipoles.root", options.output / "joint.zarr"
    if not path.exists():  # a run is continued with the same file
        write(path, options.events, 1)
    dj.run(dj.Run.from_dict(settings(path, store, options.start, options.iterations)))
    found = dj.Store.read(store)
    events = dj.read(str(path), schema=dj.schemas.nanoaod(truth="signal"))
    table = np.array([losses(events, float(radius)) for radius in RADII])
    generator = np.random.default_rng(3)
    again = [
        lowest(table[:, generator.integers(0, len(events), len(events))].mean(axis=1))[0]
        for _ in range(200)
    ]
    for radius, of_events in zip(RADII, table, strict=True):
        error = of_events.std() / len(of_events) ** 0.5
        print(f"profile: R = {radius:.2f}, loss {of_events.mean():.4f} +- {error:.4f}")
    best, curvature = lowest(table.mean(axis=1))
    print(f"lowest of the profile: R = {best:.3f} +- {np.std(again):.3f}")
    print(f"error of the learned R: {error_of_learned(found, curvature):.3f}")
    loss, error = (found.array("joint/held_back", name) for name in ("loss", "loss_error"))
    for name, row in (("start", 0), ("learned", 1)):
        radius = found.array("joint/held_back", "radius")[row, 0]
        print(f"{name}: R = {radius:.3f}, held-back loss {loss[row]:.4f} +- {error[row]:.4f}")


if __name__ == "__main__":
    main()
