"""Quark against gluon jets: the log angularity, an energy flow network and Moment EFNs.

    pip install pythia8mc==8.317.2 'djservice[torch,report]'
    python workflows/quark_gluon.py --jets 10000 --output quark_gluon

The jets are those of ``generate_quark_gluon.py``, made first unless they exist. The log angularity
is sum z log(0.001 + r/R), where z is a constituent's share of the pT, and r its distance from the
jet's axis. Every network is trained three times, each time on two thirds of the jets, and
evaluated on the last third. The table has areas under the ROC curve with their errors, and
``roc.png`` the curves. Trained networks are written as ONNX.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from generate_quark_gluon import PROCESSES, RADIUS, generate, parts_of
from numpy.typing import NDArray

import djservice as dj
from djservice.core.formatting import with_error

Floats = NDArray[np.float64]
FOLDS = 3
#: Order and number of latent functions of the networks.
NETWORKS = {
    "EFN, L = 1": (1, 1),
    "EFN, L = 4": (1, 4),
    "EFN, L = 32": (1, 32),
    "order 4, L = 1": (4, 1),
}
CUT_OFF = 1e-3


class Jets(NamedTuple):
    """Padded constituents, shape (jet, particle, 4), their mask, and labels: 1 for gluons."""

    particles: NDArray[np.float32]
    mask: NDArray[np.bool_]
    labels: NDArray[np.int64]

    def __getitem__(self, which: Any) -> Jets:  # type: ignore[override]
        return Jets(*(array[which] for array in tuple(self)))


def read(folder: Path, jets: int) -> Jets:
    """The jets of a folder, quarks and gluons by turns."""
    counts: list[NDArray[np.int64]] = []
    constituents: list[Floats] = []
    labels: list[NDArray[np.int64]] = []
    for path, label, _, _ in parts_of(folder, jets):
        with np.load(path) as part:
            counts.append(part["counts"])
            constituents.append(part["constituents"])
        labels.append(np.full(len(counts[-1]), list(PROCESSES).index(label)))
    number = np.concatenate(counts)
    mask = np.arange(number.max()) < number[:, None]
    particles = np.zeros((*mask.shape, 4), np.float32)
    particles[mask] = np.concatenate(constituents)
    return Jets(particles, mask, np.concatenate(labels))


def log_angularity(jets: Jets, axes: Floats) -> Floats:
    """Sum of z log(0.001 + r/R) of each jet; r is the distance from its axis in (y, phi).

    Axes are momenta of shape (jet, 4).
    """
    momenta = np.where(jets.mask[..., None], jets.particles, [1.0, 0.0, 0.0, 1.0])
    px, py, pz, energy = np.moveaxis(momenta, -1, 0)
    x, y, z, e = axes.astype(np.float64).T[..., None]
    rapidity = np.arcsinh(pz / np.sqrt(np.maximum(energy**2 - pz**2, px**2 + py**2)))
    of_axis = np.arcsinh(z / np.sqrt(np.maximum(e**2 - z**2, x**2 + y**2)))
    angle = np.arctan2(py * x - px * y, px * x + py * y)
    pt = np.hypot(px, py) * jets.mask
    logarithms = np.log(CUT_OFF + np.hypot(rapidity - of_axis, angle) / RADIUS)
    return np.asarray((pt * logarithms).sum(axis=1) / pt.sum(axis=1))


def placements(scores: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Share of the other class that each gluon's score is above, and each quark's below (DeLong)."""
    gluons, quarks = (scores[labels == label] for label in (1, 0))

    def share(values: Floats, others: Floats) -> Floats:
        others = np.sort(others)
        sides = [np.searchsorted(others, values, side=side) for side in ("left", "right")]
        return np.asarray(sum(sides) / (2 * len(others)))

    return share(gluons, quarks), 1.0 - share(quarks, gluons)


def area(*scores: tuple[Floats, NDArray[np.int64], float]) -> tuple[float, float]:
    """Sum of coefficient times AUC of scores of the same jets, with its standard error."""
    parts = [(placements(values, labels), factor) for values, labels, factor in scores]
    gluons, quarks = (sum(factor * places[k] for places, factor in parts) for k in (0, 1))
    variance = np.var(gluons, ddof=1) / len(gluons) + np.var(quarks, ddof=1) / len(quarks)
    return float(np.mean(gluons)), float(np.sqrt(variance))


