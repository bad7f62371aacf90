"""Derivatives of means over events, where jets exchange places: derivatives of single events against finite steps.

The momenta of all neutral particles are scaled by exp(t). The mean over 300 ZH events of `dj.input_gradient` along t is compared
with the difference of the mean at t = +-0.05. All events, the same on both sides, so the errors are those of the trees, from the
spread over batches of trees. Writes docs/images/jumps.png.

    python benchmarks/jumps.py
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

import djservice as dj
from djservice.errors import JumpWarning

EVENTS, TREES, BATCHES, STEP = 300, 100, 12, 0.05
SETTING: dict[str, Any] = {"radius": 0.6, "rigidity": 5.0, "scale": "safe"}
COLOURS = ("#D55E00", "#009E73", "#0072B2")
CHOICES = ("hard", "kappa 4", "kappa 8")


def error_slopes(momenta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the squared error below."""
    mass, slopes = dj.observables.dijet_mass.slopes(momenta)
    error = mass / 125.0 - 1.0
    return error**2, (2.0 / 125.0 * error)[..., np.newaxis, np.newaxis] * slopes


@dj.observable(slopes=error_slopes)
def squared_error(jets: Any) -> Any:
    """Squared relative error of the dijet mass."""
    return (dj.observables.dijet_mass(jets) / 125.0 - 1.0) ** 2


def observables(hard: dj.observables.Observable) -> list[dj.observables.Observable]:
    """An observable with the hard choice of jets and with soft ones."""
    soft = (dj.observables.soft_choice(hard, kappa, ordered=False) for kappa in (4.0, 8.0))
    return [hard, *soft]


def neutral_particles() -> tuple[dj.EventBatch, np.ndarray]:
    """Events of 45 to 95 particles above 1 GeV, and which particles are neutral."""
    names = [f"PFCands_{name}" for name in ("pt", "eta", "phi", "mass", "charge")]
    with as_file(files("djservice") / "data" / "ZHllbb_1000.root") as path, uproot.open(path) as f:
        columns = f["Events"].arrays(names)
    columns = columns[columns.PFCands_pt > 1.0]
    number = ak.num(columns.PFCands_pt)
    columns = columns[(number > 45) & (number < 95)][:EVENTS]
    pt, eta, phi, mass, charge = (
        ak.to_numpy(ak.flatten(columns[name])).astype(np.float64) for name in names
    )
    offsets = np.concatenate([[0], np.cumsum(ak.num(columns.PFCands_pt))])
    events = dj.EventBatch.from_arrays(pt=pt, eta=eta, phi=phi, mass=mass, offsets=offsets)
    return events, charge == 0.0


def moved(events: dj.EventBatch, rates: np.ndarray, t: float) -> dj.EventBatch:
    """The events with each particle scaled by exp(t rate); rates may be True or False."""
    factor = np.exp(t * rates)
    return replace(events, pt=events.pt * factor, mass=events.mass * factor)


def of_events(observable: Any, events: dj.EventBatch, neutral: np.ndarray, seed: int) -> float:
    """Mean over events of their derivatives along t."""
    found = dj.input_gradient(
        events, observable, trees=TREES, seed=seed, coordinates="pt_y_phi_m", **SETTING
    )
    along = found.value[:, 0] * events.pt + found.value[:, 3] * events.mass
    return float(along[neutral].sum() / len(events))


def by_steps(
    every: list[Any], events: dj.EventBatch, neutral: np.ndarray, seed: int
) -> list[float]:
    """Differences of the means at t = +-STEP of several observables, on the same trees."""
    means = []
    for t in (STEP, -STEP):
        trees = dj.cluster(
            moved(events, neutral, t), trees=4 * TREES, seed=seed, jets=5, settled_pt=0.0, **SETTING
        )
        means.append([float(np.mean(each(trees.jets[..., : each.jets]))) for each in every])
    return [(up - down) / (2.0 * STEP) for up, down in zip(*means, strict=True)]


def measured(every: list[Any], seeds: range) -> np.ndarray:
    """Both derivatives of every observable in each batch of trees, shape (batch, observable, 2)."""
    events, neutral = neutral_particles()
    rows = []
    for seed in seeds:
        steps = by_steps(every, events, neutral, 1000 + seed)
        rows.append(
            [
                (of_events(one, events, neutral, seed), step)
                for one, step in zip(every, steps, strict=True)
            ]
        )
    return np.array(rows)


def one_event(every: list[Any]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Values along t, at the clustering of t = 0, in the event whose mass jumps most near it."""
    events, neutral = neutral_particles()
    setting = SETTING | {"rigidity": math.inf}
    trees = dj.cluster(events, trees=1, history=True, jets=5, **setting)
    t = np.linspace(-0.3, 0.3, 241)
    values = []
    for step in t:
        jets = dj.replay(moved(events, neutral, step), trees.history, jets=5, **SETTING).jets
        values.append([each(jets[..., : each.jets])[:, 0] for each in every])
    of_all = np.array(values)  # (t, observable, event)
    jumps = np.abs(np.diff(of_all[:, 0], axis=0))[70:170].max(axis=0)
    event = int(jumps.argmax())
    return t, list(of_all[:, :, event].T)


def draw(rows: np.ndarray) -> None:
    """The figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    t, curves = one_event(observables(dj.observables.dijet_mass))
    for name, colour, curve in zip(CHOICES, COLOURS, curves, strict=True):
        left.plot(t, curve, color=colour, label=name)
    left.set(xlabel="ln of the scale of neutral particles", ylabel="dijet mass of one event (GeV)")
    left.legend(title="choice of the two jets")
    mean = rows.mean(axis=0)
    error = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    ratio = mean[:, 0] / mean[:, 1]
    spread = np.abs(ratio) * np.hypot(*(error / mean).T)
    where = np.arange(len(ratio))
    right.axhline(1.0, color="0.6", lw=1)
    right.errorbar(where, ratio, spread, fmt="none", ecolor="0.3", capsize=4)
    right.scatter(where, ratio, c=COLOURS * 2, zorder=3)
    right.set_xticks(where, CHOICES * 2)
    right.set(
        ylabel="mean of derivatives / derivative of the mean", xlim=(-0.6, 5.6), ylim=(0.75, 1.09)
    )
    for x, name in ((1, "mean of the dijet mass"), (4, "mean of the squared error")):
        right.text(x, 0.98, name, transform=right.get_xaxis_transform(), ha="center", va="top")
    right.axvline(2.5, color="0.8", lw=1)
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "jumps.png", dpi=110)


def main() -> None:
    """Print the table and draw the figure."""
    warnings.simplefilter("ignore", JumpWarning)
    every = observables(dj.observables.dijet_mass) + observables(squared_error)
    rows = measured(every, range(BATCHES))
    mean, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(BATCHES)
    missing = rows[..., 1] - rows[..., 0]
    z = missing.mean(axis=0) / (missing.std(axis=0, ddof=1) / math.sqrt(BATCHES))
    for k, one in enumerate(every):
        print(
            f"{one.name:30s} of events {mean[k, 0]:.4f} +- {error[k, 0]:.4f}, by steps "
            f"{mean[k, 1]:.4f} +- {error[k, 1]:.4f}, missing "
            f"{100 * missing[:, k].mean() / mean[k, 1]:.1f} % ({z[k]:.1f} errors)"
        )
    draw(rows)


if __name__ == "__main__":
    main()
