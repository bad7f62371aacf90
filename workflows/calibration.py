"""Calibrations by ``dj.calibrate``: a Gaussian response, then the dijet mass of a mass scan.

    pip install 'djservice[torch,report]'
    python workflows/calibration.py --output calibration
    python workflows/calibration.py --files 'mass_*.root' --output calibration

The Gaussian response x = z + N(0, 1) has a known answer: zhat = x, sigma = 1, whatever the
distribution of z. The mutual information is 1.0643 nats for z uniform in -5 to 5, and 0.9905 for
z from N(0, 2.5). A regression of z on x has the slope 6.25/7.25 instead.

The files are those of ``zh_radius_model.yaml``, events of several Higgs masses. The observable is
m_jj averaged over the clusterings of an event. Every event is calibrated by the two thirds of the
events that it is not in. The table and ``mass.png`` compare the mass where events are densest with
the true one.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import djservice as dj
from djservice.core.formatting import with_error

Floats = NDArray[np.float64]
FOLDS = 3
CUT = dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9)
#: Higgs masses of the files, in GeV.
MASSES = np.array([60.0, 75.0, 90.0, 105.0, 140.0, 160.0, 180.0, 200.0])
#: Degree of the polynomial in log m_jj of the regression.
DEGREE = 4


def gaussian(events: int, seed: int) -> None:
    """Print the calibrations of the Gaussian response for two distributions of the truth."""
    draws = np.random.default_rng(seed)
    points = np.array([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    for name, truth, exact in (
        ("uniform in -5 to 5", draws.uniform(-5.0, 5.0, events), 1.0643),
        ("N(0, 2.5)", draws.normal(0.0, 2.5, events), 0.9905),
    ):
        observed = truth + draws.normal(size=events)
        calibration = dj.calibrate(observed, truth, seed=seed)
        value = with_error(calibration.information, calibration.information_error, 4)
        click.echo(f"z {name}: information {value} nats, exact {exact}")
        for label, numbers in (
            ("x", points),
            ("zhat", calibration.zhat(points)),
            ("sigma", calibration.sigma(points)),
            ("regression", np.polyval(np.polyfit(observed, truth, 3), points)),
        ):
            click.echo(f"  {label:10s} " + " ".join(f"{number:6.2f}" for number in numbers))


def masses(files: str, radius: float, trees: int, seed: int) -> tuple[Floats, Floats]:
    """m_jj averaged over the accepted clusterings, and true mass, of the accepted events."""
    events = dj.read(files, schema=dj.schemas.nanoaod(pt_min=0.5, truth="GenPart:higgs"))
    found = dj.expectation(
        events, dj.observables.dijet_mass, radius=radius, trees=trees, where=CUT, seed=seed
    )
    accepted = np.isfinite(found.mean)
    assert events.truth is not None
    return found.mean[accepted], events.truth[accepted]


def calibrated(mass: Floats, truth: Floats, folder: Path) -> dict[str, Floats]:
    """Masses of each event by every method, and the resolution, from the other events."""
    which = np.random.default_rng(0).integers(FOLDS, size=len(mass))
    found = {name: np.empty(len(mass)) for name in ("zhat", "sigma", "regression")}
    for fold in range(FOLDS):
        train, test = which != fold, which == fold
        calibration = dj.calibrate(mass[train], truth[train], seed=fold)
        calibration.save(folder / f"mass_{fold}.npz")
        value = with_error(calibration.information, calibration.information_error, 3)
        click.echo(f"part {fold + 1} of {FOLDS}: information {value} nats")
        found["zhat"][test] = calibration.zhat(mass[test])
        found["sigma"][test] = calibration.sigma(mass[test])
        fit = np.polyfit(np.log(mass[train]), truth[train], DEGREE)
        found["regression"][test] = np.polyval(fit, np.log(mass[test]))
    return found


def densest(values: Floats, draws: np.random.Generator) -> tuple[float, float]:
    """Mean of the densest 40 % of events, and its standard error, from 200 bootstrap samples."""

    def mean(sample: Floats) -> float:
        sample = np.sort(sample)
        inside = int(0.4 * len(sample))
        start = int(np.argmin(sample[inside:] - sample[:-inside]))
        return float(sample[start : start + inside].mean())

    again = [mean(draws.choice(values, len(values))) for _ in range(200)]
    return mean(values), float(np.std(again))


def closure(mass: Floats, truth: Floats, found: dict[str, Floats], picture: Path) -> None:
    """Print where each true mass is found, and draw it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    draws = np.random.default_rng(0)
    nearest = np.argmin(abs(truth[:, None] - MASSES), axis=1)
    methods = {"m_jj": mass, "zhat": found["zhat"], "regression": found["regression"]}
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    click.echo("true mass" + "".join(f"{name:>16s}" for name in methods) + "   median sigma")
    for number, value in enumerate(MASSES):
        members = nearest == number
        for name, numbers in methods.items():
            rows[name].append(densest(numbers[members], draws))
        cells = "".join(f"{with_error(*rows[name][-1], 1):>16s}" for name in methods)
        click.echo(f"{value:9.0f}{cells}   {np.median(found['sigma'][members]):.1f}")
    drawing, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    shown = (mass > 30.0) & (mass < 300.0)
    for color, (name, numbers) in enumerate(methods.items()):
        center, error = np.array(rows[name]).T
        style = {"label": name, "color": f"C{color}"}
        right.errorbar(MASSES, center / MASSES, error / MASSES, marker="o", capsize=2, **style)
        if name != "m_jj":
            left.plot(mass[shown], numbers[shown], ".", markersize=2, **style)
    left.plot([30.0, 300.0], [30.0, 300.0], color="grey", linewidth=0.8)
    left.set(xlabel="m_jj [GeV]", ylabel="calibrated mass [GeV]", ylim=(0.0, 300.0))
    right.axhline(1.0, color="grey", linewidth=0.8)
    right.set(xlabel="true mass [GeV]", ylabel="found / true mass")
    left.legend(markerscale=4)
    right.legend()
    drawing.savefig(picture, dpi=110)
    plt.close(drawing)


@click.command()
@click.option(
    "--events", default=100_000, show_default=True, help="Events of the Gaussian response."
)
@click.option("--files", help="ROOT files of several Higgs masses: a path or a quoted pattern.")
@click.option("--radius", default=0.558, show_default=True, help="Radius of the jets.")
@click.option("--trees", default=20, show_default=True, help="Clusterings of each event.")
@click.option("--seed", default=0, show_default=True, help="Seed of all random numbers.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="calibration",
    show_default=True,
    help="Folder for calibrations and the figure.",
)
def main(
    events: int, files: str | None, radius: float, trees: int, seed: int, output: Path
) -> None:
    """Calibrate the Gaussian response, and the dijet mass of files."""
    output.mkdir(parents=True, exist_ok=True)
    gaussian(events, seed)
    if files is not None:
        mass, truth = masses(files, radius, trees, seed)
        closure(mass, truth, calibrated(mass, truth, output), output / "mass.png")


if __name__ == "__main__":
    main()