def folds(jets: Jets, output: Path, order: int, latent: int, name: str, epochs: int) -> Floats:
    """Probability of a gluon for every jet, by the network that was not trained on it."""
    place = output / f"order{order}_latent{latent}"
    cached = place / "scores.npz"
    if cached.exists():
        with np.load(cached) as file:
            if file["settings"].tolist() == [len(jets.labels), epochs]:
                return np.asarray(file["scores"])
    scores = np.empty(len(jets.labels))
    which = np.arange(len(scores)) % FOLDS
    for fold in range(FOLDS):
        click.echo(f"{name}, training {fold + 1} of {FOLDS}")
        network = dj.networks.MomentEFN(order, latent, scale=RADIUS, seed=fold)
        chosen = jets[which != fold]
        dj.networks.train(
            network, chosen.particles, chosen.labels, chosen.mask, epochs=epochs, seed=fold
        )
        held = jets[which == fold]
        scores[which == fold] = dj.networks.probabilities(network, held.particles, held.mask)[:, 1]
        dj.networks.export(network, place / f"fold{fold}", ["label_q", "label_g"])
    np.savez(cached, scores=scores, settings=[len(scores), epochs])
    return scores


def observables(jets: Jets) -> dict[str, Floats]:
    """Observables that need no training."""
    momenta = np.where(jets.mask[..., None], jets.particles, 0.0)
    axes = momenta.sum(axis=1)
    mass2 = axes[:, 3] ** 2 - (axes[:, :3] ** 2).sum(axis=1)
    return {
        "log angularity": log_angularity(jets, axes),
        "log angularity about the hardest constituent": log_angularity(jets, momenta[:, 0]),
        "mass": np.sqrt(np.maximum(mass2, 0.0)),
        "number of constituents": jets.mask.sum(axis=1).astype(np.float64),
    }


def table(scores: dict[str, Floats], labels: NDArray[np.int64]) -> list[str]:
    """Areas of all scores; those of networks are means over folds, with the spread of these."""
    rows = [f"{'':46s} {'AUC':>16s}   of each training"]
    which = np.arange(len(labels)) % FOLDS
    for name, values in scores.items():
        one_by_one = [area((values[which == k], labels[which == k], 1.0)) for k in range(FOLDS)]
        mean = sum(value for value, _ in one_by_one) / FOLDS
        error = np.sqrt(sum(error**2 for _, error in one_by_one)) / FOLDS
        each = "  ".join(f"{value:.3f}" for value, _ in one_by_one) if name in NETWORKS else ""
        rows.append(f"{name:46s} {with_error(mean, error, 4):>16s}   {each}")
    for other in ("log angularity", "EFN, L = 4"):
        pairs = [
            area(
                (scores["order 4, L = 1"][which == k], labels[which == k], 1.0),
                (scores[other][which == k], labels[which == k], -1.0),
            )
            for k in range(FOLDS)
        ]
        mean = sum(value for value, _ in pairs) / FOLDS
        error = np.sqrt(sum(error**2 for _, error in pairs)) / FOLDS
        rows.append(f"order 4, L = 1 above {other}: {with_error(mean, error, 4)}")
    return rows


def figure(path: Path, scores: dict[str, Floats], labels: NDArray[np.int64]) -> None:
    """ROC curves: gluons rejected against quarks kept."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(figsize=(6.0, 4.5), layout="constrained")
    for name, values in scores.items():
        kept = labels[np.argsort(values, kind="stable")]
        quarks = np.cumsum(kept == 0) / (kept == 0).sum()
        gluons = 1.0 - np.cumsum(kept == 1) / (kept == 1).sum()
        axes.plot(quarks, gluons, label=name, linestyle="-" if name in NETWORKS else "--")
    axes.set_xlabel("quark jets kept")
    axes.set_ylabel("gluon jets rejected")
    axes.legend(loc="lower left", fontsize=8)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


@click.command()
@click.option("--jets", default=10_000, show_default=True, help="Jets of each kind.")
@click.option("--epochs", default=30, show_default=True, help="Epochs of each training.")
@click.option("--processes", default=2, show_default=True, help="Processes that make jets.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="quark_gluon",
    show_default=True,
    help="Folder for the jets, the networks and the figure.",
)
def main(jets: int, epochs: int, processes: int, output: Path) -> None:
    """Make the jets, train the networks, and compare them."""
    generate(output, jets, processes)
    sample = read(output, jets)
    scores = observables(sample)
    for name, (order, latent) in NETWORKS.items():
        scores[name] = folds(sample, output, order, latent, name, epochs)
    click.echo(f"{len(sample.labels):,} jets")
    click.echo("\n".join(table(scores, sample.labels)))
    figure(output / "roc.png", scores, sample.labels)


if __name__ == "__main__":
    main()
