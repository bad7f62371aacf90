"""Boosted W -> qq against QCD: R learned together with a network, beside networks trained at fixed R.

    pip install pythia8mc==8.317.2 'djservice[torch,report]'
    python workflows/joint_w_qcd.py --events 5000 --output w_qcd

The events are those of ``generate_boosted_w.py``, made first unless they exist. A Moment EFN sees
the leading jet. ``task: joint`` trains it together with R. Networks of the same size are trained by
``dj.networks.train`` at each of some fixed R, twice each, which gives the profile. Half of the
events are held back, the same for all, and losses and areas under the ROC curve are theirs. A run
that is stopped goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from generate_boosted_w import generate

import djservice as dj
from djservice.core.formatting import with_error
from djservice.reports.joint_summary import area
from djservice.reports.summary import summary

RADII = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
RIGIDITY, TREES, SEEDS = 20.0, 2, (0, 1)
#: The network.
SIZES = {"order": 2, "latent": 4, "scale": 0.3, "particle_layers": [16], "jet_layers": [32]}


def settings(files: list[Path], store: Path, start: float, steps: int) -> Any:
    """A run as plain data."""
    return {
        "task": "joint",
        "input": {"files": [str(path) for path in files], "truth": "signal", "bundle_events": 5000},
        "clustering": {"rigidity": RIGIDITY},
        "radius": {"minimum": 0.2, "maximum": 1.3},
        "loss": {"observable": "leading_jet_mass", "target": 80.4, "scale": 80.4},
        # The R that is best for the mass is not used, so little is spent on it.
        "optimiser": {"iterations": 1, "batch_events": 50, "trees": 4},
        "scan": {"radii": [0.4, 0.6, 0.8, 1.0], "trees": 4},
        "spectrum": {"trees": 4},
        "joint": {
            "classes": [1.0, 0.0],
            "network": {"name": "moment_efn", **SIZES},
            "radius": start,
            "iterations": steps,
            "trees": TREES,
            "learning_rate": 0.05,
            "held_back": 0.5,
            "score_trees": 10,
        },
        "output": {"store": str(store)},
        "cluster": {"workers": 1},
    }


class Jets:
    """Leading jets of trees: padded constituents, shape (jet, particle, 4), and their mask."""

    def __init__(self, events: dj.EventBatch, radius: float) -> None:
        trees = dj.cluster(
            events,
            radius=radius,
            rigidity=RIGIDITY,
            trees=TREES,
            jets=1,
            seed=7,
            threads=1,
            constituents=True,
        )
        index = trees.constituents[:].index[:, :, 0, :64].reshape(len(events) * TREES, -1)
        self.mask = index >= 0
        place = np.repeat(events.offsets[:-1], TREES)[:, np.newaxis] + np.maximum(index, 0)
        pt, y, phi, mass = (
            getattr(events, name)[place] for name in ("pt", "rapidity", "phi", "mass")
        )
        mt = np.hypot(pt, mass)
        momenta = [pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(y), mt * np.cosh(y)]
        self.particles = np.stack(momenta, axis=-1)


def trained(jets: Jets, signal: Any, seen: Any, seed: int) -> tuple[Any, Any]:
    """Loss, and probability of the signal, of each event that was not seen, shape (event,)."""
    labels, of_jets = np.repeat(signal.astype(int), TREES), np.repeat(seen, TREES)
    network = dj.networks.MomentEFN(**SIZES, seed=seed)
    dj.networks.train(
        network,
        jets.particles[of_jets],
        labels[of_jets],
        jets.mask[of_jets],
        epochs=12,
        batch=200,
        learning_rate=0.03,
        seed=seed,
    )
    p = dj.networks.probabilities(network, jets.particles[~of_jets], jets.mask[~of_jets])
    of_class = np.where(labels[~of_jets] == 1, p[:, 1], p[:, 0])
    return -np.log(of_class).reshape(-1, TREES).mean(axis=1), p[:, 1].reshape(-1, TREES).mean(
        axis=1
    )


def profile(events: dj.EventBatch, seen: Any, radii: list[float]) -> tuple[Any, Any]:
    """Loss of each held-back event, shape (radius, event), and areas with errors, (radius, 2).

    Both are means over trainings. The spread of two trainings is part of the error of the areas.
    """
    signal, all_losses, areas = events.truth == 1.0, [], []
    for radius in radii:
        jets = Jets(events, radius)
        losses, values = zip(*(trained(jets, signal, seen, seed) for seed in SEEDS), strict=True)
        weight = np.ones(len(values[0]))
        area_of, errors = np.array([area(each, weight, signal[~seen]) for each in values]).T
        spread = area_of.std(ddof=1) / len(SEEDS) ** 0.5
        all_losses.append(np.mean(losses, axis=0))
        areas.append([area_of.mean(), float(np.hypot(errors.mean(), spread))])
        click.echo(f"R = {radius:g}: loss {[float(each.mean()) for each in losses]}, {area_of}")
    return np.array(all_losses), np.array(areas)


def lowest(radii: list[float], losses: Any) -> tuple[float, float]:
    """R of the lowest mean loss, by a cubic in ln R, and its error by a bootstrap over events."""
    generator, x = np.random.default_rng(3), np.log(radii)
    grid, found = np.linspace(x[0], x[-1], 501), []
    for repetition in range(201):
        number = losses.shape[1]
        rows = generator.integers(0, number, number) if repetition else np.arange(number)
        cubic = np.polyfit(x, losses[:, rows].mean(axis=1), 3)
        found.append(np.exp(grid[np.argmin(np.polyval(cubic, grid))]))
    return float(found[0]), float(np.std(found[1:]))


def figure(path: Path, radii: list[float], losses: Any, areas: Any, learned: list[Any]) -> None:
    """Draw loss and area under the ROC curve against R."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    error = losses.std(axis=1) / losses.shape[1] ** 0.5
    left.errorbar(radii, losses.mean(axis=1), error, fmt="o-", label="networks trained at each R")
    right.errorbar(radii, areas[:, 0], areas[:, 1], fmt="o-")
    for facts in learned:
        choice = facts["choices"][-1]
        for panel, key in ((left, "loss"), (right, "auc")):
            value, error = choice[key]
            spread = facts["radius_error"] or 0.0
            panel.errorbar(choice["radius"], value, error, spread, fmt="s", label="R learned")
    left.set(xlabel="R", ylabel="cross-entropy")
    right.set(xlabel="R", ylabel="area under the ROC curve")
    left.legend()
    figure.savefig(path, dpi=110)


