"""Boosted W -> qq against QCD: R learned together with a network, beside the same at fixed R.

    pip install pythia8mc==8.317.2 'djservice[torch,report]'
    python workflows/joint_w_qcd.py --events 5000 --output w_qcd

The events are those of ``generate_boosted_w.py``, made first unless they exist. A Moment EFN sees
the leading jet. ``task: joint`` trains it together with R, and at each of some R that are kept
(``learn_radius: false``), which gives the profile. All trainings have the same iterations, events
and trees. Half of the events are held back, the same for all, and losses and areas under the ROC
curve are theirs. A run that is stopped goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from generate_boosted_w import generate

import djservice as dj
from djservice.core.formatting import with_error
from djservice.reports.summary import summary

RADII = (0.4, 0.6, 0.8, 1.0, 1.2)


def settings(files: list[Path], store: Path, joint: dict[str, Any]) -> Any:
    """A run as plain data, with these entries of ``joint``."""
    network = {"order": 2, "latent": 4, "scale": 0.3, "particle_layers": [16], "jet_layers": [32]}
    return {
        "task": "joint",
        "input": {"files": [str(path) for path in files], "truth": "signal", "bundle_events": 5000},
        "clustering": {"rigidity": 20.0},
        "radius": {"minimum": 0.2, "maximum": 1.3},
        "loss": {"observable": "leading_jet_mass", "target": 80.4, "scale": 80.4},
        # The R that is best for the mass is not used, so little is spent on it.
        "optimiser": {"iterations": 1, "batch_events": 50, "trees": 4},
        "scan": {"radii": [0.4, 0.6, 0.8, 1.0], "trees": 4},
        "spectrum": {"radii": [], "trees": 4},
        "joint": {
            "classes": [1.0, 0.0],
            "network": {"name": "moment_efn", **network},
            "trees": 2,
            "learning_rate": 0.05,
            "held_back": 0.5,
            "score_trees": 4,
            **joint,
        },
        "output": {"store": str(store)},
        "cluster": {"workers": 1},
    }


def trained(files: list[Path], output: Path, joint: dict[str, Any]) -> dict[str, Any]:
    """Result of a training."""
    name = "learned" if joint["learn_radius"] else f"kept_{joint['radius']:g}"
    store = output / f"{name}.zarr"
    dj.run(dj.Run.from_dict(settings(files, store, joint)))
    result: dict[str, Any] = summary(store)["joint"]
    return result


def row(result: dict[str, Any]) -> str:
    """R, loss, area and dL/dR of a training, on the events that are held back."""
    choice = result["choices"][-1]
    kept, learned = f"{choice['radius']:g}", with_error(result["radius"], result["radius_error"], 3)
    numbers = (with_error(*choice[key], 3) for key in ("loss", "auc", "gradient"))
    return " | ".join([f"learned: {learned}" if result["learned"] else kept, *numbers])


def figure(path: Path, kept: list[dict[str, Any]], learned: dict[str, Any]) -> None:
    """Draw loss and area under the ROC curve against R."""
    import matplotlib.pyplot as plt

    canvas, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    titles = {"loss": "cross-entropy", "auc": "area under the ROC curve"}
    error = learned["radius_error"]
    label = "R learned" + (", not determined" if error is None else "")
    for panel, (key, title) in zip(panels, titles.items(), strict=True):
        points = [(result["radius"], *result["choices"][-1][key]) for result in (*kept, learned)]
        panel.errorbar(*np.transpose(points[:-1]), fmt="o-", capsize=3, label="R kept")
        panel.errorbar(*points[-1], error or 0.0, fmt="s", capsize=3, label=label)
        panel.set(xlabel="R", ylabel=title)
    panels[0].legend()
    canvas.savefig(path, dpi=110)


@click.command(help=__doc__)
@click.option("--events", default=5000, show_default=True, help="Events of each process.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="w_qcd")
@click.option("--iterations", default=600, show_default=True, help="Of each training.")
@click.option("--start", default=1.0, show_default=True, help="R at the start, where it is learned")
def main(events: int, output: Path, iterations: int, start: float) -> None:
    """Train, and print the table."""
    files = generate(output, events)
    recipe = {"iterations": iterations, "learn_radius": True, "radius": start}
    learned = trained(files, output, recipe)
    recipe["learn_radius"] = False
    kept = [trained(files, output, recipe | {"radius": radius}) for radius in RADII]
    click.echo("R | loss | ROC area | dL/dR")
    for result in (*kept, learned):
        click.echo(row(result))
    figure(output / "areas.png", kept, learned)


if __name__ == "__main__":
    main()
