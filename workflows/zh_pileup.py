"""Learn weights of particles against pile-up, on ZH events with an overlay of soft particles.

    python workflows/zh_pileup.py --output zh_pileup

The script overlays pile-up on the events of example:ZHllbb_1000, trains weights with
workflows/zh_particle_weights.yaml, and judges them on events that no training saw. It prints the
numbers of docs/results.md and draws the learned weights. Finished runs are not repeated.

Of the 1,000 events 400 are for training and 400 for the judgement, if their jets without pile-up
have a mass between 90 and 160 GeV; the soft particles of the other 200 are the pile-up. A seed
decides which. Of about 300 drawn particles an event keeps those that tracks do not remove, about 139.

Settings were chosen with some of these events in view. Others to judge on, with pile-up of their own:

    python workflows/generate_zh.py --events 700 --seed 2027 --mantissa-bits 10 --output fresh.root
    python workflows/zh_pileup.py --output zh_pileup --fresh fresh.root
"""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import uproot
from numpy.typing import NDArray

import djservice as dj
from djservice.weight_models.features import charged_density, log_pt, pseudorapidity

CONFIG = Path(__file__).with_name("zh_particle_weights.yaml")
#: Which events are for what, and which particles are drawn.
SPLIT = 20261126
#: Events of the training, of the judgement, and those whose particles are the pile-up.
PARTS = {"train": slice(0, 400), "test": slice(400, 800), "pool": slice(800, 1000)}
#: Events of a file of others to judge on; the 200 that follow are their pile-up.
FRESH = 500
#: Particles drawn for an event, before those with tracks are removed; cuts in GeV, and on |y|.
DRAWN, PT_MIN, PT_MAX, Y_MAX, TRACK_Y = 300, 1.0, 4.0, 3.0, 2.5
WINDOW = (90.0, 160.0)
JETS: dict[str, Any] = {"radius": 0.8, "power": -1, "scale": "safe", "threads": 1}
Array = NDArray[Any]


def clean_events(source: str | Path = "example:ZHllbb_1000") -> dj.EventBatch:
    """The events of a file without pile-up."""
    schema = dj.schemas.nanoaod(pt_min=PT_MIN, columns=("charge",))
    events = dj.read(source, schema=schema)
    return events.keep(np.abs(events.rapidity) < Y_MAX)


def mass_of(events: dj.EventBatch, rigidity: float, trees: int, seed: int) -> Array:
    """Mass of the two leading jets, shape (event, tree)."""
    sample = dj.cluster(events, rigidity=rigidity, trees=trees, seed=seed, **JETS)
    return np.asarray(dj.observables.dijet_mass(sample.jets))


def overlaid(events: dj.EventBatch, pool: dj.EventBatch, rng: np.random.Generator) -> dj.EventBatch:
    """The events with pile-up, whose particles have the field ``pileup``, 1 for those of it."""
    soft = pool.keep(pool.pt < PT_MAX)
    number = rng.poisson(DRAWN, len(events))
    drawn = rng.integers(len(soft.pt), size=number.sum())
    columns = {
        "pt": soft.pt[drawn],
        "rapidity": soft.rapidity[drawn] * rng.choice([-1.0, 1.0], len(drawn)),
        "phi": rng.uniform(-np.pi, np.pi, len(drawn)),
        "mass": soft.mass[drawn],
        "charge": soft.columns["charge"][drawn],
        "pileup": np.ones(len(drawn)),
    }
    removed = (columns["charge"] != 0) & (np.abs(columns["rapidity"]) < TRACK_Y)
    columns = {name: values[~removed] for name, values in columns.items()}
    event = np.repeat(np.arange(len(events)), number)[~removed]
    own = {name: getattr(events, name) for name in ("pt", "rapidity", "phi", "mass")}
    own |= {"charge": events.columns["charge"], "pileup": np.zeros(len(events.pt))}
    of_event = np.concatenate([np.repeat(np.arange(len(events)), events.counts), event])
    order = np.argsort(of_event, kind="stable")
    flat = {name: np.concatenate([own[name], columns[name]])[order] for name in own}
    counts = np.bincount(of_event, minlength=len(events))
    fields = {name: flat.pop(name) for name in ("charge", "pileup")}
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return replace(events, **flat, offsets=offsets, columns=fields)


