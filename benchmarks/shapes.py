"""CPU time of fitted shapes for each jet: of all, and of the exact transports (POT) in it.

    python benchmarks/shapes.py 20 [--file pfnano.root] [--figure]

Leading anti-kT jets of R = 0.8 of the shipped ZH events, or of a NanoAOD file with candidates. Writes
docs/images/shapes.png, the figure of the guide, with --figure.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import djservice as dj
from djservice.shapes import Disk, Ellipse, Point, Ring, Uniform, model

SHAPES = {
    "1-point": Point(1),
    "2-point": Point(2),
    "3-point": Point(3),
    "1-ring": Ring(1),
    "1-disk": Disk(1),
    "1-ellipse": Ellipse(1),
    "1-disk + point": Disk(1) + Point(1),
    "2-ring": Ring(2),
    "2-disk": Disk(2),
    "2-disk + uniform": Disk(2) + Uniform(),
    "2-ellipse": Ellipse(2),
    "1-disk + uniform": Disk(1) + Uniform(),
    "uniform": Uniform(),
}


def jets(number: int, file: str = "example:ZHllbb_200") -> list[np.ndarray]:
    """Leading jets of 20 particles or more, as rows of pT, rapidity and phi."""
    events = dj.read(file, schema=dj.schemas.nanoaod(pt_min=0.5))
    constituents = dj.cluster_jets(events, radius=0.8, jets=1).constituents
    rows = np.column_stack([events.pt, events.rapidity, events.phi])
    clouds = [
        rows[first + np.asarray(one[0])]
        for first, one in zip(events.offsets, constituents, strict=False)
        if len(one) and len(one[0]) >= 20
    ]
    return clouds[:number]


def draw(clouds: list[np.ndarray]) -> None:
    """Draw the shapes of a jet, and the radii of all jets."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Ellipse as Outline

    from djservice.reports.drawing import COLOURS
    from djservice.reports.figures import style

    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
        pt, y, phi = clouds[0].T
        left.scatter(y, phi, 400.0 * pt / pt.sum(), color="0.6", label="particles, by pT")
        for shape, colour in (
            (Disk(1), COLOURS[0]),
            (Disk(2), COLOURS[1]),
            (Ellipse(1), COLOURS[2]),
        ):
            fit = dj.shapes.fit(clouds[0], shape)
            label: str | None = f"{dj.shapes.Shape((shape,))}: {fit.value:.3f}"
            for centre, (a, b), angle in zip(fit.centres, fit.axes, fit.angles, strict=True):
                outline = Outline(centre, 2.0 * a, 2.0 * b, angle=np.degrees(angle), fill=False)
                outline.set(edgecolor=colour, linewidth=2.0, label=label)
                left.add_patch(outline)
                label = None
        left.set(xlabel="rapidity", ylabel="azimuth [rad]", aspect="equal")
        left.legend(fontsize=9)
        edges = np.linspace(0.0, 0.8, 33)
        for shape, colour in ((Ring(1), COLOURS[0]), (Disk(1), COLOURS[1])):
            radii = [float(dj.shapes.fit(cloud, shape).radii[0]) for cloud in clouds]
            counts, _ = np.histogram(radii, edges)
            right.stairs(counts, edges, color=colour, label=f"{dj.shapes.Shape((shape,))}")
        right.set(xlabel="fitted radius", ylabel="jets")
        right.legend()
        figure.savefig("docs/images/shapes.png", dpi=130)


def main(number: int, file: str) -> None:
    """Print a table."""
    clouds, solved, transport = jets(number, file), [0, 0.0], model.transport

    def counted(*arguments: np.ndarray) -> model.Solution:
        begin = time.thread_time()
        solution = transport(*arguments)
        solved[0], solved[1] = solved[0] + 1, solved[1] + time.thread_time() - begin
        return solution

    model.transport = counted
    for shape in (Point(2), Disk(1)):
        dj.shapes.fit(clouds[0], shape)  # compiled and loaded
    print(f"{len(clouds)} jets, {np.mean([len(cloud) for cloud in clouds]):.1f} particles")
    print(
        "| shape | ms, beta = 1 | transports | ms of them | ms, beta = 2 | transports | ms of them |"
    )
    for name, shape in SHAPES.items():
        cells = []
        for beta in (1.0, 2.0):
            solved[:], begin = [0, 0.0], time.thread_time()
            for cloud in clouds:
                dj.shapes.fit(cloud, shape, beta=beta)
            spent = (time.thread_time() - begin) / len(clouds)
            cells += [f"{1e3 * spent:.1f}", f"{solved[0] / len(clouds):.0f}"]
            cells.append(f"{1e3 * solved[1] / len(clouds):.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("number", type=int)
    arguments.add_argument("--file", default="example:ZHllbb_200")
    arguments.add_argument("--figure", action="store_true")
    options = arguments.parse_args()
    if options.figure:
        draw(jets(options.number, options.file))
    else:
        main(options.number, options.file)