@click.command(help=__doc__)
@click.option("--events", default=5000, show_default=True, help="Events of each process.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="w_qcd")
@click.option("--iterations", default=600, show_default=True, help="Of the joint training.")
@click.option("--start", default=1.0, show_default=True, help="R at the start.")
@click.option("--radii", default=" ".join(map(str, RADII)), show_default=True)
def main(events: int, output: Path, iterations: int, start: float, radii: str) -> None:
    """Train, and print the table."""
    files, store = generate(output, events), output / f"learned_{start:g}.zarr"
    dj.run(dj.Run.from_dict(settings(files, store, start, iterations)))
    learned = summary(store)["joint"]
    batch = dj.read([str(path) for path in files], schema=dj.schemas.nanoaod(truth="signal"))
    seen = ~np.isin(batch.key, dj.Store.read(store).array("joint/held_back", "key"))
    grid = [float(radius) for radius in radii.split()]
    losses, areas = profile(batch, seen, grid)
    click.echo("R | loss | area")
    for radius, loss, of in zip(grid, losses, areas, strict=True):
        error = loss.std() / len(loss) ** 0.5
        click.echo(f"{radius:g} | {with_error(loss.mean(), error, 4)} | {with_error(*of, 4)}")
    click.echo(f"lowest of the profile: R = {with_error(*lowest(grid, losses), 3)}")
    choice = learned["choices"][-1]
    radius = with_error(choice["radius"], learned["radius_error"], 3)
    loss, area_of, slope = (with_error(*choice[key], 4) for key in ("loss", "auc", "gradient"))
    click.echo(f"learned {radius} | {loss} | {area_of} | dL/dR {slope}")
    figure(output / "areas.png", grid, losses, areas, [learned])


if __name__ == "__main__":
    main()