def write(events: dj.EventBatch, path: Path) -> None:
    """Write events as NanoAOD, with their masses without pile-up."""
    import awkward as ak

    columns = {"pt": events.pt, "eta": pseudorapidity(events), "phi": events.phi}
    columns |= {"mass": events.mass, **events.columns}
    particles = ak.unflatten(ak.zip(columns), events.counts)
    numbers = {"run": events.run, "luminosityBlock": events.luminosity_block}
    numbers |= {"event": events.event, "mass_without_pileup": events.truth}
    columns = {"PFCands": particles, **{name: ak.Array(column) for name, column in numbers.items()}}
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: column.type for name, column in columns.items()})
        file["Events"].extend(columns)


def make_events(folder: Path, fresh: Path | None = None) -> None:
    """Make the files of events, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(SPLIT).permutation(1000)
    for number, name in enumerate(("train", "test")):
        chosen = (order[PARTS[name]], order[PARTS["pool"]])
        overlay("example:ZHllbb_1000", *chosen, number, folder / f"{name}.root")
    if fresh is not None:
        chosen = (np.arange(FRESH), np.arange(FRESH, FRESH + 200))
        overlay(fresh, *chosen, 2, folder / "fresh.root")


def overlay(source: str | Path, rows: Array, pool: Array, number: int, path: Path) -> None:
    """Write some events of a file with pile-up from others, unless they are written."""
    if path.exists():
        return
    events = clean_events(source)
    part = events.select(np.sort(rows))
    exact = mass_of(part, np.inf, 1, 1)[:, 0]
    part = part.select((exact > WINDOW[0]) & (exact < WINDOW[1]))
    part = replace(part, truth=mass_of(part, 5.0, 64, 77).mean(axis=1))
    rng = np.random.default_rng([SPLIT, number])
    write(overlaid(part, events.select(np.sort(pool)), rng), path)


def load(folder: Path, name: str) -> dj.EventBatch:
    """The events of a file."""
    fields = ("charge", "pileup")
    schema = dj.schemas.nanoaod(columns=fields, truth="mass_without_pileup")
    return dj.read(folder / f"{name}.root", schema=schema)


def ratio_of(events: dj.EventBatch, weights: Array) -> Array:
    """Ratio m_jj / m_jj without pile-up of each tree, shape (event, tree); 0 without two jets."""
    ratio = mass_of(events.weighted(weights), 5.0, 32, 99) / events.truth[:, np.newaxis]
    return np.nan_to_num(ratio)


def judged(events: dj.EventBatch, weights: Array) -> dict[str, float]:
    """Loss, median and width of m_jj / m_jj without pile-up, over all trees of some events."""
    ratio = ratio_of(events, weights)
    error = (ratio - 1.0) ** 2
    low, median, high = np.quantile(ratio, (0.16, 0.5, 0.84))
    loss = error / (1.0 + 4.0 * error)
    return {"loss": loss.mean(), "median": median, "width": (high - low) / 2.0}


def small(features: int) -> Any:
    """A network of 49 parameters."""
    from torch import nn

    return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, 1))


def trained(
    folder: Path, name: str, seed: int, overrides: tuple[str, ...], **section: Any
) -> tuple[Any, float]:
    """Learned weights of a run, and the CPU seconds that it took; the run is done unless it is."""
    run = dj.Run.from_yaml(
        CONFIG,
        [
            f"input.files={folder / 'train.root'}",
            f"output.store={folder / name}.zarr",
            f"seed={seed}",
            *overrides,
        ],
    )
    changed = run.particle_weights.model_copy(update=section)
    run = run.model_copy(update={"particle_weights": changed})
    began = cpu_seconds()
    dj.run(run)
    learned = dj.LearnedWeights.read(folder / f"{name}.zarr", model=section.get("model"))
    return learned, cpu_seconds() - began


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def show(label: str, events: dj.EventBatch, weights: Array, more: str = "") -> None:
    """Print one row."""
    numbers = judged(events, weights)
    free, pileup = ~known(events), events.columns["pileup"] == 1
    means = (weights[free & ~pileup].mean(), weights[free & pileup].mean())
    click.echo(
        f"{label:34s} {numbers['loss']:.4f}  {numbers['median']:.3f}  {numbers['width']:.3f}   "
        f"{means[0]:.2f} {means[1]:.2f}  {more}"
    )


def best_constant(events: dj.EventBatch) -> float:
    """The constant weight of least loss."""
    grid = np.arange(0.3, 0.95, 0.05)
    return float(min(grid, key=lambda c: judged(events, constant(events, c))["loss"]))


def constant(events: dj.EventBatch, weight: float) -> Array:
    """One weight for all particles without a track."""
    return np.where(known(events), 1.0, weight)


def known(events: dj.EventBatch) -> Array:
    """Mask of the particles with a track."""
    return (events.columns["charge"] != 0) & (np.abs(pseudorapidity(events)) < TRACK_Y)


def draw(events: dj.EventBatch, weights: dict[str, Array], path: Path) -> None:
    """Draw the mass with several weights, and the last of them against features."""
    import matplotlib.pyplot as plt

    figure, (left, *others) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    for label, each in weights.items():
        ratio = np.clip(ratio_of(events, each).ravel(), 0.5, 1.999)
        left.hist(ratio, np.linspace(0.5, 2.0, 61), density=True, histtype="step", label=label)
    left.set(xlabel="mass / mass without pile-up", ylabel="density of trees")
    left.legend()
    learned = list(weights.values())[-1]
    pileup = events.columns["pileup"] == 1
    features = {"charged density": charged_density(), "ln (pT / GeV)": log_pt}
    for axes, (name, feature) in zip(others, features.items(), strict=True):
        x = feature.centre + feature.unit * feature(events, known(events))
        edges = np.linspace(x.min(), np.quantile(x[~known(events)], 0.999), 13)
        for label, chosen in (("decay of ZH", ~pileup), ("pile-up", pileup)):
            some = chosen & ~known(events)
            counts, sums = (
                np.histogram(x[some], edges, weights=w)[0] for w in (None, learned[some])
            )
            middle = 0.5 * (edges[1:] + edges[:-1])
            axes.plot(middle[counts > 4], (sums / np.maximum(counts, 1))[counts > 4], label=label)
        axes.set(xlabel=name, ylabel="mean weight", ylim=(0, 1.05))
        axes.legend()
    figure.savefig(path, dpi=110)


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="zh_pileup",
    help="Folder for the events, stores and reports.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change one configuration key of all runs. Repeatable.",
)
@click.option("--judge", default="test", help="Events to judge on: test, or train while tuning.")
@click.option(
    "--fresh",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of other events, 700 or more, to judge on.",
)
@click.option("--seeds", default=3, help="Number of seeds of each way of learning.")
@click.option("--torch/--no-torch", default=True, help="Train a network too.")
def main(
    output: Path,
    overrides: tuple[str, ...],
    judge: str,
    fresh: Path | None,
    seeds: int,
    torch: bool,
) -> None:
    """Make the events, learn weights, and print how sharp the mass of two jets is.

    \b
    Example:
      python workflows/zh_pileup.py --output zh_pileup
    """
    make_events(output, fresh)
    judge = judge if fresh is None else "fresh"
    events, training = load(output, judge), load(output, "train")
    pileup = events.columns["pileup"]
    click.echo(
        f"{len(training)} events to train, {len(events)} to judge, with "
        f"{events.counts.mean():.0f} particles, {pileup.sum() / len(events):.0f} of pile-up\n"
        f"{'weights':34s} loss    median width   of signal, pile-up; CPU seconds"
    )
    show("none", events, np.ones_like(events.pt))
    best = best_constant(training)
    show(f"the best constant, {best:.2f}", events, constant(events, best))
    show("without pile-up, by truth", events, 1.0 - pileup)
    ways: dict[str, dict[str, Any]] = {
        "full": {},
        "pathwise": {"estimate": "pathwise", "trees": 2},
        "full, with R": {"learn_radius": True},
    }
    if torch:
        ways["network, full"] = {"model": dj.TorchWeights(small), "learning_rate": 0.03}
    runs = [(label, seed, ways[label]) for label in ways for seed in range(1, seeds + 1)]
    for label, seed, section in runs:
        name = f"{label.replace(', ', '_').replace(' ', '_')}_{seed}"
        learned, seconds = trained(output, name, seed, overrides, **section)
        more = f"{seconds:.0f}  R {learned.radius:.2f}"
        if len(learned.weights.theta) < 10:
            more += "  " + " ".join(f"{value:.2f}" for value in learned.weights.theta)
        show(f"{label}, seed {seed}", events, learned(events), more)
        if label == "full" and seed == 1:
            shown = {"no weights": np.ones_like(events.pt), "best constant": constant(events, best)}
            shown |= {"without pile-up, by truth": 1.0 - pileup, "learned": learned(events)}
            draw(events, shown, output / "weights.png")
    dj.report(output / "full_1.zarr")


if __name__ == "__main__":
    main()
