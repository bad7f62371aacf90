"""Width of the dijet mass with shape jets, beside jets of one R and of the best R of each event.

    djservice run workflows/zh_shape_jets_model.yaml
    python workflows/zh_shape_jets.py --events 200 --model zh_shape_jets_model.zarr

A disk and an even part are fitted to each of the two leading anti-kT jets of R = 1 (`dj.fit_shapes`).
The jet of the disk has a radius of its own, and leaves the even part out. Beside it stand the jets as
they are, and those of deterministic anti-kT with other R, on the same events. Only the oracle knows
the true mass: it takes the R of each event whose mass is nearest to 125 GeV. A radius model was
trained on other events, those after the first 200. An output that was stopped is continued.
"""

from __future__ import annotations

import awkward as ak
import click
import numpy as np
import zarr

import djservice as dj
from djservice.store.shape_store import read_shapes

FILES, PT_MIN, HIGH, TRUE_MASS = "example:ZHllbb_1000", 20.0, 250.0, 125.0
RADII = (0.3, 0.4, 0.5, 0.6, 0.737, 0.8, 0.9, 1.0, 1.2)
Floats = np.ndarray


def mass_of_two(pt: Floats, rapidity: Floats, phi: Floats, mass: Floats) -> Floats:
    """Mass of two jets, shape (event,); NaN unless both have pT above 20 GeV and it is below 250."""
    transverse = np.hypot(pt, mass)
    total = [
        (pt * np.cos(phi)).sum(1),
        (pt * np.sin(phi)).sum(1),
        (transverse * np.sinh(rapidity)).sum(1),
        (transverse * np.cosh(rapidity)).sum(1),
    ]
    found = np.sqrt(total[3] ** 2 - total[0] ** 2 - total[1] ** 2 - total[2] ** 2)
    return np.where((pt > PT_MIN).all(1) & (found < HIGH), found, np.nan)


def of_jets(events: dj.EventBatch, radius: float | Floats) -> Floats:
    """Mass of the two leading jets of deterministic anti-kT, with one R or one of each event."""
    jets = dj.cluster_jets(events, radius=radius, pt_min=PT_MIN, jets=2)
    columns = [
        ak.to_numpy(ak.fill_none(ak.pad_none(getattr(jets, name), 2), 0.0))
        for name in ("pt", "rapidity", "phi", "mass")
    ]
    return mass_of_two(*columns)


def of_shapes(events: dj.EventBatch, output: str, kind: str) -> tuple[Floats, Floats]:
    """Mass of the two shape jets, and the radii of their disks, shape (jet,)."""
    config = {
        "input": {"files": FILES, "pt_min": 0.5, "entries": [0, len(events)]},
        "jets": {"radius": 1.0, "pt_min": PT_MIN, "number": 2},
        "shape": {"kind": kind, "radius": 1.0},
        "output": {"store": output},
    }
    store = read_shapes(dj.fit_shapes(config))
    columns = np.zeros((4, len(events), 2))
    order = np.argsort(events.key)
    row = order[np.searchsorted(events.key, store["key"], sorter=order)]
    for column, name in zip(columns, ("pt", "rapidity", "phi", "mass"), strict=True):
        column[row, store["place"]] = store[f"prong_{name}"][:, 0]
    return mass_of_two(*columns), store["prong_radius"][:, 0]


def radii_of_model(events: dj.EventBatch, store: str) -> Floats:
    """R of each event, of the sample ZH of a run of zh_shape_jets_model.yaml, shape (event,)."""
    sample = zarr.open_group(store, mode="r")["radius_model/ZH"]
    key = sample["key"][:]
    if missing := (~np.isin(events.key, key)).sum():
        raise click.ClickException(f"{store} has no radius for {missing} of {len(events)} events.")
    order = np.argsort(key)
    radii: Floats = sample["radius"][:][1]  # the first row is that of the best fixed R
    return radii[order[np.searchsorted(key, events.key, sorter=order)]]


def widths(masses: dict[str, Floats], resamples: int = 1000) -> None:
    """Print median, widths and acceptance, with errors by the bootstrap of events."""
    rng = np.random.default_rng(1)
    events = len(next(iter(masses.values())))
    drawn = rng.integers(0, events, (resamples, events))
    print("| jets | mean | sd | width / median | to R = 0.737 | acceptance |")
    reference = next(iter(masses.values()))
    for name, mass in masses.items():
        value, spread = _numbers(mass), np.std([_numbers(mass[row]) for row in drawn], axis=0)
        ratio = [_numbers(mass[row])[2] / _numbers(reference[row])[2] for row in drawn]
        cells = [f"{a:.{d}f} ± {b:.{d}f}" for a, b, d in zip(value, spread, (1, 1, 3), strict=True)]
        cells.append(f"{value[2] / _numbers(reference)[2]:.2f} ± {np.std(ratio):.2f}")
        print("|", name, "|", " | ".join(cells), f"| {np.isfinite(mass).mean():.3f} |")


def _numbers(mass: Floats) -> tuple[float, float, float]:
    """Mean, sd, and half the range of 68 % over the median."""
    mass = mass[np.isfinite(mass)]
    low, middle, high = np.quantile(mass, (0.16, 0.5, 0.84))
    return mass.mean(), mass.std(), (high - low) / (2.0 * middle)


@click.command()
@click.option("--events", "number", default=200, show_default=True, help="Events to read.")
@click.option("--output", default="zh_shape_jets.zarr", show_default=True, help="Zarr store.")
@click.option("--kind", default="disk+uniform", show_default=True, help="Shape that is fitted.")
@click.option("--model", default=None, help="Store of a radius model, to compare with.")
def main(number: int, output: str, kind: str, model: str | None) -> None:
    """Fit the shapes, or continue, and print the widths."""
    schema = dj.schemas.nanoaod(pt_min=0.5)
    events = dj.read(FILES, schema=schema, entries=(0, number))
    fixed = {f"R = {radius:g}": of_jets(events, radius) for radius in RADII}
    shapes, radii = of_shapes(events, output, kind)
    every = np.stack(list(fixed.values()))
    far = np.where(np.isfinite(every), np.abs(every - TRUE_MASS), np.inf)
    oracle = every[far.argmin(axis=0), np.arange(len(events))]
    best = fixed.pop("R = 0.737")
    if model is not None:
        fixed["radius model"] = of_jets(events, radii_of_model(events, model))
    widths({"R = 0.737": best, **fixed, f"{kind} in R = 1": shapes, "best R of each event": oracle})
    print("radius of the disks, quantiles 16, 50, 84 %:", np.nanquantile(radii, (0.16, 0.5, 0.84)))


if __name__ == "__main__":
    main()
